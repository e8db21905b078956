"""What a sweep is, as data: cases, photographs, restarts; the settings in words; which slot a restart runs in."""

import dataclasses
import itertools
import math
import urllib.parse
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from invert_jax import inversion
from invert_jax._util import checks, hashing
from invert_jax._util.reprs import short_repr
from invert_jax.types import Recipe, Representation

CHUNK_SIZES = tuple(2**k for k in range(11))
"""Restarts at a time on a device: a folder has one of these, so that few programs and few roundings exist."""

_LONGEST_NAME = 200  # bytes, as a file's name; file systems take 255, with what is added to it


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Case:
    """One representation, one recipe, and the photographs to invert with them.

    Attributes:
      name: unique in the sweep, such as "conv3".
      representation: what to invert.
      recipe: how.
      images: `{name: [H, W, C]}`, 0..255, of any sizes.
      mask: boolean `[F...]`: the neurons that count; None is all of them.
    """

    name: str
    representation: Representation
    recipe: Recipe
    images: Mapping[str, np.ndarray]
    mask: Any = None

    __repr__ = short_repr


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Sweep:
    """Cases, and how many restarts each photograph gets; from `make_sweep`, whose arguments the fields are."""

    cases: tuple[Case, ...]
    num_restarts: int
    seed: int
    dtype: str

    __repr__ = short_repr

    @property
    def size(self) -> int:
        """The number of restarts in all."""
        return self.num_restarts * sum(len(case.images) for case in self.cases)


def make_sweep(cases: Sequence[Case], *, num_restarts: int, seed: int = 0, dtype: str = "float32") -> Sweep:
    """Makes a sweep, and checks that every photograph fits its case before anything runs.

    Args:
      cases: what to invert.
      num_restarts: R, of every photograph in every case.
      seed: of the random starts; a photograph has the same starts in every case.
      dtype: in which images are saved, "float32" or "float16", which halves the folder.

    Returns:
      A `Sweep`.

    Raises:
      ValueError: no case or photograph, a name that is twice there or too long for a file, a photograph that is not
        finite or does not fit its representation, or see `inversion.make_problem`.

    >>> from invert_jax import recipes, representations
    >>> images = {"gray": np.full((16, 16, 1), 128.0), "black": np.zeros((24, 24, 1))}
    >>> make_sweep([Case("hog", representations.hog(), recipes.shallow(), images)], num_restarts=8).size
    16
    """
    checks.require_count(num_restarts, "num_restarts")
    checks.require_integer(seed, "seed")
    checks.require_choice(dtype, ("float32", "float16"), "dtype of the saved images")
    names = [case.name for case in cases]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"The cases are {', '.join(names) or 'none'}; give at least one, and each a unique name.")
    for case in cases:
        if not case.images:
            raise ValueError(f"The case {case.name} has no photographs; give one or more.")
        for name in (case.name, *case.images):
            if not name or len(file_name(name)) > _LONGEST_NAME:
                length = f"takes {len(file_name(name))} letters, percent-encoded" if name else "is empty"
                raise ValueError(f"The name {name[:40]!r} {length}; give one of 1 to {_LONGEST_NAME}, to name a file.")
        for name, image in case.images.items():
            checks.require_finite(image, f"photograph {name}")
            try:
                make_problem(case, name)
            except ValueError as error:
                raise ValueError(f"{case.name}, photograph {name}: {error}") from None
    return Sweep(tuple(cases), num_restarts, int(seed), dtype)


def make_problem(case: Case, image: str) -> tuple[inversion.Problem, Any]:
    """The problem that a case poses for a photograph, and the target, both checked."""
    phi, photograph = case.representation, jnp.asarray(case.images[image], jnp.float32)
    shape: Any = photograph.shape
    return inversion.make_problem(phi, phi(photograph), case.recipe, image_shape=shape, mask=case.mask)


def file_name(name: str) -> str:
    """The name of a case or photograph as a file's: what such a name cannot hold is percent-encoded."""
    quoted = urllib.parse.quote(name, safe=" ")
    return quoted if quoted.strip(".") else quoted.replace(".", "%2E")


