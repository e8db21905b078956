"""Table 1: reconstruction errors of HOG, HOGb and DSIFT, and of HOGgle.

    python -m experiments.mahendran_vedaldi.table1 --images=folder --num_images=100 --hoggle=dictionaries.npz

Took 39 minutes on two CPU cores that had other work.

One restart for each photograph by `recipes.shallow`, lambda_V = 5, for the networks of the released code and for
VLFeat's, or for those of --variant alone. The error is the text's, |Phi(x*) - Phi(x_i)| / N_Phi with N_Phi the mean
distance between the features of two of the photographs; the released script's squared one and the relative error stand
beside it. HOGgle inverts VLFeat's HOG with dictionaries from `experiments.learn_hoggle`; without --hoggle its row is
left out.

The paper, on 100 ImageNet photographs: HOGgle 66.20 ± 13.7, HOG 28.10 ± 7.9, HOGb 10.67 ± 5.2, DSIFT 10.89 ± 7.5 %.
Ours, on 100 others: 68.9 ± 5.6, 28.9 ± 4.5, 10.5 ± 3.5, 7.8 ± 4.1 %; VLFeat's three 28.2 ± 4.4, 10.1 ± 3.9, 8.5 ± 6.4.
"""

import invert_jax as ij
from experiments.lib import flags, paper
from invert_jax._util import command

FLAGS = flags.FLAGS

PAPER = {
    "hoggle": "66.20 ± 13.7",
    "hog released": "28.10 ± 7.9",
    "hogb released": "10.67 ± 5.2",
    "dsift released": "10.89 ± 7.5",
}
COLUMNS = (
    ("", "label", str),
    ("normalized error, %", "normalized_error", paper.percent),
    ("the paper's, %", "label", lambda label: PAPER.get(label, "")),
    ("released script's (squared), %", "normalized_squared_error", paper.percent),
    ("relative error, %", "relative_error", paper.percent),
    *paper.LIKENESS,
)
_SHOWN = 6  # photographs on a sheet


def define_flags() -> None:
    """Defines the flags of the table."""
    flags.define_paper("table1", num_images=5, representations=flags.SHALLOW, variant=None, hoggle=None, lambda_tv=5.0)


def main() -> int:
    """Measures the table that the flags describe."""
    if FLAGS.representations or FLAGS.hoggle is None:
        flags.chosen("representations", flags.SHALLOW)
    if FLAGS.num_images < 2:
        raise ValueError("--num_images is 1; errors are normalized by distances between photographs: give 2 or more.")
    photographs = paper.photographs(size=flags.size_of("hog"), gray=True)
    paper.announce(photographs)
    images, workdir = [photo.image for photo in photographs], command.make_workdir(FLAGS.workdir)
    recipe = flags.restage(ij.recipes.shallow(lambda_tv=FLAGS.lambda_tv))
    cases = [] if FLAGS.hoggle is None else [paper.Case("hoggle", ij.hog(), None)]
    for variant in [FLAGS.variant] if FLAGS.variant else ["released", "vlfeat"]:
        for name in FLAGS.representations:
            representation = flags.representation(name, variant=variant)
            cases.append(paper.Case(f"{name} {variant}", representation, recipe))
    found = {case.label: paper.invert(workdir, case, images) for case in cases}
    rows = {case.label: paper.measure(case.phi, found[case.label], images) for case in cases}
    height, width, _ = images[0].shape
    note = (
        f"Mean ± standard deviation over {len(images)} photographs of {height} x {width}, "
        f"lambda_V = {FLAGS.lambda_tv:g}."
    )
    return paper.finish(
        workdir,
        results={"images": [photo.name for photo in photographs], "errors": rows},
        table=f"{paper.table(COLUMNS, [{'label': label, **row} for label, row in rows.items()])}\n{note}\n",
        pictures={"table1": lambda: _sheet(images, found)},
        finite=[row["finite"] for row in rows.values()],
    )


def _sheet(images, found):
    """A row for each photograph, with its inversion from each representation."""
    lines = []
    for i, image in enumerate(images[:_SHOWN]):
        restored = [(restarts[i].image[0], label, "stretch") for label, restarts in found.items()]
        lines.append([(image, "photograph", "clip"), *restored])
    title = "Table 1: inversions (stretched to full contrast, to which the features are nearly blind)"
    return paper.sheet(lines, title=title)


if __name__ == "__main__":
    command.run(main, define_flags)
