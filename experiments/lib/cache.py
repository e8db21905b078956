"""Results that are computed once and saved in `<workdir>/inversions/`.

The folder or file of a result is named by a hash of all that the result depends on, settings, device and random
generator, but not the versions of invert_jax and jax: a runner that was stopped resumes, other settings never meet an
old result, and an upgrade keeps what is saved, with a warning.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

import invert_jax as ij
from experiments.lib import flags, progress
from invert_jax._util import arrays as array_files
from invert_jax._util import command, hashing

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
) -> list[ij.sweeps.Restarts]:
    """Restarts of every photograph `[H, W, C]`, saved in the work folder as a sweep; a later call may ask for more.

    Restarts that are not finite have NaN as their error. `mask` is of the neurons that count; `description` stands
    beside the progress bar.
    """
    named = {f"{i:04d}": image for i, image in enumerate(images)}
    case = ij.sweeps.Case("inversion", representation, recipe, named, mask)
    sweep = ij.sweeps.make_sweep([case], num_restarts=num_restarts, seed=FLAGS.seed)
    folder = workdir / "inversions" / hashing.content_hash((hashing.environment(), ij.sweeps.settings(sweep)))
    # A later run may ask for fewer than an earlier one made; a sweep does not shrink.
    saved = ij.load_sweep(folder).manifest["num_restarts"] if (folder / "manifest.json").exists() else 0
    sweep = dataclasses.replace(sweep, num_restarts=max(num_restarts, saved))
    # A smaller chunk where there are too few to fill one, the rest of which would be padding.
    chunk_size = {1: 1, 2: 2, 3: 1}.get(num_restarts * len(images))
    results = progress.run(sweep, folder, description=description, chunk_size=chunk_size)
    found = [results[which] for which in sorted(results)]
    found = [restarts._replace(error=np.where(restarts.finite, restarts.error, np.nan)) for restarts in found]
    return [jax.tree.map(lambda array: array[:num_restarts], restarts) for restarts in found]


def hoggle(workdir: pathlib.Path, path: str, images: Sequence[np.ndarray]) -> list[ij.Preimage]:
    """HOGgle's inversions of VLFeat's HOG of images `[H, W, 1]` with the dictionaries in a file, each one restart."""
    dictionaries, hog = ij.baselines.hoggle.load(path), ij.hog()
    if dictionaries.representation != hashing.content_hash(hog):
        raise ValueError(
            f"The dictionaries in {path} are not for VLFeat's HOG with 9 orientations in cells of 8 pixels; learn some "
            f"with experiments.learn_hoggle and its defaults."
        )
    cached, found = arrays(workdir, dictionaries), []
    for image in progress.track(images, "HOGgle"):
        restored = cached(image, lambda image=image: {"image": ij.baselines.hoggle.invert(dictionaries, hog(image))})
        restored = restored["image"]
        # HOG covers whole cells only: the error is that of their pixels.
        features, target = hog(restored), hog(image[: restored.shape[0], : restored.shape[1]])
        error = np.array([ij.metrics.relative_error(features, target)])
        found.append(ij.Preimage(restored[None], features[None], error, None, np.array([True]), np.array([0])))
    return found


def arrays(workdir: pathlib.Path, setting: Any) -> Callable[..., dict[str, np.ndarray]]:
    """A function `cached(name, make)`: `make()` the first time, the file of that setting and name later.

    `setting` is all that the arrays depend on, besides the name.
    """
    folder = command.make_workdir(workdir / "inversions")
    setting = hashing.content_hash((hashing.environment(), setting))

    def cached(name, make):
        path = folder / f"{hashing.content_hash((setting, name))}.npz"
        found = array_files.read_arrays(path) if path.exists() else None
        if found is None:
            if path.exists():
                command.say(f"{path} is damaged; it is computed again.", style="yellow")
            found = make()
            array_files.write_arrays(path, found, compressed=True)
        return found

    return cached
