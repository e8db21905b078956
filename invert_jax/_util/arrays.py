"""Files of arrays, written whole or not at all, and read without trust in what they hold."""

import io
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from invert_jax._util import atomic_io


def write_arrays(path: pathlib.Path, arrays: Mapping[str, np.ndarray], *, compressed: bool = False) -> None:
    """Writes a .npz that appears whole or not at all."""
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, **arrays)  # pyright: ignore[reportArgumentType]
    atomic_io.write_bytes(path, stream.getvalue())


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray] | None:
    """The arrays of a .npz; None if it is damaged, holds Python objects, or is no file of bytes.

    Args:
      path: the file.

    Raises:
      OSError: there is no such file, or it cannot be read, which is not to say that it is damaged.

    >>> import tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "a.npz")
    >>> write_arrays(path, {"a": np.arange(3)}), read_arrays(path)
    (None, {'a': array([0, 1, 2])})
    >>> path.write_bytes(b"PK"), read_arrays(path)
    (2, None)
    """
    if os.path.lexists(path) and not path.is_file():
        return None  # a pipe, whose end would never come, or a link to nothing
    data = path.read_bytes()
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception:  # whatever a parser may raise on whatever bytes
        return None
