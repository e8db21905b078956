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

from invert_jax._util import atomic_io
from invert_jax.sweeps import store

_ROOM = "checkpoints"


def write(
    folder: store.Folder, process: int, about: Mapping[str, Any], leaves: Sequence[jax.Array], *, num_devices: int
) -> None:
    """Keeps what a process has under way, in place of what it had.

    Args:
      folder: the sweep's.
      process: whose.
      about: what JSON can hold: the problem, who sits on which lane, the seconds it took so far.
      leaves: of the states.
      num_devices: how many the process drives.
    """
    path = _path(folder, process)
    path.parent.mkdir(exist_ok=True)
    text = json.dumps({**about, "stamp": folder.stamp, "num_devices": num_devices})
    stream = io.BytesIO()
    np.savez(stream, np.array(text), *jax.device_get(leaves))
    atomic_io.write_bytes(path, stream.getvalue())


def _about(path):
    with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
        known = json.loads(str(file["arr_0"]))
    return {**known, "lanes": [job and (job[0], job[1]) for job in known["lanes"]]}


def read(folder: store.Folder, process: int) -> tuple[dict[str, Any], list[np.ndarray]]:
    """What a process had under way.

    Args:
      folder: the sweep's.
      process: whose.

    Returns:
      What `write` was given.
    """
    path = _path(folder, process)
    with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
        leaves = [file[f"arr_{i}"] for i in range(1, len(file.files))]
    return _about(path), leaves


def under_way(folder: store.Folder) -> dict[int, dict[str, Any]]:
    """What is known of the descents under way.

    Args:
      folder: the sweep's.

    Returns:
      `{process: about}`.
    """
    return {process: _about(_path(folder, process)) for process in processes(folder)}


def processes(folder: store.Folder) -> list[int]:
    """The processes that have something under way.

    Args:
      folder: the sweep's.

    Returns:
      Their numbers.
    """
    return sorted(int(path.stem) for path in (folder.path / _ROOM).glob("*.npz") if path.stem.isdigit())


def prune(folder: store.Folder, processes_: Sequence[int], *, num_devices: int) -> None:
    """Sets aside what these processes cannot go on with: not whole, another sweep's, or of other devices.

    Args:
      folder: the sweep's.
      processes_: which.
      num_devices: how many each drives.
    """
    for process in processes_:
        path = _path(folder, process)
        try:
            about, _ = read(folder, process)
            fits = about["stamp"] == folder.stamp and about["num_devices"] == num_devices
        except FileNotFoundError:
            continue
        except store.NOT_WHOLE:
            fits = False
        if not fits:
            store.set_aside(folder, path, "not whole, or not for this many processes and devices")


def drop(folder: store.Folder, process: int) -> None:
    """Forgets what a process had under way: it is finished."""
    _path(folder, process).unlink(missing_ok=True)


def _path(folder, process) -> pathlib.Path:
    return folder.path / _ROOM / f"{process}.npz"
