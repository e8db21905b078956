"""Locks that a process holds while it lives: a killed one holds nothing."""

import contextlib
import errno
import os
import pathlib
import time
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_POLL = 0.1  # seconds between attempts where the system does not wait


@contextlib.contextmanager
def locked(path: pathlib.Path, *, wait: bool = False) -> Iterator[None]:
    """Holds a lock file, made if need be.

    Args:
      path: the file.
      wait: whether to wait for another process that holds it.

    Raises:
      BlockingIOError: another process holds it.
      OSError: it is a symbolic link, or cannot be made.

    >>> import tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), ".lock")
    >>> with locked(path):
    ...     is_locked(path)
    True
    """
    # Neither truncated nor followed: a link of this name may lead to any file.
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(f"The lock file {path} is a symbolic link; delete it.") from None
    try:
        _lock(descriptor, wait)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor, wait):
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return
    import msvcrt  # of Windows, whose locks are of bytes, and end with the file or the process too

    while True:
        try:
            return msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
        except PermissionError as error:
            if not wait:
                raise BlockingIOError(f"Another process holds the lock ({error}).") from None
            time.sleep(_POLL)


def is_locked(path: pathlib.Path) -> bool:
    """Whether a process holds the lock file; to find out holds it for a moment."""
    try:
        with locked(path):
            return False
    except BlockingIOError:
        return True
