"""Descents under way, one batch for each process, in `checkpoints/PROCESS.npz`: whole, or as they were before.

Not by orbax, which under `jax.distributed` writes NumPy arrays from process 0 only, and refuses arrays that one process
holds alone; here every process keeps its own, when it likes.
"""

import io
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from invert_jax import files
from invert_jax.sweeps import store

_ROOM = "checkpoints"


def write(folder: store.Folder, process: int, about: Mapping[str, Any], leaves: Sequence[jax.Array]) -> None:
    """Keeps what a process has under way, in place of what it had.

    Args:
      folder: the sweep's.
      process: whose.
      about: what JSON can hold: the problem, who sits on which lane, the chunk size, the seconds it took so far.
      leaves: of the states.
    """
    path = _path(folder, process)
    path.parent.mkdir(exist_ok=True)
    text = json.dumps({**about, "stamp": folder.stamp, "width": len(about["lanes"])})
    stream = io.BytesIO()
    np.savez(stream, np.array(text), *jax.device_get(leaves))
    files.write(path, stream.getvalue())


def read(folder: store.Folder, process: int) -> tuple[dict[str, Any], list[np.ndarray]]:
    """What a process had under way.

    Args:
      folder: the sweep's.
      process: whose.

    Returns:
      What `write` was given.
    """
    with open(_path(folder, process), "rb") as opened, np.load(opened, allow_pickle=False) as file:
        about, *leaves = (file[f"arr_{i}"] for i in range(len(file.files)))
    known = json.loads(str(about))
    return {**known, "lanes": [job and (job[0], job[1]) for job in known["lanes"]]}, leaves


def under_way(folder: store.Folder) -> dict[int, dict[str, Any]]:
    """What is known of the descents under way.

    Args:
      folder: the sweep's.

    Returns:
      `{process: about}`.
    """
    return {int(path.stem): read(folder, int(path.stem))[0] for path in _files(folder)}


def prune(folder: store.Folder, *, processes: int, chunk_size: int, width: int) -> None:
    """Sets aside what this run cannot go on with: not whole, of more processes, or of another batch size.

    Args:
      folder: the sweep's.
      processes: how many there are.
      chunk_size: restarts at a time on a device.
      width: restarts at a time in a process.
    """
    wanted = {"stamp": folder.stamp, "chunk_size": chunk_size, "width": width}
    for path in _files(folder):
        try:
            about, _ = read(folder, int(path.stem))
            fits = int(path.stem) < processes and {name: about.get(name) for name in wanted} == wanted
        except store.NOT_WHOLE:
            fits = False
        if not fits:
            store.set_aside(folder, path, "not whole, or not for this many processes, devices and restarts at a time")


def drop(folder: store.Folder, process: int) -> None:
    """Forgets what a process had under way: it is finished."""
    _path(folder, process).unlink(missing_ok=True)


def _path(folder, process) -> pathlib.Path:
    return folder.path / _ROOM / f"{process}.npz"


def _files(folder):
    return sorted(path for path in (folder.path / _ROOM).glob("*.npz") if path.stem.isdigit())
