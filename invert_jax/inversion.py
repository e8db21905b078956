"""One restart on one image: `init`, `step`, `run`, `finish`, and `invert`, which is all four.

Everything here is pure: jit it, vmap it, differentiate through it. In reverse that is for `invert` without a tolerance:
`run`, and what stops early, are loops of unknown length.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from invert_jax import objective
from invert_jax._util import checks
from invert_jax.analysis import metrics
from invert_jax.types import Preimage, Recipe, Representation


class State(NamedTuple):
    """Where a descent stands.

    Attributes:
      z: the variable, as the recipe's parameterization spells an image.
      optimizer_state: the optax state.
      step: steps so far, int32, also those that a descent stood still which had ended before.
      energy: `[T, 4]`: total, loss, alpha-norm term, TV term; row `t` is from before step `t + 1`.
      stage: of the recipe's, int32; their number once the descent has ended.
      began: the step at which the stage began, int32.
    """

    z: Any
    optimizer_state: Any
    step: jax.Array
    energy: jax.Array
    stage: jax.Array
    began: jax.Array


def _optimizer(recipe: Recipe, stage: jax.Array) -> optax.GradientTransformation:
    return recipe.optimizer(jnp.asarray(recipe.rates, jnp.float32)[jnp.minimum(stage, len(recipe.rates) - 1)])


def as_arrays(recipe: Recipe) -> Recipe:
    """The recipe with float32 numbers, so that 5, 5.0 and `np.float64(5)` run the same compiled program.

    Args:
      recipe: a recipe.

    Returns:
      The same, its numbers JAX arrays.

    >>> from invert_jax import recipes
    >>> as_arrays(recipes.for_layer("fc8")).lambda_tv.dtype
    dtype('float32')
    """
    return jax.tree.map(lambda number: jnp.asarray(number, jnp.float32), recipe)


def init(key: jax.Array, eq3: objective.Objective, recipe: Recipe, *, initial_image: jax.Array | None = None) -> State:
    """The start of a descent: noise, or a given image.

    Args:
      key: random key, unused when an image is given.
      eq3: the objective.
      recipe: how to descend.
      initial_image: `[H, W, C]`, 0..255.

    Returns:
      A `State` at step 0.

    Raises:
      ValueError: `initial_image` has another shape than the image sought.
    """
    spell = recipe.parameterization
    if initial_image is None:
        z = spell.init(key, eq3.center.shape)
    else:
        if jnp.shape(initial_image) != eq3.center.shape:
            raise ValueError(
                f"initial_image has shape {jnp.shape(initial_image)}, the image sought {eq3.center.shape}: resize it."
            )
        z = spell.encode(eq3.from_image(jnp.asarray(initial_image, jnp.float32)), eq3.center, eq3.sigma)
    energy = jnp.zeros((recipe.num_steps, 4), jnp.float32)
    zero = jnp.zeros((), jnp.int32)
    return State(z, _optimizer(recipe, zero).init(z), zero, energy, stage=zero, began=zero)


def step(eq3: objective.Objective, recipe: Recipe, state: State) -> State:
    """One gradient step on eq. 3, and on eq. 7 of Singh & Namboodiri where a parameterization holds something back.

    A stage ends after its steps, or when it has converged: with a tolerance, once the mean energy of its last
    `patience` steps is not lower by that fraction than the mean of as many before; the descent ends with it when its
    energy is not finite. A descent that has ended then stands still.

    Args:
      eq3: the objective.
      recipe: how to descend.
      state: where the descent stands.

    Returns:
      The state after the step, the energy from before it recorded.
    """
    spell, stage = recipe.parameterization, _shown(recipe, state)
    share = 1.0 if recipe.prior_shares is None else jnp.asarray(recipe.prior_shares, jnp.float32)[stage]

    def energy(z):
        compactness = recipe.lambda_compactness * spell.hidden(z, stage)
        x = spell.decode(z, eq3.center, eq3.sigma, stage)
        return objective.evaluate(eq3, x, prior_share=share, compactness=compactness)

    (value, terms), gradient = jax.value_and_grad(energy, has_aux=True)(state.z)
    updates, optimizer_state = optax.with_extra_args_support(_optimizer(recipe, stage)).update(
        gradient, state.optimizer_state, state.z, value=value, grad=gradient, value_fn=lambda z: energy(z)[0]
    )
    moved = optax.apply_updates(state.z, updates), optimizer_state
    ended = state.stage == len(recipe.steps)
    if recipe.tolerance is not None:
        moved = jax.tree.map(lambda old, new: jnp.where(ended, old, new), (state.z, state.optimizer_state), moved)
    energies, now = state.energy.at[state.step].set(terms), state.step + 1
    over = now - state.began >= jnp.asarray(recipe.steps)[stage]
    lost = jnp.zeros((), bool)
    if recipe.tolerance is not None:
        lost = ~jnp.isfinite(terms[0])  # which would never converge
        over |= lost | _converged(recipe, energies, now, state.began)
    over &= ~ended
    return State(
        z=moved[0],
        optimizer_state=moved[1],
        step=now,
        energy=energies,
        stage=jnp.where(over & lost, len(recipe.steps), state.stage + over),
        began=jnp.where(over, now, state.began),
    )


def _shown(recipe, state):
    """The stage whose image is seen: the last one after the end."""
    return jnp.minimum(state.stage, len(recipe.steps) - 1)


def _converged(recipe, energies, now, began):
    window = 2 * recipe.patience
    if window > recipe.num_steps:
        return False
    total = jax.lax.dynamic_slice_in_dim(energies[:, 0], now - window, window)
    before, after = total.reshape(2, recipe.patience).mean(1)
    return (now - began >= window) & (before - after <= recipe.tolerance * jnp.abs(before))


def current_image(eq3: objective.Objective, recipe: Recipe, state: State) -> jax.Array:
    """The image that a descent has come to, as its stage shows it.

    Args:
      eq3: the objective.
      recipe: how it descends.
      state: where it stands.

    Returns:
      `[H, W, C]`, 0..255, not clipped.
    """
    return eq3.to_image(recipe.parameterization.decode(state.z, eq3.center, eq3.sigma, _shown(recipe, state)))


def num_evaluations(recipe: Recipe, state: State) -> jax.Array:
    """How often the gradient has been evaluated: the steps so far, or those made when the descent ended."""
    return jnp.where(state.stage == len(recipe.steps), state.began, state.step)


def run(eq3: objective.Objective, recipe: Recipe, state: State, *, stop: jax.Array) -> State:
    """Descends until step `stop`, which may be traced, or the end: one program for any number of steps.

    Args:
      eq3: the objective.
      recipe: how to descend.
      state: where the descent stands.
      stop: the step to stop before; at most `recipe.num_steps`.

    Returns:
      The state at step `stop`, or at the end of the descent if that comes first.
    """

    def running(state):
        return (state.step < stop) & (state.stage < len(recipe.steps))

    return jax.lax.while_loop(running, functools.partial(step, eq3, recipe), state)


def finish(eq3: objective.Objective, recipe: Recipe, state: State) -> Preimage:
    """What a descent found.

    Args:
      eq3: the objective.
      recipe: how it descended.
      state: where it stands.

    Returns:
      A `Preimage`.
    """
    image = current_image(eq3, recipe, state)
    features = eq3.representation.apply(eq3.representation.params, image)
    error = metrics.relative_error(features, eq3.target, eq3.mask)
    evaluations = num_evaluations(recipe, state)
    last = jnp.maximum(evaluations - 1, 0)
    energy = jnp.where(jnp.arange(recipe.num_steps)[:, None] > last, state.energy[last], state.energy)
    finite = jnp.all(jnp.isfinite(image)) & jnp.all(jnp.isfinite(features)) & jnp.all(jnp.isfinite(energy))
    return Preimage(image, features, error, energy, finite, evaluations)


def invert(
    key: jax.Array,
    representation: Representation,
    target: jax.Array,
    recipe: Recipe,
    *,
    image_shape: tuple[int, int, int],
    mask: jax.Array | None = None,
    initial_image: jax.Array | None = None,
) -> Preimage:
    """Finds one image whose features are the target: `argmin_x` of eq. 3 from one random start.

    Pure: `jax.jit`, `jax.vmap` (over keys, targets, ...) and forward-mode differentiation work, and reverse-mode for a
    recipe without a tolerance. For many restarts with bounded memory, use `sample`.

    Args:
      key: random key of the start.
      representation: what to invert.
      target: its features to reach, `[F...]`.
      recipe: how, see `recipes`.
      image_shape: `(H, W, C)` of the image sought.
      mask: boolean `[F...]`: the neurons that count; None is all of them.
      initial_image: `[H, W, C]`, 0..255, to start from instead of noise.

    Returns:
      A `Preimage`. A descent that leaves the finite numbers is flagged in `finite`, not raised.

    Raises:
      ValueError: shapes, mask, recipe or images that do not fit; see `objective.make`.

    Source: Mahendran & Vedaldi 2015, eqs. 1-3.

    >>> from invert_jax import recipes, representations
    >>> image = jnp.tile(jnp.linspace(0, 255, 32)[:, None, None], (1, 32, 1))
    >>> hog = representations.hog(binning="bilinear")
    >>> found = invert(jax.random.key(0), hog, hog(image), recipes.shallow(), image_shape=image.shape)
    >>> found.image.shape, found.energy.shape, bool(found.error < 0.3)
    ((32, 32, 1), (800, 4), True)
    """
    eq3 = objective.make(representation, target, recipe, image_shape=image_shape, mask=mask)
    checks.require_key(key)
    if initial_image is not None:
        checks.require_finite(initial_image, "initial_image")
    return _invert(key, eq3, as_arrays(recipe), initial_image)


@jax.jit
def _invert(key, eq3, recipe, initial_image):
    state = init(key, eq3, recipe, initial_image=initial_image)
    if recipe.tolerance is None:
        # A fixed number of steps, so that reverse-mode differentiation through the descent is defined.
        state = jax.lax.fori_loop(0, recipe.num_steps, lambda _, s: step(eq3, recipe, s), state)
    else:
        state = run(eq3, recipe, state, stop=jnp.asarray(recipe.num_steps))
    return finish(eq3, recipe, state)
