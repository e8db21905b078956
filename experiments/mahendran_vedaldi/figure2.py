"""Figure 2: the spikes that total variation with beta = 1 leaves in an inverse of norm1, gone with beta = 2.

    python -m experiments.mahendran_vedaldi.figure2 --images=photograph.jpg

One restart with each exponent, at the released code's weights: 1.845e-3 for beta = 1, 50 for beta = 2; clipped to
0..255, a detail of 56 x 56 pixels from the center enlarged below. The paper shows spikes at the places where pooling
sampled the image, and with beta = 2 none, but washed-out edges; it gives no number. Ours for the spikes is their
peakiness: the excess kurtosis of what a 3 x 3 median takes away from the image, which is 0 for Gaussian noise and
large where few pixels stand out of their neighborhood.
"""

import numpy as np
from absl import flags

import invert_jax as ij
from experiments import common, reproduction

FLAGS = flags.FLAGS

LAMBDAS = {1.0: 1.845e-3, 2.0: 50.0}
"""Exponent of TV^beta: its weight."""

_DETAIL = 56  # pixels a side


def _define_flags():
    reproduction.define_flags("figure2", num_images=1, alexnet=True)


def main() -> None:
    """Makes the figure that the flags describe."""
    photographs = reproduction.photographs(size=reproduction.ALEXNET_SIZE, gray=False)
    reproduction.say_photographs(photographs)
    workdir = common.make_workdir(FLAGS.workdir)
    norm1 = reproduction.alexnet("norm1")
    inverters = {
        beta: reproduction.inverter(workdir, norm1, ij.recipes.mahendran_vedaldi(lambda_tv=lambda_tv, beta=beta))
        for beta, lambda_tv in LAMBDAS.items()
    }

    tiles, labels, rows = [], [], []
    for photo in reproduction.track(photographs, "norm1"):
        found = {beta: invert(photo.image) for beta, invert in inverters.items()}
        shown = [photo.image, *(inversion.image[0] for inversion in found.values())]
        tiles += [*shown, *map(_detail, shown)]
        labels += [photo.name, *(f"beta {beta:g}: {100 * each.error[0]:.0f} %" for beta, each in found.items())]
        labels += [f"peakiness {_peakiness(image):.1f}" for image in shown]
        rows.append({"image": photo.name, "photograph": {"peakiness": _peakiness(photo.image)}})
        for beta, inversion in found.items():
            rows[-1][f"beta {beta:g}"] = {
                "peakiness": _peakiness(inversion.image[0]),
                "relative_error": inversion.error[0],
                "finite": inversion.finite[0],
            }

    title = f"Figure 2: norm1 of {reproduction.network()}, relative error; details enlarged (clipped to 0..255)"
    kinds = ["photograph", *(f"beta {beta:g}" for beta in LAMBDAS)]
    reproduction.finish(
        workdir,
        results={"network": reproduction.network(), "spikes": rows},
        table=reproduction.markdown(
            ["photograph", *(f"peakiness, {kind}" for kind in kinds), *(f"relative error, {k}, %" for k in kinds[1:])],
            [
                [
                    row["image"],
                    *(f"{row[kind]['peakiness']:.1f}" for kind in kinds),
                    *(f"{100 * row[kind]['relative_error']:.1f}" for kind in kinds[1:]),
                ]
                for row in rows
            ],
        ),
        pictures={"figure2": ij.figures.montage(tiles, labels=labels, columns=len(kinds), title=title)},
    )


def _detail(image):
    top, left = ((side - _DETAIL) // 2 for side in image.shape[:2])
    return image[top : top + _DETAIL, left : left + _DETAIL]


def _peakiness(image):
    """Excess kurtosis of the image less its 3 x 3 median, channel by channel."""
    from scipy import ndimage, stats

    image = np.asarray(image, np.float64)
    return float(stats.kurtosis(image - ndimage.median_filter(image, size=(3, 3, 1)), axis=None))


if __name__ == "__main__":
    _define_flags()
    common.run(main)
