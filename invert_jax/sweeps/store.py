"""The folder of a sweep: finished restarts, and who works in it.

    manifest.json                   settings, versions, chunk sizes, how many restarts
    restarts/PROBLEM/IMAGE.npz      all restarts of a photograph, once they are there
    restarts/PROBLEM/IMAGE+R.npz    some of them, from R on, until then
    checkpoints/                    descents under way
    set_aside/                      files that were not whole, or not this sweep's

A restart is there when a file holds it; nothing else says so, and every file appears whole or not at all.
"""

import contextlib
import dataclasses
import fcntl
import glob
import io
import os
import pathlib
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from invert_jax._util import atomic_io
from invert_jax.sweeps import plan

_SET_ASIDE, _STOP = "set_aside", ".stop"
_SHORT = ("restart", "error", "finite", "evaluations", "failed_at", "chunk_size")  # all but what is long
RESTARTS = "restarts"
"""Where finished restarts are."""

NOT_WHOLE = (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)
"""What reading a file raises that is not a whole .npz."""


class Restarts(NamedTuple):
    """Restarts of one photograph in one problem.

    Attributes:
      restart: `[R]`, which ones, ascending.
      image: `[R, H, W, C]`, 0..255, not clipped.
      error: `[R]`, relative.
      energy: `[R, T, 4]`: total, loss, alpha-norm and TV terms before each step.
      finite: `[R]`; leave out the others.
      evaluations: `[R]`, of the gradient.
      failed_at: `[R]`, the step whose energy was the first not to be finite, or how many were made if only what came
        of the last one is not; -1 for none.
      chunk_size: `[R]`, restarts that ran at a time on a device, on which the rounding depends.
      seconds: `[R]`, what its batch took over how many restarts that had; the first of a program compiles.
    """

    restart: np.ndarray
    image: np.ndarray
    error: np.ndarray
    energy: np.ndarray
    finite: np.ndarray
    evaluations: np.ndarray
    failed_at: np.ndarray
    chunk_size: np.ndarray
    seconds: np.ndarray


@dataclasses.dataclass(frozen=True)
class Folder:
    """A sweep's work folder.

    Attributes:
      path: where it is.
      stamp: of the settings; every file of restarts carries it, see `stamp_of`.
      tell: what is done with a sentence for the user.
    """

    path: pathlib.Path
    stamp: str
    tell: Callable[[str], None]

    def file(self, problem: str, image: str, first: int | None = None) -> pathlib.Path:
        """The file of all restarts of a photograph, or of some of them, from `first` on."""
        name = plan.file_name(image) + ("" if first is None else f"+{first}")
        return self.path / RESTARTS / plan.file_name(problem) / f"{name}.npz"


@contextlib.contextmanager
def claimed(path: pathlib.Path, process_id: int, num_processes: int) -> Iterator[None]:
    """Holds a process's part in the folder, so that no other run works in it; a killed process holds nothing.

    Args:
      path: the folder.
      process_id: which process.
      num_processes: of how many; the first looks for one that is left of a run with more.

    Raises:
      BlockingIOError: another run has it.
    """
    own = path / f".lock-{process_id}"
    others = (path / f".lock-{i}" for i in range(num_processes, num_processes + len(list(path.glob(".lock-*")))))
    with contextlib.ExitStack() as held:
        try:
            for lock in (own, *(other for other in others if process_id == 0 and other.exists())):
                fcntl.flock(held.enter_context(open(lock, "w")), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                f"Another run is at work in {path}; wait for it, or give another work folder."
            ) from None
        yield


def tidy(path: pathlib.Path) -> None:
    """Removes what a killed run left half-written."""
    for file in path.rglob(".*.tmp"):
        if re.fullmatch(r"\.[0-9a-f]{32}\.tmp", file.name):  # as `atomic_io.write_bytes` calls them
            file.unlink(missing_ok=True)
    (path / _STOP).unlink(missing_ok=True)


def ask_to_stop(folder: Folder) -> None:
    """Asks all processes at work in the folder to stop; the next run forgets it."""
    (folder.path / _STOP).touch()


def asked_to_stop(folder: Folder) -> bool:
    """Whether the processes at work in the folder have been asked to stop."""
    return (folder.path / _STOP).exists()


def finished(folder: Folder, problem: str, images: Iterable[str]) -> dict[str, set[int]]:
    """Which restarts of which photographs are there.

    Args:
      folder: the folder.
      problem: the problem's name.
      images: the photographs' names.

    Returns:
      `{image: restarts}`.
    """
    return {image: _there(folder, problem, image) for image in images}


