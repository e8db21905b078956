"""Figure 10: images from either half of the channels of conv1, norm1 and norm2, CNN-A's two streams.

    python -m experiments.mahendran_vedaldi.figure10 --images=first.jpg,second.jpg

Took 3 minutes on two CPU cores that had other work, without flags.

One restart for each half, lambda_V = 0.5 at all three layers as in the released code; clipped to 0..255. The paper's
network keeps the halves apart from conv1 to norm2, and one is tuned to color, the other to edges and luminance; it
gives no number. Ours are what is kept of either: the correlation with the photograph of the luminance (the mean of
red, green and blue), and of the color (what they differ from it), over all pixels. Beside them stands the saturation,
the standard deviation across a pixel's red, green and blue, averaged, in gray levels; noise raises it too. Another
network need not have divided its work so.
"""

import numpy as np
from absl import flags

import invert_jax as ij
from experiments.lib import cache, common, paper

FLAGS = flags.FLAGS

LAYERS = ("conv1", "norm1", "norm2")
LAMBDA_TV = 0.5
_STREAMS = [(layer, group) for layer in LAYERS for group in (0, 1)]


def _define_flags():
    paper.define_flags("figure10", num_images=2, alexnet=True)


def main() -> None:
    """Makes the figure that the flags describe."""
    photographs = paper.photographs(size=paper.ALEXNET_SIZE, gray=False)
    paper.say_photographs(photographs)
    workdir = common.make_workdir(FLAGS.workdir)
    recipe = ij.recipes.mahendran_vedaldi(lambda_tv=LAMBDA_TV)

    images, inversions = [photo.image for photo in photographs], {}
    for layer, group in _STREAMS:
        representation, label = paper.alexnet(layer), f"{layer}, group {group}"
        mask = ij.masks.channel_group(representation.feature_shape(images[0].shape), group=group)
        found = cache.inversions(workdir, representation, recipe, images, mask=mask, description=label, chunk_size=1)
        inversions[layer, group] = found

    tiles, labels, rows = [], [], []
    for i, photo in enumerate(photographs):
        tiles.append(photo.image)
        labels.append(photo.name)
        for layer, group in _STREAMS:
            found = inversions[layer, group][i]
            color, luminance = _kept(found.image[0], photo.image)
            tiles.append(found.image[0])
            labels.append(f"{layer}, group {group}: color {color:.2f}, luminance {luminance:.2f}")
            rows.append(
                {
                    "image": photo.name,
                    "layer": layer,
                    "group": group,
                    "color": color,
                    "luminance": luminance,
                    "saturation": _saturation(found.image[0]),
                    "saturation_of_photograph": _saturation(photo.image),
                    "relative_error": found.error[0],
                    "finite": found.finite[0],
                }
            )

    title = f"Figure 10: halves of the channels of {paper.network()}, what they keep (clipped to 0..255)"
    paper.finish(
        workdir,
        results={"network": paper.network(), "streams": rows},
        table=paper.markdown(
            ["photograph", "layer", "group", "error, %", "color", "luminance", "saturation", "the photograph's"],
            [
                [
                    row["image"],
                    row["layer"],
                    row["group"],
                    f"{100 * row['relative_error']:.1f}",
                    f"{row['color']:.2f}",
                    f"{row['luminance']:.2f}",
                    f"{row['saturation']:.1f}",
                    f"{row['saturation_of_photograph']:.1f}",
                ]
                for row in rows
            ],
        ),
        pictures={"figure10": ij.viz.montage(tiles, labels=labels, columns=1 + len(_STREAMS), title=title)},
    )


def _kept(image, photograph):
    """Correlations of the picture shown with the photograph: of color, and of luminance."""
    luminances, colors = [], []
    for each in (np.clip(image, 0, 255), photograph):
        luminance = each.mean(axis=2, keepdims=True)
        luminances.append(luminance - luminance.mean())
        colors.append(each - luminance - (each - luminance).mean(axis=(0, 1), keepdims=True))
    return tuple(
        float(np.sum(a * b) / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-6)) for a, b in (colors, luminances)
    )


def _saturation(image):
    """Standard deviation across red, green and blue, averaged over the pixels of the picture shown."""
    return float(np.clip(image, 0, 255).std(axis=2).mean())


if __name__ == "__main__":
    _define_flags()
    common.run(main)
