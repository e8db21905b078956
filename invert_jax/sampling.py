"""Many restarts: images that a code does not distinguish, sampled.

Restart `r` starts from `fold_in(key, r)` and depends on no other. Restarts run in chunks of a fixed size, the last one
padded, because XLA's rounding depends on the batch size and the descent amplifies rounding: with one chunk size, on
one kind of CPU, restart `r` has the same bits whatever ran beside it. On a GPU that needs the XLA flag
`--xla_gpu_deterministic_ops=true`, since its reductions may run in another order every time. Devices do not
communicate.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from invert_jax import inversion
from invert_jax._util import checks, progress_bar
from invert_jax._util.reprs import short_repr
from invert_jax.inversion import Problem, State
from invert_jax.types import Energy, Features, Preimage, Recipe, Representation

AXIS = "restarts"
"""Name of the mesh axis over which restarts are sharded, the first axis of every array of a batched `State`."""

_SHARED, _SHARDED = PartitionSpec(), PartitionSpec(AXIS)


class Progress(NamedTuple):
    """What `sample` passes to its callback."""

    num_restarts: int  #: of the whole call, R
    restarts: range  #: indices of the n restarts of this chunk
    step: int  #: gradient steps made, the most of any restart
    energy: Energy  #: of [n], at each restart's last step; zeros before the first
    image: np.ndarray  #: [n, H, W, C], 0..255

    __repr__ = short_repr


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh with the one axis "restarts" over devices; None is all that this process drives."""
    return Mesh(np.array(jax.local_devices() if devices is None else devices), (AXIS,))


def require_mesh(mesh: Mesh) -> Mesh:
    """Returns the mesh; raises ValueError unless it has the one axis "restarts"."""
    if not isinstance(mesh, Mesh) or mesh.axis_names != (AXIS,):
        axes = getattr(mesh, "axis_names", type(mesh).__name__)
        raise ValueError(f"The mesh has axes {axes}; it must be a jax.sharding.Mesh with the one axis {AXIS!r}.")
    return mesh


def outside_any_mesh():
    """A context in which the mesh of `jax.set_mesh`, if any, is none: a descent on other devices would be refused."""
    return jax.set_mesh(Mesh(np.empty((), object), ()))


def default_chunk_size(mesh: Mesh) -> int:
    """Restarts at a time on each device of a mesh: 4 on a CPU, where more is no faster, else 32."""
    return 4 if mesh.devices.flat[0].platform == "cpu" else 32


@jax.jit
def restart_keys(key: jax.Array, indices: np.ndarray) -> jax.Array:
    """Random keys `[N]` of restarts, `fold_in(key, r)` for each of the indices `[N]`."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, indices)


def descend(
    problem: Problem,
    keys: jax.Array,
    active: np.ndarray,
    targets: Features,
    *,
    mesh: Mesh,
    every: int | None = None,
    initial_images: jax.Array | np.ndarray | None = None,
) -> Iterator[tuple[int, State]]:
    """Runs a batch of descents: the one loop on the host, over which `sample` and the sweeps iterate.

    Takes the problem and, for each of N restarts, its key, its target `[N, F...]`, whether it is active (the others are
    padding, terminated from the start, so that no one waits for them) and, if not noise, its initial image. N is a
    multiple of the number of devices. Yields `(step, states)` before the first step, every so many steps (another
    number compiles nothing), and when all have terminated; the states of one yield are used up by the next.
    """
    # Placed once: jit would copy weights and targets to the devices with every call.
    problem, sharding = jax.device_put(problem, NamedSharding(mesh, _SHARED)), NamedSharding(mesh, _SHARDED)
    batch = jax.device_put((keys, active, targets, initial_images), sharding)
    states, num_steps = _init(problem, *batch, mesh=mesh), problem.recipe.num_steps
    yield 0, states
    for stop in [*range(every or num_steps, num_steps, every or num_steps), num_steps]:
        states = _run(problem, jax.device_put(states, sharding), stop, mesh=mesh)  # else one program counts as two
        terminated = bool(np.all(np.asarray(states.stage) == len(problem.recipe.stages)))
        yield stop, states
        if terminated:
            return


def _on_each_device(mesh, function, num_batched):
    """`function(problem, *batched)` on each device's part of the batch; every device has the whole problem."""
    specs = (_SHARED, *[_SHARDED] * num_batched)
    return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=_SHARDED, check_vma=False)


