"""SIFT of patches against a slow restatement in float64, and where it is not smooth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import differences
from oracles import patch_sift as oracle
from refusals import refused

import invert_jax as ij


@pytest.mark.parametrize(("size", "patch_size", "stride"), [((40, 59), 16, 8), ((37, 40), 12, 5)])
def test_gray_against_the_restatement(size, patch_size, stride):
    image = ij.example_image("chelsea", size=size, gray=True)
    phi = ij.patch_sift(patch_size=patch_size, stride=stride)
    np.testing.assert_allclose(phi(image), oracle.gray(image[..., 0], patch_size, stride), atol=2e-6)


def test_color_is_the_three_channels_one_after_the_other():
    image = ij.example_image("astronaut", size=32)
    features = ij.patch_sift(color=True)(image)
    expected = np.concatenate([oracle.gray(image[..., c]) for c in range(3)], axis=-1)
    np.testing.assert_allclose(features, expected, atol=2e-6)


def test_the_papers_shape():
    assert ij.patch_sift().feature_shape((128, 128, 1)) == (15, 15, 128)
    assert ij.patch_sift(color=True).feature_shape((128, 128, 3)) == (15, 15, 384)


def test_faint_patches_are_not_amplified():
    image = np.float32(2e-4) * ij.example_image("chelsea", size=64, gray=True)
    inner = np.asarray(ij.patch_sift()(image))[1:-1, 1:-1]
    assert 0.02 < np.linalg.norm(inner, axis=-1).max() < 0.8
    np.testing.assert_allclose(inner, oracle.gray(image[..., 0])[1:-1, 1:-1], atol=1e-5)


@pytest.mark.slow
def test_gradient_against_finite_differences(rng):
    image = jnp.asarray(ij.example_image("chelsea", size=24, gray=True))
    phi = ij.patch_sift()
    weights = rng.normal(size=phi.feature_shape(image.shape)).astype(np.float32)
    gradient = np.asarray(jax.jit(jax.grad(lambda x: jnp.vdot(weights, phi(x))))(image))
    for direction in rng.normal(size=(3, *image.shape)):
        slope = differences.slope(lambda x: np.vdot(weights, oracle.gray(x[..., 0])), image, direction)
        assert np.vdot(gradient, direction) == pytest.approx(slope, rel=2e-3, abs=2e-4)


@pytest.mark.slow
def test_flat_images_have_finite_features_and_gradients_under_vmap():
    phi = ij.patch_sift()
    levels = jnp.stack([jnp.full((32, 32, 1), level) for level in (0.0, 128.0, 255.0)])
    value_and_gradient = jax.value_and_grad(lambda x: jnp.sum(phi.apply(phi.params, x) ** 2))
    values, gradients = jax.jit(jax.vmap(value_and_gradient))(levels)
    assert np.isfinite(values).all() and np.isfinite(gradients).all()
    np.testing.assert_allclose(values, [np.sum(oracle.gray(np.asarray(x[..., 0])) ** 2) for x in levels], rtol=1e-5)


def test_refusals():
    with refused("16 x 16"):
        ij.patch_sift()(jnp.zeros((12, 40, 1)))
    with refused("channel"):
        ij.patch_sift()(jnp.zeros((32, 32, 3)))
    for name in ("patch_size", "stride"):
        with refused(name):
            ij.patch_sift(**{name: 0})
