"""A sweep as flags describe it, for the runner that makes it and for those that measure it."""

import dataclasses
import pathlib

from absl import flags

import invert_jax as ij
from experiments.lib import common, paper

FLAGS = flags.FLAGS


def define_flags(name: str) -> None:
    """Defines the flags that say what is swept; `name` is the work folder's."""
    paper.define_flags(name, num_images=5, alexnet=True)
    flags.DEFINE_list("representations", ["alexnet"], f"What to invert: alexnet, {', '.join(paper.GRAY)}.")
    flags.DEFINE_list("layers", ["conv1", "norm2", "conv4", "pool5", "fc6", "fc8"], "Layers of alexnet.")
    flags.DEFINE_list("recipes", ["pixels"], f"How: {', '.join(common.RECIPES)}.")
    flags.DEFINE_integer("num_restarts", 8, "Random starts of every photograph.", lower_bound=1)
    flags.DEFINE_integer("gray_size", 160, "Side of the photographs of everything but alexnet.", lower_bound=16)
    flags.DEFINE_float(
        "lambda_tv", None, "Weight of TV^beta for everything; each recipe's own if absent.", lower_bound=0
    )
    flags.DEFINE_enum("dtype", "float32", ["float32", "float16"], "In which pictures are kept.")


def sweep() -> ij.sweeps.Sweep:
    """The sweep that the flags describe, checked whole."""
    paper.require_known("--representations", FLAGS.representations, ("alexnet", *paper.GRAY))
    paper.require_known("--layers", FLAGS.layers, ij.networks.LAYER_NAMES)
    paper.require_known("--recipes", FLAGS.recipes, common.RECIPES)
    problems = []
    for name in FLAGS.representations:
        deep = name == "alexnet"
        size = paper.ALEXNET_SIZE if deep else FLAGS.gray_size
        photographs = paper.photographs(size=size, gray=not deep)
        images = {photo.name: photo.image for photo in photographs}
        if len(images) < len(photographs):
            raise ValueError("Two photographs have one name; give each file a name of its own.")
        for layer in FLAGS.layers if deep else [None]:
            phi = paper.alexnet(layer) if deep else paper.GRAY[name]()
            for recipe in FLAGS.recipes:
                label = "-".join([layer or name, *([recipe] if len(FLAGS.recipes) > 1 else [])])
                how = common.RECIPES[recipe](layer)
                if FLAGS.lambda_tv is not None:
                    how = dataclasses.replace(how, lambda_tv=FLAGS.lambda_tv)
                problems.append(ij.sweeps.Problem(label, phi, how, images))
    return ij.sweeps.make(problems, num_restarts=FLAGS.num_restarts, seed=FLAGS.seed, dtype=FLAGS.dtype)


def save_photographs(sweep: ij.sweeps.Sweep, workdir: pathlib.Path) -> None:
    """Writes each problem's photographs into `<workdir>/photographs/`, rounded to whole gray levels."""
    room = common.make_workdir(workdir / "photographs")
    for problem in sweep.problems:
        for name, image in problem.images.items():
            ij.save_image(room / f"{problem.name}-{name}.png", image)
