"""Eq. 2 and its kin against NumPy, through masks, at zero targets, with finite-difference gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import differences

from invert_jax import losses

RNG = np.random.default_rng(0)
FEATURES, TARGET = RNG.normal(size=(2, 3, 2, 4)).astype(np.float32)
MASK = RNG.random((3, 2, 4)) < 0.5

ORACLES = {
    losses.normalized_squared_l2: lambda y, t: ((y - t) ** 2).sum() / (t**2).sum(),
    losses.normalized_l2: lambda y, t: np.sqrt(((y - t) ** 2).sum()) / np.sqrt((t**2).sum()),
    losses.normalized_l1: lambda y, t: np.abs(y - t).sum() / np.abs(t).sum(),
    losses.inner_product: lambda y, t: -(y * t).sum() / (t**2).sum(),
    losses.activation: lambda y, t: -y.sum() / np.abs(t).sum(),
}

every_loss = pytest.mark.parametrize("loss", ORACLES, ids=lambda loss: loss.__name__)
every_mask = pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])


def seen(array, mask):
    return np.asarray(array, np.float64)[... if mask is None else mask]


@every_loss
@every_mask
def test_value_is_the_formula(loss, mask):
    expected = ORACLES[loss](seen(FEATURES, mask), seen(TARGET, mask))
    for function in (loss, jax.jit(loss)):
        value = function(FEATURES, TARGET, mask)
        assert value.shape == ()
        assert float(value) == pytest.approx(expected, rel=1e-5)


@every_loss
def test_vmap_over_features_is_a_loop(loss):
    batch = np.stack([FEATURES, TARGET, -FEATURES])
    actual = jax.vmap(loss, in_axes=(0, None, None))(batch, TARGET, MASK)
    np.testing.assert_allclose(actual, [loss(y, TARGET, MASK) for y in batch], rtol=1e-5, atol=1e-6)


@every_loss
@every_mask
def test_gradient_is_finite_differences(loss, mask):
    expected = differences.gradient(lambda y: ORACLES[loss](seen(y, mask), seen(TARGET, mask)), FEATURES)
    np.testing.assert_allclose(jax.grad(loss)(FEATURES, TARGET, mask), expected, rtol=1e-4, atol=1e-6)


@every_loss
def test_what_the_mask_hides_does_not_matter(loss):
    value, gradient = jax.value_and_grad(loss)(FEATURES, TARGET, MASK)
    hidden = np.where(MASK, 0, np.nan).astype(np.float32)
    other, other_gradient = jax.value_and_grad(loss)(FEATURES + hidden, TARGET + hidden, MASK)
    assert float(other) == float(value)
    seen_gradient = np.asarray(gradient)
    assert np.all(seen_gradient[~MASK] == 0) and np.any(seen_gradient[MASK] != 0)
    if loss is not losses.inner_product:  # its slope is the target, which is not a number there
        np.testing.assert_array_equal(other_gradient, gradient)


@every_loss
def test_zero_target_leaves_the_loss_unnormalized(loss):
    value, gradient = jax.value_and_grad(loss)(FEATURES, jnp.zeros_like(FEATURES))
    y = FEATURES.astype(np.float64)
    expected = {
        losses.normalized_squared_l2: (y**2).sum(),
        losses.normalized_l2: np.sqrt((y**2).sum()),
        losses.normalized_l1: np.abs(y).sum(),
        losses.inner_product: 0,
        losses.activation: -y.sum(),
    }[loss]
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("loss", [losses.normalized_squared_l2, losses.normalized_l1], ids=lambda loss: loss.__name__)
def test_distances_rest_at_the_target(loss):
    value, gradient = jax.value_and_grad(loss)(TARGET, TARGET)
    assert float(value) == 0
    assert np.all(np.asarray(gradient) == 0)


@every_loss
def test_a_target_behind_a_mask_that_is_zero_there_still_gives_numbers(loss):
    target = np.where(MASK, 0, TARGET)
    value, gradient = jax.value_and_grad(loss)(FEATURES, target, MASK)
    assert np.isfinite(value) and np.all(np.isfinite(gradient))


def test_nan_in_sight_is_not_hidden():
    broken = FEATURES.copy()
    broken[0, 0, 0] = np.nan
    for loss in ORACLES:
        assert np.isnan(loss(broken, TARGET))
