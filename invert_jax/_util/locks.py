"""Locks that a process holds while it lives: a killed one holds nothing."""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def locked(path: pathlib.Path, *, wait: bool = False) -> Iterator[None]:
    """Holds a lock file, made if need be.

    Args:
      path: the file.
      wait: whether to wait for another process that holds it.

    Raises:
      BlockingIOError: another process holds it.

    >>> import tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), ".lock")
    >>> with locked(path):
    ...     is_locked(path)
    True
    """
    # Neither truncated nor followed: a link of this name may lead to any file.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def is_locked(path: pathlib.Path) -> bool:
    """Whether a process holds the lock file; to find out holds it for a moment."""
    try:
        with locked(path):
            return False
    except BlockingIOError:
        return True
