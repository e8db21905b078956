"""A Flax module as a representation."""

import dataclasses
from typing import Any

from flax import linen as nn

from invert_jax.representations.function import as_center
from invert_jax.types import Image, Params, Representation


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
      module: maps one image `[H, W, C]`, 0..255, to features.
      variables: the variables that `module.init` returned.
      center: intensity about which images are regularized: a scalar, `[C]` or `[H, W, C]`.
      method: name of the module's method to call; None is `__call__`.

    Returns:
      A `Representation`.

    Raises:
      TypeError: `module` is not a Linen module.
      ValueError: `center` is not finite.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> dense = nn.Dense(2)
    >>> variables = dense.init(jax.random.key(0), jnp.zeros((4, 4, 3)))
    >>> from_flax(dense, variables)(jnp.zeros((4, 4, 3))).shape
    (4, 4, 2)
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"from_flax takes a flax.linen.Module; got {type(module).__name__}.")
    return Representation(_FlaxApply(module, method), variables, as_center(center))
