"""Images of one code that are moved together: pushed apart, or strung between two of them.

Random starts underestimate how wide an invariance is (Cadena et al., "Diverse feature visualizations reveal
invariances in early layers of deep neural networks", 2018, who add repulsion to the objective). Here restarts that are
finished move on, each held to a bound on its code's error, by what they are to each other. So they are **coupled**: no
sample of anything, and no interval over restarts means something for them. They come as `Coupled`, never as a
`Preimage`.
"""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from invert_jax._util import checks, safe_math
from invert_jax.analysis import metrics
from invert_jax.types import Representation

_NEAR = 0.95  # of the bound: from here on a step may not raise the error to first order
_AIM = 0.98  # of the bound: where a step that exceeded it is brought back to
_MOVING = 0.8  # of the steps; the rest only bring back
_LANES = 4  # images at a time, which bounds memory
_ROUNDING = 1e-4  # of a bound: programs differ by as much
_LEAST = 1e-4  # a restart's own error as its bound: below it rounding, not the image, decides what is within
_BETWEEN = 4  # places on each piece of a way that are looked at, beside its ends


class Coupled(NamedTuple):
    """Images that moved together, and so are not independent.

    Attributes:
      image: `[R, H, W, C]`, 0..255 and no further out than those that were given.
      error: `[R]`, relative errors of their codes.
      bound: `[R]`, what the errors were to stay within.
      within: `[R]`, whether they did.
      before: what was made smaller, or larger, of the images given: mean distance, or length, in gray levels.
      after: the same of these.
      between: of a way, the largest error on each straight piece from image to image, `[R - 1]`; empty otherwise.
    """

    image: np.ndarray
    error: np.ndarray
    bound: np.ndarray
    within: np.ndarray
    before: float
    after: float
    between: np.ndarray


