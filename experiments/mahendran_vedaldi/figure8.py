"""Figure 8: fc8 inverted with less and less of the natural-image prior, down to none.

    python -m experiments.mahendran_vedaldi.figure8 --images=photograph.jpg

Took 4 minutes on two CPU cores that had other work, without flags.

One restart with lambda_V = 50, 5 and 0.5 as in the paper, and further with 0.05, 0.005 and 0; the alpha-norm stays.
Clipped to 0..255. In the paper less of the prior matches the features as closely, with pictures that hardly resemble
anything: the network has strong non-natural confounders. Our number for the noise is the total variation of the
reconstruction (mean length of its gradient) over that of the photograph, 1 if they vary alike; the paper gives none.
"""

from experiments.lib import paper
from experiments.lib.figure import Figure, Measure, cases_by_weight


def _ratio(image, photograph, _):
    return paper.variation(image) / paper.variation(photograph)


FIGURE = Figure(
    name="figure8",
    title="Figure 8: less and less TV",
    cases=cases_by_weight(paper.published_recipe, 50.0, 5.0, 0.5, 0.05, 0.005, 0.0),
    layers=("fc8",),
    measures={"variation_ratio": Measure("total variation over the photograph's", _ratio, 2, "variation x")},
)

if __name__ == "__main__":
    FIGURE.run()
