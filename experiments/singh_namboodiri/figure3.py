"""Figure 3: one photograph from each of CNN-A's 20 layers, by the switched Laplacian pyramid.

    python -m experiments.singh_namboodiri.figure3 --images=photograph.jpg

One restart a layer by `recipes.laplacian_pyramid`. In the paper the convolutional layers give back pictures much like
the photograph, ever rougher, with parts such as eyes a little displaced; the fully connected ones give back a bag of
parts; and the coarse colors are the photograph's.
"""

import invert_jax as ij
from experiments.lib.figure import Case, Figure

FIGURE = Figure(
    name="pyramid_figure3",
    title="Figure 3: layers",
    cases=lambda layer: [Case(layer, layer, ij.recipes.laplacian_pyramid(layer))],
    layers=ij.networks.CAFFENET.layer_names,
    columns=7,
)

if __name__ == "__main__":
    FIGURE.run()