def repel(
    representation: Representation,
    target: jax.Array,
    images,
    *,
    bound=None,
    mask: jax.Array | None = None,
    num_steps: int = 200,
    rate: float = 2.0,
) -> Coupled:
    """Pushes restarts apart while the error of each stays within a bound.

    Climbs the mean over pairs of `|x_r - x_s|`, root mean square, in steps of a fixed length that falls to zero. Where
    an image's error is near its bound, the part of the step that would raise it is taken away; where it is beyond, a
    Newton step on the error brings it back. What is returned is the widest set on the way that was within. Priors do
    not hold the images: some of the width is what those kept together.

    Args:
      representation: Phi.
      target: Phi_0, `[F...]`.
      images: `[R, H, W, C]`, two or more, 0..255: restarts that are finite.
      bound: relative error that each may have, a number or `[R]`; None is each one's own, so that the set is wider at
        no more error, or 1e-4 if that is more.
      mask: boolean `[F...]`, the neurons that count.
      num_steps: how many.
      rate: length of the first step, gray levels, root mean square.

    Returns:
      A `Coupled`; `before` and `after` are mean distances of pairs.

    Raises:
      ValueError: shapes that do not fit, images that are not finite, two that are equal, or a bound that one exceeds.

    Source: the repulsion of Cadena et al. 2018; the bound, in place of a weight, is ours.

    >>> from invert_jax import representations
    >>> mean = representations.from_function(lambda _, image: jnp.mean(image, keepdims=True))
    >>> dark = np.random.default_rng(0).uniform(99, 101, (3, 8, 8, 1))
    >>> found = repel(mean, mean(np.full((8, 8, 1), 100.0)), dark, bound=0.02, num_steps=50)
    >>> bool(found.within.all()), found.after > 20 * found.before
    (True, True)
    """
    images = _checked(images)
    for first, second in itertools.combinations(range(len(images)), 2):
        if np.array_equal(images[first], images[second]):
            raise ValueError(f"Images {first} and {second} are equal, so neither is pushed from the other; drop one.")
    fixed = np.zeros(len(images), bool)
    return _move(_apart, representation, target, images, fixed, bound, mask, num_steps, rate)


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
    rate: float = 2.0,
) -> Coupled:
    """A way from one image to another along which the code hardly changes.

    Begins at the straight line, whose middle has some other code, and descends the sum of `|x_i+1 - x_i|^2`, ends held,
    with every image brought back to the bound as in `repel`. Between two images of one code such a way need not exist:
    see `within`; and images within the bound may have others between them that are not, see `between`.

    Args:
      representation: Phi.
      target: Phi_0, `[F...]`.
      first: `[H, W, C]`, 0..255.
      last: `[H, W, C]`, 0..255.
      bound: relative error of the code all along the way.
      mask: boolean `[F...]`, the neurons that count.
      num_images: along the way, both ends among them.
      num_steps: how many.
      rate: length of the first step, gray levels, root mean square.

    Returns:
      A `Coupled`; `before` and `after` are lengths: of the straight line, and of the way.

    Raises:
      ValueError: shapes that do not fit, images that are not finite, an end beyond the bound, or under three images.

    Source: ours; a string of images, as chemists find ways between two states (E, Ren & Vanden-Eijnden 2002).

    >>> from invert_jax import representations
    >>> norm = representations.from_function(lambda _, image: jnp.sqrt(jnp.sum((image / 100) ** 2, keepdims=True)))
    >>> left, right = np.zeros((2, 1, 2, 1)); left[0, 0], right[0, 1] = 100.0, 100.0
    >>> around = low_error_path(norm, norm(left), left, right, bound=0.01, num_images=5)  # along a circle
    >>> float(np.linalg.norm(around.image, axis=2).max()) < 101.1, bool(around.within.all())
    (True, True)
    """
    if num_images < 3:
        raise ValueError(f"num_images is {num_images}; a path needs three or more, both ends among them.")
    first, last = _checked([first, last])
    share = np.linspace(0, 1, num_images, dtype=np.float32)[:, None, None, None]
    fixed = np.isin(np.arange(num_images), (0, num_images - 1))
    line = (1 - share) * first + share * last
    found = _move(_tension, representation, target, line, fixed, bound, mask, num_steps, rate)
    inner = np.linspace(0, 1, _BETWEEN + 2, dtype=np.float32)[:, None, None, None]
    pieces = [
        _errors(representation, target, mask, (1 - inner) * here + inner * there)
        for here, there in zip(found.image[:-1], found.image[1:], strict=True)
    ]
    return found._replace(between=np.max(pieces, axis=1))


def _checked(images):
    images = np.asarray(images, np.float32)
    if images.ndim != 4 or len(images) < 2:
        raise ValueError(f"Images that move together are [R, H, W, C], two or more; got shape {images.shape}.")
    checks.require_finite(images, "images")
    return images


def _move(interaction, representation, target, images, fixed, bound, mask, num_steps, rate):
    checks.require_count(num_steps, "num_steps")
    height, width, channels = images.shape[1:]
    shape = representation.feature_shape((height, width, channels))
    if np.shape(target) != shape:
        raise ValueError(f"The target has shape {np.shape(target)}; the features of these images have {shape}.")
    errors = np.asarray(_errors(representation, target, mask, images))
    own = np.maximum(errors, _LEAST)
    bounds = np.broadcast_to(np.asarray(own if bound is None else bound, np.float32), errors.shape)
    held = fixed if fixed.any() else np.ones(len(images), bool)
    worst = int(np.argmax(np.where(held, errors - bounds, -np.inf)))
    if errors[worst] > (1 + _ROUNDING) * bounds[worst]:
        raise ValueError(
            f"Image {worst} has the relative error {errors[worst]:.3g}, beyond the bound {bounds[worst]:.3g}; give a "
            f"bound no less."
        )
    limits = min(0.0, float(images.min())), max(255.0, float(images.max()))
    moved = _descend(
        interaction, num_steps, representation, jnp.asarray(target), mask, images, fixed, bounds, rate, limits
    )
    found = np.asarray(_errors(representation, target, mask, moved))
    before, after = (float(interaction.told(jnp.asarray(some))) for some in (images, moved))
    within = found <= (1 + _ROUNDING) * bounds
    return Coupled(np.asarray(moved), found, bounds, within, before, after, between=np.zeros(0, np.float32))


