"""Descents under way, one batch for each process, kept by orbax: written whole or not at all."""

import json
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from invert_jax.sweeps import store

_ROOM = "checkpoints"


def write(folder: store.Folder, process: int, about: Mapping[str, Any], leaves: Sequence[jax.Array]) -> None:
    """Keeps what a process has under way, in place of what it had.

    Args:
      folder: the sweep's.
      process: whose.
      about: what JSON can hold: the problem, who sits on which lane, the chunk size.
      leaves: of the states.
    """
    room = (folder.path / _ROOM / str(process)).resolve()
    before = _versions(room)
    about = {**about, "stamp": folder.stamp, "width": len(about["lanes"])}
    tree = {"about": np.frombuffer(json.dumps(about).encode(), np.uint8)}
    tree |= {f"leaf {i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
    _checkpointer(process).save(room / str(before[-1] + 1 if before else 0), tree)
    for number in before:
        shutil.rmtree(room / str(number))


def read(folder: store.Folder) -> dict[int, tuple[dict[str, Any], list[np.ndarray]]]:
    """What the processes had under way.

    Args:
      folder: the sweep's.

    Returns:
      `{process: (about, leaves)}`.
    """
    found = {}
    for room in sorted((folder.path / _ROOM).glob("*")):
        versions = _versions(room)
        if versions:
            tree = _checkpointer(jax.process_index()).restore((room / str(versions[-1])).resolve())
            about = json.loads(np.asarray(tree.pop("about")).tobytes())
            found[int(room.name)] = about, [np.asarray(tree[f"leaf {i}"]) for i in range(len(tree))]
    return found


def prune(folder: store.Folder, *, processes: int, chunk_size: int, width: int) -> None:
    """Drops what this run cannot go on with: half-written, of another number of processes, or of another batch size.

    Args:
      folder: the sweep's.
      processes: how many there are.
      chunk_size: restarts at a time on a device.
      width: restarts at a time in a process.
    """
    wanted = {"stamp": folder.stamp, "chunk_size": chunk_size, "width": width}
    for room in sorted((folder.path / _ROOM).glob("*")):
        try:
            about, _ = read(folder)[int(room.name)]
            fits = int(room.name) < processes and {name: about.get(name) for name in wanted} == wanted
        except Exception:  # orbax raises many kinds, and whatever it is, the descent can be made again
            fits = False
        if not fits:
            folder.tell(f"What process {room.name} had under way does not fit this run; it is made again.")
            shutil.rmtree(room)


def drop(folder: store.Folder, process: int) -> None:
    """Forgets what a process had under way: it is finished."""
    shutil.rmtree(folder.path / _ROOM / str(process), ignore_errors=True)


def _versions(room):
    return sorted(int(path.name) for path in room.glob("*") if path.name.isdigit()) if room.is_dir() else []


def _checkpointer(process):
    import orbax.checkpoint as ocp  # here, because it takes seconds to import

    options = ocp.options.MultiprocessingOptions(
        primary_host=process, active_processes={process}, barrier_sync_key_prefix=f"process-{process}"
    )
    return ocp.Checkpointer(
        ocp.PyTreeCheckpointHandler(multiprocessing_options=options), multiprocessing_options=options
    )
