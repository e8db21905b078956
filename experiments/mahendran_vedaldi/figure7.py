"""Figure 7: what deep layers do not distinguish, several restarts from pool5, relu6, relu7 and fc8.

    python -m experiments.mahendran_vedaldi.figure7 --images=photograph.jpg,pattern.jpg --num_restarts=6

Took 14 minutes on two CPU cores that had other work, without flags.

lambda_V = 0.5, 5, 50 and 50 as in the released code; clipped to 0..255. The paper inverts a photograph and an
abstract pattern with six restarts, which in the released code ran as one descent with a weight six times as large;
ours are independent, and from pool5 of the bundled network 0.5 gives noise at 40 to 65 % error. With --lambda_tv=50,
Table 3's own for all four, it shows where things are.

In the paper deformations grow from layer to layer, and relu7 and fc8 repeat the object at other places and scales. Our
number for this is the restarts' spread, the root mean square of their difference from their mean with R - 1 in the
denominator, in gray levels; the weights differ from layer to layer, and so does the noise in it. The paper gives none.
"""

import invert_jax as ij
from experiments.lib import flags, paper
from experiments.lib.figure import Case, Figure

WEIGHTS = {"pool5": 0.5, "relu6": 5.0, "relu7": 50.0, "fc8": 50.0}
"""The released code's lambda_V."""


def _cases(layer):
    weight = flags.FLAGS.lambda_tv
    if weight is None:
        weight = WEIGHTS.get(layer, ij.recipes.for_layer(layer).weight("tv"))
    label = f"{layer}, lambda_V {weight:g}"
    return [Case(label, layer, paper.published_recipe(lambda_tv=weight))]


FIGURE = Figure(
    name="figure7",
    title="Figure 7: restarts from deep layers",
    cases=_cases,
    layers=tuple(WEIGHTS),
    num_images=2,
    num_restarts=4,
    row_per_layer=True,
    more_flags={"lambda_tv": None},
)

if __name__ == "__main__":
    FIGURE.run()
