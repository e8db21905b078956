"""Eq. 2 and the other losses against NumPy, through masks, at zero targets, with finite-difference gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import differences

from invert_jax import losses

RNG = np.random.default_rng(0)
FEATURES, TARGET = RNG.normal(size=(2, 3, 2, 4)).astype(np.float32)
MASK = RNG.random((3, 2, 4)) < 0.5

FORMULAS = {  # numerator and unit
    losses.normalized_squared_l2: (lambda y, t: ((y - t) ** 2).sum(), lambda t: (t**2).sum()),
    losses.normalized_l2: (lambda y, t: np.sqrt(((y - t) ** 2).sum()), lambda t: np.sqrt((t**2).sum())),
    losses.normalized_l1: (lambda y, t: np.abs(y - t).sum(), lambda t: np.abs(t).sum()),
    losses.inner_product: (lambda y, t: -(y * t).sum(), lambda t: (t**2).sum()),
    losses.activation: (lambda y, t: -y.sum(), lambda t: np.abs(t).sum()),
}

every_loss = pytest.mark.parametrize("loss", FORMULAS, ids=lambda loss: loss.__name__)


@every_loss
@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])
def test_value_and_gradient_follow_the_formula(loss, mask):
    numerator, unit = FORMULAS[loss]

    def formula(features):
        y, t = (np.asarray(a, np.float64)[... if mask is None else mask] for a in (features, TARGET))
        return numerator(y, t) / unit(t)

    value, gradient = jax.jit(jax.value_and_grad(loss))(FEATURES, TARGET, mask)
    assert value.shape == ()
    assert float(value) == pytest.approx(formula(FEATURES), rel=1e-5)
    np.testing.assert_allclose(gradient, differences.gradient(formula, FEATURES), rtol=1e-4, atol=1e-6)
    batch = np.stack([FEATURES, TARGET, -FEATURES])
    expected = [formula(y) for y in batch]
    np.testing.assert_allclose(jax.vmap(loss, (0, None, None))(batch, TARGET, mask), expected, rtol=1e-5, atol=1e-6)


@every_loss
def test_masked_features_do_not_matter(loss):
    value, gradient = jax.value_and_grad(loss)(FEATURES, TARGET, MASK)
    nan = np.where(MASK, 0, np.nan).astype(np.float32)
    other, other_gradient = jax.value_and_grad(loss)(FEATURES + nan, TARGET + nan, MASK)
    assert float(other) == float(value)
    assert np.all(np.asarray(gradient)[~MASK] == 0) and np.any(np.asarray(gradient)[MASK] != 0)
    if loss is not losses.inner_product:  # its slope is the target, which is NaN there
        np.testing.assert_array_equal(other_gradient, gradient)


@every_loss
@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])
def test_zero_target_leaves_the_loss_unnormalized(loss, mask):
    target = np.zeros_like(TARGET) if mask is None else np.where(mask, 0, TARGET)
    value, gradient = jax.value_and_grad(loss)(FEATURES, target, mask)
    y = FEATURES.astype(np.float64)[... if mask is None else mask]
    assert float(value) == pytest.approx(FORMULAS[loss][0](y, np.zeros_like(y)), rel=1e-5)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("loss", [losses.normalized_squared_l2, losses.normalized_l2, losses.normalized_l1])
def test_distances_and_gradients_are_zero_at_the_target(loss):
    value, gradient = jax.value_and_grad(loss)(TARGET, TARGET)
    assert float(value) == 0 and np.all(np.asarray(gradient) == 0)


@every_loss
def test_nan_in_features_is_reported(loss):
    assert np.isnan(loss(jnp.asarray(FEATURES).at[0, 0, 0].set(np.nan), TARGET))
