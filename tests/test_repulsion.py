"""Coupled images where the answer is known: null spaces, spheres, codes that hold everything."""

import jax.numpy as jnp
import numpy as np
import pytest

import invert_jax as ij
from invert_jax import analysis

HALF = ij.from_function(lambda _, image: image[: image.shape[0] // 2])  # linear, with a null space
WHOLE = ij.from_function(lambda _, image: image)
NORM = ij.from_function(lambda _, image: jnp.sqrt(jnp.sum((image / 100) ** 2, keepdims=True)))


def distance(images):
    return analysis.restart_mean(analysis.pairwise_rms(images))


def errors(phi, images, target):
    return np.array([ij.metrics.relative_error(phi(image), target) for image in images])


def ends(width):
    """Two images on a sphere of radius 100, a quarter of a circle apart."""
    images = np.zeros((2, 1, width, 1), np.float32)
    images[0, 0, 0], images[1, 0, 1] = 100, 100
    return images


def test_repulsion_moves_into_the_null_space(rng):
    photograph = np.float32(rng.uniform(80, 170, (8, 6, 1)))
    images = photograph + np.float32(rng.normal(0, 1, (4, 8, 6, 1)))
    target = HALF(photograph)
    result = analysis.repel(HALF, target, images)
    np.testing.assert_allclose(result.bound, errors(HALF, images, target), rtol=1e-5)
    assert result.feasible.all() and (result.error <= result.bound).all()
    np.testing.assert_allclose(result.error, errors(HALF, result.image, target), rtol=1e-4)
    np.testing.assert_allclose([result.initial, result.final], [distance(images), distance(result.image)], rtol=1e-4)
    assert distance(result.image[:, :4]) < 4 and distance(result.image[:, 4:]) > 90
    assert result.image.min() >= 0 and result.image.max() <= 255 and result.max_segment_error.size == 0


@pytest.mark.slow
def test_repulsion_of_exact_restarts_in_an_oblique_null_space(rng):
    """A random linear code of half the pixels: errors are rounding alone."""
    matrix = np.linalg.qr(rng.normal(size=(64, 32)))[0].T.astype(np.float32)
    oblique = ij.from_function(lambda params, image: params @ image.ravel(), jnp.asarray(matrix))
    photograph = np.float32(rng.uniform(100, 150, (8, 8, 1)))
    projection = np.eye(64) - matrix.T @ matrix
    images = photograph + np.float32(rng.normal(0, 2, (3, 64)) @ projection).reshape(3, 8, 8, 1)
    result = analysis.repel(oblique, oblique(photograph), images)
    np.testing.assert_allclose(result.bound, 1e-4)
    assert result.feasible.all() and result.final > 20 * result.initial
    change = (result.image - images).reshape(3, 64)
    assert np.linalg.norm(change @ matrix.T, axis=1).max() < 0.01 * np.linalg.norm(change, axis=1).min()


@pytest.mark.slow
def test_repulsion_fills_the_bound_of_a_complete_code_and_a_mask_frees_the_rest(rng):
    photograph = np.full((6, 6, 1), 100.0, np.float32)
    images = photograph + np.float32([0, 0.5])[:, None, None, None]
    result = analysis.repel(WHOLE, WHOLE(photograph), images, bound=0.02)  # a ball of radius 2 gray levels
    assert result.feasible.all() and result.initial == pytest.approx(0.5, rel=1e-4)
    assert 3.5 < result.final <= 4.001  # its diameter
    images = photograph + np.float32(rng.normal(0, 1, (2, 6, 6, 1)))
    mask = np.zeros((6, 6, 1), bool)
    mask[:, :3] = True
    result = analysis.repel(WHOLE, WHOLE(photograph), images, mask=mask)
    assert distance(result.image[:, :, :3]) < 6 < 90 < distance(result.image[:, :, 3:])


def test_path_on_a_sphere_is_a_great_circle():
    result = analysis.low_error_path(NORM, NORM(ends(3)[0]), *ends(3), bound=0.01, num_images=9)
    assert result.feasible.all() and np.array_equal(result.image[[0, -1]], ends(3))
    radii = np.linalg.norm(result.image.reshape(9, 3), axis=1)
    assert radii.min() > 98.9 and radii.max() < 101.1  # 71 in the middle of the straight line
    assert result.initial == pytest.approx(100 * np.sqrt(2 / 3), rel=1e-4)
    assert result.final == pytest.approx(100 * np.pi / 2 / np.sqrt(3), rel=0.02)
    steps = np.linalg.norm(np.diff(result.image.reshape(9, 3), axis=0), axis=1)
    assert steps.max() < 1.5 * steps.min()


@pytest.mark.slow
def test_errors_between_the_images_of_a_path():
    """Of three images on a circle, the middles of both chords are inside it."""
    result = analysis.low_error_path(NORM, NORM(ends(2)[0]), *ends(2), bound=0.01, num_images=3)
    assert result.feasible.all() and result.max_segment_error.shape == (2,)
    np.testing.assert_allclose(result.max_segment_error, 1 - np.cos(np.pi / 8), atol=0.015)


@pytest.mark.slow
def test_path_across_a_barrier_is_not_feasible():
    low, high = np.full((2, 2, 2, 1), 100.0, np.float32) + np.float32([-5, 5])[:, None, None, None]
    barrier = ij.from_function(lambda _, image: 1 + jnp.exp(-((jnp.mean(image, keepdims=True) - 100) ** 2)))
    result = analysis.low_error_path(barrier, barrier(low), low, high, bound=0.1, num_images=21)
    assert not result.feasible.all() or result.max_segment_error.max() > 0.5  # or a segment jumps over it


ONE, FLAT, EQUAL = np.zeros((1, 4, 4, 1)), np.zeros((4, 4, 1)), np.zeros((2, 4, 4, 1))
INVALID = [("images", images) for images in (ONE, FLAT, EQUAL, EQUAL + np.nan)]


@pytest.mark.parametrize(
    ("argument", "value"), [*INVALID, ("target", np.ones(3, np.float32)), ("bound", 0.1), ("num_steps", 0)]
)
def test_invalid_arguments_are_refused(argument, value):
    images = np.stack([np.full((4, 4, 1), 50.0), np.full((4, 4, 1), 100.0)])
    with pytest.raises(ValueError, match=f"(?i){argument}"):
        analysis.repel(WHOLE, **{"target": WHOLE(images[0]), "images": images, argument: value})
    with pytest.raises(ValueError, match="num_images"):
        analysis.low_error_path(WHOLE, WHOLE(images[0]), *images, bound=2.0, num_images=2)
