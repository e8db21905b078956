"""Figure 2: the spikes that total variation with beta = 1 leaves in an inverse of norm1, gone with beta = 2.

    python -m experiments.mahendran_vedaldi.figure2 --images=photograph.jpg

Took half a minute on two CPU cores that had other work, without flags.

One restart with each exponent, at the released code's weights: 1.845e-3 for beta = 1, 50 for beta = 2; clipped to
0..255; below, enlarged, the 56 x 56 pixels where beta = 1 stands out most from its own 3 x 3 median. The paper shows
spikes at the places where pooling sampled the image, and with beta = 2 none, but washed-out edges; it gives no number.
Ours for the spikes is the peakiness of the whole picture: the excess kurtosis of what a 3 x 3 median takes away from
it, which is 0 for Gaussian noise and large where few pixels stand out of their neighborhood. That beta = 2 has less of
it is also because it blurs: its error is larger.
"""

import numpy as np
from absl import flags

import invert_jax as ij
from experiments.lib import cache, common, paper

FLAGS = flags.FLAGS

LAMBDAS = {1.0: 1.845e-3, 2.0: 50.0}
"""Exponent of TV^beta: its weight."""

_DETAIL = 56  # pixels a side


def _define_flags():
    paper.define_flags("figure2", num_images=1, alexnet=True)


def main() -> None:
    """Makes the figure that the flags describe."""
    photographs = paper.photographs(size=paper.ALEXNET_SIZE, gray=False)
    paper.say_photographs(photographs)
    workdir = common.make_workdir(FLAGS.workdir)
    norm1, images = paper.alexnet("norm1"), [photo.image for photo in photographs]
    recipes = {
        beta: ij.recipes.mahendran_vedaldi(lambda_tv=lambda_tv, beta=beta) for beta, lambda_tv in LAMBDAS.items()
    }
    inversions = cache.by_recipe(workdir, norm1, recipes, images, called="beta")

    tiles, labels, rows = [], [], []
    for i, photo in enumerate(photographs):
        found = {beta: each[i] for beta, each in inversions.items()}
        shown = [photo.image, *(inversion.image[0] for inversion in found.values())]
        place = _spikiest(shown[1])
        tiles += [*shown, *(image[place] for image in shown)]
        named = [photo.name, *(f"beta {beta:g}, error {100 * each.error[0]:.0f} %" for beta, each in found.items())]
        labels += [f"{name}: peakiness {_peakiness(image):.1f}" for name, image in zip(named, shown, strict=True)]
        labels += [""] * len(shown)
        rows.append({"image": photo.name, "photograph": {"peakiness": _peakiness(photo.image)}})
        for beta, inversion in found.items():
            rows[-1][f"beta {beta:g}"] = {
                "peakiness": _peakiness(inversion.image[0]),
                "relative_error": inversion.error[0],
                "finite": inversion.finite[0],
            }

    title = f"Figure 2: norm1 of {paper.network()}, details enlarged (clipped to 0..255)"
    kinds = ["photograph", *(f"beta {beta:g}" for beta in LAMBDAS)]
    paper.finish(
        workdir,
        results={"network": paper.network(), "spikes": rows},
        table=paper.markdown(
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
        pictures={"figure2": ij.viz.montage(tiles, labels=labels, columns=len(kinds), title=title)},
    )


def _residual(image):
    """What a 3 x 3 median takes away from the picture shown, channel by channel."""
    from scipy import ndimage

    image = np.clip(np.asarray(image, np.float64), 0, 255)
    return image - ndimage.median_filter(image, size=(3, 3, 1))


def _peakiness(image):
    """Excess kurtosis of the residual."""
    from scipy import stats

    return float(stats.kurtosis(_residual(image), axis=None))


def _spikiest(image):
    """The detail in which the residual's fourth power is largest."""
    from scipy import ndimage

    power = (_residual(image) ** 4).sum(axis=2)
    means = ndimage.uniform_filter(np.where(np.isfinite(power), power, 0), _DETAIL, mode="constant")
    half = _DETAIL // 2
    inside = means[half : means.shape[0] - half + 1, half : means.shape[1] - half + 1]
    top, left = np.unravel_index(inside.argmax(), inside.shape)
    return np.s_[top : top + _DETAIL, left : left + _DETAIL]


if __name__ == "__main__":
    _define_flags()
    common.run(main)
