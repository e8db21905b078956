"""Recipes: the papers' numbers, written down apart; changes of a recipe; what a recipe's records check and print."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import invert_jax as ij
from invert_jax import recipes
from invert_jax.regularizers import AlphaNorm, TotalVariation
from invert_jax.types import Energy, Prior, Stage

GROUPS = {  # layers of CNN-A with (lambda_V, lambda_D)
    ("conv1", "relu1", "pool1", "norm1", "conv2", "relu2"): (0.5, 0.001),
    ("pool2", "norm2"): (5.0, 0.001),
    ("conv3", "relu3", "conv4", "relu4"): (5.0, 0.01),
    ("conv5", "relu5", "pool5", "fc6"): (50.0, 0.1),
    ("relu6", "fc7", "relu7", "fc8"): (50.0, 1.0),
}
WEIGHTS = [(layer, *weights) for layers, weights in GROUPS.items() for layer in layers]
DEEP = ((4e-3, 100), (4e-4, 200), (4e-5, 100))
SHALLOW = ((4e-3, 200), (4e-4, 200), (4e-5, 200), (4e-6, 200))


def require_paper_settings(recipe, lambda_tv, stages):
    assert recipe.stages == tuple(Stage(rate, num_steps, 1.0) for rate, num_steps in stages)
    assert recipe.num_steps == sum(num_steps for _, num_steps in stages)
    assert recipe.priors == (Prior(None, AlphaNorm(6), "alpha_norm"), Prior(lambda_tv, TotalVariation(2), "tv"))
    assert (recipe.sigma, recipe.lambda_compactness, recipe.tolerance, recipe.transform) == (None, 0, None, None)
    assert recipe.loss is ij.losses.normalized_squared_l2
    assert recipe.optimizer is ij.optimizers.momentum_descent
    assert recipe.parameterization is ij.parameterizations.pixels


def test_pixel_recipes_are_the_papers():
    for layer, lambda_tv, _ in WEIGHTS:  # Table 3's bold row
        require_paper_settings(recipes.for_layer(layer), lambda_tv, DEEP)
    require_paper_settings(recipes.shallow(), 5.0, SHALLOW)
    require_paper_settings(recipes.shallow(lambda_tv=0.5), 0.5, SHALLOW)
    require_paper_settings(recipes.mahendran_vedaldi(), 5.0, DEEP)
    assert recipes.CENTRAL_STAGES == ((4e-4, 200), (4e-5, 200), (4e-6, 200))  # Figure 9


def test_mahendran_vedaldi_takes_every_number():
    recipe = recipes.mahendran_vedaldi(lambda_tv=0.1, beta=1.5, lambda_alpha=2.0, alpha=4.0, stages=((1e-3, 3),))
    assert recipe.priors == (Prior(2.0, AlphaNorm(4.0), "alpha_norm"), Prior(0.1, TotalVariation(1.5), "tv"))
    assert recipe.stages == (Stage(1e-3, 3),)


def test_pyramid_recipes_have_the_papers_compactness_and_priors_that_end_at_zero():
    for layer, lambda_tv, lambda_compactness in WEIGHTS:
        recipe = recipes.laplacian_pyramid(layer)
        assert recipe.lambda_compactness == lambda_compactness  # section 5
        assert recipe.loss is ij.losses.normalized_l2
        assert recipe.parameterization == ij.parameterizations.switched_pyramid(num_levels=6)
        assert (recipe.weight("tv"), recipe.weight("alpha_norm")) == (lambda_tv, None)
        prior_weights = [stage.prior_weight for stage in recipe.stages]
        assert prior_weights[:6] == [1.0] * 6 and prior_weights[-1] == 0
        assert prior_weights == sorted(prior_weights, reverse=True)


def test_pyramid_recipe_has_a_stage_for_every_level():
    fine_stages = ((0.2, 5, 0.5), (0.1, 4, 0.0))
    recipe = recipes.laplacian_pyramid(num_levels=3, coarse_stage=(0.5, 7), fine_stages=fine_stages, lambda_tv=3.0)
    assert recipe.stages == (Stage(0.5, 7), Stage(0.5, 7), Stage(0.2, 5, 0.5), Stage(0.1, 4, 0.0))
    assert (recipe.weight("tv"), recipe.lambda_compactness) == (3.0, 0)
    assert recipe.parameterization == ij.parameterizations.switched_pyramid(num_levels=3)


def test_default_is_one_recipe_for_everything():
    mean = ij.from_function(lambda params, image: image.mean((0, 1)))
    for representation in (ij.hog(), ij.dsift(), ij.alexnet(layer="conv5"), mean):
        assert recipes.default(representation) == recipes.natural_spectrum()
    with pytest.raises(TypeError, match="Representation"):
        recipes.default("conv5")  # pyright: ignore


def test_natural_spectrum_falls_geometrically_over_its_stages():
    recipe = recipes.natural_spectrum(num_steps=803, rates=(0.04, 4e-4), lambda_tv=7.0)
    rates, counts, weights = (
        [getattr(stage, field) for stage in recipe.stages] for field in ("rate", "num_steps", "prior_weight")
    )
    np.testing.assert_allclose(rates, np.geomspace(0.04, 4e-4, 8), rtol=5e-3)
    np.testing.assert_allclose(weights, [*np.geomspace(1, 0.01, 7), 0], rtol=5e-3)
    assert recipe.num_steps == 803 and max(counts) - min(counts) <= 1
    assert (recipe.weight("tv"), recipe.weight("alpha_norm")) == (7.0, None)
    assert recipe.loss is ij.losses.normalized_l2 and recipe.tolerance is None


@pytest.mark.parametrize(
    ("options", "warns"),
    [
        ({"lambda_tv": 50.0}, True),  # 3.2 of 3.8
        ({"lambda_tv": 50.0, "stages": ((4e-4, 300), (4e-5, 100))}, False),
        ({"lambda_tv": 5.0}, False),
        ({"lambda_tv": 5.0, "stages": ((4e-4, 5), (0.1, 5))}, True),
        ({"lambda_tv": 0.0, "stages": ((1e3, 5),)}, False),
        ({"lambda_tv": 1.845e-3, "beta": 1.0}, False),  # Figure 2
        ({"lambda_tv": 0.1, "beta": 1.0}, True),
    ],
)
def test_rates_near_the_limit_of_stability_are_announced(options, warns):
    """Momentum m is stable on a quadratic of curvature c if rate c < 2 (1 + m); the Laplacian's largest is 8."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        recipes.mahendran_vedaldi(**options)
    assert [("rate" in str(w.message), "recipes.default" in str(w.message)) for w in caught] == [(True, True)] * warns


