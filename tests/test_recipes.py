"""Recipes: the papers' numbers, written down apart."""

import dataclasses

import jax
import numpy as np
import pytest

import invert_jax as ij
from invert_jax import recipes

LAMBDA_TV = {
    **dict.fromkeys(("conv1", "relu1", "pool1", "norm1", "conv2", "relu2"), 0.5),
    **dict.fromkeys(("pool2", "norm2", "conv3", "relu3", "conv4", "relu4"), 5.0),
    **dict.fromkeys(("conv5", "relu5", "pool5", "fc6", "relu6", "fc7", "relu7", "fc8"), 50.0),
}
DEEP = ((4e-3, 4e-4, 4e-5), (100, 200, 100))
SHALLOW = ((4e-3, 4e-4, 4e-5, 4e-6), (200, 200, 200, 200))
CENTRAL = ((4e-4, 4e-5, 4e-6), (200, 200, 200))


def is_the_papers(recipe, lambda_tv, rates, steps):
    assert (recipe.lambda_tv, recipe.rates, recipe.steps) == (lambda_tv, rates, steps)
    assert (recipe.alpha, recipe.beta, recipe.lambda_alpha, recipe.sigma) == (6, 2, None, None)
    assert recipe.loss is ij.losses.normalized_squared_l2
    assert recipe.optimizer is ij.optimizers.momentum_descent
    assert recipe.parameterization is ij.parameterizations.pixels
    return True


@pytest.mark.parametrize("layer", LAMBDA_TV)
def test_for_layer_is_table_3s_bold_row(layer):
    assert is_the_papers(recipes.for_layer(layer), LAMBDA_TV[layer], *DEEP)
    assert recipes.for_layer(layer).num_steps == 400


def test_shallow_has_800_steps():
    assert is_the_papers(recipes.shallow(), 5.0, *SHALLOW)
    assert is_the_papers(recipes.shallow(lambda_tv=0.5), 0.5, *SHALLOW)
    assert recipes.shallow().num_steps == 800


def test_mahendran_vedaldi_takes_every_number():
    assert is_the_papers(recipes.mahendran_vedaldi(), 5.0, *DEEP)
    recipe = recipes.mahendran_vedaldi(lambda_tv=1.0, beta=1.5, lambda_alpha=2.0, alpha=4.0, stages=((1.0, 3),))
    found = (recipe.lambda_tv, recipe.beta, recipe.lambda_alpha, recipe.alpha, recipe.rates, recipe.steps)
    assert found == (1, 1.5, 2, 4, (1,), (3,))
    assert recipe.num_steps == 3


def test_central_stages_are_figure_9s():
    assert tuple(zip(*recipes.CENTRAL_STAGES, strict=True)) == CENTRAL


def test_default_knows_layers_and_representations():
    assert recipes.default("conv5") == recipes.laplacian_pyramid("conv5")
    assert recipes.default(ij.hog()) == recipes.shallow()
    assert recipes.default(ij.dsift()) == recipes.shallow()
    for layer in ("relu2", "pool2", "conv5"):
        assert recipes.default(ij.alexnet(layer=layer)) == recipes.laplacian_pyramid(layer)


def test_numbers_are_leaves_and_the_rest_is_static_and_hashable():
    one, two = recipes.for_layer("conv1"), recipes.for_layer("fc8")
    assert hash(jax.tree.structure(one)) == hash(jax.tree.structure(two))
    assert jax.tree.structure(one) == jax.tree.structure(two)
    assert sorted(jax.tree.leaves(one)) == sorted([0.5, 4e-3, 4e-4, 4e-5, 0.0])
    full = dataclasses.replace(one, lambda_alpha=1.0, sigma=2.0)
    assert len(jax.tree.leaves(full)) == 7
    for change in ({"beta": 1.0}, {"alpha": 2.0}, {"steps": (1, 2, 3)}, {"loss": ij.losses.normalized_l1}):
        assert jax.tree.structure(dataclasses.replace(one, **change)) != jax.tree.structure(one)


