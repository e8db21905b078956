"""Momentum descent, with a reset or a normalized gradient, as optax transformations; any other one serves as well."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from invert_jax._util.reprs import short_repr

_SMALLEST_ROOT = 1e-15  # of a mean square of gradients: its square is above what float32 cannot hold


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


def normalized_momentum(
    learning_rate: jax.Array | float, *, decay: float = 0.9, b2: float = 0.9
) -> optax.GradientTransformation:
    """Momentum descent on a gradient divided by the running root mean square of its entries: NovoGrad.

    `v <- b2 v + (1 - b2) mean(grad^2)`, a scalar; `m <- decay m + grad / sqrt(v)`; `x <- x - rate m`. So the rate is a
    length, the root mean square of a step's entries before momentum, whatever the scale of the gradient and the number
    of entries. A gradient of zero moves nothing.

    Args:
      learning_rate: a scalar.
      decay: share of the last update that persists.
      b2: share of the last mean square that persists.

    Returns:
      An optax transformation.

    Source: Ginsburg et al., "Stochastic gradient methods with layer-wise adaptive moments for training of deep
    networks", 2019; `optax.novograd`, which takes the norm instead of the root mean square.

    >>> descent, x = normalized_momentum(0.5), jnp.zeros(2)
    >>> update, _ = descent.update(jnp.array([3e-9, -4e-9]), descent.init(x), x)
    >>> [round(float(entry), 2) for entry in update]  # -0.5 (3, -4) / sqrt((9 + 16) / 2)
    [-0.42, 0.57]
    """
    return optax.chain(
        optax.scale_by_novograd(b1=decay, b2=b2, eps=_SMALLEST_ROOT),
        optax.stateless(lambda updates, _: jax.tree.map(lambda update: update * math.sqrt(update.size), updates)),
        optax.scale_by_learning_rate(learning_rate),
    )
