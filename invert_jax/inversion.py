"""One descent: eq. 3 of Mahendran & Vedaldi 2015 and eq. 7 of Singh & Namboodiri 2015, from one random start.

`make_problem` checks what the user gave; `init`, `step`, `run` and `finish` are the descent; `invert` is all of them.
Everything but the checks is pure: jit it, vmap it, differentiate through it. Reverse-mode derivatives are defined for
`invert` without a tolerance; `run` is a loop of unknown length, which has none.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from invert_jax import losses, recipes, regularizers
from invert_jax._util import checks, optax_support
from invert_jax._util.reprs import short_repr
from invert_jax.types import Energy, Features, Preimage, Recipe, Representation, check_recipe


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Problem:
    """What is inverted and how, with every default resolved; from `make_problem`. All restarts share it."""

    representation: Representation  #: Phi
    mask: Any  #: boolean [F...], or the like of the features: the neurons that count; None is all
    center: jax.Array  #: [H, W, C], the intensity at x = 0
    recipe: Any  #: a Recipe whose numbers are float32 arrays: 5 and np.float64(5) run one program

    __repr__ = short_repr


class State(NamedTuple):
    """One descent under way."""

    target: Any  #: [F...], Phi_0, or a pytree of arrays
    z: Any  #: the variable, as the recipe's parameterization has it
    optimizer_state: Any
    step: jax.Array  #: gradient steps made
    evaluations: jax.Array  #: evaluations of the energy: the steps, and what line searches took beside them
    energy: Energy  #: of [T]; row t is from before step t + 1
    stage: jax.Array  #: index of the stage; the number of stages once the descent has terminated
    stage_start: jax.Array  #: the step at which the stage started
    key: jax.Array  #: of the restart, for the recipe's transform

    __repr__ = short_repr


def make_problem(
    representation: Representation,
    target: Features,
    recipe: Recipe | None = None,
    *,
    image_shape: tuple[int, int, int],
    mask: Any = None,
) -> tuple[Problem, jax.Array]:
    """Checks everything that the user gave to `invert`, and resolves the defaults.

    Returns a `Problem`, and the target in float32. Raises ValueError for what does not fit, and TypeError for a
    recipe, or a part of one, of another type.
    """
    image_shape = checks.require_image_shape(image_shape)
    recipe = recipes.default(representation) if recipe is None else recipe
    check_recipe(recipe)
    features = representation.abstract_features(image_shape)
    if target is None and not losses.is_distance(recipe.loss):
        target = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), features)
    target = checks.require_target(target, features, image_shape)
    mask = None if mask is None else checks.require_masks(mask, target)
    checks.require_weights(recipe.feature_weights, features)
    start, key = recipe.parameterization.init, jax.random.key(0)
    optax_support.require_descent(recipe.optimizer, jax.eval_shape(lambda key: start(key, image_shape), key))
    checks.require_transform(recipe.transform, key, image_shape)
    center = checks.require_center(representation.center, image_shape)
    sigma = regularizers.default_sigma(image_shape) if recipe.sigma is None else recipe.sigma
    priors = tuple(prior.with_balanced_weight(sigma) for prior in recipe.priors)
    recipe = dataclasses.replace(recipe, sigma=sigma, priors=priors)
    recipe = jax.tree.map(lambda number: jnp.asarray(number, jnp.float32), recipe)
    return Problem(representation, mask, center, recipe), target


def energy(problem: Problem, target: Features, z: Any, stage: jax.Array, key: jax.Array | None = None) -> Energy:
    """Eq. 3, plus the second term of eq. 7 of Singh & Namboodiri, at the variable `z` in a stage `s`.

    `E = loss(Phi(image), Phi_0) + w_s (lambda_alpha R_alpha(x) + lambda_V R_V^beta(x) + ...) + lambda_D D / |Phi_0|`
    with `x = (image - center) / sigma`, of about unit Euclidean norm, and `w_s` the stage's `prior_weight`. With a key,
    which eq. 3 itself does not have and so comes last, the recipe's transform applies.
    """
    recipe, phi = problem.recipe, problem.representation
    image = recipe.parameterization.decode(z, problem.center, recipe.sigma, stage)
    x = (image - problem.center) / recipe.sigma
    if recipe.transform is not None and key is not None:
        image = recipe.transform(key, image)
    features, weights = _features(phi, image), recipe.feature_weights
    loss = losses.mean_over_leaves(recipe.loss, features, target, problem.mask, weights=weights)
    stage_weight = jnp.stack([s.prior_weight for s in recipe.stages])[stage]
    priors: Any = {"alpha_norm": 0.0, "tv": 0.0, "other": 0.0}
    for prior in recipe.priors:
        priors[prior.name] += stage_weight * prior.weight * prior.function(x)
    # The loss is relative to its target, so the residual, which has the features' unit, is divided likewise.
    residual = recipe.lambda_compactness * recipe.parameterization.residual(z, stage)
    compactness = losses.mean_over_leaves(
        lambda _, part, mask: residual / losses.target_norm(part, mask), target, target, problem.mask
    )
    total = loss + priors["alpha_norm"] + priors["tv"] + priors["other"] + compactness
    return jax.tree.map(jnp.float32, Energy(total, loss, compactness=compactness, **priors))


def init(key: jax.Array, problem: Problem, target: Features, *, initial_image: jax.Array | None = None) -> State:
    """The start of a descent: the parameterization's noise, or a given image `[H, W, C]`, 0..255."""
    recipe, zero = problem.recipe, jnp.zeros((), jnp.int32)
    if initial_image is None:
        z = recipe.parameterization.init(key, problem.center.shape)
    else:
        z = recipe.parameterization.encode(jnp.asarray(initial_image, jnp.float32), problem.center, recipe.sigma)
    trace = Energy(*[jnp.zeros(recipe.num_steps, jnp.float32)] * len(Energy._fields))
    optimizer_state = optax_support.init(recipe.optimizer, _rate(recipe, zero), z)
    return State(target, z, optimizer_state, zero, zero, trace, zero, zero, key)