def test_recipes_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipes.shallow().lambda_tv = 1.0


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"lambda_tv": -1.0}, "lambda_tv is -1.0; it must be a finite number, 0 or greater"),
        ({"lambda_tv": np.nan}, "lambda_tv is nan"),
        ({"lambda_alpha": -1.0}, "lambda_alpha is -1.0"),
        ({"beta": 0.0}, "beta is 0.0; it must be a finite number greater than 0"),
        ({"alpha": np.inf}, "alpha is inf"),
        ({"stages": ((0.0, 3),)}, "learning rate is 0.0"),
        ({"stages": ((1e-3, 0),)}, "number of steps is 0"),
        ({"stages": ((1e-3, 1.5),)}, "number of steps is 1.5"),
    ],
)
def test_numbers_out_of_range(options, match):
    with pytest.raises(ValueError, match=match):
        recipes.mahendran_vedaldi(**options)


@pytest.mark.parametrize("make", [recipes.for_layer, recipes.default])
def test_unknown_layer_lists_the_layers(make):
    with pytest.raises(ValueError, match=r"Unknown CNN-A layer 'conv6'; choose one of: conv1, relu1, .*, fc8\.$"):
        make("conv6")


LAMBDA_COMPACTNESS = {
    **dict.fromkeys(("conv1", "relu1", "pool1", "norm1", "conv2", "relu2", "pool2", "norm2"), 0.001),
    **dict.fromkeys(("conv3", "relu3", "conv4", "relu4"), 0.01),
    **dict.fromkeys(("conv5", "relu5", "pool5", "fc6"), 0.1),
    **dict.fromkeys(("relu6", "fc7", "relu7", "fc8"), 1.0),
}


@pytest.mark.parametrize("layer", LAMBDA_COMPACTNESS)
def test_laplacian_pyramid_carries_section_5s_compactness(layer):
    recipe = recipes.laplacian_pyramid(layer)
    assert recipe.lambda_compactness == LAMBDA_COMPACTNESS[layer]
    assert recipe.loss is ij.losses.normalized_l2
    assert recipe.parameterization == ij.parameterizations.switched_pyramid(num_levels=6)


def test_laplacian_pyramid_has_a_stage_for_every_level():
    recipe = recipes.laplacian_pyramid(
        num_levels=3, coarse_stage=(0.5, 7), fine_stages=((0.2, 5, 0.5), (0.1, 4, 0.0)), lambda_tv=3.0
    )
    assert (recipe.rates, recipe.steps) == ((0.5, 0.5, 0.2, 0.1), (7, 7, 5, 4))
    assert recipe.lambda_tv == 3
    assert recipe.prior_shares == (1.0, 1.0, 0.5, 0.0)
    assert recipe.lambda_compactness == 0
    assert recipe.parameterization == ij.parameterizations.switched_pyramid(num_levels=3)


@pytest.mark.parametrize("layer", ["relu2", "pool2", "conv5"])
def test_laplacian_pyramid_begins_with_the_pixels_priors_and_ends_with_none(layer):
    recipe, pixels = recipes.laplacian_pyramid(layer), recipes.for_layer(layer)
    assert (recipe.lambda_tv, recipe.lambda_alpha) == (pixels.lambda_tv, pixels.lambda_alpha)
    assert recipe.prior_shares[:6] == (1.0,) * 6 and recipe.prior_shares[-1] == 0
    assert recipe.prior_shares == tuple(sorted(recipe.prior_shares, reverse=True))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layer": "conv9"}, "conv9"),
        ({"num_levels": 0}, "num_levels"),
        ({"lambda_compactness": -1.0}, "lambda_compactness"),
        ({"lambda_tv": -1.0}, "lambda_tv"),
        ({"fine_stages": ()}, "fine_stages"),
        ({"fine_stages": ((0.1, 30),)}, "fine_stages"),
        ({"coarse_stage": 0.1}, "coarse_stage"),
        ({"tolerance": -0.1}, "tolerance"),
        ({"patience": 0}, "patience"),
        ({"coarse_stage": (0.0, 5)}, "learning rate"),
    ],
)
def test_laplacian_pyramid_refuses(options, said):
    with pytest.raises(ValueError, match=said):
        recipes.laplacian_pyramid(**options)
