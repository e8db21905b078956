"""Figure 3: one photograph from each of CNN-A's 20 layers, by the switched Laplacian pyramid.

    python -m experiments.singh_namboodiri.figure3 --images=photograph.jpg

One restart a layer by `recipes.laplacian_pyramid`. In the paper the convolutional layers give back pictures much like
the photograph, ever rougher, with parts such as eyes a little displaced; the fully connected ones give back a bag of
parts; and the coarse colors are the photograph's.
"""

import invert_jax as ij
from experiments.lib import common, figure


def _define_flags():
    figure.define_flags("pyramid_figure3")


def main() -> None:
    """Makes the figure that the flags describe."""
    figure.make("figure3", title="Figure 3: layers of", recipe=ij.recipes.laplacian_pyramid)


if __name__ == "__main__":
    _define_flags()
    common.run(main)
