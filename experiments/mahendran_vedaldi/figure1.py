"""Figure 1: several images that CNN-A's last layer, fc8, does not distinguish from the photograph.

    python -m experiments.mahendran_vedaldi.figure1 --images=photograph.jpg

Took 3 minutes on two CPU cores that had other work, without flags.

Five restarts from fc8 with lambda_V = 50, clipped to 0..255. The paper's restarts show parts of the object, repeated
and displaced; its network encodes more at fc8 than the bundled one.
"""

import invert_jax as ij
from experiments.lib.figure import Case, Figure

FIGURE = Figure(
    name="figure1",
    title="Figure 1: restarts",
    cases=lambda layer: [Case(layer, layer, ij.recipes.for_layer(layer))],
    layers=("fc8",),
    num_restarts=5,
)

if __name__ == "__main__":
    FIGURE.run()
