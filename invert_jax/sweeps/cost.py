"""What a sweep costs, from shapes alone: memory of a restart, the chunk that fits a device, operations of a step."""

import math
import os

import jax
import numpy as np

from invert_jax.sweeps import spec
from invert_jax.types import Energy

_IMAGES = 14  # that a step holds beside what the gradient saves: state, patches for convolutions; see docs/sweeps.md


def bytes_per_restart(case: spec.Case) -> int:
    """An estimate of the memory that one restart takes on the device; nothing is compiled.

    Counted are what the gradient saves of the largest photograph's forward pass, images, energies and the target.

    >>> from invert_jax import recipes, representations
    >>> hog = spec.Case("hog", representations.hog(), recipes.shallow(), {"gray": np.full((64, 64, 1), 128.0)})
    >>> bytes_per_restart(hog) > 64 * 64 * 4
    True
    """
    phi, shape = case.representation, np.shape(max(case.images.values(), key=np.size))
    image = jax.ShapeDtypeStruct(shape, np.float32)
    features, saved = jax.eval_shape(lambda x: jax.vjp(lambda x: phi.apply(phi.params, x), x), image)
    shared = sum(np.size(leaf) * 4 for leaf in jax.tree.leaves(phi.params))  # the weights, which all restarts use
    other = 2 * _num_bytes(features) + _IMAGES * _num_bytes(image) + case.recipe.num_steps * len(Energy._fields) * 4
    return max(_num_bytes(saved) - shared, 0) + other


def _num_bytes(tree):
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _host_memory():
    """Bytes of the host for each of its devices; without limit where the system does not say, as on Windows."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / jax.local_device_count()
    except (AttributeError, ValueError, OSError):
        return math.inf


def auto_chunk_size(sweep: spec.Sweep, *, memory: float | None = None, largest: int | None = None) -> int:
    """The largest of `CHUNK_SIZES` whose restarts fit, in every case, into a device's memory.

    Args:
      sweep: the sweep; the number of restarts or photographs does not matter, so that more of them have the same bits.
      memory: bytes of a device; None is three quarters of its memory, or of the host's for a CPU.
      largest: the largest to choose; None is 4 on a CPU, where more are no faster, and 64 elsewhere.

    Returns:
      Restarts at a time on a device, 1 or more.

    >>> from invert_jax import recipes, representations
    >>> hog = spec.Case("hog", representations.hog(), recipes.shallow(), {"gray": np.full((64, 64, 1), 128.0)})
    >>> auto_chunk_size(spec.make_sweep([hog], num_restarts=8), memory=1e12, largest=4)
    4
    """
    if memory is None:
        memory = 0.75 * (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", _host_memory())
    if largest is None:
        largest = 4 if jax.default_backend() == "cpu" else 64
    needed = max(map(bytes_per_restart, sweep.cases))
    return max((size for size in spec.CHUNK_SIZES if size <= largest and size * needed <= memory), default=1)
