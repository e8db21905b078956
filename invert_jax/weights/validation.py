"""The check that weights fit a network: names, shapes and values."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from invert_jax._util import checks
from invert_jax.types import Params


def validate_params(params: Params, expected: Params) -> Params:
    """Returns `params` as float32 arrays in the tree that the network expects.

    Every expected array must be present with its shape, and no other. Inside a trace, names and shapes are checked and
    values are not.

    Args:
      params: nested dict of arrays, such as `load_params(path)` or `bundled()` returns.
      expected: nested dict of arrays or `jax.ShapeDtypeStruct`, such as abstract initialization gives; only its names
        and shapes are used.

    Returns:
      Params: the structure of `expected` with the values of `params`, float32 JAX arrays.

    Raises:
      ValueError: arrays that are missing, unexpected, of the wrong shape, not real numbers or not finite; the message
        lists all of them.

    >>> validate_params({"fc8": {"bias": np.ones(2)}}, {"fc8": {"bias": jax.ShapeDtypeStruct((2,), "float32")}})
    {'fc8': {'bias': Array([1., 1.], dtype=float32)}}
    >>> validate_params({"fc8": {"b": np.ones(2)}}, {"fc8": {"bias": np.zeros(2)}})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: The weights do not fit the network (missing: fc8/bias; unexpected: fc8/b): ...
    """
    if not isinstance(params, Mapping):
        raise ValueError(
            f"Weights are a nested dict of arrays; got {type(params).__name__}: "
            "give the result of load_params(path) or bundled()."
        )
    given, wanted = by_name(params), by_name(expected)
    # All problems at once: a file of another network has dozens, and one per run would not show which network it is.
    complaints = {
        "missing": [name for name in wanted if name not in given],
        "unexpected": [name for name in given if name not in wanted],
        "wrong shape": [
            f"{name} is {_shape(given[name])}, expected {_shape(wanted[name])}"
            for name in wanted
            if name in given and _shape(given[name]) != _shape(wanted[name])
        ],
        "not real numbers": [name for name in wanted if name in given and not _is_real(given[name])],
    }
    if any(complaints.values()):
        text = "; ".join(f"{what}: {', '.join(names)}" for what, names in complaints.items() if names)
        raise ValueError(
            f"The weights do not fit the network ({text}): give weights of this network, under the names it expects."
        )
    bad = [name for name in wanted if not _is_finite(given[name])]
    if bad:
        raise ValueError(
            f"The weights hold NaN or infinite values as float32 (in {', '.join(bad)}); "
            "give finite numbers: the file may be damaged, or training may have diverged."
        )
    leaves = [jnp.asarray(given[name], jnp.float32) for name in wanted]
    return jax.tree.unflatten(jax.tree.structure(expected), leaves)


def by_name(tree) -> dict:
    """The leaves of a nested dict under flat names.

    >>> by_name({"fc8": {"bias": 1, "kernel": 2}, "mean": 3})
    {'fc8/bias': 1, 'fc8/kernel': 2, 'mean': 3}
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(keys, simple=True, separator="/"): leaf for keys, leaf in leaves}


def _shape(leaf) -> tuple[int, ...]:
    return tuple(leaf.shape) if hasattr(leaf, "shape") else np.shape(leaf)


def _is_real(leaf) -> bool:
    dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
    return jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)


def _is_finite(leaf) -> bool:
    if not checks.is_concrete(leaf):
        return True
    with np.errstate(over="ignore"):  # a float64 too large for float32 counts as infinite
        return bool(np.all(np.isfinite(np.asarray(leaf, "float32"))))
