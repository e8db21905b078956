"""What each choice of `recipes.laplacian_pyramid` is worth, where the paper leaves one open.

    python -m experiments.singh_namboodiri.ablation --images=folder
    python -m experiments.singh_namboodiri.ablation --images=folder --layers=pool5

One restart of each photograph by the recipe as it is, and by the recipe with one choice changed, from a layer that the
choice was made for; each descent until every stage has converged or made its most steps. The text's error and the
relative one, as in Table 1, and the evaluations that it took.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

import invert_jax as ij
from experiments.lib import flags, paper, table

_RATE, _STEPS = ij.recipes.COARSE_STAGE
_BARE = {"lambda_tv": 0.0, "lambda_alpha": 0.0}


def _rates(factor):
    """Every rate times this factor."""
    fine = tuple((factor * rate, steps, weight) for rate, steps, weight in ij.recipes.FINE_STAGES)
    return {"coarse_stage": (factor * _RATE, _STEPS), "fine_stages": fine}


def _momentum(factor, recipe):
    """Gradient descent with momentum in place of Adam, at the rates times this factor."""
    stages = tuple(dataclasses.replace(stage, rate=factor * stage.rate) for stage in recipe.stages)
    return dataclasses.replace(recipe, stages=stages, optimizer=ij.optimizers.momentum_descent)


def _from_noise(deviation, recipe):
    """I_pre starts as normal noise of this standard deviation."""
    init = functools.partial(_noise, deviation)
    return dataclasses.replace(recipe, parameterization=recipe.parameterization._replace(init=init))


def _noise(deviation, key, image_shape):
    return deviation * jax.random.normal(key, image_shape, jnp.float32)


ABLATIONS = {
    "norm1": {
        "no coarse stages": {"num_levels": 1},
        "coarse stages of 10 steps": {"coarse_stage": (_RATE, 10)},
        "coarse stages of 30 steps": {"coarse_stage": (_RATE, 30)},
        "tolerance 0.003": {"tolerance": 0.003},
        # Momentum needs larger rates: Adam's steps are of the size of the rate, whatever the gradient's.
        **{f"momentum, rates times {n}": functools.partial(_momentum, n) for n in (100, 1000, 10000)},
    },
    "pool2": {"no alpha-norm": {"lambda_alpha": 0.0}},
    "relu5": {"patience 40": {"patience": 40}, "from noise of 6": functools.partial(_from_noise, 6.0)},
    "pool5": {
        "rates from 0.03": _rates(0.3),
        "rates from 0.01": _rates(0.1),
        "no priors": _BARE,
        "priors until the last stage": {
            "fine_stages": (*((rate, steps, 1.0) for rate, steps, _ in ij.recipes.FINE_STAGES[:3]), (0.01, 300, 0.0))
        },
        "no coarse stages": {"num_levels": 1},
        "no coarse stages, no priors": {"num_levels": 1, **_BARE},
        "coarse stages of 30 steps": {"coarse_stage": (_RATE, 30)},
        "patience 40": {"patience": 40},
        "no compactness": {"lambda_compactness": 0.0},
    },
    "fc6": {"coarse stages of 30 steps": {"coarse_stage": (_RATE, 30)}, "patience 40": {"patience": 40}},
    "relu7": {"patience 40": {"patience": 40}, "every step": {"tolerance": None}},
}
"""The changed choices by layer: arguments of the recipe, or a function that changes the recipe."""


def _cases(layer):
    cases = []
    for choice, change in {"as it is": {}, **ABLATIONS[layer]}.items():
        recipe = ij.recipes.laplacian_pyramid(layer, **({} if callable(change) else change))
        recipe = change(recipe) if callable(change) else recipe
        cases.append(paper.Case(choice, layer, flags.restage(recipe)))
    return cases


def _pictures(rows, photographs):
    def draw(layer, line):
        return paper.sheet([line], columns=5, title=f"From {layer}, {paper.network()}, normalized error")

    lines = table.lines_of_cases(rows, photographs)
    return {layer: functools.partial(draw, layer, line) for layer, line in lines.items()}


def _each(values):
    return ", ".join(f"{100 * value:.1f}" for value in values)


def _mean(values):
    return paper.mean(100 * values, digits=1)


TABLE = table.Table(
    name="pyramid_ablation",
    cases=_cases,
    columns=(
        ("layer", "layer", str),
        ("choice", "choice", str),
        ("normalized error, %", "normalized_error", _mean),
        ("of each", "normalized_error", _each),
        ("relative error, %", "relative_error", _mean),
        ("of each", "relative_error", _each),
        ("evaluations", "evaluations", paper.mean),
    ),
    layers=tuple(ABLATIONS),
    known=tuple(ABLATIONS),
    more=lambda layer, case, *_: {"choice": case.label},
    pictures=_pictures,
)

if __name__ == "__main__":
    TABLE.run()
