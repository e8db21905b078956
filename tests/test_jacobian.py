"""Singular directions against the singular value decomposition of explicit matrices."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import fft

import invert_jax as ij
from invert_jax import analysis

SHAPE = (6, 5, 2)
ZERO = np.zeros(SHAPE)
LINEAR = ij.from_function(lambda params, image: params @ image.ravel())
CONSTANT = ij.from_function(lambda _, image: jnp.ones(3))


@pytest.fixture
def matrix(rng):
    """A code of 70 features of an image of 60 numbers."""
    return rng.normal(size=(70, 60)).astype(np.float32)


def linear(matrix):
    return dataclasses.replace(LINEAR, params=jnp.asarray(matrix))


@pytest.mark.parametrize("least", [False, True])
def test_directions_are_singular_vectors(least, matrix, key):
    options = {"least": least, "count": 3, "tolerance": 1e-6, "max_iterations": 1000}
    result = analysis.singular_directions(key, linear(matrix), ZERO, **options)
    _, values, vectors = np.linalg.svd(matrix.astype(float))
    order = slice(-1, -4, -1) if least else slice(3)
    np.testing.assert_allclose(result.singular_value, values[order], rtol=2e-2 if least else 1e-4)
    overlap = np.abs(np.sum(result.direction.reshape(3, -1) * vectors[order], axis=1))
    assert np.all(overlap > 0.99) and result.direction.shape == (3, *SHAPE)
    assert np.all(result.residual < 1e-4)
    again = analysis.singular_directions(key, linear(matrix), ZERO, **options)
    np.testing.assert_array_equal(result.direction, again.direction)


def test_smooth_directions_are_combinations_of_the_lowest_cosines(matrix, key):
    result = analysis.singular_directions(key, linear(matrix), ZERO, count=2, num_frequencies=2)
    cosines = fft.dctn(result.direction, axes=(1, 2), norm="ortho")
    assert np.abs(cosines[:, 2:]).max() < 1e-5 and np.abs(cosines[:, :, 2:]).max() < 1e-5
    basis = [fft.idctn(np.eye(60)[i].reshape(SHAPE), axes=(0, 1), norm="ortho").ravel() for i in range(60)]
    lowest = [basis[np.ravel_multi_index((i, j, c), SHAPE)] for i in range(2) for j in range(2) for c in range(2)]
    values = np.linalg.svd(matrix @ np.stack(lowest, axis=1), compute_uv=False)
    np.testing.assert_allclose(result.singular_value, values[:2], rtol=1e-4)


def test_least_directions_span_the_null_space_and_a_mask_makes_one(matrix, key):
    result = analysis.singular_directions(key, linear(matrix[:20]), ZERO, least=True, count=4)
    largest = np.linalg.norm(matrix[:20], 2)
    assert np.all(result.singular_value < 0.02 * largest)
    flat = result.direction.reshape(4, -1)
    _, _, vectors = np.linalg.svd(matrix[:20].astype(float))  # the rows from 20 on span the null space
    assert np.linalg.norm(flat @ vectors[:20].T, axis=1).max() < 0.03
    np.testing.assert_allclose(flat @ flat.T, np.eye(4), atol=1e-4)
    masked = analysis.singular_directions(key, linear(matrix), ZERO, mask=np.arange(70) < 20, count=1)
    assert masked.singular_value[0] == pytest.approx(largest, rel=1e-4)


def diagonal_code(gains):
    return ij.from_function(lambda params, image: params * image.ravel(), jnp.asarray(gains, jnp.float32))


@pytest.mark.parametrize("num_null", [0, 200])
def test_least_directions_of_a_cluster_or_a_null_space_are_all_found_in_order(num_null, key):
    """By the defaults: eight small singular values among 400, or none but zero among the 200 least."""
    small = np.linspace(0.005, 0.05, 8) if not num_null else np.zeros(num_null)
    gains = np.concatenate([np.linspace(1, 3, 400 - len(small)), small])
    image = np.full((20, 20, 1), 2.0)
    found = analysis.singular_directions(key, diagonal_code(gains), image, least=True, count=8)
    assert np.all(np.diff(found.singular_value) >= 0)
    unit = 20 / np.linalg.norm(2 * gains)  # of one gray level RMS, over the code
    np.testing.assert_allclose(found.gain, unit * found.singular_value, rtol=1e-5)
    assert np.all(found.resolution >= found.gain)
    if num_null:
        assert found.singular_value.max() < 2e-3 and found.resolution.max() < 0.01 * unit
    else:
        np.testing.assert_allclose(found.singular_value, small, rtol=0.02)
        np.testing.assert_allclose(found.resolution, found.gain, rtol=0.5)
    flat = found.direction.reshape(8, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(8), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("least", [False, True])
def test_singular_values_are_finite_differences_on_a_photograph(least, key):
    photograph, hog = ij.example_image("chelsea", size=48, gray=True), ij.hog(binning="bilinear")
    result = analysis.singular_directions(key, hog, photograph, least=least, count=1, num_frequencies=4)
    low, high = (np.asarray(hog(photograph + step * result.direction[0])) for step in (-0.1, 0.1))
    assert np.linalg.norm(high - low) / 0.2 == pytest.approx(result.singular_value[0], rel=0.1, abs=1e-4)


@pytest.mark.parametrize("phi", [CONSTANT, pytest.param(ij.hog(binning="bilinear"), marks=pytest.mark.slow)])
def test_singular_values_of_a_flat_image_or_a_constant_code_are_zero(phi, key):
    for least in (False, True):
        result = analysis.singular_directions(key, phi, np.full((16, 16, 1), 99.0), least=least, count=3)
        np.testing.assert_array_equal(result.singular_value, 0)
        flat = result.direction.reshape(3, -1)
        np.testing.assert_allclose(flat @ flat.T, np.eye(3), atol=1e-5)


def test_directions_that_have_not_converged_are_nan(key):
    """Singular values that are nearly equal: few iterations give some of the directions, or none."""
    values = np.concatenate([[3.0, 2.0], np.linspace(1, 0.99, 398)]).astype(np.float32)
    diagonal = ij.from_function(lambda params, image: params * image.ravel(), jnp.asarray(values))
    options = {"tolerance": 1e-7, "max_iterations": 2}
    result = analysis.singular_directions(key, diagonal, np.zeros((20, 20, 1)), count=6, **options)
    converged = np.isfinite(result.singular_value)
    assert 0 < converged.sum() < 6 and np.all(np.diff(converged.astype(int)) <= 0)
    np.testing.assert_allclose(result.singular_value[:2], [3, 2], rtol=1e-3)
    assert np.isnan(result.direction[~converged]).all() and result.direction.shape == (6, 20, 20, 1)
    flat = dataclasses.replace(diagonal, params=jnp.asarray(values[2:].repeat(2)[:400]))
    with pytest.raises(ValueError, match="converged"):
        analysis.singular_directions(key, flat, np.zeros((20, 20, 1)), count=6, tolerance=1e-14, max_iterations=1)


INVALID = (("count", 0), ("count", 59), ("num_frequencies", 0), ("mask", np.ones(3, bool)), ("image", np.zeros((4, 4))))


@pytest.mark.parametrize(("argument", "value"), [*INVALID, ("image", np.full(SHAPE, np.nan))])
def test_invalid_arguments_are_refused(argument, value, matrix, key):
    with pytest.raises(ValueError, match=argument):
        analysis.singular_directions(key, linear(matrix), **{"image": ZERO, argument: value})
