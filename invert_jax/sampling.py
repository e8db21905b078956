"""Many restarts: the invariance of a code, sampled.

Restart `r` starts from `fold_in(key, r)` and knows nothing of the others. Restarts run in chunks of a fixed size, the
last one padded, because XLA's rounding depends on the batch and the descent amplifies rounding: with one chunk
size, on one kind of device, restart `r` is the same bit for bit whatever ran beside it.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from invert_jax import batching, objective
from invert_jax._util import checks
from invert_jax.types import Preimage, Recipe, Representation

_CHUNK_SIZE = {"cpu": 4}
_ACCELERATOR_CHUNK_SIZE = 32


class Progress(NamedTuple):
    """What `sample` tells its callback.

    Attributes:
      num_restarts: restarts of the whole call, R.
      restarts: indices of the restarts of this chunk.
      step: steps they have made, or stood still after their descent had ended.
      energy: `[len(restarts), 4]`, total, loss, alpha-norm and TV terms at the last step; zeros before the first.
      image: `[len(restarts), H, W, C]`, 0..255.
    """

    num_restarts: int
    restarts: range
    step: int
    energy: np.ndarray
    image: np.ndarray


def sample(
    key: jax.Array,
    representation: Representation,
    target: jax.Array,
    recipe: Recipe,
    *,
    image_shape: tuple[int, int, int],
    num_restarts: int,
    mask: jax.Array | None = None,
    initial_image: jax.Array | None = None,
    chunk_size: int | None = None,
    mesh: Mesh | None = None,
    callback: Callable[[Progress], None] | None = None,
    callback_every: int = 10,
) -> Preimage:
    """Samples the images that a code does not tell apart: `num_restarts` independent inversions.

    Args:
      key: random key; restart `r` takes `jax.random.fold_in(key, r)`.
      representation: what to invert.
      target: its features to reach, `[F...]`.
      recipe: how, see `recipes`.
      image_shape: `(H, W, C)` of the images sought.
      num_restarts: R.
      mask: boolean `[F...]`: the neurons that count; None is all of them.
      initial_image: `[H, W, C]`, 0..255, to start all from instead of noise (they then stay equal).
      chunk_size: restarts at a time on each device, which bounds memory; None is 4 on CPU, 32 elsewhere.
      mesh: devices to share the restarts, a mesh with the one axis "restarts"; None is the default device.
      callback: called with a `Progress` before the first step of every chunk, every `callback_every` steps and after
        the last.
      callback_every: steps between calls; no new compilation for another number.

    Returns:
      A `Preimage` of NumPy arrays with a leading axis R. Leave out restarts whose `finite` is false.

    Raises:
      ValueError: a count that is not positive, a mesh without the one axis "restarts", or see `objective.make`.

    >>> import jax.numpy as jnp
    >>> from invert_jax import recipes, representations
    >>> hog = representations.hog()
    >>> image = jnp.tile(jnp.linspace(0, 255, 16)[:, None, None], (1, 16, 1))
    >>> recipe = recipes.mahendran_vedaldi(stages=((4e-3, 5),))
    >>> sample(jax.random.key(0), hog, hog(image), recipe, image_shape=image.shape, num_restarts=3).image.shape
    (3, 16, 16, 1)
    """
    checks.require_count(num_restarts, "num_restarts")
    checks.require_count(callback_every, "callback_every")
    checks.require_key(key)
    if mesh is None:
        mesh = batching.mesh_of(list(jnp.zeros(()).devices()))
    batching.require_mesh(mesh)
    if chunk_size is None:
        chunk_size = _CHUNK_SIZE.get(mesh.devices.flat[0].platform, _ACCELERATOR_CHUNK_SIZE)
    checks.require_count(chunk_size, "chunk_size")
    eq3 = objective.make(representation, target, recipe, image_shape=image_shape, mask=mask)
    if initial_image is not None:
        checks.require_finite(initial_image, "initial_image")
    width = chunk_size * mesh.size
    targets = jnp.broadcast_to(eq3.target, (width, *eq3.target.shape))
    eq3, recipe = batching.place(mesh, dataclasses.replace(eq3, target=targets), recipe)
    found = []
    for first in range(0, num_restarts, width):
        restarts = range(first, min(first + width, num_restarts))
        indices = first + np.arange(width, dtype=np.int32)
        keys = batching.keys(key, indices)
        states = batching.init(keys, indices < num_restarts, eq3, recipe, mesh=mesh, initial_image=initial_image)
        for stop in range(0, recipe.num_steps, callback_every) if callback else ():
            states = batching.run(eq3, recipe, states, stop, mesh=mesh)
            _report(callback, num_restarts, restarts, eq3, recipe, states)
        states = batching.run(eq3, recipe, states, recipe.num_steps, mesh=mesh)
        if callback:
            _report(callback, num_restarts, restarts, eq3, recipe, states)
        chunk = jax.device_get(batching.finish(eq3, recipe, states, mesh=mesh))
        found.append(_first(len(restarts), chunk))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)


def _first(count, chunk):
    return jax.tree.map(lambda leaf: leaf[:count], chunk)


def _report(callback, num_restarts, restarts, eq3, recipe, states):
    count = len(restarts)
    energy, images = batching.energies(recipe, states), np.asarray(batching.current_images(eq3, recipe, states))
    callback(Progress(num_restarts, restarts, int(states.step), energy[:count], images[:count]))
