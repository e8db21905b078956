"""What a sweep is, as data: problems, their photographs, restarts; its settings in words, and who sits where."""

import dataclasses
import math
import urllib.parse
import zlib
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from invert_jax import objective
from invert_jax._util import checks, hashing
from invert_jax.types import Recipe, Representation

CHUNK_SIZES = tuple(2**k for k in range(11))
"""Restarts at a time on a device: a sweep has one of these, so that few programs and few roundings exist."""

Job = tuple[str, int]
"""A photograph's name and which of its restarts."""

_DTYPES = ("float32", "float16")
_LONGEST_NAME = 200  # bytes, spelled for a file; file systems take 255, with what is added to it


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
      ValueError: no problem or no photograph, two problems of one name, a name that no file can have, a photograph
        that is not finite or does not fit its representation, or see `objective.make`.

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
        _require_name(problem.name, "problem")
        if not problem.images:
            raise ValueError(f"The problem {problem.name} has no photographs; give it one or more.")
        for name, image in problem.images.items():
            _require_name(name, "photograph")
            checks.require_finite(image, f"photograph {name}")
            phi, mask = problem.representation, None if problem.mask is None else jnp.asarray(problem.mask)
            try:
                objective.make(phi, phi(jnp.asarray(image)), problem.recipe, image_shape=np.shape(image), mask=mask)
            except ValueError as error:
                raise ValueError(f"{problem.name}, photograph {name}: {error}") from None
    return Sweep(tuple(problems), num_restarts, int(seed), dtype)


def file_name(name: str) -> str:
    """A problem's or photograph's name, spelled as the name of a file.

    Args:
      name: any text.

    Returns:
      The name, with what a file's name cannot hold spelled in percent signs.

    >>> file_name("a/b"), file_name("..")
    ('a%2Fb', '%2E%2E')
    """
    quoted = urllib.parse.quote(name, safe=" ")
    return quoted if quoted.strip(".") else quoted.replace(".", "%2E")


def _require_name(name, what):
    if not name or len(file_name(name)) > _LONGEST_NAME:
        raise ValueError(
            f"A {what} is called {name[:40]!r}; files are named after it, so give it 1 to {_LONGEST_NAME} letters."
        )


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
        words[f"{here}: representation"] = hashing.content_hash(problem.representation.apply)
        words[f"{here}: weights"] = hashing.content_hash((problem.representation.params, problem.representation.center))
        words[f"{here}: mask"] = "none" if problem.mask is None else hashing.content_hash(problem.mask)
        for field in dataclasses.fields(problem.recipe):
            value = getattr(problem.recipe, field.name)
            plain = value is None or isinstance(value, int | float) or type(value) is tuple
            words[f"{here}: recipe: {field.name}"] = repr(value) if plain else hashing.content_hash(value)
        for name, image in problem.images.items():
            words[f"{here}: photograph {name}"] = hashing.content_hash(np.asarray(image, np.float32))
    return words


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
      images: all photographs of the program; restart `r` of number `i` sits on lane `(i * stride + r) % chunk_size`,
        the stride an odd number near the golden section of the chunk, which keeps few photographs apart.
      chunk_size: lanes of a device.
      num_devices: how many devices.

    Returns:
      The lanes, device by device, None for an empty one; and the jobs that found none.

    >>> seat([("a", 0), ("a", 1), ("a", 2), ("b", 0)], ["a", "b"], 2, 1)
    ([('a', 0), ('a', 1)], [('a', 2), ('b', 0)])
    """
    number = {image: i * _stride(chunk_size) for i, image in enumerate(images)}
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


def _stride(chunk_size):
    return int(chunk_size * (math.sqrt(5) - 1) / 2) | 1