class _Interaction(NamedTuple):
    """What images are to each other: `value` is to fall, by steps of `wanted`; `told` is said, in gray levels."""

    value: Callable
    wanted: Callable
    told: Callable


def _mean_distance(images):
    flat = images.reshape(len(images), -1)
    first, second = np.triu_indices(len(images), 1)
    pairs = jax.lax.map(lambda pair: safe_math.safe_norm(flat[pair[0]] - flat[pair[1]]), (first, second))
    return jnp.mean(pairs) / np.sqrt(flat.shape[1])


def _away(images):
    """Uphill in the mean distance, as far as may be."""
    uphill = jax.grad(_mean_distance)(images)
    return 255 * uphill * _each(np.sqrt(images[0].size) / jnp.sqrt(jnp.maximum(_dot(uphill, uphill), 1e-30)))


def _squared_length(images):
    return jnp.sum((images[1:] - images[:-1]) ** 2)


def _tightened(images):
    """Half the way to the middle of the two neighbors."""
    middle = (jnp.roll(images, 1, axis=0) + jnp.roll(images, -1, axis=0)) / 2
    return (middle - images) / 2


def _length(images):
    pieces = (images[1:] - images[:-1]).reshape(len(images) - 1, -1)
    return jnp.sum(jnp.sqrt(jnp.mean(pieces**2, axis=1)))


_apart = _Interaction(lambda images: -_mean_distance(images), _away, _mean_distance)
_tension = _Interaction(_squared_length, _tightened, _length)


@jax.jit
def _errors(representation, target, mask, images):
    def error(image):
        return metrics.relative_error(representation.apply(representation.params, image), target, mask)

    return jax.lax.map(error, images, batch_size=_LANES)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _descend(interaction, num_steps, representation, target, mask, images, fixed, bounds, rate, limits):
    """The images of the lowest value among those that were all within their bounds; else those that came nearest."""

    def error(image):
        return metrics.relative_error(representation.apply(representation.params, image), target, mask)

    def judge(images, errors):
        excess = jnp.max(jnp.where(fixed, 0.0, errors / jnp.maximum(bounds, 1e-12)))
        return jnp.where(excess <= 1, interaction.value(images), 1e30 * excess)

    def step(i, carry):
        images, best, lowest = carry
        errors, uphill = jax.lax.map(jax.value_and_grad(error), images, batch_size=_LANES)
        score = judge(images, errors)
        best, lowest = jnp.where(score < lowest, images, best), jnp.minimum(score, lowest)

        wanted = interaction.wanted(images)
        steepness = _dot(uphill, uphill)
        raised = _dot(wanted, uphill) / jnp.maximum(steepness, 1e-30)
        barred = (errors > _NEAR * bounds) & (raised > 0)
        wanted = wanted - _each(jnp.where(barred, raised, 0.0)) * uphill
        length = rate * jnp.maximum(1 - i / (_MOVING * num_steps), 0)
        back = jnp.where(errors > bounds, (errors - _AIM * bounds) / jnp.maximum(steepness, 1e-30), 0.0)
        freely = _no_longer(_each(errors <= bounds) * wanted, length)  # one that is beyond comes back before it goes on
        change = freely - _no_longer(_each(back) * uphill, rate)
        images = jnp.where(_each(fixed), images, jnp.clip(images + change, *limits))
        return images, best, lowest

    images, best, lowest = jax.lax.fori_loop(0, num_steps, step, (images, images, jnp.asarray(jnp.inf)))
    return jnp.where(judge(images, jax.lax.map(error, images, batch_size=_LANES)) < lowest, images, best)


def _dot(first, second):
    return jnp.sum(first * second, axis=(1, 2, 3))


def _each(values):
    return values[:, None, None, None]


def _no_longer(changes, length):
    """The change of each image, cut to this length, root mean square."""
    lengths = jnp.sqrt(jnp.maximum(_dot(changes, changes), 1e-30) / changes[0].size)
    return _each(jnp.minimum(length / lengths, 1.0)) * changes
