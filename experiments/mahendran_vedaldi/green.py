"""Section 5's claim: deep reconstructions turn green because of the network, not because of the prior.

    python -m experiments.mahendran_vedaldi.green --images=folder --num_images=10

The paper reports large green regions in its reconstructions, which persist when the prior is weakened, and says to
have verified it on ten images without green and on another network; it gives no number. Here the --num_images
photographs with the least green are taken of all that are given, and inverted from deep layers by `recipes.for_layer`,
and from the last of them once more with a prior a hundredth as strong, lambda_V = 0.5.

Green is the excess max(G - max(R, B), 0) of the picture shown, clipped to 0..255, averaged over the pixels, in gray
levels; beside it stands the share of pixels of a green hue, where G is the largest. What the prior draws images to, the
intensity about which they are regularized, has no green. The claim holds for a network if the difference from the
photographs is many standard errors, with the weak prior too.
"""

import numpy as np
from absl import flags

import invert_jax as ij
from experiments import common, reproduction

FLAGS = flags.FLAGS

LAYERS = ("pool5", "relu7", "fc8")
WEAK_LAMBDA_TV = 0.5


def _define_flags():
    reproduction.define_flags("green", num_images=3, alexnet=True)
    flags.DEFINE_list("layers", list(LAYERS), "Layers to invert; the last one with a weak prior too.")


def main() -> None:
    """Measures the green that the flags describe."""
    reproduction.require_known("--layers", FLAGS.layers, ij.layers.NAMES)
    if FLAGS.num_images < 2:
        raise ValueError(f"--num_images is {FLAGS.num_images}; a standard error needs two photographs or more.")
    photographs = _least_green()
    reproduction.say_photographs(photographs)
    workdir = common.make_workdir(FLAGS.workdir)
    last = FLAGS.layers[-1]
    cases = {layer: (layer, ij.recipes.for_layer(layer)) for layer in FLAGS.layers}
    cases[f"{last}, weak prior"] = (last, ij.recipes.mahendran_vedaldi(lambda_tv=WEAK_LAMBDA_TV))

    shown = {"photograph": [photo.image for photo in photographs]}
    errors = {"photograph": [0.0] * len(photographs)}
    for name, (layer, recipe) in cases.items():
        invert = reproduction.inverter(workdir, reproduction.alexnet(layer), recipe)
        found = [invert(photo.image) for photo in reproduction.track(photographs, name)]
        shown[name] = [inversion.image[0] for inversion in found]
        errors[name] = [inversion.error[0] for inversion in found]
    green = {name: np.array([_green(image) for image in images]) for name, images in shown.items()}

    rows = []
    for name, (excess, share) in ((name, each.T) for name, each in green.items()):
        more = excess - green["photograph"][:, 0]
        standard_error = more.std(ddof=1) / np.sqrt(len(more))
        difference = "" if name == "photograph" else f"{more.mean():+.2f} ± {standard_error:.2f}"
        error = "" if name == "photograph" else reproduction.percent(errors[name])
        rows.append([name, error, f"{excess.mean():.2f}", difference, f"{100 * share.mean():.1f}"])
    table = reproduction.markdown(
        ["", "relative error, %", "green, gray levels", "difference from the photographs", "green hue, % of pixels"],
        rows,
    )
    note = (
        f"{reproduction.network()}; the {len(photographs)} least green of {reproduction.num_photographs()} "
        f"photographs; differences ± standard error of the mean."
    )
    reproduction.finish(
        workdir,
        results={
            "network": reproduction.network(),
            "images": [photo.name for photo in photographs],
            "green_excess": {name: each[:, 0] for name, each in green.items()},
            "green_hue": {name: each[:, 1] for name, each in green.items()},
            "relative_errors": errors,
        },
        table=f"{table}\n{note}\n",
        pictures={"green": _sheet(shown, green)},
    )


def _least_green():
    every = reproduction.photographs(
        size=reproduction.ALEXNET_SIZE, gray=False, count=max(reproduction.num_photographs(), FLAGS.num_images)
    )
    return sorted(every, key=lambda photo: _green(photo.image))[: FLAGS.num_images]


def _green(image):
    """Mean excess of green over the other channels, gray levels, and the share of pixels where there is any."""
    red, green, blue = np.moveaxis(np.clip(image, 0, 255), 2, 0)
    excess = np.maximum(green - np.maximum(red, blue), 0)
    return float(excess.mean()), float(np.mean(excess > 0))


def _sheet(shown, green):
    """A row for each photograph: itself and its inversions, with their green."""
    tiles, labels = [], []
    for i in range(len(shown["photograph"])):
        tiles += [images[i] for images in shown.values()]
        labels += [f"{name}: green {green[name][i, 0]:.1f}" for name in shown]
    title = "Green, the mean of max(G - max(R, B), 0), of photographs and reconstructions (clipped to 0..255)"
    return ij.figures.montage(tiles, labels=labels, columns=len(shown), title=title)


if __name__ == "__main__":
    _define_flags()
    common.run(main)
