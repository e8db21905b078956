"""Losses: how far features are from their target (eq. 2, and others).

Every loss has the signature `loss(features, target, mask=None) -> scalar`, with features and target `[F...]` and
`mask` boolean `[F...]` (None for all). A zero target leaves a loss unnormalized (its divisor becomes 1). Features that
are a pytree of arrays, such as several layers, have the mean of the loss over the arrays, each with its own target.

A loss whose least value is not at the target measures no distance and is marked as an `objective`: an inversion by it
needs no target and has no relative error.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from invert_jax._util import safe_math

_Loss = TypeVar("_Loss", bound=Callable[..., jax.Array])


def _masked(values, mask):
    return values if mask is None else jnp.where(mask, values, 0)


def _or_one(normalizer):
    return jnp.where(normalizer > 0, normalizer, 1)


def objective(loss: _Loss) -> _Loss:
    """Marks a loss as one that measures no distance to its target, such as `activation`; a decorator.

    Args:
      loss: `loss(features, target, mask) -> scalar`.

    Returns:
      The loss, with a true attribute `is_objective`.

    >>> @objective
    ... def negative_mean(features, target, mask=None):
    ...     return -jnp.mean(features)
    >>> is_distance(negative_mean), is_distance(normalized_l2)
    (False, True)
    """
    loss.is_objective = True  # pyright: ignore[reportAttributeAccessIssue]
    return loss


def is_distance(loss: Callable[..., jax.Array]) -> bool:
    """Whether a loss measures how far features are from a target: unless it is marked as an `objective`.

    >>> is_distance(activation)
    False
    """
    return not getattr(loss, "is_objective", False)


def mean_over_leaves(
    loss: Callable[[jax.Array, jax.Array, jax.Array | None], jax.Array],
    features: Any,
    target: Any,
    mask: Any = None,
    *,
    weights: Any = None,
) -> jax.Array:
    """The mean of a loss over the arrays of features that are a pytree, such as several layers.

    Args:
      loss: `loss(features, target, mask) -> scalar`, of one array.
      features: one array, or a pytree of them.
      target: the like of the features.
      mask: the like of the features, with None for all of an array; or None for all.
      weights: the like of the features, a number for each array; None is 1 for each.

    Returns:
      A scalar, `sum_l w_l loss_l / sum_l w_l`; for one array its loss.

    >>> target = {"conv1": jnp.ones(2), "conv2": jnp.ones(3)}
    >>> float(mean_over_leaves(normalized_l1, {"conv1": jnp.zeros(2), "conv2": jnp.ones(3)}, target))
    0.5
    """
    leaves, structure = jax.tree.flatten(features)
    targets = structure.flatten_up_to(target)
    masks = [None] * len(leaves) if mask is None else structure.flatten_up_to(mask)
    values = [loss(*parts) for parts in zip(leaves, targets, masks, strict=True)]
    if len(values) == 1:
        return values[0]
    shares = [1.0] * len(leaves) if weights is None else structure.flatten_up_to(weights)
    weighted = jnp.stack([share * value for share, value in zip(shares, values, strict=True)])
    return jnp.sum(weighted) / sum(shares)


def normalized_squared_l2(features: jax.Array, target: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Normalized squared Euclidean distance, eq. 3's first term: `|m (y - y0)|^2 / |m y0|^2`.

    >>> float(normalized_squared_l2(jnp.array([1.0, 3.0]), jnp.array([1.0, 1.0])))
    2.0
    """
    return jnp.sum(_masked(features - target, mask) ** 2) / _or_one(jnp.sum(_masked(target, mask) ** 2))


def normalized_l2(features: jax.Array, target: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Normalized Euclidean distance, `|m (y - y0)|_2 / |m y0|_2`; its gradient is 0 where they agree.

    Source: Singh & Namboodiri 2015, eq. 4, over the norm of the target.

    >>> float(normalized_l2(jnp.array([4.0, 7.0]), jnp.array([0.0, 4.0])))
    1.25
    """
    return safe_math.safe_norm(_masked(features - target, mask)) / target_norm(target, mask)


def target_norm(target: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """The unit of `normalized_l2` and of eq. 7, `|m y0|_2`, or 1 if that is zero.

    >>> float(target_norm(jnp.array([3.0, 4.0])))
    5.0
    """
    return _or_one(safe_math.safe_norm(_masked(target, mask)))


def normalized_l1(features: jax.Array, target: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Normalized L1 distance, `|m (y - y0)|_1 / |m y0|_1`; its subgradient is 0 where they agree.

    >>> float(normalized_l1(jnp.array([1.0, 3.0]), jnp.array([1.0, 1.0])))
    1.0
    """
    return jnp.sum(safe_math.safe_abs(_masked(features - target, mask))) / _or_one(
        jnp.sum(jnp.abs(_masked(target, mask)))
    )


@objective
def inner_product(features: jax.Array, target: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Negative correlation with the target, `-<m y, m y0> / |m y0|^2`: -1 at the target, unbounded below.

    >>> float(inner_product(jnp.array([1.0, 3.0]), jnp.array([1.0, 1.0])))
    -2.0
    """
    product = jnp.sum(_masked(features * target, mask))
    return -product / _or_one(jnp.sum(_masked(target, mask) ** 2))


@objective
def activation(features: jax.Array, target: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Activation maximization: `-sum(m y) / |m y0|_1`, the chosen neurons driven up; the target only sets the unit.

    >>> float(activation(jnp.array([1.0, 3.0]), jnp.array([4.0, 0.0]), jnp.array([True, False])))
    -0.25
    """
    return -jnp.sum(_masked(features, mask)) / _or_one(jnp.sum(jnp.abs(_masked(target, mask))))


@objective
def negative_squared_norm(features: jax.Array, target: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """What DeepDream lowers: `-|m y|^2 / |m y0|^2`, whatever is there driven up; the target only sets the unit.

    Source: Mordvintsev et al., "Inceptionism", 2015.

    >>> float(negative_squared_norm(jnp.array([3.0, 4.0]), jnp.array([5.0, 0.0])))
    -1.0
    """
    return -jnp.sum(_masked(features, mask) ** 2) / _or_one(jnp.sum(_masked(target, mask) ** 2))
