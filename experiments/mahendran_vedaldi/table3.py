"""Table 3: reconstruction errors of CNN-A's 20 layers at lambda_V = 0.5, 5 and 50.

    python -m experiments.mahendran_vedaldi.table3 --images=folder --num_images=10 --lambdas=bold
    python -m experiments.mahendran_vedaldi.table3 --images=folder --num_images=100 --weights=imagenet-caffe-ref.mat
    python -m experiments.mahendran_vedaldi.table3 --images=folder --layers=conv1,fc8 --lambdas=0.5,50

The first took half an hour on two CPU cores (4 to 15 s for an inversion). The table in full, 100 photographs at all the
weights, is most of a day there, and has not been made yet.

The table holds the cells that were asked for; those that an earlier run measured are read, not made again.

One restart for each photograph by the paper's recipe. The error is the text's, |Phi(x*) - Phi(x_i)| / N_Phi, with
N_Phi the mean distance between the codes of --num_scale_images photographs. In bold, as in the paper, the lambda chosen
for the layer (`recipes.for_layer`); --lambdas=bold measures those alone. Any weights of CNN-A's form will do, Places'
among them. The bundled network is not the paper's: it was distilled from another, its fully connected layers are 512
wide and it is a weak classifier, so its errors need not be the paper's at any layer.
"""

import numpy as np
from absl import flags

import invert_jax as ij
from experiments.lib import cache, common, paper

FLAGS = flags.FLAGS

LAMBDAS = (0.5, 5.0, 50.0)
_SHOWN = 5  # photographs on the sheet
PAPER = {
    0.5: (
        "10.0±5.0 11.3±5.5 21.9±9.2 20.3±5.0 12.4±3.1 12.9±5.3 15.5±4.7 15.9±4.6 14.5±4.7 16.5±5.3 "
        "14.9±3.8 13.8±3.8 12.6±2.8 15.6±5.1 16.6±4.6 12.4±3.5 15.8±4.5 12.8±6.4 10.5±1.9 5.3±1.1"
    ),
    5.0: (
        "20.2±9.3 22.4±10.3 30.3±13.6 28.2±7.6 20.0±4.9 17.4±5.0 18.2±5.5 18.4±5.0 14.4±3.6 15.1±3.3 "
        "13.3±2.6 14.0±2.8 15.4±2.7 13.9±3.2 15.5±3.5 14.2±3.7 13.7±3.1 15.4±10.3 10.8±1.6 5.9±0.9"
    ),
    50.0: (
        "40.8±17.0 45.2±18.7 54.1±22.7 48.1±11.8 39.7±9.1 32.8±7.7 32.7±8.0 32.4±7.0 25.6±5.6 26.9±5.2 "
        "23.3±4.1 23.9±4.6 25.7±4.3 20.1±4.3 19.0±4.3 18.6±4.9 18.7±3.8 17.1±3.4 15.5±2.1 8.5±1.3"
    ),
}
"""The paper's rows, %, conv1 to fc8."""


def _define_flags():
    paper.define_flags("table3", num_images=5, alexnet=True)
    flags.DEFINE_list("layers", list(ij.networks.LAYER_NAMES), "Layers to invert.")
    flags.DEFINE_list("lambdas", [f"{value:g}" for value in LAMBDAS], "Weights of TV^2, or bold: each layer's own.")
    paper.define_scale_flag()


def main() -> None:
    """Measures the cells that the flags describe."""
    paper.require_known("--layers", FLAGS.layers, ij.networks.LAYER_NAMES)
    lambdas = _lambdas()
    photographs = paper.photographs(size=paper.ALEXNET_SIZE, gray=False)
    scale_by = paper.scale_photographs()
    paper.say_photographs(photographs)
    workdir = common.make_workdir(FLAGS.workdir)

    cells, sheets = {}, {}
    for layer in FLAGS.layers:
        representation = paper.alexnet(layer)
        images = [photo.image for photo in photographs]
        targets, scale = (paper.codes(representation, some) for some in (images, scale_by))
        own = ij.recipes.for_layer(layer)
        for lambda_tv in lambdas or (own.lambda_tv,):
            found = cache.inversions(
                workdir,
                representation,
                ij.recipes.mahendran_vedaldi(lambda_tv=lambda_tv),
                images,
                description=f"{layer}, lambda_V {lambda_tv:g}",
            )
            restored = [inversion.image[0] for inversion in found]
            features = paper.codes(representation, restored)
            errors = ij.metrics.normalized_errors(features, targets, scale=scale)
            finite = np.concatenate([inversion.finite for inversion in found])
            text = np.where(finite, errors.text, np.nan)
            cells[f"{layer} {lambda_tv:g}"] = {
                "layer": layer,
                "lambda_tv": lambda_tv,
                "bold": lambda_tv == own.lambda_tv,
                "text": text,
                "mean": np.nanmean(text) if finite.any() else np.nan,
                "standard_deviation": np.nanstd(text, ddof=1) if finite.sum() > 1 else np.nan,
                "squared": np.where(finite, errors.squared, np.nan),
                "relative": np.concatenate([inversion.error for inversion in found]),
                "finite": finite,
            }
            if lambda_tv == own.lambda_tv:
                sheets[layer] = restored[:_SHOWN]

    results = {
        "images": [photo.name for photo in photographs],
        "num_scale_images": len(scale_by),
        "network": paper.network(),
        "cells": list(cells.values()),
    }
    pictures = {"table3": _sheet(images, sheets)} if sheets else {}
    paper.finish(workdir, results=results, table=_table(cells, results), pictures=pictures)


def _lambdas():
    """The weights to measure; None is each layer's own."""
    return None if FLAGS.lambdas == ["bold"] else paper.numbers("--lambdas", FLAGS.lambdas, other="bold")


def _table(cells, results):
    lambdas = sorted({cell["lambda_tv"] for cell in cells.values()})
    header = ["layer"]
    for value in lambdas:
        header += [f"lambda_V {value:g}, %", "the paper's, %"]
    rows = []
    for layer in dict.fromkeys(cell["layer"] for cell in cells.values()):
        row = [layer]
        for value in lambdas:
            cell = cells.get(f"{layer} {value:g}")
            paper = (
                PAPER[value].split()[ij.networks.LAYER_NAMES.index(layer)].replace("±", " ± ") if value in PAPER else ""
            )
            ours = paper.percent(cell["text"]) if cell else ""
            mark = "**" if value == ij.recipes.for_layer(layer).lambda_tv else ""
            row += [f"{mark}{ours}{mark}" if ours else "", f"{mark}{paper}{mark}" if paper else ""]
        rows.append(row)
    note = (
        f"{results['network']}; mean ± standard deviation over {len(results['images'])} photographs, N_Phi over "
        f"{results['num_scale_images']}. The paper's columns are of its own network and photographs."
    )
    return f"{paper.markdown(header, rows)}\n{note}\n"


def _sheet(images, sheets):
    shown = images[:_SHOWN]
    tiles = [*shown, *(image for restored in sheets.values() for image in restored)]
    labels = [label for name in ("photograph", *sheets) for label in (name, *[""] * (len(shown) - 1))]
    title = f"Table 3's bold cells: {paper.network()} (clipped to 0..255)"
    return ij.viz.montage(tiles, labels=labels, columns=len(shown), title=title, height=128)


if __name__ == "__main__":
    _define_flags()
    common.run(main)
