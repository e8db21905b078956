"""The alpha-norm and total variation against loops over pixels."""

import functools

import jax
import numpy as np
import pytest
from oracles import differences, priors

from invert_jax import regularizers

X = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)

CASES = {
    **{
        f"alpha {alpha}": (
            functools.partial(regularizers.alpha_norm, alpha=alpha),
            functools.partial(priors.alpha_norm, alpha=alpha),
        )
        for alpha in (1, 1.5, 2, 3, 5.5, 6, 6.0)
    },
    **{
        f"beta {beta}": (
            functools.partial(regularizers.total_variation, beta=beta),
            functools.partial(priors.total_variation, beta=beta),
        )
        for beta in (0.5, 1, 1.5, 2, 2.0, 3)
    },
}
every_prior = pytest.mark.parametrize("name", CASES)
SHAPES = [(4, 5, 3), (1, 5, 2), (5, 1, 1), (1, 1, 1), (2, 2, 1)]


@every_prior
def test_value_is_the_loop_over_pixels(name):
    prior, oracle = CASES[name]
    for shape in SHAPES:
        x = X[: shape[0], : shape[1], : shape[2]] if shape != (5, 1, 1) else X[0, :, :1][:, None]
        assert x.shape == shape
        assert float(prior(x)) == pytest.approx(oracle(x), rel=1e-5)
    assert float(jax.jit(prior)(X)) == pytest.approx(oracle(X), rel=1e-5)


@every_prior
def test_gradient_is_finite_differences(name):
    prior, oracle = CASES[name]
    np.testing.assert_allclose(jax.jit(jax.grad(prior))(X), differences.gradient(oracle, X), rtol=1e-3, atol=1e-4)


@every_prior
def test_vmap_is_a_loop(name):
    prior, _ = CASES[name]
    batch = np.stack([X, 2 * X, X[::-1]])
    np.testing.assert_allclose(jax.vmap(prior)(batch), [prior(x) for x in batch], rtol=1e-5)


@every_prior
def test_gradient_is_zero_on_a_black_image(name):
    prior, _ = CASES[name]
    value, gradient = jax.value_and_grad(prior)(np.zeros((3, 4, 2), np.float32))
    assert float(value) == 0
    assert np.all(np.asarray(gradient) == 0)


@pytest.mark.parametrize("beta", [0.5, 1, 1.5, 2, 3])
def test_total_variation_of_a_flat_image_is_zero_with_zero_gradient(beta):
    prior = functools.partial(regularizers.total_variation, beta=beta)
    for shape in [(3, 4, 2), (1, 1, 3), (1, 4, 1)]:
        value, gradient = jax.value_and_grad(prior)(np.full(shape, 0.7, np.float32))
        assert float(value) == 0
        assert np.all(np.asarray(gradient) == 0)


@pytest.mark.parametrize("beta", [1, 1.5, 2])
def test_total_variation_of_a_step_edge_is_its_length_times_its_height(beta):
    x = np.zeros((6, 8, 1), np.float32)
    x[:, 4:] = 3
    assert float(regularizers.total_variation(x, beta=beta)) == pytest.approx(6 * 3**beta, rel=1e-6)


@every_prior
def test_channels_are_summed(name):
    prior, _ = CASES[name]
    apart = sum(float(prior(X[..., c : c + 1])) for c in range(3))
    assert float(prior(X)) == pytest.approx(apart, rel=1e-5)


def test_defaults_are_the_papers():
    assert float(regularizers.alpha_norm(X)) == pytest.approx(priors.alpha_norm(X, 6), rel=1e-5)
    assert float(regularizers.total_variation(X)) == pytest.approx(priors.total_variation(X, 2), rel=1e-5)
