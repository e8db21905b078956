"""Table 1: reconstruction errors of CNN-A's 20 layers by the switched Laplacian pyramid.

    python -m experiments.singh_namboodiri.table1 --images=folder --num_images=10
    python -m experiments.singh_namboodiri.table1 --images=folder --layers=conv1,norm2 --num_images=3

One restart for each photograph by `recipes.laplacian_pyramid`, each stage to convergence or its most steps. The error
is the text's, |Phi(x*) - Phi(x_i)| / N_Phi, with N_Phi the mean distance between the features of --num_scale_images
photographs. Beside it stand both rows of the paper's Table 1, its own and the one that it takes from Mahendran &
Vedaldi; both are of other networks and photographs than the bundled ones. Ten photographs from the eight layers from
conv5 on took 57 minutes on two busy CPU cores.
"""

import invert_jax as ij
from experiments.lib import flags, paper, table
from experiments.mahendran_vedaldi import table3

PAPER = (6.1, 5.7, 12.1, 5.2, 6.4, 3.6, 11.1, 7.4, 8.1, 8.1, 7.7, 8.5, 11.1, 12.1, 13.3, 7.4, 9.1, 11.1, 6.1, 5.5)
"""The paper's own row, %, conv1 to fc8."""
_LAYERS = ij.networks.CAFFENET.layer_names

TABLE = table.Table(
    name="pyramid_table1",
    cases=lambda layer: [paper.Case(layer, layer, flags.restage(ij.recipes.laplacian_pyramid(layer)))],
    columns=(
        ("layer", "layer", str),
        ("ours, %", "normalized_error", paper.percent),
        ("the paper's, %", "layer", lambda layer: PAPER[_LAYERS.index(layer)]),
        ("Mahendran & Vedaldi's, %", "layer", lambda layer: table3.published(layer).partition("±")[0]),
        ("evaluations", "evaluations", paper.mean),
        *paper.LIKENESS,
    ),
    num_images=3,
    results=lambda numbers: {"layers": {row["layer"]: row for row in numbers}},
    title="Table 1, Laplacian pyramid",
    note=" The papers' columns are of their own networks and photographs.",
)

if __name__ == "__main__":
    TABLE.run()
