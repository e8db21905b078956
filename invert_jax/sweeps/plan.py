"""What a sweep is, as data: problems, their photographs, restarts; its settings in words, its size and its memory."""

import dataclasses
import zlib
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from invert_jax import checks, fingerprints, inversion, objective
from invert_jax.types import Recipe, Representation

CHUNK_SIZES = tuple(2**k for k in range(11))
"""Restarts at a time on a device: a sweep has one of these, so that few programs and few roundings exist."""

Job = tuple[str, int]
"""A photograph's name and which of its restarts."""

_DTYPES = ("float32", "float16")
_PICTURES = 14  # that a step holds beside what its gradient keeps: state, patches for convolutions; see BUILD.md


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """One representation, one recipe, and the photographs to invert with them.

    Attributes:
      name: of its own among the sweep's, such as "conv3".
      representation: what to invert.
      recipe: how.
      images: `{name: [H, W, C]}`, 0..255.
      mask: boolean `[F...]`: the neurons that count; None is all of them.
    """

    name: str
    representation: Representation
    recipe: Recipe
    images: Mapping[str, np.ndarray]
    mask: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep:
    """Problems, and how many restarts each of their photographs gets; from `make`.

    Attributes:
      problems: what is inverted.
      num_restarts: R, of every photograph in every problem.
      seed: of the random starts.
      dtype: in which pictures are kept, "float32" or "float16".
    """

    problems: tuple[Problem, ...]
    num_restarts: int
    seed: int
    dtype: str

    @property
    def size(self) -> int:
        """How many restarts there are in all."""
        return self.num_restarts * sum(len(problem.images) for problem in self.problems)


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """The photographs of a problem that have one size: what one compiled program serves.

    Attributes:
      problem: whose.
      shape: `(H, W, C)`.
      images: their names, in order.
    """

    problem: Problem
    shape: tuple[int, int, int]
    images: tuple[str, ...]


def make(problems: Sequence[Problem], *, num_restarts: int, seed: int = 0, dtype: str = "float32") -> Sweep:
    """A sweep, checked whole: every photograph fits its problem before anything runs.

    Args:
      problems: what to invert.
      num_restarts: R.
      seed: of the random starts; the same photograph starts alike in every problem.
      dtype: in which pictures are kept, "float32" or "float16", which halves the folder.

    Returns:
      A `Sweep`.

    Raises:
      ValueError: no problem or no photograph, two problems of one name, a photograph that is not finite or does not
        fit its representation, or see `objective.make`.

    >>> from invert_jax import recipes, representations
    >>> images = {"gray": np.full((16, 16, 1), 128.0), "black": np.zeros((24, 24, 1))}
    >>> make([Problem("hog", representations.hog(), recipes.shallow(), images)], num_restarts=8).size
    16
    """
    checks.require_count(num_restarts, "num_restarts")
    checks.require_choice(dtype, _DTYPES, "dtype of the kept pictures")
    names = [problem.name for problem in problems]
    if not names:
        raise ValueError("A sweep needs at least one problem; it has none.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"More than one problem is called {twice[0]}; give each a name of its own.")
    for problem in problems:
        if not problem.images:
            raise ValueError(f"The problem {problem.name} has no photographs; give it one or more.")
        for name, image in problem.images.items():
            checks.require_finite(image, f"photograph {name}")
            shape = problem.representation.feature_shape(np.shape(image))
            like = jnp.ones(shape, jnp.float32)  # stands in for the photograph's own features
            mask = None if problem.mask is None else jnp.asarray(problem.mask)
            objective.make(problem.representation, like, problem.recipe, image_shape=np.shape(image), mask=mask)
    return Sweep(tuple(problems), num_restarts, int(seed), dtype)


def restart_key(seed: int, image: np.ndarray) -> jax.Array:
    """The key of a photograph's restarts: `fold_in(key(seed), crc32 of its float32 bytes)`; restart `r` folds in `r`.

    Args:
      seed: the sweep's.
      image: `[H, W, C]`.

    Returns:
      A random key.

    >>> bool(restart_key(0, np.zeros((2, 2, 1))) == restart_key(0, np.ones((2, 2, 1))))
    False
    """
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(np.ascontiguousarray(image, np.float32).tobytes()))


def settings(sweep: Sweep) -> dict[str, str]:
    """Everything that a restart's numbers depend on, as words, but for how many restarts there are.

    Args:
      sweep: the sweep.

    Returns:
      `{what: value}`, one entry for every number and name that could be changed.

    >>> from invert_jax import recipes, representations
    >>> hog = Problem("hog", representations.hog(), recipes.shallow(), {"gray": np.full((16, 16, 1), 128.0)})
    >>> settings(make([hog], num_restarts=8))["hog: recipe: lambda_tv"]
    '5.0'
    """
    words = {"seed": str(sweep.seed), "dtype": sweep.dtype}
    for problem in sweep.problems:
        here = problem.name
        words[f"{here}: representation"] = fingerprints.fingerprint(problem.representation.apply)
        words[f"{here}: weights"] = fingerprints.fingerprint(
            (problem.representation.params, problem.representation.center)
        )
        words[f"{here}: mask"] = "none" if problem.mask is None else fingerprints.fingerprint(problem.mask)
        for field in dataclasses.fields(problem.recipe):
            value = getattr(problem.recipe, field.name)
            plain = value is None or isinstance(value, int | float) or type(value) is tuple
            words[f"{here}: recipe: {field.name}"] = repr(value) if plain else fingerprints.fingerprint(value)
        for name, image in problem.images.items():
            words[f"{here}: photograph {name}"] = fingerprints.fingerprint(np.asarray(image, np.float32))
    return words


