"""Mistakes in what is asked of an inversion: each is told at the seam, in one sentence, and leaves nothing behind."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from refusals import KEY, RECIPE, SHAPE, SUMS, TARGET, both_refuse, refused

import invert_jax as ij

pytestmark = pytest.mark.usefixtures("folder")


def test_what_is_right_is_not_refused():
    found = ij.sample(KEY, SUMS, TARGET, RECIPE, image_shape=SHAPE, num_restarts=1, mask=np.array([True, False, True]))
    assert np.all(found.finite)


# --- target, mask, image sought ---


@pytest.mark.parametrize("shape", [(), (2,), (3, 1), (1, 3)])
def test_target_of_the_wrong_shape(shape):
    both_refuse("target has shape", str(shape), "(4, 4, 1)", "(3,)", target=np.ones(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_target(value):
    both_refuse("target", "1 non-finite", target=np.array([1.0, value, 3.0]))


@pytest.mark.parametrize("mask", [np.ones(4, bool), np.ones((3, 1), bool), np.array(True)])
def test_mask_of_the_wrong_shape(mask):
    both_refuse("mask", str(mask.shape), "(3,)", mask=mask)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_mask_that_is_not_boolean(dtype):
    both_refuse("mask", np.dtype(dtype).name, "boolean", mask=np.array([1, 0, 1], dtype))


def test_mask_that_selects_nothing():
    both_refuse("mask", "no neuron", mask=np.zeros(3, bool))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ij.masks.central((1000,)), ("(1000,)", "[h, w, c]")),
        (lambda: ij.masks.central((13, 13, 8), size=0), ("size is 0",)),
        (lambda: ij.masks.channel_group((13, 13, 8), group=2), ("no group 2 of 2",)),
        (lambda: ij.masks.channel_group((13, 13, 8), group=0, num_groups=3), ("8 channels", "divides")),
    ],
)
def test_masks_that_do_not_exist(call, words):
    with refused(*words):
        call()


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 2), (5, 4, 1), (1, 1, 1)])
def test_initial_image_of_the_wrong_shape(shape):
    both_refuse("initial_image", str(shape), "(4, 4, 1)", "resize", initial_image=np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_initial_image(value):
    both_refuse("initial_image", "16 non-finite", initial_image=np.full(SHAPE, value))


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 1, 1), (0, 4, 1), (4, -4, 1), (), (4.5, 4, 1), 4])
def test_bad_image_shape(shape):
    both_refuse("image_shape is", str(shape), "(height, width, channels)", image_shape=shape)


def test_center_that_does_not_fit():
    representation = dataclasses.replace(SUMS, center=jnp.zeros(3))
    both_refuse("center", "(3,)", "(4, 4, 1)", representation=representation)


# --- the recipe ---


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("beta", 0.0, ("beta is 0.0", "greater than 0")),
        ("beta", -2.0, ("beta is -2.0", "greater than 0")),
        ("beta", np.nan, ("beta is nan", "finite")),
        ("alpha", 0.0, ("alpha is 0.0", "greater than 0")),
        ("lambda_tv", np.nan, ("lambda_tv is nan", "finite")),
        ("lambda_tv", -1.0, ("lambda_tv is -1.0", "0 or greater")),
        ("lambda_alpha", np.nan, ("lambda_alpha is nan", "finite")),
        ("lambda_alpha", -0.5, ("lambda_alpha is -0.5", "0 or greater")),
    ],
)
def test_bad_numbers_in_both_the_factory_and_the_record(setting, value, words):
    with refused(*words):
        ij.recipes.mahendran_vedaldi(**{setting: value})
    both_refuse(*words, recipe=dataclasses.replace(RECIPE, **{setting: value}))


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        (((-1e-3, 2),), ("learning rate is -0.001", "greater than 0")),
        (((np.nan, 2),), ("learning rate is nan", "finite")),
        (((1e-3, 2), (1e-3, 0)), ("number of steps is 0", "1 or greater")),
        (((1e-3, 2.5),), ("number of steps is 2.5", "integer")),
    ],
)
def test_bad_stages_in_both_the_factory_and_the_record(stages, words):
    with refused(*words):
        ij.recipes.mahendran_vedaldi(stages=stages)
    rates, steps = zip(*stages, strict=True)
    both_refuse(*words, recipe=dataclasses.replace(RECIPE, rates=rates, steps=steps))


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, np.inf])
def test_bad_sigma(sigma):
    both_refuse(f"sigma is {sigma}", "greater than 0", recipe=dataclasses.replace(RECIPE, sigma=sigma))


def test_as_many_rates_as_step_counts():
    both_refuse("2 rates", "1 step count", recipe=dataclasses.replace(RECIPE, rates=(1e-3, 1e-4)))
    both_refuse("0 rates", recipe=dataclasses.replace(RECIPE, rates=(), steps=()))


def test_negative_weight_in_shallow():
    with refused("lambda_tv is -1", "0 or greater"):
        ij.recipes.shallow(lambda_tv=-1)


# --- how many, and how many at a time ---


@pytest.mark.parametrize("count", [0, -1, 2.0, True])
@pytest.mark.parametrize("what", ["num_restarts", "chunk_size", "callback_every"])
def test_counts(what, count):
    seen = []
    arguments = {"num_restarts": 2, "callback": seen.append, what: count}
    with refused(f"{what} is {count}", "integer, 1 or greater"):
        ij.sample(KEY, SUMS, TARGET, RECIPE, image_shape=SHAPE, **arguments)
    assert seen == []


def test_mesh_without_the_axis():
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("batch",))
    with refused("'batch'", "'restarts'"):
        ij.sample(KEY, SUMS, TARGET, RECIPE, image_shape=SHAPE, num_restarts=2, mesh=mesh)


# --- metrics ---


def test_features_of_different_shapes():
    with refused("(3,)", "(4,)", "shape"):
        ij.metrics.relative_error(np.zeros(3), np.zeros(4))
    with refused("scale of two or more", "(1, 3)"):
        ij.metrics.normalized_errors(np.zeros((1, 3)), np.zeros((1, 3)))


def _integers(params, image):
    return (image > 100).astype(np.int32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key": 0}, ("key is int", "jax.random.key(0)")),
        ({"key": jax.random.split(jax.random.key(0), 3)}, ("shape (3,)", "one random key")),
        ({"recipe": None}, ("recipe is NoneType", "invert_jax.recipes")),
        ({"representation": ij.from_function(_integers)}, ("int32", "no gradient")),
        ({"optimizer": optax.adam(1e-3)}, ("finished", "factory")),
    ],
)
def test_a_value_of_the_wrong_kind(change, words):
    change = dict(change)
    recipe = ij.recipes.mahendran_vedaldi(stages=((1e-3, 2),))
    if "optimizer" in change:
        recipe = dataclasses.replace(recipe, optimizer=change.pop("optimizer"))
    given = {"key": jax.random.key(0), "representation": ij.hog(), "recipe": recipe} | change
    target = given["representation"](np.zeros((16, 16, 1)))
    with refused(*words, error=TypeError):
        ij.invert(
            *(given[name] for name in ("key", "representation")), target, given["recipe"], image_shape=(16, 16, 1)
        )


def test_a_mask_under_which_the_target_is_zero():
    hog = ij.hog()
    target = hog(np.zeros((16, 16, 1)))
    mask = np.ones(target.shape, bool)
    with refused("zero at every neuron of the mask", "excites"):
        ij.invert(jax.random.key(0), hog, target, ij.recipes.shallow(), image_shape=(16, 16, 1), mask=mask)


def test_numbers_beyond_float32():
    hog = ij.hog()
    target = np.asarray(hog(np.zeros((16, 16, 1))), np.float64)
    with refused("target", "non-finite", "float32"):
        ij.invert(jax.random.key(0), hog, target + 1e300, ij.recipes.shallow(), image_shape=(16, 16, 1))
    with refused("lambda_tv is 1e+50"):
        ij.recipes.shallow(lambda_tv=1e50)
