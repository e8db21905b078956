"""What a sweep has found, read from its folder while it works or afterwards."""

import dataclasses
import os
import pathlib
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from invert_jax.sweeps import manifests, store

_SMALL = ("restart", "error", "finite")


@dataclasses.dataclass(frozen=True)
class SweepResults(Mapping):
    """What a sweep has found so far: `results[problem, image]` is a `Restarts`, read when asked for.

    Attributes:
      path: the work folder.
      manifest: its settings, versions, chunk sizes and number of restarts.
      index: `{(problem, image): files}`.
    """

    path: pathlib.Path
    manifest: Mapping[str, Any]
    index: Mapping[tuple[str, str], tuple[pathlib.Path, ...]]

    @property
    def problems(self) -> tuple[str, ...]:
        """The problems that have restarts."""
        return tuple(dict.fromkeys(problem for problem, _ in self.index))

    @property
    def images(self) -> tuple[str, ...]:
        """The photographs that have restarts."""
        return tuple(dict.fromkeys(image for _, image in self.index))

    def __getitem__(self, which: tuple[str, str]) -> store.Restarts:
        """The restarts of `(problem, image)`."""
        if which not in self.index:
            raise KeyError(f"{which} has no restarts in {self.path}; there are: {', '.join(map(str, self.index))}.")
        parts = self._read(which, store.Restarts._fields)
        if not parts:
            raise ValueError(f"The restarts of {which} in {self.path} are not whole files; run the sweep again.")
        return store.together(parts)

    def errors(self, problem: str, image: str) -> tuple[np.ndarray, np.ndarray]:
        """Relative errors `[R]`, and which restarts are finite, without reading the pictures."""
        parts = self._read((problem, image), _SMALL)
        if not parts:
            return np.zeros(0, np.float32), np.zeros(0, bool)
        restarts, errors, finite = (np.concatenate([part[name] for part in parts]) for name in _SMALL)
        _, first = np.unique(restarts, return_index=True)
        return errors[first], finite[first]

    def _read(self, which, names):
        """The parts that are whole; those of the moment, if a sweep at work has merged the ones it had."""
        stamp = store.stamp_of(manifests.stamp_of(self.manifest["settings"]), *which)
        try:
            parts = [store.read_restarts(path, stamp, names=names) for path in self.index[which]]
        except FileNotFoundError:
            parts = [store.read_restarts(path, stamp, names=names) for path in _index(self.path).get(which, ())]
        return [part for part in parts if part is not None]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """The pairs `(problem, image)`."""
        return iter(self.index)

    def __len__(self) -> int:
        """How many pairs there are."""
        return len(self.index)


def load_sweep(workdir: str | os.PathLike) -> SweepResults:
    """Opens the folder of a sweep, finished or still at work.

    Args:
      workdir: the folder that `experiments.sample_invariances` or `sweeps.run` wrote.

    Returns:
      A mapping of `(problem, image)` to `Restarts`.

    Raises:
      FileNotFoundError: it is not the folder of a sweep.

    >>> import tempfile
    >>> from invert_jax import recipes, representations, sweeps
    >>> recipe = recipes.mahendran_vedaldi(stages=((4e-3, 5),))
    >>> hog = sweeps.Problem("hog", representations.hog(), recipe, {"gray": np.full((16, 16, 1), 128.0)})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = sweeps.run(sweeps.make([hog], num_restarts=2), folder, chunk_size=2)
    ...     load_sweep(folder)["hog", "gray"].image.shape
    (2, 16, 16, 1)
    """
    path = pathlib.Path(workdir)
    return SweepResults(path, manifests.read(path), _index(path))


def _index(path):
    index: dict[tuple[str, str], tuple[pathlib.Path, ...]] = {}
    for file in sorted((path / store.RESTARTS).glob("*/*.npz")):
        image, _, _ = file.stem.partition("+")
        which = urllib.parse.unquote(file.parent.name), urllib.parse.unquote(image)
        index[which] = (*index.get(which, ()), file)
    return index
