"""Pyramids against matrices written tap by tap, on a photograph and on sizes of every kind."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import pyramid as oracle

import invert_jax as ij
from invert_jax import pyramid

SIZES = [(227, 227), (42, 5), (1, 1)]
SWITCHED = jax.jit(pyramid.switched)
AT_STAGE = jax.jit(pyramid.switched_at_stage, static_argnames="num_levels")


def photograph(size):
    return ij.example_image("chelsea", size=size)


@functools.partial(jax.jit, static_argnums=1)
def round_trips(image, num_levels):
    reduced, levels = pyramid.reduce(image), pyramid.decompose(image, num_levels=num_levels)
    return reduced, pyramid.expand(reduced, image.shape[:2]), levels, pyramid.recompose(levels)


@pytest.mark.parametrize("size", SIZES)
def test_levels_agree_with_the_matrices_and_recompose_to_rounding(size):
    image = photograph(size)
    reduced, expanded, levels, recomposed = round_trips(image, 6)
    np.testing.assert_allclose(reduced, oracle.along_both(oracle.reduction, image), atol=1e-4)
    np.testing.assert_allclose(expanded, oracle.expand(np.asarray(reduced, float), size), atol=1e-4)
    for level, expected in zip(levels, oracle.decompose(image.astype(float), 6), strict=True):
        np.testing.assert_allclose(level, expected, atol=2e-4)
    np.testing.assert_allclose(recomposed, image, atol=255 * 6 * np.finfo(np.float32).eps)
    (level,) = pyramid.decompose(image, num_levels=1)
    np.testing.assert_array_equal(level, image)


def test_stages_switch_the_coarse_levels_on_first():
    image = photograph((83, 60))
    shown = []
    for stage in range(7):
        switches = pyramid.stage_switches(stage, num_levels=6)
        assert switches.tolist() == [0.0] * max(5 - stage, 0) + [1.0] * min(stage + 1, 6)
        expected = oracle.switched(image.astype(float), np.asarray(switches))
        shown.append(np.asarray(SWITCHED(image, switches)))
        np.testing.assert_allclose(shown[-1], expected, atol=5e-4)
        np.testing.assert_allclose(AT_STAGE(image, stage, num_levels=6), expected, atol=5e-4)
        assert np.array_equal(shown[-1], image) if stage >= 5 else np.abs(shown[-1] - image).max() > 5
    assert AT_STAGE._cache_size() == 1  # one program for every stage
    roughness = [np.abs(np.diff(picture, axis=0)).mean() for picture in shown[:6]]
    assert all(a < b for a, b in itertools.pairwise(roughness))
    np.testing.assert_allclose([picture.mean() for picture in shown], image.mean(), atol=3)
    np.testing.assert_array_equal(pyramid.switched(image, [0, 1]), pyramid.switched(image, jnp.array([0.0, 1.0])))


def test_vmap_of_switched_is_a_loop_and_flat_images_stay_flat(rng):
    images = np.stack([rng.normal(size=(11, 8, 3)), np.full((11, 8, 3), 100.0)]).astype(np.float32)
    switches = jnp.array([0.0, 1.0, 1.0])
    expected = np.stack([oracle.switched(image.astype(float), np.asarray(switches)) for image in images])
    shown = jax.jit(jax.vmap(pyramid.switched, (0, None)))(images, switches)
    np.testing.assert_allclose(shown, expected, atol=1e-5, rtol=1e-6)
    np.testing.assert_allclose(shown[1], images[1], rtol=1e-6)


@pytest.mark.parametrize("stage", range(4))
def test_stages_blur_the_gradient_by_the_transposed_matrix(stage, rng):
    """Eq. 11 on the pyramid of the descent; its matrix is the oracle's answer to one pixel after another."""
    size, switches = (9, 6), (np.arange(4) >= 3 - stage).astype(float)
    pixels = np.eye(9 * 6).reshape(-1, *size, 1)
    matrix = np.stack([oracle.switched(pixel, switches).ravel() for pixel in pixels], axis=1)
    image, target = (rng.normal(size=(*size, 1)).astype(np.float32) for _ in range(2))

    def energy(image):
        return jnp.sum(jnp.sin(AT_STAGE(image, stage, num_levels=4) - target) ** 2)

    shown = matrix @ image.ravel() - target.ravel()
    expected = (matrix.T @ np.sin(2 * shown)).reshape(image.shape)
    np.testing.assert_allclose(jax.grad(energy)(image), expected, atol=1e-4)
    assert stage == 3 or np.abs(matrix - matrix.T).max() > 0.02, "a matrix that is not transposed should be noticed"


@pytest.mark.parametrize(
    ("call", "noun"),
    [
        (lambda: pyramid.reduce(jnp.zeros((4, 4))), "image"),
        (lambda: pyramid.expand(jnp.zeros((4, 4)), (8, 8)), "image"),
        (lambda: pyramid.expand(jnp.zeros((4, 4, 1)), (9, 8)), "expand"),
        (lambda: pyramid.decompose(jnp.zeros(4), num_levels=2), "image"),
        (lambda: pyramid.decompose(jnp.zeros((4, 4, 1)), num_levels=0), "num_levels"),
        (lambda: pyramid.recompose([]), "levels"),
        (lambda: pyramid.switched(jnp.zeros((4, 4, 1)), 1.0), "switches"),
        (lambda: pyramid.switched_at_stage(jnp.zeros((2, 4, 4, 1)), 0, num_levels=2), "image"),
    ],
)
def test_bad_arguments_are_refused(call, noun):
    with pytest.raises(ValueError, match=noun):
        call()