def _features(phi, image):
    """In float32, whatever the representation computes in."""
    return jax.tree.map(jnp.float32, phi.apply(phi.params, image))


def _rate(recipe, stage):
    return jnp.stack([s.rate for s in recipe.stages])[stage]


def step(problem: Problem, state: State) -> State:
    """One gradient step on `energy`, whose value before the step is recorded; a terminated descent stays as it is.

    A stage ends after its steps or, with a tolerance, when it has converged: once the mean energy of its last
    `patience` steps is not lower by that fraction than the mean of as many before. With a tolerance, an energy that is
    not finite terminates the descent.
    """
    recipe, num_stages = problem.recipe, len(problem.recipe.stages)
    stage = jnp.minimum(state.stage, num_stages - 1)  # a terminated descent computes a step that is dropped below
    # The transform's keys are folded in twice: the key itself has made the noise of the start.
    key = None if recipe.transform is None else jax.random.fold_in(jax.random.fold_in(state.key, 1), state.step)

    def total(z):
        terms = energy(problem, state.target, z, stage, key)
        return terms.total, terms

    (value, terms), gradient = jax.value_and_grad(total, has_aux=True)(state.z)
    z, optimizer_state = optax_support.update(
        recipe.optimizer, _rate(recipe, stage), state.z, state.optimizer_state, gradient, value, lambda z: total(z)[0]
    )
    new = state._replace(
        z=z,
        optimizer_state=optimizer_state,
        step=state.step + 1,
        evaluations=state.evaluations + 1 + optax_support.num_extra_evaluations(optimizer_state),
        energy=jax.tree.map(lambda trace, term: trace.at[state.step].set(term), state.energy, terms),
    )
    stage_over, diverged = _stage_is_over(recipe, stage, new, value)
    new = new._replace(
        stage=jnp.where(diverged, num_stages, state.stage + jnp.int32(stage_over)),
        stage_start=jnp.where(stage_over, new.step, state.stage_start),
    )
    # The one place where a descent is frozen: whatever was computed above counts only while it runs. So padding of a
    # batch, early stops and divergence need no other branch.
    running = state.stage < num_stages
    return jax.tree.map(lambda old, changed: old if old is changed else jnp.where(running, changed, old), state, new)


def _stage_is_over(recipe, stage, state, value):
    """Whether the stage ends with the step just made, and whether the descent diverged."""
    steps_made, window = state.step - state.stage_start, 2 * recipe.patience
    stage_over = steps_made >= jnp.asarray([s.num_steps for s in recipe.stages], jnp.int32)[stage]
    if recipe.tolerance is None:
        return stage_over, jnp.zeros((), bool)
    if window <= recipe.num_steps:
        recent = jax.lax.dynamic_slice_in_dim(state.energy.total, state.step - window, window)
        before, after = recent.reshape(2, recipe.patience).mean(1)
        stage_over |= (steps_made >= window) & (before - after <= recipe.tolerance * jnp.abs(before))
    diverged = ~jnp.isfinite(value)
    return stage_over | diverged, diverged


