"""Mistakes in what an inversion is given: a type and a sentence, before anything has run."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from refusals import refused

import invert_jax as ij
from invert_jax.types import Prior, Stage

KEY, SHAPE = jax.random.key(0), (4, 4, 1)
TARGET = np.array([100.0, 200.0, 300.0], np.float32)
RECIPE = ij.recipes.mahendran_vedaldi(stages=((1e-3, 2),))


def three_sums(weights, image):
    return weights @ image.ravel()


def integers(params, image):
    return (image > 100).astype(np.int32)


SUMS = ij.from_function(three_sums, jnp.ones((3, 16)) / 16, center=128.0)
GIVEN = {"key": KEY, "representation": SUMS, "target": TARGET, "recipe": RECIPE, "image_shape": SHAPE}


def both_refuse(noun, error=ValueError, **change):
    """`invert` refuses it, and `sample` before anything has run."""
    seen = []
    with refused(noun, error):
        ij.invert(**{**GIVEN, **change})
    with refused(noun, error):
        ij.sample(**{**GIVEN, **change}, num_restarts=2, callback=seen.append)
    assert seen == []


@pytest.mark.slow
def test_what_is_right_is_not_refused():
    assert np.all(ij.sample(**GIVEN, num_restarts=1, mask=np.array([True, False, True])).finite)


@pytest.mark.parametrize(
    ("noun", "change"),
    [
        *(("target", {"target": np.ones(shape)}) for shape in [(), (2,), (3, 1), (1, 3)]),
        *(("target", {"target": np.array([1.0, value, 3.0])}) for value in (np.nan, np.inf, 1e300)),
        *(("mask", {"mask": mask}) for mask in (np.ones(4, bool), np.ones((3, 1), bool), np.array(True))),
        *(("boolean", {"mask": np.array([1, 0, 1], dtype)}) for dtype in (np.float32, np.int32)),
        ("neuron", {"mask": np.zeros(3, bool)}),
        *(("initial_image", {"initial_image": np.zeros(shape)}) for shape in [(4, 4), (4, 4, 2), (5, 4, 1), (1, 1, 1)]),
        *(("initial_image", {"initial_image": np.full(SHAPE, value)}) for value in (np.nan, np.inf)),
        *(
            ("image_shape", {"image_shape": shape})
            for shape in [(4, 4), (4, 4, 1, 1), (0, 4, 1), (4, -4, 1), (), (4.5, 4, 1), 4]
        ),
        ("center", {"representation": dataclasses.replace(SUMS, center=jnp.zeros(3))}),
    ],
)
def test_arrays_that_do_not_fit(noun, change):
    both_refuse(noun, **change)


@pytest.mark.parametrize(
    ("noun", "change"),
    [
        ("sigma", {"sigma": 0.0}),
        ("sigma", {"sigma": -1.0}),
        ("sigma", {"sigma": np.nan}),
        ("sigma", {"sigma": np.inf}),
        ("tolerance", {"tolerance": -1.0}),
        ("patience", {"patience": 0}),
        ("lambda_compactness", {"lambda_compactness": np.nan}),
        ("stages", {"stages": ()}),
        ("rate", {"stages": (Stage(-1e-3, 2),)}),
        ("rate", {"stages": (Stage(np.nan, 2),)}),
        ("steps", {"stages": (Stage(1e-3, 2), Stage(1e-3, 0))}),
        ("steps", {"stages": (Stage(1e-3, 2.5),)}),
        ("prior_weight", {"stages": (Stage(1e-3, 2, -1.0),)}),
        ("prior", {"priors": (Prior(-1.0, jnp.sum),)}),
        ("prior", {"priors": (Prior(None, jnp.sum),)}),
        ("name", {"priors": (Prior(1.0, jnp.sum, "mine"),)}),
        ("stages", {"parameterization": ij.parameterizations.switched_pyramid(num_levels=4)}),
    ],
)
def test_numbers_of_a_recipe_out_of_range(noun, change):
    both_refuse(noun, recipe=dataclasses.replace(RECIPE, **change))


@pytest.mark.parametrize(
    ("noun", "settings"),
    [
        *(("beta", {"beta": value}) for value in (0.0, -2.0, np.nan)),
        ("alpha", {"alpha": 0.0}),
        *(("tv", {"lambda_tv": value}) for value in (np.nan, -1.0, 1e50)),
        *(("alpha_norm", {"lambda_alpha": value}) for value in (np.nan, -0.5)),
        *(("rate", {"stages": ((rate, 2),)}) for rate in (-1e-3, np.nan)),
        *(("steps", {"stages": ((1e-3, 2), (1e-3, steps))}) for steps in (0, 2.5)),
    ],
)
def test_numbers_of_a_factory_out_of_range(noun, settings):
    with refused(noun):
        ij.recipes.mahendran_vedaldi(**settings)


def test_numbers_of_the_other_factories_out_of_range():
    with refused("tv"):
        ij.recipes.shallow(lambda_tv=-1)
    with refused("tv"):
        RECIPE.reweight(tv=-1)


@pytest.mark.parametrize(
    ("noun", "change"),
    [
        ("int", {"key": 0}),
        ("(3,)", {"key": jax.random.split(KEY, 3)}),
        ("str", {"recipe": "default"}),
        ("int32", {"representation": ij.from_function(integers), "target": np.zeros(SHAPE)}),
        ("optimizer", {"recipe": dataclasses.replace(RECIPE, optimizer=optax.adam(1e-3))}),
        ("stage", {"recipe": dataclasses.replace(RECIPE, stages=((1e-3, 2),))}),
        ("prior", {"recipe": dataclasses.replace(RECIPE, priors=(jnp.sum,))}),
    ],
)
def test_values_of_the_wrong_type(noun, change):
    both_refuse(noun, TypeError, **change)


@pytest.mark.parametrize("count", [0, -1, 2.0, True])
@pytest.mark.parametrize("what", ["num_restarts", "chunk_size", "callback_every"])
def test_counts(what, count):
    with refused(what):
        ij.sample(**GIVEN, **{"num_restarts": 2, what: count})


def test_mesh_without_the_axis():
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("batch",))
    with refused("restarts"):
        ij.sample(**GIVEN, num_restarts=2, mesh=mesh)


def test_features_of_different_shapes():
    with refused("shape"):
        ij.metrics.relative_error(np.zeros(3), np.zeros(4))
    with refused("scale"):
        ij.metrics.normalized_error(np.zeros((1, 3)), np.zeros((1, 3)))
