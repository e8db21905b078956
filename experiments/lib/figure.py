"""One photograph from each of CNN-A's layers: what the papers' figures of all 20 layers share."""

from collections.abc import Callable

import numpy as np
from absl import flags

import invert_jax as ij
from experiments.lib import cache, common, paper

FLAGS = flags.FLAGS

_COLUMNS = 7


def define_flags(name: str) -> None:
    """Defines the flags of a figure of layers; `name` is its folder's."""
    paper.define_flags(name, num_images=1, alexnet=True)
    flags.DEFINE_list("layers", list(ij.networks.LAYER_NAMES), "Layers to invert.")


def make(name: str, *, title: str, recipe: Callable[[str], ij.Recipe]) -> None:
    """Inverts every photograph from every layer, and writes the sheet, table and numbers.

    Args:
      name: of the picture.
      title: what stands over the sheet, before the network's name.
      recipe: `recipe(layer)`, how to invert a layer.
    """
    paper.require_known("--layers", FLAGS.layers, ij.networks.LAYER_NAMES)
    photographs = paper.photographs(size=paper.ALEXNET_SIZE, gray=False)
    paper.say_photographs(photographs)
    workdir = common.make_workdir(FLAGS.workdir)

    found = {}
    for layer in FLAGS.layers:
        inversions = cache.inversions(
            workdir,
            paper.alexnet(layer),
            recipe(layer),
            [photo.image for photo in photographs],
            description=layer,
            chunk_size=1,
        )
        found[layer] = ij.sweeps.Restarts(*(np.concatenate(arrays) for arrays in zip(*inversions, strict=True)))

    sheets = []  # one below the other
    for i, photo in enumerate(photographs):
        sheets.append(
            ij.viz.montage(
                [photo.image, *(each.image[i] for each in found.values())],
                labels=[photo.name, *(f"{layer}: {100 * each.error[i]:.0f} %" for layer, each in found.items())],
                columns=_COLUMNS,
                title=f"{title} {paper.network()}, relative error (clipped to 0..255)" if i == 0 else None,
            )
        )
    paper.finish(
        workdir,
        results={
            "network": paper.network(),
            "images": [photo.name for photo in photographs],
            "relative_errors": {layer: each.error for layer, each in found.items()},
            "evaluations": {layer: each.evaluations for layer, each in found.items()},
            "finite": {layer: each.finite for layer, each in found.items()},
        },
        table=paper.markdown(
            ["layer", "relative error, %", "evaluations"],
            [[layer, paper.percent(each.error), f"{each.evaluations.mean():.0f}"] for layer, each in found.items()],
        ),
        pictures={name: np.concatenate(sheets)},
    )
