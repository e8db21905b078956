"""Figure 6: one photograph from each of CNN-A's 20 layers.

    python -m experiments.mahendran_vedaldi.figure6 --images=photograph.jpg

Took 19 minutes on two CPU cores that had other work, without flags.

One restart a layer by `recipes.for_layer`, Table 3's bold row: lambda_V 0.5 for conv1..relu2, 5 for pool2..relu4, 50
for conv5..fc8; clipped to 0..255. In the paper the first layers are all but invertible, every convolutional layer
keeps a faithful if increasingly fuzzy picture, and the fully connected ones give back parts like those of the
photograph in other places. It gives no number here; Table 3 has the errors, in its own measure.
"""

import numpy as np
from absl import flags

import invert_jax as ij
from experiments import common, kept, reproduction

FLAGS = flags.FLAGS

_COLUMNS = 7


def _define_flags():
    reproduction.define_flags("figure6", num_images=1, alexnet=True)
    flags.DEFINE_list("layers", list(ij.layers.NAMES), "Layers to invert.")


def main() -> None:
    """Makes the figure that the flags describe."""
    reproduction.require_known("--layers", FLAGS.layers, ij.layers.NAMES)
    photographs = reproduction.photographs(size=reproduction.ALEXNET_SIZE, gray=False)
    reproduction.say_photographs(photographs)
    workdir = common.make_workdir(FLAGS.workdir)

    found = {}
    for layer in reproduction.track(FLAGS.layers, "layers"):
        invert = kept.inverter(workdir, reproduction.alexnet(layer), ij.recipes.for_layer(layer))
        found[layer] = [invert(photo.image) for photo in photographs]
    errors = {
        layer: np.concatenate([inversion.error for inversion in inversions]) for layer, inversions in found.items()
    }

    sheets = []  # one below the other
    for i, photo in enumerate(photographs):
        title = f"Figure 6: layers of {reproduction.network()}, relative error (clipped to 0..255)" if i == 0 else None
        tiles = [photo.image, *(inversions[i].image[0] for inversions in found.values())]
        labels = [photo.name, *(f"{layer}: {100 * error[i]:.0f} %" for layer, error in errors.items())]
        sheets.append(ij.figures.montage(tiles, labels=labels, columns=_COLUMNS, title=title))
    reproduction.finish(
        workdir,
        results={
            "network": reproduction.network(),
            "images": [photo.name for photo in photographs],
            "relative_errors": errors,
            "finite": {layer: [bool(each.finite[0]) for each in inversions] for layer, inversions in found.items()},
        },
        table=reproduction.markdown(
            ["layer", "lambda_V", "relative error, %"],
            [
                [layer, f"{ij.recipes.for_layer(layer).lambda_tv:g}", reproduction.percent(error)]
                for layer, error in errors.items()
            ],
        ),
        pictures={"figure6": np.concatenate(sheets)},
    )


if __name__ == "__main__":
    _define_flags()
    common.run(main)