@functools.partial(jax.jit, static_argnames="mesh")
def _init(problem, keys, active, targets, initial_images, *, mesh):
    def start(problem, keys, active, targets, images):
        states = jax.vmap(lambda k, t, image: inversion.init(k, problem, t, initial_image=image))(keys, targets, images)
        return states._replace(stage=jnp.where(active, states.stage, len(problem.recipe.stages)))

    return _on_each_device(mesh, start, 4)(problem, keys, active, targets, initial_images)


@functools.partial(jax.jit, static_argnames="mesh", donate_argnames="states")
def _run(problem, states, stop, *, mesh):
    def advance(problem, states, stop):
        def running(states):  # a device stops when its own restarts have; it does not ask the others
            return jnp.any((states.stage < len(problem.recipe.stages)) & (states.step < stop[0]))

        return jax.lax.while_loop(running, jax.vmap(functools.partial(inversion.step, problem)), states)

    return _on_each_device(mesh, advance, 2)(problem, states, jnp.full((mesh.size,), stop))


def num_compilations() -> int:
    """How many programs have been compiled for descents in this process."""
    return _run._cache_size()  # pyright: ignore[reportAttributeAccessIssue, reportFunctionMemberAccess]


@jax.jit
def current_images(problem: Problem, states: State) -> jax.Array:
    """The images `[N, H, W, C]`, 0..255, not clipped, that a batch of descents has reached."""
    return jax.vmap(inversion.current_image, (None, 0))(problem, states)


def last_energy(states: State) -> Energy:
    """An `Energy` of `[N]` at the last step of each descent of a batch; zeros before the first."""
    last = np.arange(len(states.step)), np.maximum(np.asarray(states.step) - 1, 0)
    return Energy(*(np.asarray(trace)[last] for trace in states.energy))


def finish_all(problem: Problem, states: State, *, mesh: Mesh) -> Preimage:
    """What a batch of descents found: a `Preimage` of NumPy arrays `[N, ...]`.

    Each device's part is finished on one device: a program for eight CPU devices rounded the last picture otherwise
    than one for a single device, by a unit in the last place, though every energy of the descent was the same.
    """
    states = jax.device_get(states._replace(key=None))
    width = len(states.step) // mesh.size
    problem = jax.device_put(problem, mesh.devices.flat[0])
    parts = [_part(states, slice(i * width, (i + 1) * width)) for i in range(mesh.size)]
    return _concatenate([jax.device_get(_finish(problem, part)) for part in parts])


@jax.jit
def _finish(problem, states):
    return jax.vmap(inversion.finish, (None, 0))(problem, states)


def _part(batch, part):
    return jax.tree.map(lambda leaf: leaf[part], batch)


def _concatenate(batches):
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *batches)


