"""Images that are moved together at a bounded error: restarts pushed apart, and paths between two restarts.

Random starts underestimate how wide an invariance is (Cadena et al., "Diverse feature visualizations reveal invariances
in early layers of deep neural networks", 2018, who add repulsion to the objective). The images that come out are no
sample, and no interval over restarts applies to them. Hence they are a `Coupled`, not a `Preimage`.
"""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from invert_jax._util import checks, safe_math
from invert_jax._util.reprs import short_repr
from invert_jax.analysis import metrics
from invert_jax.types import Representation

_RATE = 2.0  # length of the first step, gray levels, root mean square
_NEAR = 0.95  # fraction of the bound above which a step may not raise the error to first order
_GOAL = 0.98  # fraction of the bound to which an image beyond it is restored
_MOVING = 0.8  # fraction of the steps in which images move; the remaining steps only restore
_BATCH = 4  # images at a time, which bounds memory
_ROUNDING = 1e-4  # relative: errors of one image differ by as much between compiled programs
_MIN_BOUND = 1e-4  # below this error, rounding rather than the image decides whether a bound holds
_NUM_BETWEEN = 4  # images on each segment of a path whose errors are measured, beside both ends


class Coupled(NamedTuple):
    """Images that were moved together, and therefore are not independent samples."""

    image: np.ndarray  #: [R, H, W, C], 0..255, or the range of the initial images where that is larger
    error: np.ndarray  #: [R], relative errors of the codes
    bound: np.ndarray  #: [R], bounds on the errors
    feasible: np.ndarray  #: [R], whether the error is within its bound
    initial: float  #: mean distance of pairs, or length of the path, of the initial images, in gray levels
    final: float  #: the same of the final images
    max_segment_error: np.ndarray  #: [R - 1], of a path: on each straight segment between neighbors; else [0]

    __repr__ = short_repr


def repel(
    representation: Representation,
    target: jax.Array,
    images,
    *,
    bound=None,
    mask: jax.Array | None = None,
    num_steps: int = 200,
) -> Coupled:
    """Pushes restarts apart while the error of each stays within a bound.

    Ascends `D = mean over pairs r < s of |x_r - x_s|`, root mean square, by `x_r += rate_i u_r / |u_r|`, where `u_r` is
    `grad_r D`, less its component along `g_r` if `e_r` is near its bound and `<grad_r D, g_r> > 0`,
    with `e_r` the relative error of the code and `g_r` its gradient; `rate_i` falls linearly from 2 gray levels to 0.
    A Newton step on `e_r` restores an image beyond its bound. The result is the feasible set of the largest D on the
    trajectory. Priors are not part of it, so the width includes what the priors suppressed.

    Args:
      representation: Phi.
      target: Phi_0, `[F...]`.
      images: `[R, H, W, C]`, two or more finite restarts, 0..255.
      bound: relative error of each image, a number or `[R]`; None is the initial error of each (at least 1e-4), so that
        the set becomes wider at no larger error.
      mask: boolean `[F...]`, the neurons that count.
      num_steps: number of steps.

    Returns:
      A `Coupled`; `initial` and `final` are mean distances of pairs.

    Raises:
      ValueError: shapes that do not fit, images that are not finite, two equal images, or an image beyond the bound.

    Source: the repulsion of Cadena et al. 2018; the bound, in place of a weight, is ours.

    >>> from invert_jax import representations
    >>> mean = representations.from_function(lambda _, image: jnp.mean(image, keepdims=True))
    >>> dark = np.random.default_rng(0).uniform(99, 101, (3, 8, 8, 1))
    >>> result = repel(mean, mean(np.full((8, 8, 1), 100.0)), dark, bound=0.02, num_steps=50)
    >>> bool(result.feasible.all()), result.final > 20 * result.initial
    (True, True)
    """
    images = _require_images(images)
    if any(itertools.starmap(np.array_equal, itertools.combinations(images, 2))):
        raise ValueError("Two of the images are equal, which gives no direction to push; drop one of them.")
    fixed = np.zeros(len(images), bool)
    return _move(_REPULSION, num_steps, representation, target, mask, images, fixed, bound)


