"""Table 2 and Figure 4: photographs from their dense SIFT, gray and color.

    python -m experiments.singh_namboodiri.table2 --images=folder --num_images=10

Ten photographs take three minutes on two CPU cores.

SIFT of 16 x 16 patches, 8 pixels apart, of photographs of 128 x 128 (`ij.patch_sift`), inverted by
`recipes.laplacian_pyramid()`, without compactness as in the paper. The error is the text's, normalized by the mean
distance between the features of --num_scale_images photographs. The paper: gray 4.5 %, color 3.2 %, and pictures much
like the photographs. Ours, on 10 ImageNet photographs: gray 1.2 ± 0.6 %, color 1.3 ± 0.7 %.
"""

import invert_jax as ij
from experiments.lib import flags, paper
from invert_jax._util import command, reprs

FLAGS = flags.FLAGS

SIZE = 128
_PAPER = {"gray": 4.5, "color": 3.2}
COLUMNS = (
    ("SIFT", "name", str),
    ("ours, %", "normalized_error", paper.percent),
    ("the paper's, %", "name", _PAPER.get),
    ("evaluations", "evaluations", paper.mean),
)


def define_flags() -> None:
    """Defines the flags of the table."""
    flags.define_paper("pyramid_table2", num_images=4, num_scale_images=100)


def main() -> int:
    """Measures the table and makes the figure that the flags describe."""
    size, recipe = FLAGS.size or SIZE, flags.restage(ij.recipes.laplacian_pyramid())
    photographs = {name: paper.photographs(size=size, gray=name == "gray") for name in _PAPER}
    scale_by = {name: paper.scale_photographs(size=size, gray=name == "gray") for name in _PAPER}
    paper.announce(photographs["color"])
    workdir, rows = command.make_workdir(FLAGS.workdir), {}
    lines = [[(photo.image, photo.name, "clip") for photo in photographs["color"]]]
    for name in _PAPER:
        case = paper.Case(name, ij.patch_sift(color=name == "color"), recipe)
        images = [photo.image for photo in photographs[name]]
        found = paper.invert(workdir, case, images)
        rows[name] = paper.measure(case.phi, found, images, scale_by[name])
        labels = [f"{name}: {reprs.error_text(error)}" for error in rows[name]["relative_error"]]
        lines.append([(f.image[0], label, "clip") for f, label in zip(found, labels, strict=True)])
    title = "Figure 4: photographs, and their inversions from gray and color SIFT, relative error"
    table = paper.table(COLUMNS, [{"name": name, **row} for name, row in rows.items()])
    return paper.finish(
        workdir,
        results={"images": [photo.name for photo in photographs["color"]], "sift": rows},
        table=f"{table}\nN_Phi over {len(scale_by['color'])} photographs.\n",
        pictures={"figure4": lambda: paper.sheet(lines, title=title)},
        finite=[row["finite"] for row in rows.values()],
    )


if __name__ == "__main__":
    command.run(main, define_flags)