def restart_key(seed: int, image: np.ndarray) -> jax.Array:
    """The key of a photograph's restarts: `fold_in(key(seed), crc32 of the float32 bytes)`; restart `r` folds in `r`.

    >>> bool(restart_key(0, np.zeros((2, 2, 1))) == restart_key(0, np.ones((2, 2, 1))))
    False
    """
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(np.ascontiguousarray(image, np.float32).tobytes()))


def settings(sweep: Sweep) -> dict[str, str]:
    """Everything that a restart's numbers depend on, in words, but for the number of restarts and code; no defaults.

    >>> from invert_jax import recipes, representations
    >>> hog = Case("hog", representations.hog(), recipes.shallow(), {"gray": np.full((16, 16, 1), 128.0)})
    >>> settings(make_sweep([hog], num_restarts=8))["hog: recipe.priors[1].weight"]
    '5'
    """
    return describe(sweep)[0]


def describe(sweep: Sweep) -> tuple[dict[str, str], dict[str, str]]:
    """The `settings`, and the code that these name: hashes of users' functions, names in libraries."""
    code: dict[str, str] = {}
    words = {"seed": str(sweep.seed), "dtype": sweep.dtype}
    for case in sweep.cases:
        phi = case.representation
        words[f"{case.name}: weights"] = hashing.content_hash((phi.params, phi.center))
        for name, image in case.images.items():
            words[f"{case.name}: photograph {name}"] = hashing.content_hash(np.asarray(image, np.float32))
        for part, value in (("representation", phi.apply), ("recipe", case.recipe), ("mask", case.mask)):
            for found, texts in zip((words, code), hashing.in_words(part, value), strict=True):
                found |= {f"{case.name}: {path}": text for path, text in texts.items()}
    return words, code


def groups(sweep: Sweep) -> list[tuple[Case, list[str]]]:
    """The photographs of each case by size, in alphabetical order: what one compiled program serves."""
    found: dict[Any, tuple[Case, list[str]]] = {}
    for case in sweep.cases:
        for image in sorted(case.images):
            found.setdefault((case.name, np.shape(case.images[image])), (case, []))[1].append(image)
    return list(found.values())


def owners(sweep: Sweep, num_processes: int, *, block: int) -> dict[tuple[str, str, int], int]:
    """Which process makes `(case, image, restart)`: a rule that all processes agree on, whatever is on the disk."""
    owner, i = {}, 0
    for case, images in groups(sweep):
        # Restart by restart, so that restarts added later spread over all processes; in blocks, which fill a chunk.
        for r, image in itertools.product(range(sweep.num_restarts), images):
            owner[case.name, image, r] = i // block % num_processes
            i += 1
        i = math.ceil(i / block) * block
    return owner


def assign_slots(jobs, images, chunk_size: int, num_devices: int) -> tuple[list, list]:
    """Gives `(photograph, restart)` slots in a batch, device by device; returns the jobs for which none was free, too.

    What is in the other slots does not matter to a restart's numbers, but which slot it has does: a compiler's vectors
    end somewhere. So restart `r` of photograph number `i` of the program has slot `(i * stride + r) % chunk_size` on
    whatever device; the stride, odd and near the golden section of the chunk, spreads a few photographs over the slots.

    >>> assign_slots([("a", 0), ("a", 1), ("a", 2), ("b", 0)], ["a", "b"], 2, 1)
    ([('a', 0), ('a', 1)], [('a', 2), ('b', 0)])
    """
    stride = int(chunk_size * (math.sqrt(5) - 1) / 2) | 1
    start = {image: i * stride for i, image in enumerate(images)}
    slots: list = [None] * (chunk_size * num_devices)
    later = []
    for image, r in jobs:
        candidates = range((start[image] + r) % chunk_size, len(slots), chunk_size)
        free = next((slot for slot in candidates if slots[slot] is None), None)
        if free is None:
            later.append((image, r))
        else:
            slots[free] = image, r
    return slots, later
