"""Figure 7: what deep layers do not tell apart, several restarts from pool5, relu6, relu7 and fc8.

    python -m experiments.mahendran_vedaldi.figure7 --images=photograph.jpg,pattern.jpg --num_restarts=6

Took 14 minutes on two CPU cores that had other work, without flags.

lambda_V = 0.5, 5, 50 and 50 as in the released code; clipped to 0..255. The paper inverts a photograph and an
abstract pattern with six restarts, which in the released code ran as one descent with a weight six times as large;
ours know nothing of each other, and from pool5 of the bundled network 0.5 gives noise at 40 to 65 % error. With
--lambdas=50,50,50,50, Table 3's own, it shows where things are.

In the paper deformations grow from layer to layer, and relu7 and fc8 repeat the object at other places and scales. Our
number for this is the restarts' spread, the root mean square of their difference from their mean with R - 1 in the
denominator, in gray levels; the weights differ from layer to layer, and so does the noise in it. The paper gives none.
"""

import itertools

import numpy as np
from absl import flags

import invert_jax as ij
from experiments.lib import cache, common, paper

FLAGS = flags.FLAGS

LAMBDAS = {"pool5": 0.5, "relu6": 5.0, "relu7": 50.0, "fc8": 50.0}
"""The released code's."""


def _define_flags():
    paper.define_flags("figure7", num_images=2, alexnet=True)
    flags.DEFINE_integer("num_restarts", 4, "Random starts; the paper's are 6.", lower_bound=2)
    flags.DEFINE_list("lambdas", [f"{value:g}" for value in LAMBDAS.values()], f"Weights at {', '.join(LAMBDAS)}.")


def main() -> None:
    """Makes the figure that the flags describe."""
    lambdas = dict(zip(LAMBDAS, paper.numbers("--lambdas", FLAGS.lambdas, count=len(LAMBDAS)), strict=True))
    photographs = paper.photographs(size=paper.ALEXNET_SIZE, gray=False)
    paper.say_photographs(photographs)
    workdir = common.make_workdir(FLAGS.workdir)
    inversions = {
        layer: cache.inversions(
            workdir,
            paper.alexnet(layer),
            ij.recipes.mahendran_vedaldi(lambda_tv=lambda_tv),
            [photo.image for photo in photographs],
            num_restarts=FLAGS.num_restarts,
            description=layer,
        )
        for layer, lambda_tv in lambdas.items()
    }

    tiles, labels, rows = [], [], []
    for (i, photo), layer in itertools.product(enumerate(photographs), lambdas):
        found = inversions[layer][i]
        shown = np.clip(found.image[found.finite], 0, 255)
        tiles += [photo.image, *found.image]
        labels += [f"{photo.name}, {layer}", *(f"restart {r}: {100 * e:.0f} %" for r, e in enumerate(found.error))]
        rows.append(
            {
                "image": photo.name,
                "layer": layer,
                "lambda_tv": lambdas[layer],
                "relative_errors": found.error,
                "finite": found.finite,
                "spread": np.sqrt(np.mean(shown.var(axis=0, ddof=1))) if len(shown) > 1 else np.nan,
            }
        )

    title = f"Figure 7: restarts from deep layers of {paper.network()}, relative error (clipped to 0..255)"
    paper.finish(
        workdir,
        results={"network": paper.network(), "restarts": rows},
        table=paper.markdown(
            ["photograph", "layer", "lambda_V", "relative error, %", "spread, gray levels"],
            [
                [
                    row["image"],
                    row["layer"],
                    f"{row['lambda_tv']:g}",
                    paper.percent(row["relative_errors"]),
                    f"{row['spread']:.1f}",
                ]
                for row in rows
            ],
        ),
        pictures={"figure7": ij.viz.montage(tiles, labels=labels, columns=1 + FLAGS.num_restarts, title=title)},
    )


if __name__ == "__main__":
    _define_flags()
    common.run(main)
