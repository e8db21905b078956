"""A pure function of an image as a representation."""

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from invert_jax._util import checks
from invert_jax.representations import frameworks
from invert_jax.types import Features, Image, Params, Representation


def from_function(
    fn: Callable[[Params, Image], Features], params: Params = (), *, center: float = 0.0
) -> Representation:
    """Makes a representation of a pure function.

    Args:
      fn: `fn(params, image [H, W, C], 0..255) -> features [F...]`. Compiled programs are cached by the identity of
        `fn`, so define it once, at module level.
      params: pytree of arrays that `fn` takes; pass weights here rather than closing over them.
      center: intensity about which images are regularized: a scalar, `[C]` or `[H, W, C]`.

    Returns:
      A `Representation`.

    Raises:
      TypeError: `fn` is not callable, or a leaf of `params` is no array.
      ValueError: `center` is not finite.

    Warns:
      UserWarning: `fn` refers to a model in its closure, of which later weights would not count.

    >>> def mean_color(params, image):
    ...     return image.mean((0, 1))
    >>> from_function(mean_color)(jnp.ones((4, 4, 3))).tolist()
    [1.0, 1.0, 1.0]
    """
    if not callable(fn):
        raise TypeError(f"from_function takes a function fn(params, image) -> features; got {type(fn).__name__}.")
    checks.require_arrays(params)
    _warn_of_captured_models(fn)
    return Representation(fn, params, as_center(center))


def _warn_of_captured_models(fn):
    """Warns if a function refers to a model, whose weights become constants of the compiled program."""
    try:
        variables = inspect.getclosurevars(fn)
    except TypeError:  # a callable object
        return
    for name, value in {**variables.globals, **variables.nonlocals}.items():
        framework = frameworks.framework_of(value)
        bound = framework == "linen" and value.scope is not None
        if bound or framework in ("nnx", "equinox", "keras"):
            warnings.warn(
                f"The function refers to the {framework} model {name}, whose weights stay those of the first call; "
                f"take ij.from_model({name}), or pass them as params.",
                stacklevel=3,
            )


def as_center(center) -> Any:
    """A center as a finite float32 array."""
    center = jnp.asarray(center, jnp.float32)
    checks.require_finite(center, "center")
    return center
