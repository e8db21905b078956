"""The folder of a sweep: its manifest, finished restarts, who works in it.

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
import io
import json
import os
import pathlib
import re
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from invert_jax import files, fingerprints

_MANIFEST, _SET_ASIDE = "manifest.json", "set_aside"
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
      failed_at: `[R]`, the step whose energy was the first not to be finite; -1 for none.
      chunk_size: `[R]`, restarts that ran at a time on a device, on which the rounding depends.
    """

    restart: np.ndarray
    image: np.ndarray
    error: np.ndarray
    energy: np.ndarray
    finite: np.ndarray
    evaluations: np.ndarray
    failed_at: np.ndarray
    chunk_size: np.ndarray


@dataclasses.dataclass(frozen=True)
class Folder:
    """A sweep's work folder.

    Attributes:
      path: where it is.
      stamp: of the settings; every file of restarts carries it.
      tell: what is done with a sentence for the user.
    """

    path: pathlib.Path
    stamp: str
    tell: Callable[[str], None]

    def file(self, problem: str, image: str, first: int | None = None) -> pathlib.Path:
        """The file of all restarts of a photograph, or of some of them, from `first` on."""
        name = _quoted(image) + ("" if first is None else f"+{first}")
        return self.path / RESTARTS / _quoted(problem) / f"{name}.npz"


def _quoted(name):
    return urllib.parse.quote(name, safe=" ")


def agree(path: pathlib.Path, settings: Mapping[str, str], *, num_restarts: int, extend: bool) -> dict[str, Any]:
    """The manifest of a folder for these settings: written if there is none, checked if there is.

    Args:
      path: the folder.
      settings: what the numbers depend on, in words.
      num_restarts: how many restarts are wanted.
      extend: whether they may be more than the folder was made for.

    Returns:
      The manifest.

    Raises:
      ValueError: the folder has another sweep, and in what they differ.
    """
    file = path / _MANIFEST
    manifest = {"settings": dict(settings), "num_restarts": num_restarts, "chunk_sizes": []}
    if file.exists():
        try:
            before = json.loads(file.read_text())
            theirs, restarts = before["settings"], before["num_restarts"]
            before["chunk_sizes"][:]
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{file} is not the manifest of a sweep; give another work folder, or remove this one."
            ) from None
        if different := sorted(k for k in {**theirs, **settings} if theirs.get(k) != settings.get(k)):
            shown = "; ".join(
                f"{k} is {settings.get(k, 'absent')}, there {theirs.get(k, 'absent')}" for k in different[:4]
            )
            more = f"; and {len(different) - 4} more" if len(different) > 4 else ""
            raise ValueError(
                f"{path} holds a sweep with other settings: {shown}{more}. Give the same settings to go on with it, or "
                f"another work folder."
            )
        if restarts != num_restarts and not (extend and num_restarts > restarts):
            raise ValueError(
                f"{path} holds a sweep of {restarts} restarts, {num_restarts} are asked for: "
                + ("give more, or as many." if extend or num_restarts < restarts else "extend it with --extend.")
            )
        manifest = {**before, "num_restarts": num_restarts}
    write_manifest(path, manifest)
    return manifest


def write_manifest(path: pathlib.Path, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest, whole or not at all."""
    files.write(path / _MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())


def note_chunk_size(path: pathlib.Path, chunk_size: int) -> None:
    """Adds a chunk size to the manifest, if it is not the one in force."""
    manifest = read_manifest(path)
    if manifest["chunk_sizes"][-1:] != [chunk_size]:
        write_manifest(path, {**manifest, "chunk_sizes": [*manifest["chunk_sizes"], chunk_size]})


def read_manifest(path: pathlib.Path) -> dict[str, Any]:
    """The manifest of a sweep's folder.

    Raises:
      FileNotFoundError: there is none.
    """
    file = pathlib.Path(path) / _MANIFEST
    if not file.is_file():
        raise FileNotFoundError(f"{path} has no {_MANIFEST}: it is not the work folder of a sweep.")
    return json.loads(file.read_text())


def require_same(path: pathlib.Path, settings: Mapping[str, str], num_restarts: int) -> None:
    """Raises ValueError unless the folder's manifest, which another process wrote, is of this sweep."""
    manifest = read_manifest(path)
    if manifest["settings"] != dict(settings) or manifest["num_restarts"] != num_restarts:
        raise ValueError(f"The processes at work in {path} were started with different settings; give all the same.")


def stamp_of(settings: Mapping[str, str]) -> str:
    """A short name for settings."""
    return fingerprints.fingerprint(dict(settings))


@contextlib.contextmanager
def claimed(path: pathlib.Path, process_id: int) -> Iterator[None]:
    """Holds the folder, so that no other run works in it; a killed process holds nothing.

    Raises:
      BlockingIOError: another run has it.
    """
    with open(path / f".lock-{process_id}", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                f"Another run is at work in {path}; wait for it, or give another work folder."
            ) from None
        yield


def tidy(path: pathlib.Path) -> None:
    """Removes what a killed run left half-written."""
    for room in (path, path / "checkpoints", *(path / RESTARTS).glob("*")):
        for file in room.glob(".*.tmp"):
            if re.fullmatch(r"\.[0-9a-f]{32}\.tmp", file.name):  # as `files.write` calls them
                file.unlink(missing_ok=True)


def finished(folder: Folder, problem: str, images: Iterable[str]) -> dict[str, set[int]]:
    """Which restarts of which photographs are there.

    Args:
      folder: the folder.
      problem: the problem's name.
      images: the photographs' names.

    Returns:
      `{image: restarts}`.
    """
    return {image: {int(r) for _, part in _parts(folder, problem, image) for r in part["restart"]} for image in images}


def keep(folder: Folder, problem: str, image: str, restarts: Restarts) -> None:
    """Writes restarts of a photograph to a file of their own."""
    path = folder.file(problem, image, int(restarts.restart[0]))
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, folder.stamp, restarts)


def merge(folder: Folder, problem: str, image: str) -> Restarts:
    """Brings all restarts of a photograph into one file.

    Args:
      folder: the folder.
      problem: the problem's name.
      image: the photograph's.

    Returns:
      The restarts.
    """
    parts = _parts(folder, problem, image)
    restarts = together([part for _, part in parts])
    whole = folder.file(problem, image)
    if [path for path, _ in parts] != [whole]:
        _write(whole, folder.stamp, restarts)
        for path, _ in parts:
            if path != whole:
                path.unlink()
    return restarts


def _parts(folder, problem, image):
    """The files with restarts of a photograph, the whole one first, and what they hold; others are set aside."""
    whole = folder.file(problem, image)
    some = whole.parent.glob(f"{_escaped(_quoted(image))}+*.npz") if whole.parent.is_dir() else ()
    found = []
    for path in [whole, *sorted(some)]:
        if path.exists():
            arrays = read_restarts(path, folder.stamp)
            if arrays is None:
                set_aside(folder, path, "not a whole file of this sweep")
            else:
                found.append((path, arrays))
    return found


def _escaped(name):
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


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


def _write(path, stamp, restarts):
    stream = io.BytesIO()
    np.savez(stream, stamp=np.array(stamp), **restarts._asdict())
    files.write(path, stream.getvalue())


def read_restarts(
    path: pathlib.Path, stamp: str, *, names: Sequence[str] = Restarts._fields
) -> dict[str, np.ndarray] | None:
    """The arrays of a file of restarts; None if it is not whole, or another sweep's.

    Args:
      path: the file.
      stamp: of the sweep's settings.
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
