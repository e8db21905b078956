"""Sweeps: many restarts of many photographs through many cases, in a folder that any later run resumes."""

from invert_jax._util.distributed import initialize as initialize_distributed
from invert_jax.sweeps.cost import auto_chunk_size, bytes_per_restart
from invert_jax.sweeps.engine import Callbacks, Status, StoppedError, run
from invert_jax.sweeps.spec import CHUNK_SIZES, Case, Sweep, make_sweep, restart_key, settings
from invert_jax.sweeps.store import Restarts, SweepResults, load_sweep

__all__ = [
    "CHUNK_SIZES",
    "Callbacks",
    "Case",
    "Restarts",
    "Status",
    "StoppedError",
    "Sweep",
    "SweepResults",
    "auto_chunk_size",
    "bytes_per_restart",
    "initialize_distributed",
    "load_sweep",
    "make_sweep",
    "restart_key",
    "run",
    "settings",
]
