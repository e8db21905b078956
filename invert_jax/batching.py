"""Many descents of one compiled program, on one or more devices: `init`, `run` and `finish` of `inversion` over lanes.

A lane is one restart with its own key and target; it knows nothing of the others. All lanes of a device take their
steps together, and those that have ended stand still. Devices do not talk.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from invert_jax import inversion
from invert_jax.objective import Objective
from invert_jax.types import Preimage, Recipe

AXIS = "restarts"
"""Name of the mesh axis over which lanes are sharded."""

_STATES = inversion.State._make((0, 0, None, 0, 0, 0))  # vmap axes: all lanes keep one step count


def mesh_of(devices: Sequence[Any] | None) -> Mesh:
    """A mesh with the one axis "restarts".

    Args:
      devices: which; None is all that this process drives.

    Returns:
      A `Mesh`.

    >>> mesh_of(jax.devices()[:1]).shape[AXIS]
    1
    """
    return Mesh(np.array(jax.local_devices() if devices is None else devices), (AXIS,))


def require_mesh(mesh: Mesh) -> Mesh:
    """The mesh, if it has the one axis "restarts".

    Args:
      mesh: the mesh.

    Returns:
      The same.

    Raises:
      ValueError: it has other axes, or is none.

    >>> require_mesh(mesh_of(jax.devices()[:1])).size
    1
    """
    if not isinstance(mesh, Mesh) or mesh.axis_names != (AXIS,):
        axes = getattr(mesh, "axis_names", type(mesh).__name__)
        raise ValueError(f"The mesh has axes {axes}; it must be a jax.sharding.Mesh with the one axis {AXIS!r}.")
    return mesh


@jax.jit
def keys(key: jax.Array, indices: np.ndarray) -> jax.Array:
    """The random keys of restarts, `fold_in(key, r)`.

    Args:
      key: random key of them all.
      indices: `[N]`, which restarts.

    Returns:
      Random keys `[N]`.

    >>> bool(keys(jax.random.key(0), np.array([3, 5]))[1] == jax.random.fold_in(jax.random.key(0), 5))
    True
    """
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, indices)


def place(mesh: Mesh, eq3: Objective, recipe: Recipe) -> tuple[Objective, Recipe]:
    """Brings what the lanes descend on to the devices once, rather than with every call.

    Args:
      mesh: the devices.
      eq3: the objective, its target `[N, F...]`, one for each lane; N is a multiple of the number of devices.
      recipe: how to descend.

    Returns:
      The same, placed: targets spread over the devices, everything else on each.
    """
    shardings = _shardings(mesh, (_objective_axes(eq3), None))
    return jax.device_put((eq3, inversion.as_arrays(recipe)), shardings)


def init(
    keys: jax.Array,
    active: np.ndarray,
    eq3: Objective,
    recipe: Recipe,
    *,
    mesh: Mesh,
    initial_image: jax.Array | None = None,
) -> inversion.State:
    """The start of every lane.

    Args:
      keys: random keys `[N]`.
      active: boolean `[N]`; the others are padding, and have ended from the start, so that no one waits for them.
      eq3: the objective, its target `[N, F...]`.
      recipe: how to descend.
      mesh: the devices.
      initial_image: `[H, W, C]`, 0..255, to start all from instead of noise.

    Returns:
      A `State` with a leading axis N, but for the one step count.
    """
    shardings = _shardings(mesh, (0, 0, None))
    return _init(*jax.device_put((keys, active, initial_image), shardings), eq3, recipe, mesh=mesh)


@functools.partial(jax.jit, static_argnames="mesh")
def _init(keys, active, initial_image, eq3, recipe, *, mesh):
    def start(key, active, initial_image, eq3, recipe):
        state = inversion.init(key, eq3, recipe, initial_image=initial_image)
        return state._replace(stage=jnp.where(active, state.stage, len(recipe.steps)))

    axes = (0, 0, None, _objective_axes(eq3), None)
    return _shard(jax.vmap(start, axes, _STATES), mesh, axes, _STATES)(keys, active, initial_image, eq3, recipe)


def run(eq3: Objective, recipe: Recipe, states: inversion.State, stop: jax.Array | int, *, mesh: Mesh):
    """Descends until step `stop`, or until all lanes have ended; the states given are used up.

    Args:
      eq3: the objective, its target `[N, F...]`.
      recipe: how to descend.
      states: from `init` or `run`.
      stop: the step to stop before; at most `recipe.num_steps`; no new compilation for another number.
      mesh: the devices.

    Returns:
      The states at step `stop`.
    """
    # A sharding has several spellings on one device, and a program is compiled for each.
    return _run(eq3, recipe, jax.device_put(states, _shardings(mesh, _STATES)), stop, mesh=mesh)


@functools.partial(jax.jit, static_argnames="mesh", donate_argnames="states")
def _run(eq3, recipe, states, stop, *, mesh):
    step = jax.vmap(inversion.step, (_objective_axes(eq3), None, _STATES), _STATES)

    def advance(eq3, recipe, states, stop):
        def running(states):  # a lane that has ended stands still until all on this device have
            return (states.step < stop) & jnp.any(states.stage < len(recipe.steps))

        states = jax.lax.while_loop(running, functools.partial(step, eq3, recipe), states)
        return states._replace(step=jnp.asarray(stop, jnp.int32))

    axes = (_objective_axes(eq3), None, _STATES, None)
    return _shard(advance, mesh, axes, _STATES)(eq3, recipe, states, stop)


def finish(eq3: Objective, recipe: Recipe, states: inversion.State, *, mesh: Mesh) -> Preimage:
    """What the lanes found, each device's brought to the first of them and finished there.

    A program for eight CPU devices rounded the last picture otherwise than one for a single device, by a unit in the
    last place, though every energy of the descent was the same.

    Args:
      eq3: the objective, its target `[N, F...]`.
      recipe: how they descended.
      states: where they stand.
      mesh: the devices.

    Returns:
      A `Preimage` with a leading axis N.
    """
    first = Mesh(mesh.devices.flat[:1], (AXIS,))
    shardings = _shardings(first, (_objective_axes(eq3), None, _STATES))
    if mesh.size == 1:
        return _finish(*jax.device_put((eq3, recipe, states), shardings), mesh=first)
    targets, states, width = np.asarray(eq3.target), jax.device_get(states), len(eq3.target) // mesh.size
    parts = []
    for start in range(0, len(targets), width):
        own = slice(start, start + width)
        lanes = jax.tree.map(lambda leaf, own=own: leaf[own], states._replace(step=None))._replace(step=states.step)
        there = jax.device_put((dataclasses.replace(eq3, target=targets[own]), recipe, lanes), shardings)
        parts.append(jax.device_get(_finish(*there, mesh=first)))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


@functools.partial(jax.jit, static_argnames="mesh")
def _finish(eq3, recipe, states, *, mesh):
    axes = (_objective_axes(eq3), None, _STATES)
    return _shard(jax.vmap(inversion.finish, axes), mesh, axes, 0)(eq3, recipe, states)


@jax.jit
def current_images(eq3: Objective, recipe: Recipe, states: inversion.State) -> jax.Array:
    """The images `[N, H, W, C]`, 0..255, that the lanes have come to.

    Args:
      eq3: the objective.
      recipe: how they descend.
      states: where they stand.

    Returns:
      The images, not clipped.
    """
    return jax.vmap(inversion.current_image, (_objective_axes(eq3), None, _STATES))(eq3, recipe, states)


def energies(recipe: Recipe, states: inversion.State) -> np.ndarray:
    """Total, loss, alpha-norm and TV terms `[N, 4]` of the lanes at their last step; zeros before the first.

    Args:
      recipe: how they descend.
      states: where they stand.

    Returns:
      A NumPy array.
    """
    made = np.asarray(inversion.num_evaluations(recipe, states))
    return np.asarray(states.energy)[np.arange(len(made)), np.maximum(made - 1, 0)]


def ended(recipe: Recipe, states: inversion.State) -> bool:
    """Whether all lanes have come to the end of their descent.

    Args:
      recipe: how they descend.
      states: where they stand.
    """
    return bool((np.asarray(states.stage) == len(recipe.steps)).all())


def restore(leaves: Sequence[np.ndarray], states: inversion.State) -> inversion.State:
    """States read from a file, in the form, and on the devices, of states that `init` made.

    Args:
      leaves: of the states that were kept.
      states: of the same descents.

    Returns:
      The kept states.
    """
    like, form = jax.tree.flatten(states)
    return form.unflatten([jax.device_put(leaf, old.sharding) for leaf, old in zip(leaves, like, strict=True)])


def num_programs() -> int:
    """How many programs have been compiled for descents in this process."""
    return _run._cache_size()  # pyright: ignore[reportAttributeAccessIssue, reportFunctionMemberAccess]


def _objective_axes(eq3):
    """The objective with 0 for its target and None for everything else: the vmap axes."""
    fields = (field.name for field in dataclasses.fields(eq3) if not field.metadata.get("static"))
    return dataclasses.replace(eq3, **{name: 0 if name == "target" else None for name in fields})


def _specs(axes):
    def spec(axis):
        return PartitionSpec() if axis is None else PartitionSpec(AXIS)

    return jax.tree.map(spec, axes, is_leaf=lambda axis: axis is None)


def _shardings(mesh, axes):
    return jax.tree.map(functools.partial(NamedSharding, mesh), _specs(axes))


def _shard(function, mesh, in_axes, out_axes):
    return jax.shard_map(function, mesh=mesh, in_specs=_specs(in_axes), out_specs=_specs(out_axes), check_vma=False)
