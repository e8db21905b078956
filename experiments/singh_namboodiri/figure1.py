"""Figure 1: a pyramid of two levels against one of six, from the last convolutional layers.

    python -m experiments.singh_namboodiri.figure1 --images=photograph.jpg
    python -m experiments.singh_namboodiri.figure1 --images=photograph.jpg --nopriors

One restart for each by `recipes.laplacian_pyramid(layer, num_levels=...)`, from conv5 and pool5. The paper shows that
it takes six levels for a good picture; it gives no number. Ours, beside the relative error: peak signal-to-noise ratio
to the photograph, and the root mean square difference of the three coarsest of six levels.

On the bundled network, the cat: from conv5 six levels have an error of 2.4 % and two of 2.7, and have the better color
(19.0 against 18.4 dB); from pool5 11.7 and 9.1 %, and 17.1 against 16.3 dB. By the paper's equation alone, --nopriors,
both are noise to the eye.
"""

import invert_jax as ij
from experiments.lib import flags, paper
from experiments.lib.figure import Case, Figure, Measure

# Without priors the coarse stages have to shape the picture alone, which takes them more steps.
_NO_PRIORS = {"lambda_tv": 0.0, "lambda_alpha": 0.0, "coarse_stage": (ij.recipes.COARSE_STAGE[0], 300)}


def _case(layer, levels):
    changes = {} if flags.FLAGS.priors else _NO_PRIORS
    recipe = ij.recipes.laplacian_pyramid(layer, num_levels=levels, **changes)
    return Case(f"{layer}, {levels} levels", layer, recipe)


FIGURE = Figure(
    name="pyramid_figure1",
    title="Figure 1: pyramids of 2 and 6 levels",
    cases=lambda layer: [_case(layer, levels) for levels in (2, 6)],
    layers=("conv5", "pool5"),
    row_per_layer=True,
    measures={
        "psnr": Measure("PSNR, dB", lambda image, photo, _: float(ij.metrics.psnr(image, photo))),
        "color_error": Measure("color error, gray levels", lambda *args: paper.coarse_difference(*args[:2])),
    },
    more_flags={"priors": True},
)

if __name__ == "__main__":
    FIGURE.run()
