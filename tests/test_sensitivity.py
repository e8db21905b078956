"""Jacobian directions against the singular value decomposition of matrices that are written down."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import fft
from scipy.sparse import linalg

import invert_jax as ij
from invert_jax import analysis

SHAPE = (6, 5, 2)


@pytest.fixture
def matrix(rng):
    """A code of 70 features of an image of 60 numbers."""
    return rng.normal(size=(70, 60)).astype(np.float32)


def linear(matrix):
    return ij.from_function(lambda params, image: params @ image.ravel(), jnp.asarray(matrix))


@pytest.mark.parametrize("least", [False, True])
def test_directions_are_singular_vectors(least, matrix, key):
    found = analysis.singular_directions(
        key, linear(matrix), np.zeros(SHAPE), least=least, count=3, tolerance=1e-6, max_iterations=1000
    )
    _, values, vectors = np.linalg.svd(matrix.astype(float))
    order = slice(-1, -4, -1) if least else slice(3)
    np.testing.assert_allclose(found.gain, values[order], rtol=2e-2 if least else 1e-4)
    overlap = np.abs(np.sum(found.direction.reshape(3, -1) * vectors[order], axis=1))
    assert np.all(overlap > 0.99) and found.direction.shape == (3, *SHAPE)
    assert np.all(found.residual < 1e-4)


def test_smooth_directions_are_of_the_lowest_cosines_alone(matrix, key):
    found = analysis.singular_directions(key, linear(matrix), np.zeros(SHAPE), count=2, num_frequencies=2)
    cosines = fft.dctn(found.direction, axes=(1, 2), norm="ortho")
    assert np.abs(cosines[:, 2:]).max() < 1e-5 and np.abs(cosines[:, :, 2:]).max() < 1e-5
    basis = [fft.idctn(np.eye(60)[i].reshape(SHAPE), axes=(0, 1), norm="ortho").ravel() for i in range(60)]
    lowest = [basis[np.ravel_multi_index((i, j, c), SHAPE)] for i in range(2) for j in range(2) for c in range(2)]
    values = np.linalg.svd(matrix @ np.stack(lowest, axis=1), compute_uv=False)
    np.testing.assert_allclose(found.gain, values[:2], rtol=1e-4)


def test_a_null_space_is_found_and_a_mask_makes_one(matrix, key):
    found = analysis.singular_directions(key, linear(matrix[:20]), np.zeros(SHAPE), least=True, count=4)
    largest = np.linalg.norm(matrix[:20], 2)
    assert np.all(found.gain < 0.02 * largest)
    flat = found.direction.reshape(4, -1)
    _, _, vectors = np.linalg.svd(matrix[:20].astype(float))  # those from 20 on span the null space
    assert np.linalg.norm(flat @ vectors[:20].T, axis=1).max() < 0.03
    np.testing.assert_allclose(flat @ flat.T, np.eye(4), atol=1e-4)
    mask = np.arange(70) < 20
    masked = analysis.singular_directions(key, linear(matrix), np.zeros(SHAPE), mask=mask, count=1)
    assert masked.gain[0] == pytest.approx(largest, rel=1e-4)


def test_gains_are_those_of_small_changes_of_a_photograph(key):
    photograph, hog = ij.example_image("chelsea", size=48, gray=True), ij.hog(binning="bilinear")
    for least in (False, True):
        found = analysis.singular_directions(key, hog, photograph, least=least, count=1, num_frequencies=4)
        step = 0.1
        moved = [np.asarray(hog(photograph + sign * step * found.direction[0])) for sign in (-1, 1)]
        measured = np.linalg.norm(moved[1] - moved[0]) / (2 * step)
        assert measured == pytest.approx(found.gain[0], rel=0.1, abs=1e-4)


def test_what_has_not_converged_is_not_a_number(matrix, key, monkeypatch):
    whole = analysis.singular_directions(key, linear(matrix), np.zeros(SHAPE), count=3)
    solve = linalg.eigsh

    def ends_early(operator, count, **options):
        values, vectors = solve(operator, count, **options)
        if count == 1:
            return values, vectors
        raise linalg.ArpackNoConvergence("two of three", values[1:], vectors[:, 1:])  # scipy's are ascending

    monkeypatch.setattr(linalg, "eigsh", ends_early)
    found = analysis.singular_directions(key, linear(matrix), np.zeros(SHAPE), count=3)
    np.testing.assert_allclose(found.gain[:2], whole.gain[:2])
    assert np.isnan(found.gain[2]) and np.isnan(found.residual[2]) and np.isnan(found.direction[2]).all()
    assert found.direction.shape == (3, *SHAPE) and np.isfinite(found.direction[:2]).all()

    def never(operator, count, **options):
        raise linalg.ArpackNoConvergence("none", np.zeros(0), np.zeros((60, 0)))

    monkeypatch.setattr(linalg, "eigsh", never)
    with pytest.raises(ValueError, match="No direction converged in 7 iterations"):
        analysis.singular_directions(key, linear(matrix), np.zeros(SHAPE), max_iterations=7)


@pytest.mark.parametrize("least", [False, True])
def test_where_nothing_is_felt_every_gain_is_zero(least, key):
    """HOG of a flat image, and a code that is constant."""
    constant = ij.from_function(lambda _, image: jnp.ones(3))
    for phi in (ij.hog(binning="bilinear"), constant):
        found = analysis.singular_directions(key, phi, np.full((16, 16, 1), 99.0), least=least, count=3)
        np.testing.assert_array_equal(found.gain, 0)
        flat = found.direction.reshape(3, -1)
        np.testing.assert_allclose(flat @ flat.T, np.eye(3), atol=1e-5)


def test_one_key_gives_the_same_directions(matrix, key):
    first, second = (analysis.singular_directions(key, linear(matrix), np.zeros(SHAPE), count=2) for _ in range(2))
    np.testing.assert_array_equal(first.direction, second.direction)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (dict(count=0), "count"),
        (dict(count=59), "59 directions"),
        (dict(num_frequencies=0), "num_frequencies"),
        (dict(mask=np.ones(3, bool)), "mask has shape"),
        (dict(image=np.zeros((4, 4))), "H, W, C"),
        (dict(image=np.full(SHAPE, np.nan)), "image"),
    ],
)
def test_refusals(arguments, said, matrix, key):
    given = {"image": np.zeros(SHAPE), **arguments}
    with pytest.raises(ValueError, match=said):
        analysis.singular_directions(key, linear(matrix), given.pop("image"), **given)
    with pytest.raises(TypeError, match="key"):
        analysis.singular_directions(0, linear(matrix), np.zeros(SHAPE))