def test_the_limit_of_stability_is_where_descents_on_tv_diverge(key):
    """A checkerboard, TV's stiffest picture, grows above the limit that the warning names and shrinks below it."""
    board = np.indices((16, 16)).sum(0)[..., None] % 2 * 20.0 + 110
    blind = ij.from_function(lambda params, image: image[:1, :1] * 0 + 1, center=120)
    for factor, grows in ((0.97, False), (1.03, True)):
        stages = ((factor * 3.8 / 16, 400),)
        with pytest.warns(UserWarning, match="limit|allow"):
            recipe = recipes.mahendran_vedaldi(lambda_tv=1.0, lambda_alpha=0.0, stages=stages)
        found = ij.invert(key, blind, np.ones((1, 1, 1)), recipe, image_shape=board.shape, initial_image=board)
        assert (found.energy.tv[-1] <= found.energy.tv[0]) != grows  # it may be NaN


SLOW = pytest.mark.slow
OBJECTIVES = {
    "activation": recipes.activation_maximization(stages=((0.05, 20),)),
    "caricature": recipes.caricature(stages=((0.05, 20),)),
    "dream": recipes.deep_dream(stages=((0.02, 20),)),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW) for name in OBJECTIVES])
def test_objectives_raise_what_they_are_about(name, key):
    conv2, photograph = ij.alexnet(layer="conv2"), ij.example_image(size=67)
    mask = ij.masks.channel(conv2.feature_shape(photograph.shape), index=3) if name == "activation" else None
    target = conv2(photograph) if name == "caricature" else None
    start = None if name == "activation" else photograph
    options = {"image_shape": photograph.shape, "num_restarts": 2, "mask": mask, "initial_image": start}
    found = ij.sample(key, conv2, target, OBJECTIVES[name], **options)
    energy = found.energy.total
    assert found.error is None and found.finite.all() and np.all(energy[:, -5:].mean(1) < energy[:, :5].mean(1) - 0.01)
    assert not np.array_equal(found.image[0], found.image[1])  # the transforms differ


