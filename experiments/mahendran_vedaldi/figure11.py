"""Figure 11: what pool5 keeps of five photographs.

    python -m experiments.mahendran_vedaldi.figure11 --images=folder

Took 4 minutes on two CPU cores that had other work, without flags.

One restart for each by `recipes.for_layer`, lambda_V = 50, photographs above; clipped to 0..255. The paper shows
reconstructions in which object, parts and setting can all be told; it gives no number here, and 19.0 +- 4.3 % in
Table 3, whose measure is not the relative error.
"""

import numpy as np
from absl import flags

import invert_jax as ij
from experiments.lib import cache, common, paper

FLAGS = flags.FLAGS

LAYER = "pool5"


def _define_flags():
    paper.define_flags("figure11", num_images=5, alexnet=True)


def main() -> None:
    """Makes the figure that the flags describe."""
    photographs = paper.photographs(size=paper.ALEXNET_SIZE, gray=False)
    paper.say_photographs(photographs)
    workdir = common.make_workdir(FLAGS.workdir)
    images = [photo.image for photo in photographs]
    found = cache.inversions(workdir, paper.alexnet(LAYER), ij.recipes.for_layer(LAYER), images, description=LAYER)
    errors = np.concatenate([inversion.error for inversion in found])

    names = [photo.name for photo in photographs]
    paper.finish(
        workdir,
        results={
            "network": paper.network(),
            "images": names,
            "relative_errors": errors,
            "finite": np.concatenate([inversion.finite for inversion in found]),
        },
        table=paper.markdown(
            ["photograph", "relative error, %"],
            [[name, f"{100 * error:.1f}"] for name, error in zip(names, errors, strict=True)],
        ),
        pictures={
            "figure11": ij.viz.montage(
                [*(photo.image for photo in photographs), *(inversion.image[0] for inversion in found)],
                labels=[*names, *(f"{100 * error:.0f} %" for error in errors)],
                columns=len(photographs),
                title=f"Figure 11: {LAYER} of {paper.network()}, relative error (clipped to 0..255)",
            )
        },
    )


if __name__ == "__main__":
    _define_flags()
    common.run(main)
