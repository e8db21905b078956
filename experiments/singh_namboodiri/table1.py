"""Table 1: reconstruction errors of CNN-A's 20 layers by the switched Laplacian pyramid.

    python -m experiments.singh_namboodiri.table1 --images=folder --num_images=10
    python -m experiments.singh_namboodiri.table1 --images=folder --layers=conv1,norm2 --num_images=3

One restart for each photograph by `recipes.laplacian_pyramid`, each stage to convergence or its most steps. The error
is the text's, |Phi(x*) - Phi(x_i)| / N_Phi, with N_Phi the mean distance between the codes of --num_scale_images
photographs. Beside it stand both rows of the paper's Table 1, its own and the one that it takes from Mahendran &
Vedaldi; both are of other networks and photographs than the bundled ones. Ten photographs from the eight layers from
conv5 on took 57 minutes on two busy CPU cores; what came of them stands in the README.
"""

from absl import flags

import invert_jax as ij
from experiments.lib import cache, common, paper

FLAGS = flags.FLAGS

_SHOWN = 5  # photographs on the sheet
PAPER = (6.1, 5.7, 12.1, 5.2, 6.4, 3.6, 11.1, 7.4, 8.1, 8.1, 7.7, 8.5, 11.1, 12.1, 13.3, 7.4, 9.1, 11.1, 6.1, 5.5)
"""The paper's own row, %, conv1 to fc8."""
MAHENDRAN_VEDALDI = (
    *(10.0, 11.3, 21.9, 20.3, 12.4, 12.9, 18.2, 18.4, 14.4, 15.1),
    *(13.3, 14.0, 25.7, 20.1, 19.0, 18.6, 18.7, 17.1, 15.5, 8.5),
)
"""Its row for Mahendran & Vedaldi, %."""


def _define_flags():
    paper.define_flags("pyramid_table1", num_images=3, alexnet=True)
    flags.DEFINE_list("layers", list(ij.networks.LAYER_NAMES), "Layers to invert.")
    paper.define_scale_flag()


def main() -> None:
    """Measures the table that the flags describe."""
    paper.require_known("--layers", FLAGS.layers, ij.networks.LAYER_NAMES)
    photographs = paper.photographs(size=paper.ALEXNET_SIZE, gray=False)
    scale_by = paper.scale_photographs()
    paper.say_photographs(photographs)
    workdir = common.make_workdir(FLAGS.workdir)

    images, rows, sheet = [photo.image for photo in photographs], {}, {}
    for layer in FLAGS.layers:
        representation = paper.alexnet(layer)
        found = cache.inversions(
            workdir, representation, ij.recipes.laplacian_pyramid(layer), images, description=layer
        )
        rows[layer] = paper.measures(representation, found, images, scale_by)
        sheet[layer] = [inversion.image[0] for inversion in found[:_SHOWN]]

    percent, papers = paper.percent, zip(PAPER, MAHENDRAN_VEDALDI, strict=True)
    papers = dict(zip(ij.networks.LAYER_NAMES, papers, strict=True))
    table = paper.markdown(
        ["layer", "ours, %", "the paper's, %", "Mahendran & Vedaldi's, %", "evaluations"],
        [
            [layer, percent(row["text"]), *papers[layer], f"{row['evaluations'].mean():.0f}"]
            for layer, row in rows.items()
        ],
    )
    note = (
        f"{paper.network()}; mean ± standard deviation over {len(images)} photographs, N_Phi over "
        f"{len(scale_by)}. The papers' columns are of their own networks and photographs."
    )
    shown = images[:_SHOWN]
    labels = [label for name in ("photograph", *sheet) for label in (name, *[""] * (len(shown) - 1))]
    picture = ij.viz.montage(
        [*shown, *(image for restored in sheet.values() for image in restored)],
        labels=labels,
        columns=len(shown),
        title=f"Table 1, Laplacian pyramid: {paper.network()} (0..255 by construction)",
        height=128,
    )
    paper.finish(
        workdir,
        results={
            "images": [photo.name for photo in photographs],
            "num_scale_images": len(scale_by),
            "network": paper.network(),
            "layers": rows,
        },
        table=f"{table}\n{note}\n",
        pictures={"table1": picture},
    )


if __name__ == "__main__":
    _define_flags()
    common.run(main)
