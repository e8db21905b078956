"""SIFT of patches against a slow restatement in float64, and where it is not smooth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import patch_sift as oracle

import invert_jax as ij


@pytest.mark.parametrize("size", [(40, 59), (16, 16), (35, 24)])
def test_gray_against_the_restatement(size):
    image = ij.example_image("chelsea", size=size, gray=True)
    np.testing.assert_allclose(ij.patch_sift()(image), oracle.gray(image[..., 0]), atol=2e-6)


def test_other_patches():
    image = ij.example_image("coffee", size=(37, 40), gray=True)
    for size, stride in ((12, 5), (10, 10)):
        phi = ij.patch_sift(patch_size=size, stride=stride)
        np.testing.assert_allclose(phi(image), oracle.gray(image[..., 0], size, stride), atol=2e-6)


def test_color_is_the_three_channels_one_after_the_other():
    image = ij.example_image("astronaut", size=32)
    code = ij.patch_sift(color=True)(image)
    assert code.shape == (3, 3, 384)
    for c in range(3):
        np.testing.assert_allclose(code[..., 128 * c : 128 * (c + 1)], oracle.gray(image[..., c]), atol=2e-6)


def test_the_papers_shape():
    assert ij.patch_sift().feature_shape((128, 128, 1)) == (15, 15, 128)
    assert ij.patch_sift(color=True).feature_shape((128, 128, 3)) == (15, 15, 384)


def test_faint_patches_are_not_blown_up():
    image = np.float32(2e-4) * ij.example_image("chelsea", size=64, gray=True)
    inner = np.asarray(ij.patch_sift()(image))[1:-1, 1:-1]
    lengths = np.linalg.norm(inner, axis=-1)
    assert 0.02 < lengths.max() < 0.8
    np.testing.assert_allclose(inner, oracle.gray(image[..., 0])[1:-1, 1:-1], atol=1e-5)


def test_gradient_against_finite_differences(rng):
    image = jnp.asarray(ij.example_image("chelsea", size=24, gray=True))
    phi = ij.patch_sift()
    weights = jnp.asarray(rng.normal(size=phi.feature_shape(image.shape)), jnp.float32)

    def value(x):
        return float(np.vdot(np.asarray(weights, float), oracle.gray(np.asarray(x, float)[..., 0])))

    gradient = np.asarray(jax.grad(lambda x: jnp.vdot(weights, phi(x)))(image))
    for _ in range(3):
        way = rng.normal(size=image.shape)
        step = 1e-4
        slope = (value(np.asarray(image) + step * way) - value(np.asarray(image) - step * way)) / (2 * step)
        assert np.vdot(gradient, way) == pytest.approx(slope, rel=2e-3, abs=2e-4)


@pytest.mark.parametrize("level", [0.0, 128.0, 255.0])
def test_flat_images_have_finite_codes_and_gradients(level):
    image = jnp.full((32, 32, 1), level)
    phi = ij.patch_sift()
    assert np.isfinite(phi(image)).all()
    assert np.isfinite(jax.grad(lambda x: jnp.sum(phi(x) ** 2))(image)).all()


def test_jit_and_vmap():
    images = jnp.stack([ij.example_image(name, size=32, gray=True) for name in ("chelsea", "coffee")])
    phi = ij.patch_sift()
    together = jax.jit(jax.vmap(lambda x: phi.apply(phi.params, x)))(images)
    np.testing.assert_allclose(together, [phi(image) for image in images], atol=1e-6)


def test_refusals():
    with pytest.raises(ValueError, match="16-pixel patches"):
        ij.patch_sift()(jnp.zeros((12, 40, 1)))
    with pytest.raises(ValueError, match="channel"):
        ij.patch_sift()(jnp.zeros((32, 32, 3)))
    with pytest.raises(ValueError, match="stride"):
        ij.patch_sift(stride=0)