def low_error_path(
    representation: Representation,
    target: jax.Array,
    first,
    last,
    *,
    bound: float,
    mask: jax.Array | None = None,
    num_images: int = 9,
    num_steps: int = 300,
) -> Coupled:
    """A path of images from one to another whose codes stay within a bound of the target.

    Starts at the straight line and descends `sum_i |x_i+1 - x_i|^2` with both ends fixed, each image's error held to
    the bound as in `repel`. Such a path need not exist: see `feasible`. The straight segments between feasible images
    may leave the bound: see `max_segment_error`.

    Args:
      representation: Phi.
      target: Phi_0, `[F...]`.
      first: `[H, W, C]`, 0..255.
      last: `[H, W, C]`, 0..255.
      bound: relative error of the code along the path.
      mask: boolean `[F...]`, the neurons that count.
      num_images: number of images on the path, both ends included.
      num_steps: number of steps.

    Returns:
      A `Coupled`; `initial` is the length of the straight line, `final` that of the path, root mean square.

    Raises:
      ValueError: shapes that do not fit, images that are not finite, an end beyond the bound, or under three images.

    Source: ours; the string method of E, Ren & Vanden-Eijnden 2002 with a constraint in place of an energy.

    >>> from invert_jax import representations
    >>> norm = representations.from_function(lambda _, image: jnp.sqrt(jnp.sum((image / 100) ** 2, keepdims=True)))
    >>> left, right = np.zeros((2, 1, 2, 1)); left[0, 0], right[0, 1] = 100.0, 100.0
    >>> arc = low_error_path(norm, norm(left), left, right, bound=0.01, num_images=5)
    >>> float(np.linalg.norm(arc.image, axis=2).max()) < 101.1, bool(arc.feasible.all())
    (True, True)
    """
    if num_images < 3:
        raise ValueError(f"num_images is {num_images}; a path needs three images or more, both ends included.")
    first, last = _require_images([first, last])
    images, fixed = _interpolate(first, last, num_images), np.isin(np.arange(num_images), (0, num_images - 1))
    result = _move(_TENSION, num_steps, representation, target, mask, images, fixed, bound)
    segment_errors = [
        _errors(representation, target, mask, _interpolate(start, end, _NUM_BETWEEN + 2))
        for start, end in itertools.pairwise(result.image)
    ]
    return result._replace(max_segment_error=np.max(segment_errors, axis=1))


def _require_images(images):
    """Float32 `[R, H, W, C]`, two or more finite images."""
    images = np.asarray(images, np.float32)
    if images.ndim != 4 or len(images) < 2:
        raise ValueError(f"Images that are moved together are [R, H, W, C], two or more; got shape {images.shape}.")
    checks.require_finite(images, "images")
    return images


def _interpolate(first, last, count):
    weight = np.linspace(0, 1, count, dtype=np.float32)[:, None, None, None]
    return (1 - weight) * first + weight * last


class _Interaction(NamedTuple):
    """How images `[R, H, W, C]` act on each other: three functions of them, static under jit."""

    value: Callable  # scalar that the descent lowers
    change: Callable  # [R, H, W, C], of every image, were there no bound
    report: Callable  # scalar in gray levels


def _mean_distance(images):
    flat = images.reshape(len(images), -1)
    first, second = np.triu_indices(len(images), 1)
    # safe_norm: two images that meet on the trajectory must not give a gradient of NaN.
    distances = jax.lax.map(lambda pair: safe_math.safe_norm(flat[pair[0]] - flat[pair[1]]), (first, second))
    return jnp.mean(distances) / np.sqrt(flat.shape[1])


def _ascent(images):
    """The gradient of the mean distance, 255 gray levels long for each image: longer than any rate allows."""
    gradient = jax.grad(_mean_distance)(images)
    length = jnp.sqrt(jnp.maximum(_dot(gradient, gradient), 1e-30))
    return 255 * gradient * _per_image(np.sqrt(images[0].size) / length)


def _contraction(images):
    """Half of the change that moves an image to the middle of its two neighbors; the ends, which wrap, are fixed."""
    # The full change would overshoot: the neighbors move to the middle at the same time.
    return ((jnp.roll(images, 1, axis=0) + jnp.roll(images, -1, axis=0)) / 2 - images) / 2


def _length(images):
    segments = (images[1:] - images[:-1]).reshape(len(images) - 1, -1)
    return jnp.sum(jnp.sqrt(jnp.mean(segments**2, axis=1)))


_REPULSION = _Interaction(lambda images: -_mean_distance(images), _ascent, _mean_distance)
_TENSION = _Interaction(lambda images: jnp.sum((images[1:] - images[:-1]) ** 2), _contraction, _length)


