"""One restart on one image: `init`, `step`, `run`, `finish`, and `invert`, which is all four.

Everything here is pure: jit it, vmap it, differentiate through it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from invert_jax import checks, metrics, objective, optimizers
from invert_jax.types import Preimage, Recipe, Representation


class State(NamedTuple):
    """Where a descent stands.

    Attributes:
      z: the variable, as the recipe's parameterization spells an image.
      optimizer_state: the optax state.
      step: steps made so far, int32.
      energy: `[T, 4]`: total, loss, alpha-norm term, TV term; row `t` is from before step `t + 1`.
    """

    z: Any
    optimizer_state: Any
    step: jax.Array
    energy: jax.Array


def _optimizer(recipe: Recipe) -> optax.GradientTransformation:
    return recipe.optimizer(optimizers.piecewise_constant(recipe.rates, recipe.steps))


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
        z = spell.encode(eq3.from_image(jnp.asarray(initial_image, jnp.float32)))
    energy = jnp.zeros((recipe.num_steps, 4), jnp.float32)
    return State(z, _optimizer(recipe).init(z), jnp.zeros((), jnp.int32), energy)


def step(eq3: objective.Objective, recipe: Recipe, state: State) -> State:
    """One gradient step on eq. 3.

    Args:
      eq3: the objective.
      recipe: how to descend.
      state: where the descent stands.

    Returns:
      The state after the step, the energy from before it recorded.
    """

    def energy(z):
        return objective.evaluate(eq3, recipe.parameterization.decode(z))

    (value, terms), gradient = jax.value_and_grad(energy, has_aux=True)(state.z)
    updates, optimizer_state = optax.with_extra_args_support(_optimizer(recipe)).update(
        gradient, state.optimizer_state, state.z, value=value, grad=gradient, value_fn=lambda z: energy(z)[0]
    )
    return State(
        z=optax.apply_updates(state.z, updates),
        optimizer_state=optimizer_state,
        step=state.step + 1,
        energy=state.energy.at[state.step].set(terms),
    )


def run(eq3: objective.Objective, recipe: Recipe, state: State, *, stop: jax.Array) -> State:
    """Descends until step `stop`, which may be traced: one program for any number of steps.

    Args:
      eq3: the objective.
      recipe: how to descend.
      state: where the descent stands.
      stop: the step to stop before; at most `recipe.num_steps`.

    Returns:
      The state at step `stop`.
    """
    return jax.lax.fori_loop(state.step, stop, lambda _, s: step(eq3, recipe, s), state)


def finish(eq3: objective.Objective, recipe: Recipe, state: State) -> Preimage:
    """What a descent found.

    Args:
      eq3: the objective.
      recipe: how it descended.
      state: where it stands.

    Returns:
      A `Preimage`.
    """
    image = eq3.to_image(recipe.parameterization.decode(state.z))
    features = eq3.representation.apply(eq3.representation.params, image)
    error = metrics.relative_error(features, eq3.target, eq3.mask)
    finite = jnp.all(jnp.isfinite(image)) & jnp.all(jnp.isfinite(features)) & jnp.all(jnp.isfinite(state.energy))
    return Preimage(image, features, error, state.energy, finite)


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

    Pure: `jax.jit`, `jax.vmap` (over keys, targets, ...) and reverse- and forward-mode differentiation work. For many
    restarts with bounded memory, use `sample`.

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
    # A fixed number of steps, so that reverse-mode differentiation through the descent is defined.
    state = jax.lax.fori_loop(0, recipe.num_steps, lambda _, s: step(eq3, recipe, s), state)
    return finish(eq3, recipe, state)
