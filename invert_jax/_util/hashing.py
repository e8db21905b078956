"""A short name for a value, made from what it says: the same settings give the same name on any day and machine."""

import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.resources
import inspect
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

_LENGTH = 16


def content_hash(value: Any) -> str:
    """Sixteen hexadecimal digits of a SHA-256 over everything that a value holds.

    Arrays count by type, shape and content, functions by their full name and bound arguments, records by type and
    fields. It tells results of one setting from those of another; what a function does inside is not looked at.

    Args:
      value: arrays, random keys, numbers, texts, None, functions, dataclasses, and tuples, lists and mappings of them.

    Returns:
      16 digits.

    Raises:
      TypeError: something that has no lasting name, such as a lambda or an open file.

    >>> content_hash({"lambda_tv": 5.0, "steps": (100, 200)})
    '0dfc8c66b2d42ea0'
    >>> content_hash(np.zeros(3)) == content_hash(np.zeros((3, 1)))
    False
    """
    digest = hashlib.sha256()
    for part in _parts(value):  # the length before each, so that none runs into the next
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:_LENGTH]


@functools.cache
def environment() -> dict[str, str]:
    """What results depend on besides their settings: the library's source, versions, device and precision, in words.

    >>> sorted(environment())[:3]
    ['device', 'flax', 'jax']
    """
    package = __name__.partition(".")[0]
    folder = pathlib.Path(str(importlib.resources.files(package)))
    sources = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.py")}
    config = jax.config.values
    return {
        **{name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax")},
        f"source of {package}": content_hash(sources),
        "device": f"{jax.default_backend()}, {jax.devices()[0].device_kind}",
        "precision": f"{config['jax_default_matmul_precision']}, x64 {config['jax_enable_x64']}",
    }


def _parts(value):
    """The bytes that say everything about a value, in order."""
    if isinstance(value, jax.Array) and jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key):
        yield str(value.dtype).encode()
        value = jax.random.key_data(value)
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        array = np.ascontiguousarray(value)
        if array.dtype.hasobject:
            raise TypeError(f"An array of {array.dtype.name} has no fingerprint; give one of numbers.")
        yield f"array {array.dtype.name} {np.shape(value)}".encode()
        yield array.tobytes()
    elif value is None or isinstance(value, bool | int | float | str | bytes):
        yield f"{type(value).__name__} {value!r}".encode()
    elif isinstance(value, Mapping):
        yield f"mapping {len(value)}".encode()
        for key in sorted(value, key=str):
            yield from _parts(key)
            yield from _parts(value[key])
    elif isinstance(value, tuple | list):  # a NamedTuple too, by its type's name
        yield f"{type(value).__qualname__} {len(value)}".encode()
        for entry in value:
            yield from _parts(entry)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield _name(type(value)).encode()
        for field in dataclasses.fields(value):
            if field.repr:  # what a record leaves out of its text, such as a Flax module's parent, is not content
                yield field.name.encode()
                yield from _parts(getattr(value, field.name))
    elif isinstance(value, functools.partial):
        yield b"partial"
        yield from _parts((value.func, value.args, value.keywords))
    elif isinstance(value, Callable):
        yield _name(value).encode()
        if inspect.ismethod(value):
            yield from _parts(value.__self__)
    else:
        raise TypeError(
            f"{type(value).__name__} has no fingerprint; give arrays, numbers, texts, functions or records."
        )


def _name(function):
    name = f"{getattr(function, '__module__', None)}.{getattr(function, '__qualname__', '<locals>')}"
    if "<" in name:
        raise TypeError(
            f"{name} has no lasting name to keep results under; define the function at the top of a module."
        )
    return name
