"""What each choice of `recipes.laplacian_pyramid` is worth, where the paper leaves one open.

    python -m experiments.singh_namboodiri.ablation --images=folder
    python -m experiments.singh_namboodiri.ablation --images=folder --layers=pool5

One restart of each photograph by the recipe as it is, and by the recipe with one choice made otherwise, from a layer
that each choice was made for; each descent until every stage has converged or come to its most steps. The text's error
and the relative one, as in Table 1, and the evaluations that it took.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from absl import flags

import invert_jax as ij
from experiments.lib import cache, common, paper

FLAGS = flags.FLAGS

_BARE = {"lambda_tv": 0.0, "lambda_alpha": 0.0}


def _with(**arguments):
    """The recipe made with these arguments."""
    return functools.partial(ij.recipes.laplacian_pyramid, **arguments)


def _coarse(steps):
    """Coarse stages of this many steps at most."""
    return _with(coarse_stage=(ij.recipes.COARSE_STAGE[0], steps))


def _rates(share):
    """This share of every rate."""
    fine = tuple((share * rate, steps, priors) for rate, steps, priors in ij.recipes.FINE_STAGES)
    rate, steps = ij.recipes.COARSE_STAGE
    return _with(coarse_stage=(share * rate, steps), fine_stages=fine)


def _priors(*shares):
    """These shares of the priors in the fine stages."""
    fine = ((rate, steps, share) for (rate, steps, _), share in zip(ij.recipes.FINE_STAGES, shares, strict=True))
    return _with(fine_stages=tuple(fine))


def _descent(times):
    """Gradient descent with momentum in place of Adam, at this multiple of the rates."""

    def of(layer):
        recipe = ij.recipes.laplacian_pyramid(layer)
        rates = tuple(times * rate for rate in recipe.rates)
        return dataclasses.replace(recipe, rates=rates, optimizer=ij.optimizers.momentum_descent)

    return of


def _from_noise(deviation):
    """I_pre begins as normal noise of this standard deviation."""

    def of(layer):
        recipe = ij.recipes.laplacian_pyramid(layer)
        start = functools.partial(_noise, deviation)
        return dataclasses.replace(recipe, parameterization=recipe.parameterization._replace(init=start))

    return of


def _noise(deviation, key, image_shape):
    return deviation * jax.random.normal(key, image_shape, jnp.float32)


ABLATIONS = {
    "norm1": {
        "no coarse stages": _with(num_levels=1),
        "coarse stages of 10 steps": _coarse(10),
        "coarse stages of 30 steps": _coarse(30),
        "tolerance 0.003": _with(tolerance=0.003),
        "momentum, rates times 100": _descent(100),
        "momentum, rates times 1000": _descent(1000),
        "momentum, rates times 10000": _descent(10000),
    },
    "pool2": {"no alpha-norm": _with(lambda_alpha=0.0)},
    "relu5": {"patience 40": _with(patience=40), "from noise of 6": _from_noise(6.0)},
    "pool5": {
        "rates from 0.03": _rates(0.3),
        "rates from 0.01": _rates(0.1),
        "no priors": _with(**_BARE),
        "priors until the last stage": _priors(1.0, 1.0, 1.0, 0.0),
        "no coarse stages": _with(num_levels=1),
        "no coarse stages, no priors": _with(num_levels=1, **_BARE),
        "coarse stages of 30 steps": _coarse(30),
        "patience 40": _with(patience=40),
        "no compactness": _with(lambda_compactness=0.0),
    },
    "fc6": {"coarse stages of 30 steps": _coarse(30), "patience 40": _with(patience=40)},
    "relu7": {"patience 40": _with(patience=40), "every step": _with(tolerance=None)},
}
"""What is made otherwise, by layer: a function from the layer to its recipe."""


def _define_flags():
    paper.define_flags("pyramid_ablation", num_images=2, alexnet=True)
    flags.DEFINE_list("layers", list(ABLATIONS), "Layers whose choices are measured.")
    paper.define_scale_flag()


def main() -> None:
    """Measures what the flags describe."""
    paper.require_known("--layers", FLAGS.layers, ABLATIONS)
    photographs = paper.photographs(size=paper.ALEXNET_SIZE, gray=False)
    scale_by = paper.scale_photographs()
    paper.say_photographs(photographs)
    workdir = common.make_workdir(FLAGS.workdir)

    images, rows, pictures = [photo.image for photo in photographs], [], {}
    for layer in FLAGS.layers:
        representation = paper.alexnet(layer)
        tiles, labels = [images[0]], [photographs[0].name]
        for choice, recipe in {"as it is": ij.recipes.laplacian_pyramid, **ABLATIONS[layer]}.items():
            found = cache.inversions(
                workdir, representation, recipe(layer), images, description=f"{layer}, {choice}", chunk_size=1
            )
            measured = paper.measures(representation, found, images, scale_by)
            rows.append({"layer": layer, "choice": choice, **measured})
            tiles.append(found[0].image[0])
            labels.append(f"{choice}: {100 * measured['text'][0]:.0f} %")
        title = f"From {layer}, {paper.network()}, the text's error"
        pictures[layer] = ij.viz.montage(tiles, labels=labels, columns=min(len(tiles), 5), title=title)

    note = (
        f"{paper.network()}; {', '.join(photo.name for photo in photographs)}; N_Phi over {len(scale_by)} photographs."
    )
    table = paper.markdown(
        ["layer", "choice", "the text's error, %", "of each", "relative, %", "of each", "evaluations"],
        [
            [
                row["layer"],
                row["choice"],
                *_percents(row["text"]),
                *_percents(row["relative"]),
                f"{row['evaluations'].mean():.0f}",
            ]
            for row in rows
        ],
    )
    paper.finish(
        workdir,
        results={"network": paper.network(), "images": [photo.name for photo in photographs], "rows": rows},
        table=f"{table}\n{note}\n",
        pictures=pictures,
    )


def _percents(values):
    """The mean, and each, in percent."""
    return f"{100 * paper.mean_of(values):.1f}", ", ".join(f"{100 * value:.1f}" for value in values)


if __name__ == "__main__":
    _define_flags()
    common.run(main)
