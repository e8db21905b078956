"""Figure 6: one photograph from each of CNN-A's 20 layers.

    python -m experiments.mahendran_vedaldi.figure6 --images=photograph.jpg

Took 19 minutes on two CPU cores that had other work, without flags.

One restart a layer by `recipes.for_layer`, Table 3's bold row: lambda_V 0.5 for conv1..relu2, 5 for pool2..relu4, 50
for conv5..fc8; clipped to 0..255. In the paper the first layers are all but invertible, every convolutional layer
preserves a faithful if increasingly fuzzy picture, and the fully connected ones give back parts like those of the
photograph in other places. It gives no number here; Table 3 has the errors, in its own measure.
"""

import invert_jax as ij
from experiments.lib.figure import Case, Figure

FIGURE = Figure(
    name="figure6",
    title="Figure 6: layers",
    cases=lambda layer: [Case(layer, layer, ij.recipes.for_layer(layer))],
    layers=ij.networks.CAFFENET.layer_names,
    columns=7,
)

if __name__ == "__main__":
    FIGURE.run()