def _there(folder, problem, image):
    while True:
        try:
            read = [
                read_restarts(path, stamp_of(folder.stamp, problem, image), names=_SHORT)
                for path in _paths(folder, problem, image)
            ]
        except FileNotFoundError:  # its process has merged it in the meantime
            continue
        return {int(r) for arrays in read if arrays is not None for r in arrays["restart"]}


def verify(folder: Folder, wanted: Iterable[tuple[str, str]]) -> None:
    """Reads every file of restarts, and sets aside those that are not whole, or not this sweep's.

    Args:
      folder: the folder.
      wanted: `(problem, image)`, all that the sweep has.
    """
    own = {
        path: stamp_of(folder.stamp, problem, image)
        for problem, image in wanted
        for path in _paths(folder, problem, image)
    }
    for path in sorted((folder.path / RESTARTS).glob("*/*.npz")):
        if path not in own or read_restarts(path, own[path]) is None:
            set_aside(folder, path, "not a whole file of this sweep and photograph")


def keep(folder: Folder, problem: str, image: str, restarts: Restarts) -> None:
    """Writes restarts of a photograph to a file of their own."""
    path = folder.file(problem, image, int(restarts.restart[0]))
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, stamp_of(folder.stamp, problem, image), restarts)


def merge(folder: Folder, problem: str, image: str) -> None:
    """Brings all restarts of a photograph into one file; nobody else may write any.

    Args:
      folder: the folder.
      problem: the problem's name.
      image: the photograph's.
    """
    paths, whole = _paths(folder, problem, image), folder.file(problem, image)
    if paths and paths != [whole]:
        stamp = stamp_of(folder.stamp, problem, image)
        parts = [part for part in (read_restarts(path, stamp) for path in paths) if part is not None]
        if len(parts) < len(paths):
            return  # the next run sets it aside
        _write(whole, stamp, together(parts))
        for path in paths:
            if path != whole:
                path.unlink(missing_ok=True)


def _paths(folder, problem, image):
    """The files with restarts of a photograph, the whole one first."""
    whole = folder.file(problem, image)
    some = whole.parent.glob(f"{glob.escape(plan.file_name(image))}+*.npz") if whole.parent.is_dir() else ()
    return [path for path in (whole, *sorted(some)) if path.exists()]


def together(parts: Sequence[Mapping[str, np.ndarray]]) -> Restarts:
    """Restarts of all parts, each once, ascending.

    Args:
      parts: what `read_restarts` gave.

    Returns:
      A `Restarts`.
    """
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in Restarts._fields}
    _, first = np.unique(arrays["restart"], return_index=True)
    return Restarts(**{name: array[first] for name, array in arrays.items()})


def stamp_of(settings: str, problem: str, image: str) -> str:
    """What a file of restarts carries: whose they are.

    Args:
      settings: the stamp of the sweep's settings.
      problem: the problem's name.
      image: the photograph's.

    Returns:
      A line of text.
    """
    return "/".join((settings, plan.file_name(problem), plan.file_name(image)))


def _write(path, stamp, restarts):
    stream = io.BytesIO()
    np.savez(stream, stamp=np.array(stamp), **restarts._asdict())
    atomic_io.write_bytes(path, stream.getvalue())


def read_restarts(
    path: pathlib.Path, stamp: str, *, names: Sequence[str] = Restarts._fields
) -> dict[str, np.ndarray] | None:
    """The arrays of a file of restarts; None if it is not whole, or not of that sweep, problem and photograph.

    Args:
      path: the file.
      stamp: as `stamp_of` gives it.
      names: which fields of `Restarts` to read.

    Returns:
      `{name: array}`, or None.
    """
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            if str(file["stamp"]) != stamp:
                return None
            arrays = {name: file[name] for name in names}
        count = len(arrays["restart"])
        return arrays if count and all(len(array) == count for array in arrays.values()) else None
    except NOT_WHOLE:
        return None  # but a disk that cannot be read is not a file that is not whole


def set_aside(folder: Folder, path: pathlib.Path, why: str) -> None:
    """Moves a file out of the way, and says so.

    Args:
      folder: the sweep's.
      path: the file.
      why: what it is not.
    """
    room = folder.path / _SET_ASIDE
    room.mkdir(exist_ok=True)
    to = room / f"{len(list(room.iterdir()))}-{path.name}"
    os.replace(path, to)
    folder.tell(f"{path} is {why}; it is now {to}, and what it held is made again.")