def brightness(x):
    return jnp.mean(x)


def test_reweight_changes_the_named_weights_alone():
    recipe = recipes.shallow()
    changed = recipe.reweight(tv=0.5, alpha_norm=0.0)
    assert (changed.weight("tv"), changed.weight("alpha_norm")) == (0.5, 0.0)
    assert changed.reweight(tv=5.0, alpha_norm=None) == recipe
    extended = dataclasses.replace(recipe, priors=(*recipe.priors, Prior(1.0, brightness)))
    assert extended.reweight(other=3.0).weight("other") == 3.0
    with pytest.raises(KeyError, match="other"):  # no prior has the name
        recipe.reweight(other=1.0)
    with pytest.raises(KeyError, match="tv"):  # two have it
        dataclasses.replace(recipe, priors=recipe.priors * 2).weight("tv")
    for weight in (-1.0, None):
        with pytest.raises(ValueError, match="tv"):
            recipe.reweight(tv=weight)


def test_numbers_are_leaves_and_the_rest_is_static():
    recipe, fc8 = recipes.for_layer("conv1"), recipes.for_layer("fc8")
    structure = jax.tree.structure(recipe)
    assert structure == jax.tree.structure(fc8) and hash(structure) == hash(jax.tree.structure(fc8))
    assert sorted(jax.tree.leaves(recipe)) == sorted([0.5, 4e-3, 4e-4, 4e-5, 1, 1, 1, 0])
    assert len(jax.tree.leaves(dataclasses.replace(recipe.reweight(alpha_norm=1.0), sigma=2.0, tolerance=0.1))) == 11
    others = (
        recipes.mahendran_vedaldi(beta=1.0, lambda_tv=1e-3),
        recipes.mahendran_vedaldi(alpha=2.0),
        recipes.mahendran_vedaldi(stages=((4e-3, 1), (4e-4, 2), (4e-5, 3))),
        dataclasses.replace(recipe, loss=ij.losses.normalized_l1),
        dataclasses.replace(recipe, transform=brightness),
    )
    assert all(jax.tree.structure(other) != structure for other in others)
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.sigma = 1.0  # pyright: ignore


@pytest.mark.parametrize(
    ("make", "noun", "options"),
    [
        (recipes.mahendran_vedaldi, "stages", {"stages": ()}),
        (recipes.mahendran_vedaldi, "stages", {"stages": (1e-3, 5)}),
        (recipes.for_layer, "layer", {"layer": "conv6"}),
        (recipes.laplacian_pyramid, "layer", {"layer": "conv6"}),
        (recipes.laplacian_pyramid, "num_levels", {"num_levels": 0}),
        (recipes.laplacian_pyramid, "lambda_compactness", {"lambda_compactness": -1.0}),
        (recipes.laplacian_pyramid, "fine_stages", {"fine_stages": ()}),
        (recipes.laplacian_pyramid, "fine_stages", {"fine_stages": ((0.1, 30),)}),
        (recipes.laplacian_pyramid, "coarse_stage", {"coarse_stage": 0.1}),
        (recipes.laplacian_pyramid, "patience", {"patience": 0}),
    ],
)
def test_factories_refuse(make, noun, options):
    with pytest.raises(ValueError, match=noun):
        make(**options)


def test_records_print_in_a_line():
    conv5 = ij.alexnet(layer="conv5")
    large = jnp.zeros((100, 100, 3))
    energy = Energy(*[large] * 6)
    found = ij.Preimage(large, large, large, energy, large, large)
    for record in (conv5, recipes.default(conv5), recipes.for_layer("fc8"), energy, found):
        assert len(repr(record)) < 2000 and "\n" not in repr(record)
    assert "float32[100, 100, 3]" in repr(found)
