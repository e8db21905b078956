"""Writing files whole or not at all."""

import os
import pathlib
import uuid


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file that appears whole or not at all, replacing one of the same name.

    The bytes go to another name in the same folder, which is then renamed: a reader never sees half a file,
    and a failure leaves the old one as it was.

    Args:
      path: the file; its folder must exist.
      data: its contents.

    Raises:
      FileNotFoundError: the folder does not exist.

    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "notes.txt")
    >>> write_bytes(path, b"first"), write_bytes(path, b"second"), pathlib.Path(path).read_bytes()
    (None, None, b'second')
    """
    path = pathlib.Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {path.parent} of {path.name} does not exist; create it first.")
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")  # without the name, which may be as long as names can be
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # or a machine that loses power may keep the name and not the bytes
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
