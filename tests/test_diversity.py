"""Differences between restarts: cases whose answer is known, and descents whose invariance is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import invert_jax as ij
from invert_jax import analysis


def test_effective_number_from_equal_to_equidistant_images(rng):
    """R images of independent noise: 1 far below the resolution, R far above it, and no leap between."""
    noise, std = rng.normal(size=(5, 32, 32, 1)), np.array([0.0, 0.05, 0.25, 0.5, 1, 5])
    results = [analysis.diversity(128 + value * noise) for value in std]
    expected = 1 + 4 * (std**2 / (std**2 + 0.25)) ** 2
    np.testing.assert_allclose([result.effective_number for result in results], expected, rtol=0.05)
    assert analysis.diversity(np.ones((5, 32, 32, 1)), resolution=0).effective_number == 1
    assert results[1].distance.max() < 0.1 and results[1].ssim.min() > 0.9999
    distant = np.zeros((5, 32, 32, 1))
    distant[np.arange(5), np.arange(5)] = 200.0
    result = analysis.diversity(distant, resolution=0)
    assert result.effective_number == pytest.approx(5, rel=1e-4)
    np.testing.assert_allclose(result.distance, 200 * np.sqrt(2 / 32) * (1 - np.eye(5)), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("num_directions", "num_restarts"), [(3, 200), (20, 60), (100, 30)])
def test_effective_number_reflects_the_dimension(num_directions, num_restarts, rng):
    basis = np.linalg.qr(rng.normal(size=(16 * 16, num_directions)))[0]
    images = 128 + 200 * (rng.normal(size=(num_restarts, num_directions)) @ basis.T).reshape(-1, 16, 16, 1)
    expected = 1 + num_directions * (num_restarts - 1) / (num_directions + num_restarts)
    assert analysis.diversity(images).effective_number == pytest.approx(expected, rel=0.05)


def test_bands_separate_scales_and_ssim_is_that_of_each_pair():
    checkerboard = (-1.0) ** np.add.outer(np.arange(32), np.arange(32))[..., None]
    base, other = (ij.example_image(name, size=32, gray=True) for name in ("coffee", "chelsea"))
    images = np.stack([base, base + 10.0, base + 10.0 * checkerboard, other, other])
    result = analysis.diversity(images)
    np.testing.assert_allclose(result.bands[:, 0, 1], [*[0] * 5, 10], atol=1e-3)
    assert result.bands[0, 0, 2] == pytest.approx(10, rel=0.1) and result.bands[1:, 0, 2].max() < 1
    expected = float(ij.metrics.ssim(images[0], images[3]))
    assert result.ssim[0, 3] == result.ssim[3, 0] == pytest.approx(expected, rel=1e-5)
    assert analysis.pairwise_rms([]).shape == (0, 0)


def test_standard_deviations_are_numpys(rng):
    images = np.repeat(ij.example_image("chelsea", size=32, gray=True)[None], 5, axis=0)
    images[:, 8:16, 8:16] += rng.normal(0, 20, (5, 8, 8, 1))
    result = analysis.pixel_std(images)
    np.testing.assert_allclose(result.mean, images.mean(0), rtol=1e-5)
    np.testing.assert_allclose(result.std, np.std(images, axis=0, ddof=1), rtol=1e-4, atol=1e-4)
    assert result.bands.shape == (6, 32, 32, 1) and result.bands[0, 8:16, 8:16].mean() > 5 * result.bands[-1].mean()
    images = rng.uniform(0, 255, (4, 5, 6, 3))
    np.testing.assert_allclose(analysis.std_map(images), np.sqrt(np.var(images, 0, ddof=1).mean(axis=2)), rtol=1e-5)
    for invalid in (images[0], images[:1], np.full_like(images, np.nan)):
        for function in (analysis.diversity, analysis.pixel_std, analysis.std_map):
            with pytest.raises(ValueError, match="estarts"):
                function(invalid)


def test_concentration_of_a_square():
    values = np.zeros((100, 100, 3))
    values[40:60, 40:60] = 1
    assert analysis.concentration(values, (30, 30, 70, 70)) == (1, 0.16, 20)  # a side of 18 holds 81 %
    assert analysis.concentration(values, (30, 30, 70, 70), fraction=0.25).side == 10
    values[:20] = 0.1  # outside the box
    assert analysis.concentration(values, (30, 30, 70, 70)).inside == pytest.approx(400 / 600)
    assert analysis.concentration(np.ones((100, 100, 3)), (-20, -20, 120, 120)).area == 1
    assert np.isnan(analysis.concentration(np.zeros((9, 9)), (0, 0, 4, 4)).inside)
    for invalid in (np.full((4, 4), -1.0), np.full((4, 4), np.nan), np.ones(4)):
        with pytest.raises(ValueError, match="map"):
            analysis.concentration(invalid, (0, 0, 2, 2))


def _left_half(params, image):
    return image[:, : image.shape[1] // 2]


def _mean_and_deviation(params, image):
    mean = jnp.mean(image)
    return jnp.stack([mean, jnp.sqrt(jnp.mean((image - mean) ** 2))])


def _sample(apply, image, stages, sigma):
    recipe = ij.recipes.mahendran_vedaldi(lambda_tv=0.0, lambda_alpha=0.0, stages=stages)
    recipe, phi = dataclasses.replace(recipe, sigma=sigma), ij.from_function(apply)
    restarts = ij.sample(jax.random.key(0), phi, phi(image), recipe, image_shape=image.shape, num_restarts=8)
    assert restarts.error.max() < 1e-3
    return phi, restarts


@pytest.mark.slow
def test_restarts_of_a_linear_code_differ_in_its_null_space():
    _, restarts = _sample(_left_half, ij.example_image("chelsea", size=16, gray=True), ((0.02, 300),), 1000.0)
    std = analysis.pixel_std(restarts.image).std
    assert std[:, :8].max() < 0.1
    assert std[:, 8:].mean() == pytest.approx(1000 / 16, rel=0.1)  # the starts, noise of norm sigma, are unchanged
    assert analysis.diversity(restarts.image).effective_number == pytest.approx(8, rel=0.1)


@pytest.mark.slow
def test_restarts_of_a_code_of_two_moments_are_as_far_apart_as_noise():
    """Noise of the standard deviation s: sqrt(2) s from each other. The code is translation invariant."""
    image = ij.example_image("chelsea", size=32, gray=True)
    phi, restarts = _sample(_mean_and_deviation, image, ((0.05, 100), (0.005, 100)), 2000.0)
    shifted = np.roll(restarts.image, (5, 9), axis=(1, 2))
    np.testing.assert_allclose([phi(image) for image in shifted], restarts.features, rtol=1e-4)
    diversity = analysis.diversity(restarts.image)
    pairs = diversity.distance[np.triu_indices(8, 1)]
    np.testing.assert_allclose(pairs, np.sqrt(2) * image.std(), rtol=0.1)
    assert pairs.mean() == pytest.approx(np.sqrt(2) * image.std(), rel=0.02)
    assert diversity.effective_number == pytest.approx(8, rel=0.02)
    assert analysis.std_map(restarts.image).mean() == pytest.approx(image.std(), rel=0.1)
