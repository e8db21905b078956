"""The manifest of a sweep's folder: settings, versions, how many restarts, and how many ran at a time."""

import fcntl
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

from invert_jax._util import atomic_io, hashing

_NAME, _LOCK = "manifest.json", ".lock-manifest"


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
    file = path / _NAME
    manifest = {"settings": dict(settings), "num_restarts": num_restarts, "chunk_sizes": []}
    if file.exists():
        try:
            before = json.loads(file.read_text())
            theirs, restarts = before["settings"], before["num_restarts"]
            before["chunk_sizes"][:]
        except (ValueError, KeyError, TypeError):
            raise _not_one(file) from None
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
    write(path, manifest)
    return manifest


def write(path: pathlib.Path, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest, whole or not at all."""
    atomic_io.write_bytes(path / _NAME, (json.dumps(manifest, indent=2) + "\n").encode())


def note_chunk_size(path: pathlib.Path, chunk_size: int) -> None:
    """Adds a chunk size to the manifest, if it is smaller than those that are there."""
    with open(path / _LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several processes may run out of memory together
        manifest = read(path)
        if chunk_size < min(manifest["chunk_sizes"], default=math.inf):
            write(path, {**manifest, "chunk_sizes": [*manifest["chunk_sizes"], chunk_size]})


def read(path: pathlib.Path) -> dict[str, Any]:
    """The manifest of a sweep's folder.

    Raises:
      FileNotFoundError: there is none.
      ValueError: the file is not one.
    """
    file = pathlib.Path(path) / _NAME
    if not file.is_file():
        raise FileNotFoundError(f"{path} has no {_NAME}: it is not the work folder of a sweep.")
    try:
        manifest = json.loads(file.read_text())
    except ValueError:
        raise _not_one(file) from None
    if not isinstance(manifest, dict) or not {"settings", "num_restarts", "chunk_sizes"} <= manifest.keys():
        raise _not_one(file)
    return manifest


def _not_one(file):
    return ValueError(
        f"{file} is not the manifest of a sweep; remove that file to go on with the restarts beside it, or give "
        f"another work folder."
    )


def require_same(path: pathlib.Path, settings: Mapping[str, str], num_restarts: int) -> None:
    """Raises ValueError unless the folder's manifest, which another process wrote, is of this sweep."""
    manifest = read(path)
    if manifest["settings"] != dict(settings) or manifest["num_restarts"] != num_restarts:
        raise ValueError(f"The processes at work in {path} were started with different settings; give all the same.")


def stamp_of(settings: Mapping[str, str]) -> str:
    """A short name for settings."""
    return hashing.content_hash(dict(settings))
