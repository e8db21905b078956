"""Figure 10: images from either half of the channels of conv1, norm1 and norm2, CNN-A's two streams.

    python -m experiments.mahendran_vedaldi.figure10 --images=first.jpg,second.jpg

One restart for each half, lambda_V = 0.5 at all three layers as in the released code; clipped to 0..255. The paper's
network keeps the halves apart from conv1 to norm2, and one is tuned to color, the other to edges and luminance. Our
number for it is the color, the standard deviation across a pixel's red, green and blue, averaged over the pixels, in
gray levels; the paper gives none. Other networks, the bundled one among them, need not have divided their work so.
"""

import numpy as np
from absl import flags

import invert_jax as ij
from experiments import common, reproduction

FLAGS = flags.FLAGS

LAYERS = ("conv1", "norm1", "norm2")
LAMBDA_TV = 0.5
_STREAMS = [(layer, group) for layer in LAYERS for group in (0, 1)]


def _define_flags():
    reproduction.define_flags("figure10", num_images=2, alexnet=True)


def main() -> None:
    """Makes the figure that the flags describe."""
    photographs = reproduction.photographs(size=reproduction.ALEXNET_SIZE, gray=False)
    reproduction.say_photographs(photographs)
    workdir = common.make_workdir(FLAGS.workdir)
    recipe = ij.recipes.mahendran_vedaldi(lambda_tv=LAMBDA_TV)

    tiles, labels, rows = [], [], []
    for photo in photographs:
        original = _color(photo.image)
        tiles.append(photo.image)
        labels.append(f"{photo.name}: color {original:.0f}")
        for layer, group in reproduction.track(_STREAMS, photo.name):
            representation = reproduction.alexnet(layer)
            mask = ij.masks.channel_group(representation.feature_shape(photo.image.shape), group=group)
            found = reproduction.inverter(workdir, representation, recipe)(photo.image, mask=mask)
            color = _color(found.image[0])
            tiles.append(found.image[0])
            labels.append(f"{layer}, group {group}: color {color:.0f}")
            rows.append(
                {
                    "image": photo.name,
                    "layer": layer,
                    "group": group,
                    "color": color,
                    "color_of_photograph": original,
                    "relative_error": found.error[0],
                    "finite": found.finite[0],
                }
            )

    title = f"Figure 10: halves of the channels of {reproduction.network()}, mean color (clipped to 0..255)"
    reproduction.finish(
        workdir,
        results={"network": reproduction.network(), "streams": rows},
        table=reproduction.markdown(
            ["photograph", "layer", "group", "relative error, %", "color", "the photograph's color"],
            [
                [
                    row["image"],
                    row["layer"],
                    row["group"],
                    f"{100 * row['relative_error']:.1f}",
                    f"{row['color']:.1f}",
                    f"{row['color_of_photograph']:.1f}",
                ]
                for row in rows
            ],
        ),
        pictures={"figure10": ij.figures.montage(tiles, labels=labels, columns=1 + len(_STREAMS), title=title)},
    )


def _color(image):
    """Standard deviation across red, green and blue, averaged over the pixels of the picture shown."""
    return float(np.clip(image, 0, 255).std(axis=2).mean())


if __name__ == "__main__":
    _define_flags()
    common.run(main)
