"""A sweep as flags describe it, for the runner that makes it and those that measure it, and the codes of its cases."""

import pathlib
from typing import Any

import jax
import numpy as np

import invert_jax as ij
from experiments.lib import flags, paper, progress
from invert_jax._util import command

FLAGS = flags.FLAGS


def define_flags(name: str, **more: Any) -> None:
    """Defines the flags of a sweep, and those given by keyword; `name` is the work folder's."""
    lists = {"representations": ("alexnet",), "layers": ("conv1", "norm2", "conv4", "pool5", "fc6", "fc8")}
    lists |= {"recipes": ("default",)}
    absent = dict.fromkeys(("architecture", "lambda_tv", "mask", "chunk_size", "model"))
    counts = {"num_images": 5, "num_restarts": 8}
    flags.define_paper(
        name, variant="vlfeat", dtype="float32", weights="bundled", gray=False, **counts, **lists, **absent, **more
    )


def make() -> ij.sweeps.Sweep:
    """The sweep that the flags describe, every part of it checked."""
    recipes = flags.chosen("recipes", flags.RECIPES)
    cases = []
    words = flags.chosen("representations", ("alexnet", *flags.SHALLOW))
    for word in ["model"] if FLAGS.model else words:
        for name in flags.chosen_layers() if word == "alexnet" else [word]:
            gray = FLAGS.gray if word == "model" else word != "alexnet"
            photographs = paper.photographs(size=flags.size_of(name), gray=gray)
            images = {photo.name: photo.image for photo in photographs}
            for photo in photographs:
                if photo.image is not images[photo.name]:
                    others = " and ".join(str(other.path) for other in photographs if other.name == photo.name)
                    raise ValueError(f"{others} have the same name; rename one of the files.")
            representation = flags.representation(name)
            mask = flags.mask(representation.feature_shape(photographs[0].image.shape))
            for recipe in recipes:
                label = f"{name}-{recipe}" if len(recipes) > 1 else name
                how = flags.recipe(recipe, representation)
                cases.append(ij.sweeps.Case(label, representation, how, images, mask))
    return ij.sweeps.make_sweep(cases, num_restarts=FLAGS.num_restarts, seed=FLAGS.seed, dtype=FLAGS.dtype)


def save_photographs(sweep: ij.sweeps.Sweep, workdir: pathlib.Path) -> None:
    """Writes each case's photographs into `<workdir>/photographs/`, rounded to whole gray levels."""
    folder = command.make_workdir(workdir / "photographs")
    for case in sweep.cases:
        for name, image in case.images.items():
            ij.save_image(folder / f"{case.name}-{name}.png", image)


def load_or_run(sweep: ij.sweeps.Sweep, workdir: pathlib.Path) -> ij.sweeps.SweepResults:
    """The finished sweep in a work folder; if that is empty, the sweep runs first."""
    if (workdir / "manifest.json").exists():
        return load(sweep, workdir)
    results = progress.run(sweep, workdir, description="restarts")
    save_photographs(sweep, workdir)
    return results


def load(
    sweep: ij.sweeps.Sweep, folder: str | pathlib.Path, *, only_photographs: bool = False
) -> ij.sweeps.SweepResults:
    """A finished sweep's restarts, checked to be those that the flags describe, or of the same photographs only."""
    results, given = ij.load_sweep(folder), ij.sweeps.settings(sweep)
    saved, cases = results.manifest["settings"], {case.name for case in sweep.cases}
    for name in saved | given:
        is_photograph = ": photograph " in name  # others of the folder's may be left out
        matters = name in given if is_photograph else not only_photographs
        if matters and name.partition(": ")[0] in cases and saved.get(name) != given.get(name):
            was, now = saved.get(name, "absent"), given.get(name, "absent")
            remedy = "one of the same cases and photographs" if only_photographs else "the flags that it was made with"
            raise ValueError(f"{folder} holds a sweep in which {name} is {was}, here {now}; give {remedy}.")
    wanted = results.manifest["num_restarts"]
    for which in ((case.name, name) for case in sweep.cases for name in case.images):
        count = len(results[which].error) if which in results else 0
        if count < wanted:
            raise ValueError(
                f"{folder} has {count} of {wanted} restarts of {', '.join(which)}; finish the sweep first, by "
                f"experiments.sample_invariances with the same flags."
            )
    return results


def layer_of(case: ij.sweeps.Case) -> str:
    """The layer of a network, or the case's name for another representation."""
    return ij.networks.layer_of(case.representation) or case.name


def encode(case: ij.sweeps.Case, last: ij.Representation, image: np.ndarray) -> dict[str, np.ndarray]:
    """The codes of an image: of all layers of the network, in order of depth, or of another representation alone."""
    if ij.networks.layer_of(case.representation) is None:
        return {case.name: np.asarray(case.representation(image))}
    codes = jax.device_get(_every_layer(last, image))
    return {layer: codes[layer] for layer in layers_up_to(last)}  # jit returns names in alphabetical order


def layers_up_to(last: ij.Representation) -> list[str]:
    """All layers up to that of a representation."""
    architecture = ij.networks.architecture_of(last) or ij.networks.CAFFENET
    return [layer.name for layer in architecture.layers_up_to(ij.networks.layer_of(last))]


@jax.jit
def _every_layer(last, image):
    return last.apply.every(last.params, image)  # one pass through the network, not one for each layer
