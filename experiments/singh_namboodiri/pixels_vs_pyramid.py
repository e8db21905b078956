"""Pixels with TV and alpha-norm, and the Laplacian pyramid: the same images, layers and numbers of evaluations.

    python -m experiments.singh_namboodiri.side_by_side --images=folder --num_images=10 --layers=conv1,conv4,fc8
    python -m experiments.singh_namboodiri.side_by_side --images=folder --recipes=pixels --evaluations=5000

The pixels descend by `recipes.for_layer`, the pyramid by `recipes.laplacian_pyramid`; the stages of both are stretched
to --evaluations steps in all, and nothing stops early. So they differ in spelling, optimizer and in how long they keep
their priors, all at once. For both: the text's error, PSNR and SSIM to the photograph, the root mean square difference
between the two pictures' three coarsest of six levels, in gray levels, whole and of color alone, and the time of an
inversion in the fastest batch, which has compiled and is full; that is in the table alone. The paper says that its
pyramid has the better coarse color, and gives no number.

convergence_LAYER.png shows the mean relative error against evaluations. The table has it after half of them, too: what
the second half still gained tells how far a descent is from its end.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from absl import flags

import invert_jax as ij
from experiments.lib import cache, common, paper

FLAGS = flags.FLAGS

LAYERS = ("conv1", "norm2", "conv4", "conv5", "pool5", "fc8")

_TO_PHOTOGRAPH = {
    "psnr": ij.metrics.psnr,
    "ssim": ij.metrics.ssim,
    "coarse": paper.coarse_difference,
    "color": paper.color_difference,
}


def _define_flags():
    paper.define_flags("side_by_side", num_images=2, alexnet=True)
    flags.DEFINE_list("layers", list(LAYERS), "Layers to invert.")
    flags.DEFINE_list("recipes", list(common.RECIPES), f"Of {', '.join(common.RECIPES)}.")
    flags.DEFINE_integer("evaluations", 900, "Gradient evaluations of each descent.", lower_bound=20)
    paper.define_scale_flag()


def main() -> None:
    """Measures what the flags describe."""
    paper.require_known("--layers", FLAGS.layers, ij.networks.LAYER_NAMES)
    paper.require_known("--recipes", FLAGS.recipes, common.RECIPES)
    photographs = paper.photographs(size=paper.ALEXNET_SIZE, gray=False)
    scale_by = paper.scale_photographs()
    paper.say_photographs(photographs)
    workdir = common.make_workdir(FLAGS.workdir)

    images, rows, times, tiles, labels = [photo.image for photo in photographs], [], [], [], []
    descents = {}
    for layer in FLAGS.layers:
        representation = paper.alexnet(layer)
        tiles.append(images[0])
        labels.append(f"{photographs[0].name}, {layer}")
        descents[layer] = {}
        for name in FLAGS.recipes:
            recipe = stretched(common.RECIPES[name](layer), FLAGS.evaluations)
            found = cache.inversions(workdir, representation, recipe, images, description=f"{layer}, {name}")
            descents[layer][name] = relative_errors(recipe, found)
            restored = [np.clip(inversion.image[0], 0, 255) for inversion in found]
            to_photograph = list(zip(restored, images, strict=True))
            rows.append(
                {
                    "layer": layer,
                    "spelling": name,
                    **paper.measures(representation, found, images, scale_by),
                    "halfway": descents[layer][name][:, FLAGS.evaluations // 2],
                    **{like: np.array([of(*pair) for pair in to_photograph]) for like, of in _TO_PHOTOGRAPH.items()},
                }
            )
            times.append(min(each.seconds[0] for each in found))
            tiles.append(found[0].image[0])
            labels.append(f"{name}: {100 * rows[-1]['text'][0]:.0f} %")

    table = paper.markdown(
        [
            "layer",
            "",
            "the text's error, %",
            "relative, half way, %",
            "relative, %",
            "PSNR, dB",
            "SSIM",
            "coarse error, gray levels",
            "of color",
            "seconds",
        ],
        [
            [
                row["layer"],
                row["spelling"],
                *(paper.percent(row[name]) for name in ("text", "halfway", "relative")),
                f"{paper.mean_of(row['psnr']):.1f}",
                f"{paper.mean_of(row['ssim']):.2f}",
                f"{paper.mean_of(row['coarse']):.1f}",
                f"{paper.mean_of(row['color']):.1f}",
                f"{seconds:.0f}",
            ]
            for row, seconds in zip(rows, times, strict=True)
        ],
    )
    note = (
        f"{paper.network()}; means over {len(images)} photographs, N_Phi over {len(scale_by)}; "
        f"{FLAGS.evaluations} evaluations of the gradient each. PSNR, SSIM and color of the pictures clipped to 0..255."
    )
    title = f"{' and '.join(FLAGS.recipes)}, {FLAGS.evaluations} evaluations, {paper.network()} (clipped to 0..255)"
    at = np.unique(np.round(np.geomspace(1, FLAGS.evaluations, 12)).astype(int))
    plots = {
        f"convergence_{layer}": ij.viz.curves(
            at,
            {name: np.nanmean(100 * errors[:, at - 1], axis=0) for name, errors in each.items()},
            title=f"{layer}, mean of {len(images)} photographs",
            x_label="evaluations",
            y_label="relative error, %",
        )
        for layer, each in descents.items()
    }
    paper.finish(
        workdir,
        results={"network": paper.network(), "images": [photo.name for photo in photographs], "rows": rows},
        table=f"{table}\n{note}\n",
        pictures={
            "side_by_side": ij.viz.montage(tiles, labels=labels, columns=1 + len(FLAGS.recipes), title=title),
            **plots,
        },
    )


def stretched(recipe: ij.Recipe, num_steps: int) -> ij.Recipe:
    """The recipe with its stages stretched to this many steps in all, at least one each, and all of them made."""
    ends = np.round(np.cumsum(recipe.steps) * (num_steps / recipe.num_steps)).astype(int)
    return dataclasses.replace(recipe, steps=tuple(int(count) for count in np.diff(ends, prepend=0)), tolerance=None)


def relative_errors(recipe: ij.Recipe, found: Sequence[ij.sweeps.Restarts]) -> np.ndarray:
    """The first restart's relative error before each step, `[P, T]`, from its loss; NaN if it is not finite."""
    losses = np.stack([np.where(each.finite[0], each.energy[0, :, 1], np.nan) for each in found])
    return np.sqrt(losses) if recipe.loss is ij.losses.normalized_squared_l2 else losses


if __name__ == "__main__":
    _define_flags()
    common.run(main)
