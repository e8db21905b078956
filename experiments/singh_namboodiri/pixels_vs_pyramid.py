"""Pixels with TV and alpha-norm, and the Laplacian pyramid: the same images, layers and numbers of evaluations.

    python -m experiments.singh_namboodiri.pixels_vs_pyramid --images=folder --num_images=10 --layers=conv1,conv4,fc8
    python -m experiments.singh_namboodiri.pixels_vs_pyramid --images=folder --layers=conv4 --evaluations=5000

The stages of both recipes, `mahendran_vedaldi` and `laplacian_pyramid`, are stretched to --evaluations steps in all,
and nothing stops early. So they differ in parameterization, optimizer and in how long their priors stay, all at once.
For both: the text's error, PSNR and SSIM to the photograph, the root mean square difference between the three coarsest
of six pyramid levels of the two images, in gray levels, whole and of color alone, and the time of an inversion in the
fastest batch, which has compiled and is full. The paper says that its pyramid has the better coarse color, and gives
no number.

convergence_LAYER.png shows the mean relative error against evaluations. The table has it after half of them, too: what
the second half still gained says how far a descent is from its end.
"""

import functools

import numpy as np

import invert_jax as ij
from experiments.lib import flags, paper, table

FLAGS = flags.FLAGS

_TO_PHOTOGRAPH = {
    "psnr": ij.metrics.psnr,
    "ssim": ij.metrics.ssim,
    "coarse": paper.coarse_difference,
    "color": functools.partial(paper.coarse_difference, color=True),
}


def _cases(layer):
    representation, names = flags.representation(layer), flags.chosen("recipes", flags.RECIPES)
    recipes = {name: paper.stretched(flags.recipe(name, representation), FLAGS.evaluations) for name in names}
    return [paper.Case(name, layer, recipe) for name, recipe in recipes.items()]


def _traces(case, found):
    """The first restart's relative error before each step, `[N, T]`, from its loss; NaN if it is not finite."""
    losses = np.stack([np.where(restarts.finite[0], restarts.energy.loss[0], np.nan) for restarts in found])
    return np.sqrt(losses) if case.recipe.loss is ij.losses.normalized_squared_l2 else losses


def _more(layer, case, found, images, numbers):
    """How near the restored images, clipped to 0..255, are to the photographs."""
    pairs = [(np.clip(restarts.image[0], 0, 255), image) for restarts, image in zip(found, images, strict=True)]
    near = {name: np.array([measure(*pair) for pair in pairs]) for name, measure in _TO_PHOTOGRAPH.items()}
    return {
        "recipe": case.label,
        "halfway": _traces(case, found)[:, FLAGS.evaluations // 2],
        "seconds": min(restarts.seconds[0] for restarts in found),
        **near,
    }


def _pictures(rows, photographs):
    lines = table.lines_of_cases(rows, photographs)
    title = f"{' and '.join(FLAGS.recipes)}, {FLAGS.evaluations} evaluations, {paper.network()} (clipped to 0..255)"
    pictures = {"pixels_vs_pyramid": lambda: paper.sheet(list(lines.values()), title=title)}
    return pictures | {f"convergence_{layer}": functools.partial(_plot, layer, rows) for layer in lines}


def _plot(layer, rows):
    steps = np.unique(np.round(np.geomspace(1, FLAGS.evaluations, 12)).astype(int))
    traces = {row.case.label: _traces(row.case, row.found)[:, steps - 1] for row in rows if row.layer == layer}
    return ij.viz.curves(
        steps,
        {recipe: np.nanmean(100 * errors, axis=0) for recipe, errors in traces.items()},
        title=f"{layer}, mean of {FLAGS.num_images} photographs",
        x_label="evaluations",
        y_label="relative error, %",
    )


_tenths = functools.partial(paper.mean, digits=1)

TABLE = table.Table(
    name="pixels_vs_pyramid",
    cases=_cases,
    columns=(
        ("layer", "layer", str),
        ("recipe", "recipe", str),
        ("normalized error, %", "normalized_error", paper.percent),
        ("relative error halfway, %", "halfway", paper.percent),
        ("relative error, %", "relative_error", paper.percent),
        ("PSNR, dB", "psnr", _tenths),
        ("SSIM", "ssim", functools.partial(paper.mean, digits=2)),
        ("coarse error, gray levels", "coarse", _tenths),
        ("of color", "color", _tenths),
        ("seconds", "seconds", paper.mean),
    ),
    layers=("conv1", "norm2", "conv4", "conv5", "pool5", "fc8"),
    more=_more,
    pictures=_pictures,
    note=" PSNR, SSIM and color of images clipped to 0..255.",
    more_flags={"recipes": ("mahendran_vedaldi", "laplacian_pyramid"), "evaluations": 900},
)

if __name__ == "__main__":
    TABLE.run()
