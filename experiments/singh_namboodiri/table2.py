"""Table 2 and Figure 4: photographs from their dense SIFT, gray and color.

    python -m experiments.singh_namboodiri.table2 --images=folder --num_images=10

Ten photographs take three minutes on two CPU cores.

SIFT of 16 x 16 patches, 8 pixels apart, of photographs of 128 x 128 (`ij.patch_sift`), inverted by
`recipes.laplacian_pyramid()`, without compactness as in the paper. The error is the text's, normalized by the mean
distance between the codes of --num_scale_images photographs. The paper: gray 4.5 %, color 3.2 %, and pictures much like
the photographs. Ours, on 10 ImageNet photographs: gray 1.2 ± 0.6 %, color 1.3 ± 0.7 %.
"""

from absl import flags

import invert_jax as ij
from experiments.lib import cache, common, paper

FLAGS = flags.FLAGS

SIZE = 128
_PAPER = {"gray": 4.5, "color": 3.2}


def _define_flags():
    paper.define_flags("pyramid_table2", num_images=4, alexnet=False)
    paper.define_scale_flag()


def main() -> None:
    """Measures the table and makes the figure that the flags describe."""
    photographs = {gray: paper.photographs(size=SIZE, gray=gray) for gray in (False, True)}
    scale_by = {gray: paper.scale_photographs(size=SIZE, gray=gray) for gray in (False, True)}
    paper.say_photographs(photographs[False])
    workdir = common.make_workdir(FLAGS.workdir)

    rows, tiles = {}, [photo.image for photo in photographs[False]]
    labels = [photo.name for photo in photographs[False]]
    for name in _PAPER:
        representation = ij.patch_sift(color=name == "color")
        images, scale = [photo.image for photo in photographs[name == "gray"]], scale_by[name == "gray"]
        found = cache.inversions(workdir, representation, ij.recipes.laplacian_pyramid(), images, description=name)
        rows[name] = paper.measures(representation, found, images, scale)
        tiles += [inversion.image[0] for inversion in found]
        labels += [f"{name}: {100 * error:.1f} %" for error in rows[name]["relative"]]

    title = "Figure 4: photographs, and their inversions from gray and color SIFT, relative error"
    paper.finish(
        workdir,
        results={"images": [photo.name for photo in photographs[False]], "sift": rows},
        table=paper.markdown(
            ["SIFT", "ours, %", "the paper's, %", "evaluations"],
            [
                [name, paper.percent(row["text"]), _PAPER[name], f"{row['evaluations'].mean():.0f}"]
                for name, row in rows.items()
            ],
        )
        + f"\nN_Phi over {len(scale_by[False])} photographs.\n",
        pictures={"figure4": ij.viz.montage(tiles, labels=labels, columns=len(photographs[False]), title=title)},
    )


if __name__ == "__main__":
    _define_flags()
    common.run(main)
