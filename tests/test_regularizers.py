"""The alpha-norm and total variation against loops over pixels, and the units of section 2."""

import functools

import jax
import numpy as np
import pytest
from oracles import differences, priors

from invert_jax import regularizers
from invert_jax.regularizers import AlphaNorm, TotalVariation

X = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
CASES = [*map(AlphaNorm, (1, 3, 5.5, 6)), *map(TotalVariation, (0.5, 1, 1.5, 2))]
every_prior = pytest.mark.parametrize("prior", CASES, ids=repr)


@functools.partial(jax.jit, static_argnums=0)
def value_and_gradient(prior, x):
    return jax.value_and_grad(prior)(x)


def oracle(prior, x):
    if isinstance(prior, AlphaNorm):
        return priors.alpha_norm(x, prior.alpha)
    return priors.total_variation(x, prior.beta)


@every_prior
def test_value_and_gradient_agree_with_loops_over_pixels(prior):
    value, gradient = value_and_gradient(prior, X)
    assert float(value) == pytest.approx(oracle(prior, X), rel=1e-5)
    expected = differences.gradient(lambda x: oracle(prior, x), X)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)
    batch = np.stack([X, 2 * X, X[::-1]])
    expected = [oracle(prior, x) for x in batch]
    np.testing.assert_allclose(jax.jit(jax.vmap(prior))(batch), expected, rtol=1e-5)
    value, gradient = value_and_gradient(prior, np.full_like(X, 0 if isinstance(prior, AlphaNorm) else 0.7))
    assert float(value) == 0 and np.all(np.asarray(gradient) == 0), "flat images have no energy and no gradient"


@every_prior
def test_whatever_float32_holds_has_a_finite_energy_and_gradient(prior):
    """So a descent that diverges is stopped by its own steps, not by the energy of its priors."""
    for scale in (1e-45, 1e-40, 1e8, 1e19, 1e38):
        value, gradient = value_and_gradient(prior, np.sign(X) * np.float32(scale))
        assert np.isfinite(value) and np.isfinite(gradient).all(), scale


@pytest.mark.parametrize("shape", [(1, 5, 2), (4, 1, 1), (1, 1, 1)])
@pytest.mark.parametrize("beta", [1, 2])
def test_images_of_a_single_row_or_column_have_total_variation(beta, shape):
    x = X[: shape[0], : shape[1], : shape[2]]
    value, gradient = value_and_gradient(TotalVariation(beta), x)
    assert float(value) == pytest.approx(oracle(TotalVariation(beta), x), rel=1e-5)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("beta", [1, 1.5, 2])
def test_total_variation_of_a_step_edge_is_length_times_height(beta):
    x = np.zeros((6, 8, 1), np.float32)
    x[:, 4:] = 3
    assert float(regularizers.total_variation(x, beta=beta)) == pytest.approx(6 * 3**beta, rel=1e-6)


def test_default_exponents_are_the_papers_and_priors_compare_by_value():
    assert (AlphaNorm(), TotalVariation()) == (AlphaNorm(6), TotalVariation(2))
    assert float(regularizers.alpha_norm(X)) == pytest.approx(priors.alpha_norm(X, 6), rel=1e-5)
    assert float(regularizers.total_variation(X)) == pytest.approx(priors.total_variation(X, 2), rel=1e-5)
    assert hash(AlphaNorm(3.0)) == hash(AlphaNorm(3.0)) and AlphaNorm(3.0) != AlphaNorm(2.0)
    assert hash(TotalVariation(1.0)) == hash(TotalVariation(1.0)) and TotalVariation(1.0) != TotalVariation(2.0)


def test_units_are_the_authors_at_227_pixels():
    sigma = regularizers.default_sigma((227, 227, 3))
    assert sigma == pytest.approx(27098.1, abs=0.05)
    assert AlphaNorm().balanced_weight(sigma) == pytest.approx(2.157e8, rel=1e-3)


@pytest.mark.parametrize("shape", [(64, 64, 3), (120, 90, 1), (8, 8, 3)])
@pytest.mark.parametrize("alpha", [2.0, 3.5, 6.0])
def test_balanced_alpha_norm_weighs_the_same_at_every_size(shape, alpha):
    """Section 2: an image that is everywhere B = 151 levels from the center costs 1, whatever the size."""
    sigma = regularizers.default_sigma(shape)
    assert sigma == pytest.approx(68.92116477 * np.sqrt(np.prod(shape)), rel=1e-6)
    x = np.full(shape, (68.92116477**2 / 4e-10) ** (1 / 6) / sigma)
    cost = AlphaNorm(alpha).balanced_weight(sigma) * priors.alpha_norm(x, alpha)
    assert cost == pytest.approx(1, rel=1e-6)
