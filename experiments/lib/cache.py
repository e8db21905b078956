"""Inversions that are made once, and kept in `<workdir>/inversions/`.

Their folder, or file, is named after everything that they came from. A runner that was stopped, by whatever means,
takes up where it was, and another setting never meets an old result.
"""

import pathlib
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

import invert_jax as ij
from experiments.lib import common, progress
from invert_jax._util import hashing

FLAGS = flags.FLAGS


def inversions(
    workdir: pathlib.Path,
    representation: ij.Representation,
    recipe: ij.Recipe,
    images: Sequence[np.ndarray],
    *,
    num_restarts: int = 1,
    mask: np.ndarray | None = None,
    description: str = "restarts",
    chunk_size: int | None = None,
) -> list[ij.sweeps.Restarts]:
    """Restarts of every photograph, kept in the work folder as a sweep of their own.

    Args:
      workdir: where `inversions/` is.
      representation: what to invert.
      recipe: how.
      images: photographs `[H, W, C]`, of any sizes.
      num_restarts: of each; more are added to those that are there.
      mask: boolean `[F...]`: the neurons that count.
      description: what stands beside the progress bar.
      chunk_size: restarts at a time on a device, never by their number, on which their rounding would then depend; None
        is as many as the device has memory for, 4 at most on a CPU.

    Returns:
      A `Restarts` for each photograph, the errors of those that are not finite NaN.
    """
    problem = ij.sweeps.Problem(
        "inversion", representation, recipe, {f"{i:04d}": image for i, image in enumerate(images)}, mask
    )
    name = hashing.content_hash((hashing.environment(), representation, recipe, mask, FLAGS.seed, list(images)))
    folder = workdir / "inversions" / name
    there = ij.load_sweep(folder).manifest["num_restarts"] if (folder / "manifest.json").exists() else 0
    sweep = ij.sweeps.make([problem], num_restarts=max(num_restarts, there), seed=FLAGS.seed)
    chunk_size = chunk_size or progress.chunk_size(sweep, progress.memory())
    results = progress.run(sweep, folder, description=description, chunk_size=chunk_size)
    found = [results[which] for which in sorted(results)]
    return [
        ij.sweeps.Restarts(*(array[:num_restarts] for array in each._replace(error=_known(each)))) for each in found
    ]


def by_recipe(
    workdir: pathlib.Path,
    representation: ij.Representation,
    recipes: Mapping[float, ij.Recipe],
    images: Sequence[np.ndarray],
    *,
    called: str,
) -> dict[float, list[ij.sweeps.Restarts]]:
    """One restart of every photograph by each of some recipes, one at a time: what figures of a setting need.

    Args:
      workdir: where `inversions/` is.
      representation: what to invert.
      recipes: `{setting: recipe}`.
      images: photographs `[H, W, C]`.
      called: what the setting is called beside the progress bars.

    Returns:
      `{setting: a Restarts for each photograph}`.
    """
    return {
        setting: inversions(workdir, representation, recipe, images, description=f"{called} {setting:g}", chunk_size=1)
        for setting, recipe in recipes.items()
    }


def _known(restarts):
    return np.where(restarts.finite, restarts.error, np.nan)


def hoggle(workdir: pathlib.Path, path: str) -> Callable[[np.ndarray], np.ndarray]:
    """HOGgle's inversion of VLFeat's HOG with the dictionaries in a file, each picture kept in the work folder.

    Args:
      workdir: where `inversions/` is.
      path: what `experiments.learn_hoggle` wrote.

    Returns:
      `restore(image [H, W, 1]) -> [H, W, 1]`.

    Raises:
      ValueError: the file is not a pair of dictionaries, or one for another representation.
    """
    dictionaries, hog = ij.hoggle.load(path), ij.hog()
    if dictionaries.representation != hashing.content_hash(hog):
        raise ValueError(
            f"The dictionaries in {path} are not for VLFeat's HOG with 9 orientations in cells of 8 pixels; learn some "
            f"with experiments.learn_hoggle and its own defaults."
        )
    kept = keeper(workdir, dictionaries)
    return lambda image: kept(image, lambda: {"image": ij.hoggle.invert(dictionaries, hog(image))})["image"]


def keeper(workdir: pathlib.Path, setting: Any) -> Callable[..., dict[str, np.ndarray]]:
    """Results that are made once and read ever after, in `<workdir>/inversions/`.

    Args:
      workdir: the work folder.
      setting: whatever they depend on, besides the library's source, the versions of JAX, its device and its precision.

    Returns:
      `kept(name, make) -> arrays`: `make()` the first time, the file of that setting and name later.
    """
    folder = common.make_workdir(workdir / "inversions")
    setting = hashing.content_hash((hashing.environment(), setting))

    def kept(name, make):
        path = folder / f"{hashing.content_hash((setting, name))}.npz"
        arrays = _read(path)
        if arrays is None:
            arrays = make()
            common.write_arrays(path, **arrays)
        return arrays

    return kept


def _read(path):
    """The arrays in a file; None if there is none, or not a whole one, which is then made again."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        common.console.print(f"{path} is not a whole result; it is made again.", style="yellow", highlight=False)
        return None
