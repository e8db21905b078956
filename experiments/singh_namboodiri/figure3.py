"""Figure 3: one photograph from each of CNN-A's 20 layers, by the switched Laplacian pyramid.

    python -m experiments.singh_namboodiri.figure3 --images=photograph.jpg

One restart a layer by `recipes.laplacian_pyramid`. In the paper the convolutional layers give back pictures much like
the photograph, ever rougher, with parts such as eyes a little displaced; the fully connected ones give back a bag of
parts; and the coarse colors are the photograph's.
"""

import numpy as np
from absl import flags

import invert_jax as ij
from experiments import common, kept, reproduction

FLAGS = flags.FLAGS

_COLUMNS = 7


def _define_flags():
    reproduction.define_flags("pyramid_figure3", num_images=1, alexnet=True)
    flags.DEFINE_list("layers", list(ij.layers.NAMES), "Layers to invert.")


def main() -> None:
    """Makes the figure that the flags describe."""
    reproduction.require_known("--layers", FLAGS.layers, ij.layers.NAMES)
    photographs = reproduction.photographs(size=reproduction.ALEXNET_SIZE, gray=False)
    reproduction.say_photographs(photographs)
    workdir = common.make_workdir(FLAGS.workdir)

    found = {}
    for layer in reproduction.track(FLAGS.layers, "layers"):
        invert = kept.inverter(workdir, reproduction.alexnet(layer), ij.recipes.laplacian_pyramid(layer))
        found[layer] = [invert(photo.image) for photo in photographs]
    errors = {layer: np.concatenate([each.error for each in inversions]) for layer, inversions in found.items()}
    evaluations = {
        layer: np.concatenate([each.evaluations for each in inversions]) for layer, inversions in found.items()
    }

    sheets = []  # one below the other
    for i, photo in enumerate(photographs):
        title = f"Figure 3: layers of {reproduction.network()}, relative error" if i == 0 else None
        tiles = [photo.image, *(inversions[i].image[0] for inversions in found.values())]
        labels = [photo.name, *(f"{layer}: {100 * error[i]:.0f} %" for layer, error in errors.items())]
        sheets.append(ij.figures.montage(tiles, labels=labels, columns=_COLUMNS, title=title))
    reproduction.finish(
        workdir,
        results={
            "network": reproduction.network(),
            "images": [photo.name for photo in photographs],
            "relative_errors": errors,
            "evaluations": evaluations,
        },
        table=reproduction.markdown(
            ["layer", "relative error, %", "evaluations"],
            [
                [layer, reproduction.percent(error), f"{evaluations[layer].mean():.0f}"]
                for layer, error in errors.items()
            ],
        ),
        pictures={"figure3": np.concatenate(sheets)},
    )


if __name__ == "__main__":
    _define_flags()
    common.run(main)
