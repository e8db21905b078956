"""Sweeps: many restarts of many photographs through many problems, in a folder that can be gone on with."""

from invert_jax.sweeps.cost import chunk_size_for, memory_of_restart, operations_of_step
from invert_jax.sweeps.engine import run
from invert_jax.sweeps.plan import CHUNK_SIZES, Problem, Sweep, make, restart_key, settings
from invert_jax.sweeps.results import SweepResults, load_sweep
from invert_jax.sweeps.store import Restarts
from invert_jax.sweeps.work import Hooks, Status, StoppedError

__all__ = [
    "CHUNK_SIZES",
    "Hooks",
    "Problem",
    "Restarts",
    "Status",
    "StoppedError",
    "Sweep",
    "SweepResults",
    "chunk_size_for",
    "load_sweep",
    "make",
    "memory_of_restart",
    "operations_of_step",
    "restart_key",
    "run",
    "settings",
]
