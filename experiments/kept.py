"""Inversions that are made once: each restart is kept in `<workdir>/inversions/`.

The file is named after everything that the restart came from. A runner that was stopped, by whatever means, takes up
where it was, and another setting never meets an old result.
"""

import pathlib
import time
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

import invert_jax as ij
from experiments import common

FLAGS = flags.FLAGS


class Inversion(NamedTuple):
    """R restarts on one photograph.

    Attributes:
      image: `[R, H, W, C]`, 0..255, not clipped.
      error: `[R]`, relative; NaN for a restart that left the finite numbers.
      finite: `[R]`.
      evaluations: `[R]`, of the gradient.
      seconds: `[R]`, what it took; the first of a kind compiles.
    """

    image: np.ndarray
    error: np.ndarray
    finite: np.ndarray
    evaluations: np.ndarray
    seconds: np.ndarray


def inverter(workdir: pathlib.Path, representation: ij.Representation, recipe: ij.Recipe) -> Callable[..., Inversion]:
    """Inversion of a representation by a recipe, each restart kept in the work folder.

    Args:
      workdir: where `inversions/` is.
      representation: what to invert.
      recipe: how.

    Returns:
      `invert(image, *, num_restarts=1, mask=None) -> Inversion`. Restart `r` of a photograph is the same whatever its
      place among the photographs and however many restarts there are.
    """
    kept = keeper(workdir, (representation, recipe, FLAGS.seed))

    def invert(image, *, num_restarts=1, mask=None):
        def restart(key):
            target = representation(image)
            began = time.monotonic()
            found = ij.invert(key, representation, target, recipe, image_shape=image.shape, mask=mask)
            found = jax.device_get(found)
            return {
                "image": found.image,
                "error": found.error if found.finite else np.float32(np.nan),
                "finite": found.finite,
                "evaluations": found.evaluations,
                "seconds": np.float32(time.monotonic() - began),
            }

        key = ij.sweeps.restart_key(FLAGS.seed, image)
        restarts = [
            kept((image, mask, r), lambda r=r: restart(jax.random.fold_in(key, r))) for r in range(num_restarts)
        ]
        return Inversion(*(np.stack([each[name] for each in restarts]) for name in Inversion._fields))

    return invert


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
    if dictionaries.representation != ij.fingerprint(hog):
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
    setting = ij.fingerprint((ij.surroundings(), setting))

    def kept(name, make):
        path = folder / f"{ij.fingerprint((setting, name))}.npz"
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
