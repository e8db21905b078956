"""Momentum descent with a reset, as an optax transformation; any other one serves as well."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from invert_jax.types import Schedule


class MomentumState(NamedTuple):
    """State of `momentum_descent`.

    Attributes:
      step: updates made so far, int32.
      momentum: the last update, shaped as the variable.
      rate: learning rate of the last update.
    """

    step: jax.Array
    momentum: Any
    rate: jax.Array


def momentum_descent(learning_rate: Schedule | float, *, decay: float = 0.9) -> optax.GradientTransformation:
    """Gradient descent with momentum: `m <- decay m - rate grad`, `x <- x + m` (section 2, "Optimization").

    The momentum is set to zero whenever the rate changes, as in the authors' code: a step that was stable at a large
    rate overshoots when the next stage inherits it. So give it rates in stages; under a schedule that changes at
    every step there is never any momentum.

    Args:
      learning_rate: a number, or `schedule(step) -> rate`.
      decay: what is kept of the last update; the paper's is 0.9.

    Returns:
      An optax transformation with state `MomentumState`.

    >>> descent = momentum_descent(0.5)
    >>> state = descent.init(jnp.zeros(()))
    >>> update, state = descent.update(jnp.ones(()), state)
    >>> update, state = descent.update(jnp.ones(()), state)
    >>> round(float(update), 2)
    -0.95
    """

    def init(params):
        return MomentumState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params), jnp.zeros((), jnp.float32))

    def update(updates, state, params=None):
        del params
        rate = jnp.asarray(learning_rate(state.step) if callable(learning_rate) else learning_rate, jnp.float32)
        kept = jnp.where(rate == state.rate, decay, 0.0)
        momentum = jax.tree.map(lambda m, g: kept * m - rate * g, state.momentum, updates)
        return momentum, MomentumState(state.step + 1, momentum, rate)

    return optax.GradientTransformation(init, update)
