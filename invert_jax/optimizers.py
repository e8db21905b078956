"""Momentum descent with a reset, as an optax transformation; any other one serves as well."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from invert_jax._util.reprs import short_repr


class MomentumState(NamedTuple):
    """State of `momentum_descent`.

    Attributes:
      momentum: the last update, shaped as the variable.
      rate: learning rate of the last update.
    """

    momentum: Any
    rate: jax.Array

    __repr__ = short_repr


def momentum_descent(learning_rate: jax.Array | float, *, decay: float = 0.9) -> optax.GradientTransformation:
    """Gradient descent with momentum: `m <- decay m - rate grad`, `x <- x + m` (section 2, "Optimization").

    The momentum is set to zero whenever the rate changes, as in the authors' code: a step that was stable at a large
    rate overshoots when the next stage inherits it.

    Args:
      learning_rate: a scalar; a recipe makes the transformation anew for the rate of each stage.
      decay: share of the last update that persists; the paper's is 0.9.

    Returns:
      An optax transformation with state `MomentumState`.

    Source: Mahendran & Vedaldi 2015, section 2; the reset is from their released code.

    >>> descent = momentum_descent(0.5)
    >>> state = descent.init(jnp.zeros(()))
    >>> update, state = descent.update(jnp.ones(()), state)
    >>> update, state = descent.update(jnp.ones(()), state)
    >>> round(float(update), 2)
    -0.95
    """

    def init(params):
        return MomentumState(jax.tree.map(jnp.zeros_like, params), jnp.zeros((), jnp.float32))

    def update(updates, state, params=None):
        del params
        rate = jnp.asarray(learning_rate, jnp.float32)
        persisting = jnp.where(rate == state.rate, decay, 0.0)
        momentum = jax.tree.map(lambda m, g: persisting * m - rate * g, state.momentum, updates)
        return momentum, MomentumState(momentum, rate)

    return optax.GradientTransformation(init, update)
