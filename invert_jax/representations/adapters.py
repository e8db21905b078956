"""Any pure function of an image, and any Flax module, as a representation."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from invert_jax import checks
from invert_jax.types import Features, Image, Params, Representation


def from_function(
    fn: Callable[[Params, Image], Features], params: Params = (), *, center: float = 0.0
) -> Representation:
    """Makes a representation of a pure function.

    Args:
      fn: `fn(params, image [H, W, C], 0..255) -> features [F...]`. Compiled programs are kept by `fn`'s identity,
        so define it once at module level.
      params: pytree of arrays that `fn` takes; pass weights here rather than closing over them.
      center: intensity about which images are regularized: a scalar, `[C]` or `[H, W, C]`.

    Returns:
      A `Representation`.

    Raises:
      TypeError: `fn` is not callable.

    >>> def mean_color(params, image):
    ...     return image.mean((0, 1))
    >>> from_function(mean_color)(jnp.ones((4, 4, 3))).tolist()
    [1.0, 1.0, 1.0]
    """
    if not callable(fn):
        raise TypeError(f"from_function takes a function fn(params, image) -> features; got {type(fn).__name__}.")
    return Representation(fn, params, _center(center))


@dataclasses.dataclass(frozen=True)
class _FlaxApply:
    module: nn.Module
    method: Any

    def __call__(self, params: Params, image: Image) -> Any:
        return self.module.apply(params, image, method=self.method)


def from_flax(
    module: nn.Module, variables: Params, *, center: float = 0.0, method: str | None = None
) -> Representation:
    """Makes a representation of a Flax Linen module.

    Args:
      module: takes one image `[H, W, C]`, 0..255, and returns features.
      variables: what `module.init` returned.
      center: intensity about which images are regularized.
      method: name of the module's method to call; None is `__call__`.

    Returns:
      A `Representation`.

    Raises:
      TypeError: `module` is not a Linen module.

    >>> import jax
    >>> dense = nn.Dense(2)
    >>> variables = dense.init(jax.random.key(0), jnp.zeros((4, 4, 3)))
    >>> from_flax(dense, variables)(jnp.zeros((4, 4, 3))).shape
    (4, 4, 2)
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"from_flax takes a flax.linen.Module; got {type(module).__name__}.")
    return Representation(_FlaxApply(module, method), variables, _center(center))


def _center(center) -> Any:
    center = jnp.asarray(center, jnp.float32)
    checks.require_finite(center, "center")
    return center
