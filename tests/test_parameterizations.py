"""Parameterizations: the start, decoding what was encoded, what a stage shows, and whether a photograph is fitted."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import pyramid as oracle

import invert_jax as ij
from invert_jax import parameterizations

PYRAMID = parameterizations.switched_pyramid(num_levels=4)
PIXELS, BOUNDED = parameterizations.pixels, parameterizations.bounded_pixels
FOURIER = parameterizations.fourier()
LAST = 3
CENTER, SIGMA = np.float32([90.0, 120.0, 130.0]), np.float32(3000.0)
of_pixels = pytest.mark.parametrize(
    "parameterization", [PIXELS, BOUNDED, PYRAMID], ids=["pixels", "bounded", "pyramid"]
)
exact = pytest.mark.parametrize(
    "parameterization",
    [PIXELS, BOUNDED, PYRAMID, FOURIER, parameterizations.fourier(decay=0.5, decorrelate=False)],
    ids=["pixels", "bounded", "pyramid", "fourier", "plain fourier"],
)


@functools.partial(jax.jit, static_argnums=0)
def decode(parameterization, z, stage=LAST):
    """What a stage shows, 0..255, with the center and sigma of these tests."""
    return parameterization.decode(z, jnp.broadcast_to(CENTER[: z.shape[-1]], z.shape), SIGMA, stage)


@jax.jit
def residual(z, stage):
    return PYRAMID.residual(z, stage)


def range_constrained(z):
    """Eq. 1 in float64."""
    return 255 / (1 + np.exp(-np.asarray(z, np.float64))) - 127.5


@of_pixels
def test_starts_are_normal_noise_that_differs_by_key(parameterization):
    keys = jax.random.split(jax.random.key(0), 50)
    values = np.stack([np.asarray(parameterization.init(key, (16, 16, 3)), np.float64).ravel() for key in keys])
    if parameterization is PIXELS:
        np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, rtol=1e-5)
    else:  # faint noise about middle gray
        image = range_constrained(values) + 127.5
        assert abs(image.mean() - 127.5) < 0.5 and 0.5 < image.std() < 0.8
    values = values / values.std()
    assert abs(values.mean()) < 0.02
    assert abs((values**4).mean() - 3) < 0.1  # the normal distribution's; uniform noise has 1.8, signs 1
    assert np.abs(np.corrcoef(values) - np.eye(50)).max() < 0.2


@exact
@pytest.mark.parametrize("shape", [(9, 6, 3), (8, 7, 1)])
def test_decode_inverts_encode(parameterization, shape):
    image = np.random.default_rng(0).uniform(0, 255, size=shape).astype(np.float32)
    image[:2], image[2:4] = 0, 255
    center = jnp.broadcast_to(CENTER[: shape[2]], shape)
    z = jax.jit(parameterization.encode)(image, center, SIGMA)
    assert np.all(np.isfinite(z)) and jnp.shape(z) == jnp.shape(parameterization.init(jax.random.key(0), shape))
    np.testing.assert_allclose(jax.jit(parameterization.decode)(z, center, SIGMA, LAST), image, atol=3e-2)


def test_pixels_are_in_units_of_sigma_and_scaled_sigmoid_is_eq_1(key):
    z = jax.random.normal(key, (4, 3, 3))
    np.testing.assert_allclose(decode(PIXELS, z), CENTER + SIGMA * np.asarray(z), rtol=1e-6)
    assert float(PIXELS.residual(z, 0)) == 0
    np.testing.assert_allclose(parameterizations.scaled_sigmoid(30 * z), range_constrained(30 * z), atol=1e-4)


@pytest.mark.parametrize("stage", [0, LAST])
def test_saturated_and_flat_images_have_finite_gradients(stage):
    @jax.jit
    @jax.value_and_grad
    def energy(z):
        return jnp.sum(decode(PYRAMID, z, stage) ** 2) + PYRAMID.residual(z, stage)

    for level in (-1e4, -40.0, 0.0, 40.0, 1e4):
        value, gradient = energy(jnp.full((9, 6, 3), level, jnp.float32))
        assert np.isfinite(value) and np.all(np.isfinite(gradient))


def test_stages_show_the_switched_pyramid_and_leave_out_the_rest(key):
    z = 2 * jax.random.normal(key, (21, 14, 3))
    image = range_constrained(z)
    for stage in range(6):
        shown = oracle.switched(image, (np.arange(4) >= LAST - stage).astype(float))
        np.testing.assert_allclose(decode(PYRAMID, z, stage), 127.5 + shown, atol=2e-3)
        np.testing.assert_allclose(residual(z, stage), np.linalg.norm(image - shown), rtol=1e-5, atol=1e-6)
    assert residual._cache_size() == 1  # one program for every stage


def test_residual_has_its_gradient_and_vanishes_at_the_last_stage(key):
    z = jax.random.normal(key, (12, 9, 1))
    direction, step = jax.random.normal(jax.random.fold_in(key, 1), z.shape), 1e-2
    gradient = jax.jit(jax.grad(PYRAMID.residual))
    for stage in range(LAST):
        difference = (residual(z + step * direction, stage) - residual(z - step * direction, stage)) / (2 * step)
        np.testing.assert_allclose(jnp.vdot(gradient(z, stage), direction), difference, rtol=1e-2)
    assert residual(z, LAST) == 0 and np.all(np.asarray(gradient(z, LAST)) == 0)


def test_pyramids_compare_by_value():
    assert parameterizations.switched_pyramid(num_levels=4) == PYRAMID
    assert hash(parameterizations.switched_pyramid(num_levels=4)) == hash(PYRAMID)
    assert parameterizations.switched_pyramid() == parameterizations.switched_pyramid(num_levels=6) != PYRAMID
    with pytest.raises(ValueError, match="num_levels"):
        parameterizations.switched_pyramid(num_levels=0)


@pytest.mark.parametrize("shape", [(12, 9, 3), (7, 10, 3), (8, 8, 1)])
@pytest.mark.parametrize(("decay", "decorrelate"), [(1.0, True), (0.6, True), (1.5, False)])
def test_fourier_is_the_sum_of_its_waves(rng, shape, decay, decorrelate):
    """The definition, by a sum over frequencies in float64."""
    height, width, channels = shape
    z = rng.normal(size=(2, height, width // 2 + 1, channels))
    rows, columns = np.fft.fftfreq(height), np.fft.rfftfreq(width)
    every = np.hypot(*np.meshgrid(rows, np.fft.fftfreq(width), indexing="ij"))
    scale = height * width / np.sqrt(2 * np.sum(np.maximum(every, 1 / max(height, width)) ** (-2 * decay)))
    waves = np.zeros(shape)
    y, x = np.mgrid[:height, :width]
    for i, fy in enumerate(rows):
        for j, fx in enumerate(columns):
            once = j == 0 or 2 * j == width  # a column without a mirror image in the spectrum
            coefficient = z[0, i, j] + 1j * z[1, i, j]
            wave = np.exp(2j * np.pi * (fy * y + fx * x))[..., None] * coefficient
            weight = scale * max(np.hypot(fy, fx), 1 / max(height, width)) ** -decay
            waves += (1 if once else 2) * weight * wave.real / (height * width)
    if decorrelate and channels == 3:
        axes = np.array([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]])
        axes = axes * np.linalg.norm(axes, axis=0) ** (decay - 1)
        waves = waves @ axes.T * np.sqrt(3 / np.sum(axes**2))
    fourier = parameterizations.fourier(decay=decay, decorrelate=decorrelate)
    found = fourier.decode(jnp.float32(z), jnp.zeros(shape), SIGMA, 0)
    np.testing.assert_allclose(found, 127.5 + range_constrained(waves), atol=2e-3)


def test_fixed_magnitude_is_of_the_photographs_whatever_the_phases(rng, key):
    photographs = rng.uniform(20, 230, size=(3, 10, 7, 3)).astype(np.float32)

    axes = np.array([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]])
    axes *= np.sqrt(3 / np.sum(axes**2))

    def magnitudes(images):
        logits = 2 * np.arctanh(np.asarray(images, np.float64) / 127.5 - 1)
        return np.abs(np.fft.rfft2(logits @ np.linalg.inv(axes.T), axes=(-3, -2)))

    fixed = parameterizations.fixed_magnitude(photographs=photographs)
    assert fixed == parameterizations.fixed_magnitude(photographs=photographs.copy()) and hash(fixed) is not None
    z, center = fixed.init(key, (10, 7, 3)), jnp.zeros((10, 7, 3))
    assert np.abs(z).max() > 2 and z.shape == (10, 4, 3)
    found, expected = magnitudes(fixed.decode(z, center, SIGMA, 0)), magnitudes(photographs).mean(0)
    twice = np.ones((10, 4), bool)  # a real image has real coefficients in places, and pairs of conjugates in column 0
    twice[:, 0] = False
    np.testing.assert_allclose(found[twice], expected[twice], rtol=1e-3)
    one = parameterizations.fixed_magnitude(photographs=photographs[0])
    image = one.decode(one.encode(photographs[0], center, SIGMA), center, SIGMA, 0)
    np.testing.assert_allclose(image, photographs[0], atol=1e-2)  # its own phases give the photograph
    with pytest.raises(ValueError, match="resize"):
        fixed.decode(jnp.zeros((8, 5, 3)), jnp.zeros((8, 8, 3)), SIGMA, 0)
    with pytest.raises(ValueError, match="photographs"):
        parameterizations.fixed_magnitude(photographs=np.zeros((4, 4)))


def identity(params, image):
    return image


@pytest.mark.parametrize(
    ("parameterization", "optimizer", "stages", "psnr"),
    [
        pytest.param(PIXELS, ij.optimizers.momentum_descent, ((0.3, 200),), 60, marks=pytest.mark.slow),
        (BOUNDED, optax.adam, ((0.3, 100), (0.03, 50)), 40),
        (FOURIER, optax.adam, ((0.3, 300), (0.03, 200)), 35),
        (PYRAMID, optax.adam, ((0.3, 50), (0.3, 50), (0.3, 50), (0.3, 150), (0.03, 100)), 40),
    ],
    ids=["pixels", "bounded", "fourier", "pyramid"],
)
def test_a_photograph_is_fitted(parameterization, optimizer, stages, psnr, key):
    photograph = ij.example_image(size=32)
    recipe = ij.recipes.mahendran_vedaldi(lambda_tv=1e-4, lambda_alpha=0.0, stages=stages)
    recipe = dataclasses.replace(recipe, optimizer=optimizer, parameterization=parameterization)
    found = ij.invert(key, ij.from_function(identity, center=128.0), photograph, recipe, image_shape=(32, 32, 3))
    assert bool(found.finite) and float(ij.metrics.psnr(found.image, photograph)) > psnr
