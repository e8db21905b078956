"""Figure 1: a pyramid of two levels against one of six, from the last convolutional layers.

    python -m experiments.singh_namboodiri.figure1 --images=photograph.jpg
    python -m experiments.singh_namboodiri.figure1 --images=photograph.jpg --nopriors

One restart for each by `recipes.laplacian_pyramid(layer, num_levels=...)`, from conv5 and pool5. The paper shows that
it takes six levels for a good picture; it gives no number. Ours, beside the relative error: peak signal-to-noise ratio
to the photograph, and the root mean square difference of the three coarsest of six levels.

On the bundled network, scikit-image's cat: from conv5 six levels come to 2.4 % and two to 2.7, and have the better
color (19.0 against 18.4 dB); from pool5 to 11.7 and 9.1 %, and 17.1 against 16.3 dB. By the paper's equation alone,
--nopriors, both are noise to the eye.
"""

from absl import flags

import invert_jax as ij
from experiments.lib import cache, common, paper

FLAGS = flags.FLAGS

LAYERS = ("conv5", "pool5")
LEVELS = (2, 6)
_TO_CONVERGENCE = (ij.recipes.COARSE_STAGE[0], 300)


def _define_flags():
    paper.define_flags("pyramid_figure1", num_images=1, alexnet=True)
    flags.DEFINE_bool("priors", True, "TV and alpha-norm, which the paper has not; without, longer coarse stages.")


def main() -> None:
    """Makes the figure that the flags describe."""
    photographs = paper.photographs(size=paper.ALEXNET_SIZE, gray=False)
    paper.say_photographs(photographs)
    workdir = common.make_workdir(FLAGS.workdir)

    tiles, labels, rows = [], [], []
    for layer in LAYERS:
        own = {} if FLAGS.priors else {"lambda_tv": 0.0, "lambda_alpha": 0.0, "coarse_stage": _TO_CONVERGENCE}
        recipes = {levels: ij.recipes.laplacian_pyramid(layer, num_levels=levels, **own) for levels in LEVELS}
        inversions = cache.by_recipe(
            workdir,
            paper.alexnet(layer),
            recipes,
            [photo.image for photo in photographs],
            called=f"{layer}, levels",
        )
        for i, photo in enumerate(photographs):
            tiles.append(photo.image)
            labels.append(f"{photo.name}, {layer}")
            for levels in LEVELS:
                found = inversions[levels][i]
                tiles.append(found.image[0])
                labels.append(f"{levels} levels: {100 * found.error[0]:.0f} %")
                rows.append(
                    {
                        "image": photo.name,
                        "layer": layer,
                        "num_levels": levels,
                        "relative_error": found.error[0],
                        "evaluations": found.evaluations[0],
                        "psnr": float(ij.metrics.psnr(found.image[0], photo.image)),
                        "color_error": paper.coarse_difference(found.image[0], photo.image),
                    }
                )

    how = "" if FLAGS.priors else " without priors"
    title = f"Figure 1: pyramids of 2 and 6 levels{how}, {paper.network()}, relative error"
    paper.finish(
        workdir,
        results={"network": paper.network(), "inversions": rows},
        table=paper.markdown(
            [
                "photograph",
                "layer",
                "levels",
                "relative error, %",
                "PSNR, dB",
                "color error, gray levels",
                "evaluations",
            ],
            [
                [
                    row["image"],
                    row["layer"],
                    row["num_levels"],
                    f"{100 * row['relative_error']:.1f}",
                    f"{row['psnr']:.1f}",
                    f"{row['color_error']:.1f}",
                    row["evaluations"],
                ]
                for row in rows
            ],
        ),
        pictures={"figure1": ij.viz.montage(tiles, labels=labels, columns=1 + len(LEVELS), title=title)},
    )


if __name__ == "__main__":
    _define_flags()
    common.run(main)
