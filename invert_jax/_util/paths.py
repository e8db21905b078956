"""Paths as people give them: `~` is the home folder, and what is read is a file of bytes, no pipe or device."""

import os
import pathlib


def expand(path: str | os.PathLike) -> pathlib.Path:
    """The path with `~` or `~user` at its start replaced by the home folder.

    Raises:
      ValueError: there is no such user, or no home folder.
      TypeError: it is no path.

    >>> expand("~/a.png") == pathlib.Path.home() / "a.png"
    True
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"A path is {type(path).__name__}; give text or a pathlib.Path.")
    try:
        return pathlib.Path(path).expanduser()
    except RuntimeError:
        raise ValueError(
            f"{os.fspath(path)} begins with the home folder of nobody here; give the whole path."
        ) from None


def require_file(path: str | os.PathLike, what: str = "file") -> pathlib.Path:
    """The expanded path of an existing regular file, or of a link to one.

    Raises:
      FileNotFoundError: there is none.
      ValueError: a folder, or a pipe, socket or device, whose end might never come.

    >>> require_file("/dev/null")
    Traceback (most recent call last):
    ...
    ValueError: /dev/null is a pipe, socket or device; give an existing file.
    """
    path = expand(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give an existing {what}.")
    if not path.exists():
        raise FileNotFoundError(f"The {what} {path} does not exist; check the path.")
    if not path.is_file():
        raise ValueError(f"{path} is a pipe, socket or device; give an existing {what}.")
    return path
