"""Figure 11: what pool5 preserves of five photographs.

    python -m experiments.mahendran_vedaldi.figure11 --images=folder

Took 4 minutes on two CPU cores that had other work, without flags.

One restart for each by `recipes.for_layer`, lambda_V = 50, photographs above; clipped to 0..255. The paper shows
reconstructions in which object, parts and setting are all recognizable; it gives no number here, and 19.0 +- 4.3 % in
Table 3, whose measure is not the relative error.
"""

import invert_jax as ij
from experiments.lib.figure import Case, Figure

FIGURE = Figure(
    name="figure11",
    title="Figure 11: five photographs",
    cases=lambda layer: [Case(layer, layer, ij.recipes.for_layer(layer))],
    layers=("pool5",),
    num_images=5,
    transpose=True,
)

if __name__ == "__main__":
    FIGURE.run()