def sample(
    key: jax.Array,
    representation: Representation,
    target: Features,
    recipe: Recipe | None = None,
    *,
    image_shape: tuple[int, int, int],
    num_restarts: int,
    first_restart: int = 0,
    mask: Any = None,
    initial_image: jax.Array | None = None,
    chunk_size: int | None = None,
    mesh: Mesh | None = None,
    callback: Callable[[Progress], None] | None = None,
    callback_every: int = 10,
    progress: bool | None = None,
) -> Preimage:
    """Samples the images that a code does not distinguish: `num_restarts` independent inversions.

    Args:
      key: random key; restart `r` takes `jax.random.fold_in(key, r)`.
      representation: what to invert.
      target: its features to reach, `[F...]`, or a pytree of arrays for a representation that returns one.
      recipe: how, see `recipes`; None is `recipes.default(representation)`.
      image_shape: `(H, W, C)` of the images sought.
      num_restarts: R.
      first_restart: index of the first, so that a later call can add restarts to those of an earlier one.
      mask: boolean, the like of the target: the neurons that count; None is all of them.
      initial_image: `[R, H, W, C]`, 0..255, to start from instead of noise, or `[H, W, C]` for all restarts, which
        then stay equal unless the recipe has a transform.
      chunk_size: restarts at a time on each device, which bounds memory; None is 4 on CPU, 32 elsewhere.
      mesh: devices to share the restarts, a mesh with the one axis "restarts"; None is the default device.
      callback: called with a `Progress` before the first step of every chunk, every `callback_every` steps and after
        the last.
      callback_every: steps between calls; no new compilation for another number.
      progress: whether to show a progress bar, on the standard error; None is in terminals and notebooks.

    Returns:
      A `Preimage` of NumPy arrays with a leading axis R. Leave out restarts whose `finite` is false; a warning says
      how many there are.

    Raises:
      ValueError: a count that is not positive, a mesh without the one axis "restarts", or see
        `inversion.make_problem`.
      TypeError: not a random key, or not a recipe; or a call under `jit`, `vmap` or `grad`, which `inversion.invert`
        is for.

    >>> from invert_jax import recipes, representations
    >>> hog = representations.hog()
    >>> image = jnp.tile(jnp.linspace(0, 255, 16)[:, None, None], (1, 16, 1))
    >>> recipe = recipes.mahendran_vedaldi(stages=((4e-3, 5),))
    >>> sample(jax.random.key(0), hog, hog(image), recipe, image_shape=image.shape, num_restarts=3).image.shape
    (3, 16, 16, 1)
    """
    checks.require_no_trace((key, target, mask, initial_image, representation), "sample")
    checks.require_key(key)
    checks.require_count(num_restarts, "num_restarts")
    checks.require_index(first_restart, "first_restart")
    checks.require_count(callback_every, "callback_every")
    with outside_any_mesh():
        mesh = make_mesh(list(jnp.zeros(()).devices())) if mesh is None else require_mesh(mesh)
        chunk_size = default_chunk_size(mesh) if chunk_size is None else chunk_size
        checks.require_count(chunk_size, "chunk_size")
        problem, target = inversion.make_problem(representation, target, recipe, image_shape=image_shape, mask=mask)
        images = checks.require_initial_image(initial_image, image_shape, num_restarts=num_restarts)
        width, end, chunks = chunk_size * mesh.size, first_restart + num_restarts, []
        targets = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (width, *leaf.shape)), target)
        with progress_bar.show(num_restarts, problem.recipe.num_steps, enabled=progress) as update:
            every = callback_every if callback or update else None
            # From a multiple of the width, since rounding depends on the slot: restart r always has slot r % width.
            for start in range(first_restart - first_restart % width, end, width):
                indices = start + np.arange(width)
                active = (indices >= first_restart) & (indices < end)
                starts = None if images is None else images[np.clip(indices, first_restart, end - 1) - first_restart]
                batch = restart_keys(key, indices), active, targets
                for step, states in descend(problem, *batch, mesh=mesh, every=every, initial_images=starts):
                    if update:
                        num_done = max(start - first_restart, 0)
                        update(num_done, int(active.sum()), step, last_energy(states).total[active])
                    if callback:
                        callback(_progress(problem, states, num_restarts, indices, active))
                chunks.append(_part(finish_all(problem, states, mesh=mesh), active))
    found = _concatenate(chunks)
    if found.error is not None:
        checks.warn_of_zero_target(target, problem.mask)
    checks.warn_of_divergence(found.finite, found.failed_at)
    return found


def _progress(problem, states, num_restarts, indices, active):
    batch, restarts = (last_energy(states), np.asarray(current_images(problem, states))), indices[active].tolist()
    progress = range(restarts[0], restarts[-1] + 1), int(np.max(states.step)), *_part(batch, active)
    return Progress(num_restarts, *progress)
