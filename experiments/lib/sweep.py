"""A sweep as flags describe it, for the runner that makes it and those that measure it."""

import pathlib
from typing import Any

import invert_jax as ij
from experiments.lib import flags, paper
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