def run(problem: Problem, state: State, *, stop: jax.Array | int) -> State:
    """Descends until step `stop`, which may be traced, or the end: one program for any number of steps."""

    def running(state):
        return (state.step < stop) & (state.stage < len(problem.recipe.stages))

    return jax.lax.while_loop(running, functools.partial(step, problem), state)


def current_image(problem: Problem, state: State) -> jax.Array:
    """The image that a descent has reached, as its stage shows it: `[H, W, C]`, 0..255, not clipped."""
    recipe = problem.recipe
    stage = jnp.minimum(state.stage, len(recipe.stages) - 1)
    z = optax_support.evaluation_point(state.optimizer_state, state.z)
    return recipe.parameterization.decode(z, problem.center, recipe.sigma, stage)


def finish(problem: Problem, state: State) -> Preimage:
    """What a descent found."""
    image, phi, error = current_image(problem, state), problem.representation, None
    features = _features(phi, image)
    if losses.is_distance(problem.recipe.loss):
        error = losses.mean_over_leaves(losses.normalized_l2, features, state.target, problem.mask)
    last = jnp.maximum(state.step - 1, 0)
    recorded = jnp.arange(problem.recipe.num_steps, dtype=jnp.int32) <= last
    energies = jax.tree.map(lambda trace: jnp.where(recorded, trace, trace[last]), state.energy)
    leaves = jax.tree.leaves((image, features, error, energies))
    finite = jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]).all()
    return Preimage(image, features, error, energies, finite, state.evaluations)


def invert(
    key: jax.Array,
    representation: Representation,
    target: Features,
    recipe: Recipe | None = None,
    *,
    image_shape: tuple[int, int, int],
    mask: Any = None,
    initial_image: jax.Array | None = None,
) -> Preimage:
    """Finds one image whose features are the target: `argmin_x` of eq. 3 from one random start.

    Pure: `jax.jit`, `jax.vmap` (over keys, targets, ...) and forward-mode differentiation work, and reverse-mode for a
    recipe without a tolerance. For many restarts with bounded memory, use `sample`.

    Args:
      key: random key of the start.
      representation: what to invert.
      target: its features to reach, `[F...]`, or a pytree of arrays for a representation that returns one. It may be
        made of several images' features; None is for a recipe whose loss is an `objective`, such as activation.
      recipe: how, see `recipes`; None is `recipes.default(representation)`.
      image_shape: `(H, W, C)` of the image sought.
      mask: boolean, the like of the target: the neurons that count; None is all of them.
      initial_image: `[H, W, C]`, 0..255, to start from instead of noise.

    Returns:
      A `Preimage`. A descent that diverged is flagged in `finite`, not raised.

    Raises:
      ValueError: shapes, mask, recipe or images that do not fit; see `make_problem`.
      TypeError: not a random key, or not a recipe.

    Source: Mahendran & Vedaldi 2015, eqs. 1-3.

    >>> from invert_jax import representations
    >>> image = jnp.tile(jnp.linspace(0, 255, 32)[:, None, None], (1, 32, 1))
    >>> hog = representations.hog(binning="bilinear")
    >>> found = invert(jax.random.key(0), hog, hog(image), recipes.shallow(), image_shape=image.shape)
    >>> found.image.shape, found.energy.total.shape, bool(found.error < 0.3)
    ((32, 32, 1), (800,), True)
    """
    checks.require_key(key)
    problem, target = make_problem(representation, target, recipe, image_shape=image_shape, mask=mask)
    if losses.is_distance(problem.recipe.loss):
        checks.warn_of_zero_target(target, problem.mask)
    return _invert(key, problem, target, checks.require_initial_image(initial_image, image_shape))


@jax.jit
def _invert(key, problem, target, initial_image):
    state, num_steps = init(key, problem, target, initial_image=initial_image), problem.recipe.num_steps
    if problem.recipe.tolerance is None:
        # A fixed number of steps, so that reverse-mode differentiation through the descent is defined.
        state = jax.lax.fori_loop(0, num_steps, lambda _, state: step(problem, state), state)
    else:
        state = run(problem, state, stop=num_steps)
    return finish(problem, state)
