"""Figure 1: several images that CNN-A's last layer, fc8, does not tell from the photograph.

    python -m experiments.mahendran_vedaldi.figure1 --images=photograph.jpg

Took 3 minutes on two CPU cores that had other work, without flags.

Five restarts from fc8 with lambda_V = 50, clipped to 0..255. The paper's restarts show parts of the object, repeated
and moved about; its network has more to say at fc8 than the bundled one.
"""

from absl import flags

import invert_jax as ij
from experiments.lib import cache, common, paper

FLAGS = flags.FLAGS


def _define_flags():
    paper.define_flags("figure1", num_images=1, alexnet=True)
    flags.DEFINE_integer("num_restarts", 5, "Random starts.", lower_bound=1)


def main() -> None:
    """Makes the figure that the flags describe."""
    photographs = paper.photographs(size=paper.ALEXNET_SIZE, gray=False)
    paper.say_photographs(photographs)
    workdir = common.make_workdir(FLAGS.workdir)
    inversions = cache.inversions(
        workdir,
        paper.alexnet("fc8"),
        ij.recipes.for_layer("fc8"),
        [photo.image for photo in photographs],
        num_restarts=FLAGS.num_restarts,
        description="fc8",
    )

    tiles, labels, rows = [], [], []
    for photo, found in zip(photographs, inversions, strict=True):
        tiles += [photo.image, *found.image]
        labels += [photo.name, *(f"restart {r}: {100 * error:.0f} %" for r, error in enumerate(found.error))]
        rows.append({"image": photo.name, "relative_errors": found.error, "finite": found.finite})

    title = f"Figure 1: restarts from fc8 of {paper.network()}, relative error (clipped to 0..255)"
    paper.finish(
        workdir,
        results={"network": paper.network(), "restarts": rows},
        table=paper.markdown(
            ["photograph", "relative error, %"],
            [[row["image"], paper.percent(row["relative_errors"][row["finite"]])] for row in rows],
        ),
        pictures={"figure1": ij.viz.montage(tiles, labels=labels, columns=1 + FLAGS.num_restarts, title=title)},
    )


if __name__ == "__main__":
    _define_flags()
    common.run(main)
