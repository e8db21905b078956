"""Eq. 3 against plain loops, its units against the paper's numbers, and what it refuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import differences, priors

import invert_jax as ij
from invert_jax import objective

SHAPE = (5, 4, 3)
RNG = np.random.default_rng(0)
IMAGE = RNG.uniform(0, 255, SHAPE).astype(np.float32)
GOAL = RNG.uniform(0, 255, SHAPE).astype(np.float32)
MIX = RNG.normal(size=(3, 2)).astype(np.float32) / 255


def colors_mixed(mix, image):
    mixed = jnp.einsum("hwc,cd->hwd", image, mix, precision="highest")
    return mixed + mixed**2


def colors_mixed_in_numpy(image):
    mixed = np.einsum("hwc,cd->hwd", np.asarray(image, np.float64), MIX.astype(np.float64))
    return mixed + mixed**2


TARGET = colors_mixed_in_numpy(GOAL).astype(np.float32)
MASK = RNG.random(TARGET.shape) < 0.5
CENTERS = {
    "scalar": 110.0,
    "color": np.array([120.0, 110.0, 100.0], np.float32),
    "image": RNG.uniform(90, 130, SHAPE).astype(np.float32),
}


def make(recipe, *, center=0.0, target=TARGET, mask=None, shape=SHAPE):
    phi = ij.from_function(colors_mixed, jnp.asarray(MIX), center=center)
    return objective.make(phi, target, recipe, image_shape=shape, mask=mask)


def close(actual, expected, tolerance=1e-5):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


# --- value and gradient ---

SETTINGS = {
    "paper": {},
    "beta 1": {"beta": 1.0, "lambda_tv": 0.05},
    "alpha 3, beta 1.5": {"alpha": 3.0, "beta": 1.5, "lambda_alpha": 0.2},
    "no priors": {"lambda_tv": 0.0, "lambda_alpha": 0.0},
}


@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])
@pytest.mark.parametrize(
    ("name", "center"), [*((n, "color") for n in SETTINGS), ("paper", "scalar"), ("paper", "image")]
)
def test_evaluate_and_its_gradient_are_eq_3_written_out(name, center, mask):
    options = SETTINGS[name]
    eq3 = make(ij.recipes.mahendran_vedaldi(**options), center=CENTERS[center], mask=mask)
    sigma = 68.92116477 * np.sqrt(5 * 4 * 3)
    weights = {
        "sigma": sigma,
        "alpha": options.get("alpha", 6.0),
        "beta": options.get("beta", 2.0),
        "lambda_tv": options.get("lambda_tv", 5.0),
        "lambda_alpha": options.get("lambda_alpha", 4e-10 * sigma**4),
    }

    def oracle(x):
        return priors.energy(colors_mixed_in_numpy, TARGET, x, center=CENTERS[center], mask=mask, **weights)

    x = (IMAGE - CENTERS[center]) / sigma
    (energy, terms), gradient = jax.jit(jax.value_and_grad(objective.evaluate, argnums=1, has_aux=True))(
        eq3, x.astype(np.float32)
    )
    np.testing.assert_allclose(terms, oracle(x), rtol=1e-4, atol=1e-7)
    assert float(energy) == float(terms[0])
    close(gradient, differences.gradient(lambda a: oracle(a)[0], x, step=1e-5), 1e-3)


def test_plain_jit_and_vmap_agree():
    eq3 = make(ij.recipes.mahendran_vedaldi(), center=CENTERS["color"])
    batch = RNG.normal(size=(3, *SHAPE)).astype(np.float32) / 8
    plain = np.stack([objective.evaluate(eq3, x)[1] for x in batch])
    together = jax.vmap(lambda x: objective.evaluate(eq3, x)[1])
    np.testing.assert_allclose(together(batch), plain, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(together)(batch), plain, rtol=1e-5)


def test_the_recipes_loss_is_the_one_used():
    recipe = dataclasses.replace(ij.recipes.mahendran_vedaldi(), loss=ij.losses.normalized_l1)
    eq3 = make(recipe, center=CENTERS["color"])
    difference = np.abs(colors_mixed_in_numpy(IMAGE) - TARGET).sum() / np.abs(TARGET).sum()
    loss = objective.evaluate(eq3, eq3.from_image(IMAGE))[1][1]
    assert float(loss) == pytest.approx(difference, rel=1e-4)


def test_mask_restricts_the_loss():
    other = np.where(MASK, TARGET, 99).astype(np.float32)
    recipe = ij.recipes.mahendran_vedaldi()
    x = (IMAGE - 110) / 500
    one, two = (objective.evaluate(make(recipe, target=t, mask=MASK), x)[1] for t in (TARGET, other))
    np.testing.assert_array_equal(one, two)
    assert float(objective.evaluate(make(recipe, target=other), x)[1][1]) != pytest.approx(float(one[1]), rel=0.1)


def test_zero_target_leaves_the_loss_unnormalized():
    eq3 = make(ij.recipes.mahendran_vedaldi(lambda_tv=0, lambda_alpha=0.0), target=np.zeros_like(TARGET))
    energy, _ = objective.evaluate(eq3, eq3.from_image(IMAGE))
    assert float(energy) == pytest.approx((colors_mixed_in_numpy(IMAGE) ** 2).sum(), rel=1e-4)


@pytest.mark.parametrize("beta", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("level", [0.0, 110.0, 200.0])
def test_gradient_is_finite_on_a_flat_image(beta, level):
    eq3 = make(ij.recipes.mahendran_vedaldi(beta=beta), center=110.0)
    flat = eq3.from_image(jnp.full(SHAPE, level))
    gradient = jax.grad(lambda x: objective.evaluate(eq3, x)[0])(flat)
    assert np.all(np.isfinite(gradient))


def test_one_pixel():
    eq3 = make(ij.recipes.mahendran_vedaldi(), target=TARGET[:1, :1], shape=(1, 1, 3), center=CENTERS["color"])
    energy, terms = objective.evaluate(eq3, eq3.from_image(GOAL[:1, :1]))
    assert float(terms[3]) == 0 and float(terms[1]) == pytest.approx(0, abs=1e-6) and np.isfinite(energy)


# --- units ---


def test_sigma_and_lambda_alpha_are_the_authors_at_their_size():
    assert objective.typical_norm((227, 227, 3)) == pytest.approx(27098.1, abs=0.05)
    assert objective.balanced_lambda_alpha(27098.1) == pytest.approx(2.157e8, rel=1e-3)
    gray = ij.from_function(first_pixel, center=128.0)
    eq3 = objective.make(gray, jnp.ones(3), ij.recipes.mahendran_vedaldi(), image_shape=(227, 227, 3))
    assert float(eq3.sigma) == pytest.approx(27098.1, abs=0.05)
    assert float(eq3.lambda_alpha) == pytest.approx(2.157e8, rel=1e-3)


def first_pixel(params, image):
    return image[0, 0]


@pytest.mark.parametrize("shape", [(64, 64, 3), (120, 90, 1), (8, 8, 3)])
@pytest.mark.parametrize("alpha", [2.0, 3.5, 6.0])
def test_balanced_alpha_norm_has_the_same_weight_at_every_size(shape, alpha):
    """Section 2: the rule prices an image that is everywhere B = 151 levels from the center at 1, whatever its size."""
    sigma = objective.typical_norm(shape)
    assert sigma == pytest.approx(68.92116477 * np.sqrt(np.prod(shape)), rel=1e-6)
    at_range = np.full(shape, (68.92116477**2 / 4e-10) ** (1 / 6) / sigma)
    cost = objective.balanced_lambda_alpha(sigma, alpha=alpha) * (at_range**alpha).sum()
    assert cost == pytest.approx(1, rel=1e-6)


def test_the_recipes_own_numbers_come_before_the_rules():
    recipe = dataclasses.replace(ij.recipes.mahendran_vedaldi(lambda_alpha=7.0, lambda_tv=3.0), sigma=100.0)
    eq3 = make(recipe)
    assert (float(eq3.sigma), float(eq3.lambda_alpha), float(eq3.lambda_tv)) == (100, 7, 3)
    balanced = make(dataclasses.replace(recipe, lambda_alpha=None))
    assert float(balanced.lambda_alpha) == pytest.approx(4e-10 * 100**4, rel=1e-5)


@pytest.mark.parametrize("center", CENTERS)
def test_center_of_every_shape_and_the_way_back(center):
    eq3 = make(ij.recipes.mahendran_vedaldi(), center=CENTERS[center])
    assert eq3.center.shape == SHAPE
    np.testing.assert_array_equal(eq3.center, np.broadcast_to(CENTERS[center], SHAPE))
    np.testing.assert_allclose(eq3.to_image(np.zeros(SHAPE, np.float32)), eq3.center)
    np.testing.assert_allclose(eq3.to_image(eq3.from_image(IMAGE)), IMAGE, rtol=1e-5, atol=1e-3)


def test_new_numbers_do_not_retrace():
    traces = []

    @jax.jit
    def energy(eq3, x):
        traces.append(x)
        return objective.evaluate(eq3, x)[0]

    x = (IMAGE - 110) / 500
    first = energy(make(ij.recipes.mahendran_vedaldi(), center=CENTERS["color"]), x)
    second = energy(make(ij.recipes.mahendran_vedaldi(lambda_tv=1.0), center=np.ones(3), target=TARGET + 1), x)
    assert len(traces) == 1
    assert float(first) != float(second)


# --- what is refused ---


def refused(match, **options):
    recipe = options.pop("recipe", None) or ij.recipes.mahendran_vedaldi()
    with pytest.raises(ValueError, match=match) as caught:
        make(recipe, **options)
    assert "\n" not in str(caught.value)


def test_target_of_another_shape():
    refused(r"target has shape \(5, 4, 3\).*\(5, 4, 3\) has shape \(5, 4, 2\)", target=IMAGE)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_target_that_is_not_finite(bad):
    refused("target has 2 non-finite", target=np.where(np.arange(40).reshape(5, 4, 2) < 2, bad, TARGET))


@pytest.mark.parametrize("mask", [np.ones(TARGET.shape), np.ones((5, 4), bool)], ids=["float", "shape"])
def test_mask_that_does_not_fit(mask):
    refused(r"must be boolean, of the features' shape \(5, 4, 2\)", mask=mask)


def test_mask_without_a_neuron():
    refused("selects no neuron", mask=np.zeros(TARGET.shape, bool))


@pytest.mark.parametrize("center", [np.zeros(2), np.zeros((5, 3, 3)), np.zeros((4, 3))], ids=lambda c: str(c.shape))
def test_center_that_does_not_fit(center):
    refused(r"center has shape \(.*does not fit an image \(5, 4, 3\)", center=center)


@pytest.mark.parametrize("shape", [(5, 4), (0, 4, 3), (1, 5, 4, 3)])
def test_image_shape_that_is_none(shape):
    refused(r"image_shape is \(.*height, width, channels", shape=shape)


def test_recipe_without_stages():
    recipe = dataclasses.replace(ij.recipes.mahendran_vedaldi(), rates=(), steps=())
    refused("0 rates and 0 step counts", recipe=recipe)


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("sigma", 0.0, "sigma is 0.0"),
        ("sigma", np.nan, "sigma is nan"),
        ("alpha", -1.0, "alpha is -1.0"),
        ("beta", 0.0, "beta is 0.0"),
        ("lambda_tv", -5.0, "lambda_tv is -5.0"),
        ("lambda_alpha", np.inf, "lambda_alpha is inf"),
        ("rates", (1e-3, 0.0, 1e-5), "learning rate is 0.0"),
        ("rates", (1e-3,), "1 rates and 3 step counts"),
        ("steps", (1, 2, 0), "number of steps is 0"),
        ("steps", (1, 2.5, 3), "number of steps is 2.5"),
    ],
)
def test_recipe_out_of_range(field, value, match):
    refused(match, recipe=dataclasses.replace(ij.recipes.mahendran_vedaldi(), **{field: value}))
