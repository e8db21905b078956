"""Figure 3: one gray photograph from its HOG by HOGgle, and from HOG, HOGb and DSIFT by descent.

    python -m experiments.mahendran_vedaldi.figure3 --images=photograph.jpg --hoggle=dictionaries.npz

Took a minute and a half on two CPU cores that had other work, with --hoggle.

The representations of the released code, at the photograph's own size (largest side 500 at most), one restart by
`recipes.shallow` with lambda_V = 0.5, as in the released figure. HOGgle inverts VLFeat's HOG with dictionaries from
`experiments.learn_hoggle`; without --hoggle its picture is left out. Reconstructions are stretched to full contrast,
to which these codes are nearly blind. In the paper each is sharper than the one before: HOGgle, HOG, HOGb, DSIFT.
"""

from absl import flags

import invert_jax as ij
from experiments.lib import cache, common, paper

FLAGS = flags.FLAGS

LAMBDA_TV = 0.5
_NAMES = {"hog": "HOG", "hogb": "HOGb", "dsift": "DSIFT"}


def _define_flags():
    paper.define_flags("figure3", num_images=1, alexnet=False)
    flags.DEFINE_string("hoggle", None, "Dictionaries from experiments.learn_hoggle; no HOGgle if absent.")


def main() -> None:
    """Makes the figure that the flags describe."""
    photographs = paper.photographs(size=None, gray=True)
    paper.say_photographs(photographs)
    workdir = common.make_workdir(FLAGS.workdir)
    images, recipe = [photo.image for photo in photographs], ij.recipes.shallow(lambda_tv=LAMBDA_TV)
    kinds = {}
    for kind, name in _NAMES.items():
        found = cache.inversions(workdir, paper.GRAY[kind](), recipe, images, description=name, chunk_size=1)
        kinds[name] = [(each.image[0], each.error[0]) for each in found]
    if FLAGS.hoggle is not None:
        kinds = {"HOGgle": _hoggle(workdir, images), **kinds}
    else:
        common.console.print("No --hoggle given: HOGgle is left out.", highlight=False)

    tiles, labels, errors = [], [], {name: [] for name in kinds}
    for i, photo in enumerate(photographs):
        tiles.append(photo.image)
        labels.append(photo.name)
        for name, restored in kinds.items():
            image, error = restored[i]
            tiles.append(image)
            labels.append(f"{name}: {100 * error:.0f} %")
            errors[name].append(error)

    left_out = "" if FLAGS.hoggle else "; HOGgle left out"
    title = f"Figure 3: inversions, lambda_V = {LAMBDA_TV:g}, relative error (stretched to full contrast{left_out})"
    modes = ["clip", *["stretch"] * len(kinds)] * len(photographs)
    table = paper.markdown(
        ["", "relative error, %"], [[name, paper.percent(values)] for name, values in errors.items()]
    )
    paper.finish(
        workdir,
        results={"images": [photo.name for photo in photographs], "relative_errors": errors},
        table=table,
        pictures={"figure3": ij.viz.montage(tiles, labels=labels, columns=1 + len(kinds), title=title, mode=modes)},
    )


def _hoggle(workdir, images):
    """Inversions of VLFeat's HOG by dictionaries: each image, and its relative error."""
    hog, invert = ij.hog(), cache.hoggle(workdir, FLAGS.hoggle)
    pairs = [(image, invert(image)) for image in paper.track(images, "HOGgle")]
    return [
        (restored, float(ij.metrics.relative_error(hog(restored), hog(_covered(image, restored)))))
        for image, restored in pairs
    ]


def _covered(image, restored):
    """The whole cells of a photograph, which are what HOG has seen."""
    return image[: restored.shape[0], : restored.shape[1]]


if __name__ == "__main__":
    _define_flags()
    common.run(main)
