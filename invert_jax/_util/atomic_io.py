"""Atomic writes: a file appears whole or not at all."""

import os
import uuid

from invert_jax._util import paths


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file whole or not at all, replacing one of the same name.

    The bytes are written to a temporary file in the same folder, which is then renamed: a reader never sees part of a
    file, and a failure leaves the old file unchanged.

    Args:
      path: the file; its folder must exist.
      data: the contents.

    Raises:
      FileNotFoundError: the folder does not exist.

    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "notes.txt")
    >>> write_bytes(path, b"first"), write_bytes(path, b"second"), paths.expand(path).read_bytes()
    (None, None, b'second')
    """
    path = paths.expand(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {path.parent} of {path.name} does not exist; create it first.")
    # Not derived from the name, which may already have the greatest length that the file system allows.
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # otherwise a power failure may leave the new name without the bytes
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