def memory_of_restart(problem: Problem) -> int:
    """An estimate of the bytes that one restart takes on the device, from shapes alone: nothing is compiled.

    What reverse-mode differentiation keeps from the forward pass, some pictures, the energies and the target.

    Args:
      problem: what is inverted; its largest photograph counts.

    Returns:
      Bytes.

    >>> from invert_jax import recipes, representations
    >>> hog = Problem("hog", representations.hog(), recipes.shallow(), {"gray": np.full((64, 64, 1), 128.0)})
    >>> memory_of_restart(hog) > 64 * 64 * 4
    True
    """
    image = jax.ShapeDtypeStruct(max((np.shape(image) for image in problem.images.values()), key=np.prod), np.float32)
    phi = problem.representation

    def kept(x):
        return jax.vjp(lambda x: phi.apply(phi.params, x), x)

    features, residuals = jax.eval_shape(kept, image)
    shared = sum(np.size(leaf) * 4 for leaf in jax.tree.leaves(phi.params))
    backward = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(residuals)) - shared
    pictures = _PICTURES * image.size * 4 + problem.recipe.num_steps * 16
    return max(backward, 0) + pictures + features.size * 8


def chunk_size_for(sweep: Sweep, *, memory: float, most: int) -> int:
    """The largest of `CHUNK_SIZES` whose restarts fit, in every problem, into a device's memory.

    Args:
      sweep: the sweep.
      memory: bytes of a device.
      most: the largest to choose.

    Returns:
      Restarts at a time on a device, 1 or more.

    >>> from invert_jax import recipes, representations
    >>> hog = Problem("hog", representations.hog(), recipes.shallow(), {"gray": np.full((64, 64, 1), 128.0)})
    >>> chunk_size_for(make([hog], num_restarts=8), memory=1e12, most=4)
    4
    """
    needed = max(memory_of_restart(problem) for problem in sweep.problems)
    return max([size for size in CHUNK_SIZES if size <= most and size * needed <= memory], default=1)


def groups(problem: Problem) -> list[Group]:
    """A problem's photographs by size.

    Args:
      problem: the problem.

    Returns:
      A `Group` for every size.

    >>> from invert_jax import recipes, representations
    >>> images = {"small": np.zeros((16, 16, 1)), "large": np.zeros((24, 24, 1)), "other": np.ones((16, 16, 1))}
    >>> [group.images for group in groups(Problem("hog", representations.hog(), recipes.shallow(), images))]
    [('other', 'small'), ('large',)]
    """
    shapes = {name: np.shape(problem.images[name]) for name in problem.images}
    return [
        Group(problem, shape, tuple(name for name in sorted(shapes) if shapes[name] == shape))
        for shape in dict.fromkeys(shapes.values())
    ]


def seat(
    jobs: Sequence[Job], images: Sequence[str], chunk_size: int, num_devices: int
) -> tuple[list[Job | None], list[Job]]:
    """Gives restarts their lanes: on whatever device, a restart always sits on the same one of the chunk's lanes.

    What surrounds a lane does not matter to its numbers, but where it is does: a compiler's vectors end somewhere.

    Args:
      jobs: `(photograph, restart)`, in the order wanted.
      images: all photographs of the program; restart `r` of number `i` sits on lane `(i + r) % chunk_size`.
      chunk_size: lanes of a device.
      num_devices: how many devices.

    Returns:
      The lanes, device by device, None for an empty one; and the jobs that found none.

    >>> seat([("a", 0), ("a", 1), ("a", 2), ("b", 0)], ["a", "b"], 2, 1)
    ([('a', 0), ('a', 1)], [('a', 2), ('b', 0)])
    """
    number = {image: i for i, image in enumerate(images)}
    lanes: list[Job | None] = [None] * (chunk_size * num_devices)
    later = []
    for image, r in jobs:
        own = range((number[image] + r) % chunk_size, len(lanes), chunk_size)
        free = next((lane for lane in own if lanes[lane] is None), None)
        if free is None:
            later.append((image, r))
        else:
            lanes[free] = image, r
    return lanes, later


def operations_of_step(problem: Problem) -> float:
    """Floating-point operations of one step of one restart, from shapes alone.

    Args:
      problem: what is inverted; its largest photograph counts.

    Returns:
      A number of operations, as XLA counts them.

    >>> from invert_jax import recipes, representations
    >>> hog = Problem("hog", representations.hog(), recipes.shallow(), {"gray": np.full((64, 64, 1), 128.0)})
    >>> operations_of_step(hog) > 64 * 64
    True
    """
    shape = max((np.shape(image) for image in problem.images.values()), key=np.prod)
    phi = problem.representation
    like = jnp.ones(phi.feature_shape(shape), jnp.float32)
    eq3 = objective.make(phi, like, problem.recipe, image_shape=shape)
    recipe = inversion.as_arrays(problem.recipe)
    state = jax.eval_shape(lambda: inversion.init(jax.random.key(0), eq3, recipe))
    cost = jax.jit(inversion.step).lower(eq3, recipe, state).cost_analysis() or {}
    return float(cost.get("flops", 0.0))
