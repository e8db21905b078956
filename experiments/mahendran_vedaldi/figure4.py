"""Figure 4: HOG inverted with a smaller, a comparable and a larger weight of total variation.

    python -m experiments.mahendran_vedaldi.figure4 --variant=released --images=photograph.jpg

Took 2 minutes on two CPU cores that had other work.

VLFeat's HOG, or the paper's (--variant=released), of one gray photograph (largest side 500 at most), one restart by
`recipes.shallow` with lambda_V = 0.5, 5 and 50, stretched to full contrast as in the paper. There the smallest leaves
the grid of the cells in the picture and the largest blurs it. 800 steps are not convergence: where lambda_V = 0.5 ends
with a larger error than 5, it has not converged. Beside the relative error stands the total variation, the mean length
of the gradient in gray levels per pixel, which the weight is to lower; the paper gives no number.
"""

import invert_jax as ij
from experiments.lib import paper
from experiments.lib.figure import Figure, Measure, cases_by_weight


def _variation(image, *_):
    return paper.variation(image)


FIGURE = Figure(
    name="figure4",
    title="Figure 4: inversions of HOG",
    cases=cases_by_weight(ij.recipes.shallow, 0.5, 5.0, 50.0),
    representations=("hog",),
    measures={"variation": Measure("variation, gray levels/pixel", _variation, 2, "variation", of_photograph=True)},
)

if __name__ == "__main__":
    FIGURE.run()