def _move(interaction, num_steps, representation, target, mask, images, fixed, bound):
    """Checks the input, moves the images, and measures the result."""
    checks.require_count(num_steps, "num_steps")
    shape = representation.feature_shape(images.shape[1:])
    checks.require_one_array(shape)
    target = jnp.asarray(target)
    if target.shape != shape:
        raise ValueError(f"The target has shape {target.shape}; the features of these images have {shape}.")
    initial_errors = np.asarray(_errors(representation, target, mask, images))
    if bound is None:
        bound = np.maximum(initial_errors, _MIN_BOUND)
    bound = np.broadcast_to(np.asarray(bound, np.float32), initial_errors.shape)
    # Only the ends of a path must be feasible at the start: the straight line between them usually is not.
    required = fixed if fixed.any() else np.ones(len(images), bool)
    worst = int(np.argmax(np.where(required, initial_errors - bound, -np.inf)))
    if initial_errors[worst] > (1 + _ROUNDING) * bound[worst]:
        raise ValueError(
            f"Image {worst} has the relative error {initial_errors[worst]:.3g}, beyond the bound {bound[worst]:.3g}; "
            f"give a larger bound."
        )
    limits = min(0.0, float(images.min())), max(255.0, float(images.max()))
    moved = _descend(interaction, num_steps, representation, target, mask, images, fixed, bound, limits)
    errors = np.asarray(_errors(representation, target, mask, moved))
    initial, final = float(interaction.report(jnp.asarray(images))), float(interaction.report(moved))
    feasible = errors <= (1 + _ROUNDING) * bound
    return Coupled(np.asarray(moved), errors, bound, feasible, initial, final, np.zeros(0, np.float32))


def _error(representation, target, mask, image):
    return metrics.relative_error(representation.apply(representation.params, image), target, mask)


@jax.jit
def _errors(representation, target, mask, images):
    """Relative errors `[N]` of images `[N, H, W, C]`."""
    return jax.lax.map(functools.partial(_error, representation, target, mask), images, batch_size=_BATCH)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _descend(interaction, num_steps, representation, target, mask, images, fixed, bound, limits):
    """The feasible images of the lowest value; if none were feasible, the images that came nearest to it."""
    error = functools.partial(_error, representation, target, mask)

    def score(images, errors):
        # Feasible sets compete by their value, infeasible ones by their largest excess; 1e30 keeps these two apart.
        excess = jnp.max(jnp.where(fixed, 0.0, errors / jnp.maximum(bound, 1e-12)))
        return jnp.where(excess <= 1, interaction.value(images), 1e30 * excess)

    def step(i, carry):
        images, best, lowest = carry
        errors, gradients = jax.lax.map(jax.value_and_grad(error), images, batch_size=_BATCH)
        # The last iterate may be infeasible, since every step is only correct to first order: keep the best one.
        current = score(images, errors)
        best, lowest = jnp.where(current < lowest, images, best), jnp.minimum(current, lowest)

        # An error near its bound must not rise: no component of the change along its gradient.
        change, squared = interaction.change(images), jnp.maximum(_dot(gradients, gradients), 1e-30)
        component = _dot(change, gradients) / squared
        blocked = (errors > _NEAR * bound) & (component > 0)
        change -= _per_image(jnp.where(blocked, component, 0.0)) * gradients
        # A length that falls to zero lets the images settle; the steps after that restore feasibility without being
        # disturbed again. An image beyond its bound is restored first and moves freely only once it is feasible.
        length = _RATE * jnp.maximum(1 - i / (_MOVING * num_steps), 0)
        change = _clip_length(_per_image(errors <= bound) * change, length)
        # The Newton step aims slightly inside the bound; a step to the bound itself would end beyond it by rounding.
        excess = jnp.where(errors > bound, (errors - _GOAL * bound) / squared, 0.0)
        change -= _clip_length(_per_image(excess) * gradients, _RATE)
        images = jnp.where(_per_image(fixed), images, jnp.clip(images + change, *limits))
        return images, best, lowest

    images, best, lowest = jax.lax.fori_loop(0, num_steps, step, (images, images, jnp.asarray(jnp.inf)))
    errors = jax.lax.map(error, images, batch_size=_BATCH)
    return jnp.where(score(images, errors) < lowest, images, best)


def _clip_length(changes, length):
    """The change of each image, cut to a length, root mean square."""
    lengths = jnp.sqrt(jnp.maximum(_dot(changes, changes), 1e-30) / changes[0].size)
    return _per_image(jnp.minimum(length / lengths, 1.0)) * changes


def _dot(first, second):
    return jnp.sum(first * second, axis=(1, 2, 3))


def _per_image(values):
    return values[:, None, None, None]
