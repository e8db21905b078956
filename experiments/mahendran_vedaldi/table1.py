"""Table 1: reconstruction errors of HOG, HOGb and DSIFT, and of HOGgle.

    python -m experiments.mahendran_vedaldi.table1 --images=folder --num_images=100 --hoggle=dictionaries.npz

Took 39 minutes on two CPU cores that had other work.

One restart for each photograph by `recipes.shallow`, lambda_V = 5, for the representations of the released code and
for VLFeat's. The error is the text's, |Phi(x*) - Phi(x_i)| / N_Phi with N_Phi the mean distance between the codes of
two of the photographs; the released script's squared one and the relative error stand beside it. HOGgle inverts
VLFeat's HOG with dictionaries from `experiments.learn_hoggle`; without --hoggle its row is left out.

The paper, on 100 ImageNet photographs: HOGgle 66.20 ± 13.7, HOG 28.10 ± 7.9, HOGb 10.67 ± 5.2, DSIFT 10.89 ± 7.5 %.
Ours, on 100 others: 68.9 ± 5.6, 28.9 ± 4.5, 10.5 ± 3.5, 7.8 ± 4.1 %; VLFeat's three 28.2 ± 4.4, 10.1 ± 3.9, 8.5 ± 6.4.
"""

import numpy as np
from absl import flags

import invert_jax as ij
from experiments.lib import cache, common, paper

FLAGS = flags.FLAGS

_PAPER = {"hoggle": "66.20 ± 13.7", "hog": "28.10 ± 7.9", "hogb": "10.67 ± 5.2", "dsift": "10.89 ± 7.5"}
_SHOWN = 6  # photographs on a sheet


def _define_flags():
    paper.define_flags("table1", num_images=5, alexnet=False)
    flags.DEFINE_list("representations", list(paper.GRAY), f"Of {', '.join(paper.GRAY)}.")
    flags.DEFINE_string("hoggle", None, "Dictionaries from experiments.learn_hoggle; no row of HOGgle if absent.")
    flags.DEFINE_integer("size", 160, "Side to which the photographs are resized.", lower_bound=32)
    flags.DEFINE_float("lambda_tv", 5.0, "Weight of TV^2.")


def main() -> None:
    """Measures the table that the flags describe."""
    if FLAGS.representations or FLAGS.hoggle is None:
        paper.require_known("--representations", FLAGS.representations, paper.GRAY)
    if FLAGS.num_images < 2:
        raise ValueError(
            f"--num_images is {FLAGS.num_images}; errors are scaled by distances between photographs: >= 2."
        )
    recipe = ij.recipes.shallow(lambda_tv=FLAGS.lambda_tv)
    photographs = paper.photographs(size=FLAGS.size, gray=True)
    paper.say_photographs(photographs)
    images = [photo.image for photo in photographs]
    workdir = common.make_workdir(FLAGS.workdir)

    rows, restored = {}, {}
    if FLAGS.hoggle is not None:
        invert = cache.hoggle(workdir, FLAGS.hoggle)
        restored["hoggle"] = [invert(image) for image in paper.track(images, "hoggle")]
        rows["hoggle"] = _errors(ij.hog(), restored["hoggle"], images)
    for name in FLAGS.representations:
        representation = paper.GRAY[name]()
        found = cache.inversions(workdir, representation, recipe, images, description=name)
        restored[name] = [np.where(each.finite[0], each.image[0], np.nan) for each in found]
        rows[name] = _errors(representation, restored[name], images)

    percent = paper.percent
    table = paper.markdown(
        ["", "the text's error, %", "the paper's, %", "released script's (squared), %", "relative, %"],
        [
            [name, percent(row["text"]), _PAPER.get(name, ""), percent(row["squared"]), percent(row["relative"])]
            for name, row in rows.items()
        ],
    )
    note = (
        f"Mean ± standard deviation over {len(images)} photographs of {FLAGS.size} x {FLAGS.size}, "
        f"lambda_V = {FLAGS.lambda_tv:g}."
    )
    paper.finish(
        workdir,
        results={"images": [photo.name for photo in photographs], "errors": rows},
        table=f"{table}\n{note}\n",
        pictures={"table1": _sheet(images, restored)},
    )


def _errors(representation, restored, images):
    features, targets = (paper.codes(representation, some) for some in (restored, images))
    normalized = ij.metrics.normalized_errors(features, targets)
    relative = [ij.metrics.relative_error(*pair) for pair in zip(features, targets, strict=True)]
    return {
        "text": np.asarray(normalized.text),
        "squared": np.asarray(normalized.squared),
        "relative": np.asarray(relative),
    }


def _sheet(images, restored):
    """A row for each photograph: itself, and what each representation gave back."""
    tiles, labels, modes = [], [], []
    for i, image in enumerate(images[:_SHOWN]):
        tiles += [image, *(found[i] for found in restored.values())]
        labels += ["photograph", *restored] if i == 0 else [""] * (1 + len(restored))
        modes += ["clip", *["stretch"] * len(restored)]
    title = "Table 1: inversions (stretched to full contrast, to which the codes are nearly blind)"
    return ij.viz.montage(tiles, labels=labels, columns=1 + len(restored), title=title, mode=modes)


if __name__ == "__main__":
    _define_flags()
    common.run(main)
