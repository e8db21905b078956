"""How an image is spelled: the start, the way back, what a stage shows, and whether a photograph can be reached."""

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
LAST = 3
every_one = pytest.mark.parametrize("spell", [parameterizations.pixels, PYRAMID], ids=["pixels", "pyramid"])
SHAPES = [(7, 5, 3), (1, 1, 1)]
CENTER, SIGMA = np.float32([90.0, 120.0, 130.0]), np.float32(3000.0)


HIDDEN = jax.jit(PYRAMID.hidden)


@functools.partial(jax.jit, static_argnums=0)
def image_of(spell, z, stage=LAST):
    """What a stage shows, 0..255, with the center and sigma of these tests."""
    shape = z.shape
    center = jnp.broadcast_to(CENTER[: shape[-1]], shape)
    return center + SIGMA * spell.decode(z, center, SIGMA, stage)


@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_start_at_noise_of_unit_norm(shape, key):
    x = np.asarray(parameterizations.pixels.init(key, shape), np.float64)
    assert x.shape == shape
    assert np.sqrt((x**2).sum()) == pytest.approx(1, rel=1e-5)


def test_the_pyramid_starts_at_faint_noise_about_middle_gray(key):
    image = np.asarray(image_of(PYRAMID, PYRAMID.init(key, (64, 64, 3))))
    assert abs(image.mean() - 127.5) < 0.5
    assert 0.5 < image.std() < 0.8


@every_one
def test_start_is_normal_and_each_key_has_its_own(spell):
    keys = jax.random.split(jax.random.key(0), 50)
    values = np.asarray(jax.vmap(lambda k: spell.init(k, (16, 16, 3)))(keys)).reshape(50, -1)
    values = values / values.std()
    assert abs(values.mean()) < 0.02
    assert abs((values**4).mean() - 3) < 0.1  # the normal distribution's; uniform noise has 1.8, signs 1
    assert np.abs(np.corrcoef(values) - np.eye(50)).max() < 0.2


@every_one
def test_decode_undoes_encode(spell):
    image = np.random.default_rng(0).uniform(0, 255, size=(9, 6, 3)).astype(np.float32)
    center = jnp.broadcast_to(CENTER, image.shape)

    def there_and_back(image):
        z = spell.encode((image - center) / SIGMA, center, SIGMA)
        assert jax.tree.structure(z) == jax.tree.structure(spell.init(jax.random.key(0), image.shape))
        return image_of(spell, z)

    for decoded in (there_and_back(image), jax.jit(there_and_back)(image)):
        np.testing.assert_allclose(decoded, image, atol=2e-2)


def test_the_range_constraint_is_eq_1():
    z = np.linspace(-30, 30, 41)
    np.testing.assert_allclose(
        parameterizations.scaled_sigmoid(jnp.asarray(z, jnp.float32)), 255 / (1 + np.exp(-z)) - 127.5, atol=1e-4
    )


@pytest.mark.parametrize("stage", [0, LAST])
@pytest.mark.parametrize("z", [-1e4, -40.0, 0.0, 40.0, 1e4])
def test_saturated_and_flat_pictures_have_finite_gradients(z, stage):
    def energy(z):
        return jnp.sum(image_of(PYRAMID, z, stage) ** 2) + PYRAMID.hidden(z, stage)

    value, gradient = jax.jit(jax.value_and_grad(energy))(jnp.full((9, 6, 3), z, jnp.float32))
    assert np.isfinite(value) and np.all(np.isfinite(gradient))


def test_pictures_are_black_and_white_at_the_ends():
    for value, shade in ((-1e4, 0.0), (1e4, 255.0)):
        np.testing.assert_allclose(image_of(PYRAMID, jnp.full((8, 8, 1), value)), shade, atol=1e-3)


def test_white_and_black_photographs_can_be_encoded():
    image = np.zeros((4, 4, 1), np.float32)
    image[:2] = 255
    center = jnp.broadcast_to(CENTER[:1], image.shape)
    z = PYRAMID.encode((image - center) / SIGMA, center, SIGMA)
    assert np.all(np.isfinite(z)) and np.max(np.abs(z)) < 20
    np.testing.assert_allclose(image_of(PYRAMID, z), image, atol=2e-2)


@pytest.mark.parametrize("stage", range(6))
def test_stages_show_the_switched_pyramid(stage, key):
    z = 2 * jax.random.normal(key, (21, 14, 3))
    whole = 255 / (1 + np.exp(-np.asarray(z, np.float64))) - 127.5
    switches = np.arange(4) >= LAST - stage
    shown = oracle.switched(whole, switches.astype(float))
    np.testing.assert_allclose(image_of(PYRAMID, z, stage), 127.5 + shown, atol=2e-3)
    np.testing.assert_allclose(HIDDEN(z, stage), np.linalg.norm(whole - shown), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_compactness_has_its_gradient_and_vanishes_at_the_last_stage(stage, key):
    z = jax.random.normal(key, (12, 9, 1))
    direction = jax.random.normal(jax.random.fold_in(key, 1), z.shape)
    gradient = jnp.vdot(jax.jit(jax.grad(PYRAMID.hidden))(z, stage), direction)
    step = 1e-2
    difference = (HIDDEN(z + step * direction, stage) - HIDDEN(z - step * direction, stage)) / (2 * step)
    np.testing.assert_allclose(gradient, difference, rtol=1e-2)
    value, gradient = jax.jit(jax.value_and_grad(PYRAMID.hidden))(z, LAST)
    assert value == 0 and np.all(np.asarray(gradient) == 0)


def test_one_program_serves_every_stage():
    traces = []

    @jax.jit
    def shown(z, stage):
        traces.append(stage)
        return image_of(PYRAMID, z, stage)

    pictures = [shown(jnp.ones((8, 8, 1)).at[0].set(-1.0), stage) for stage in range(4)]
    assert len(traces) == 1 and len({float(np.std(picture)) for picture in pictures}) == 4


def test_equal_pyramids_are_equal():
    assert parameterizations.switched_pyramid(num_levels=4) == PYRAMID
    assert hash(parameterizations.switched_pyramid(num_levels=4)) == hash(PYRAMID)
    assert parameterizations.switched_pyramid() == parameterizations.switched_pyramid(num_levels=6) != PYRAMID
    with pytest.raises(ValueError, match="num_levels"):
        parameterizations.switched_pyramid(num_levels=0)


def unchanged(params, image):
    return image


FITS = [
    (parameterizations.pixels, ij.optimizers.momentum_descent, (0.3, 0.3)),
    (parameterizations.pixels, optax.adam, (1e-3, 1e-4)),
    (PYRAMID, optax.adam, (0.3, 0.03)),
]


@pytest.mark.parametrize(("spell", "optimizer", "rates"), FITS, ids=["momentum", "adam", "pyramid"])
def test_fits_a_photograph(spell, optimizer, rates, key):
    photograph = ij.example_image(size=64)
    phi = ij.from_function(unchanged, center=128.0)
    steps = (50, 50, 50, 150, 100) if spell is PYRAMID else (100, 100)
    stages = tuple(zip(rates[:1] * (len(steps) - 1) + rates[1:], steps, strict=True))
    recipe = ij.recipes.mahendran_vedaldi(lambda_tv=1e-4, lambda_alpha=0.0, stages=stages)
    recipe = dataclasses.replace(recipe, optimizer=optimizer, parameterization=spell)
    found = ij.invert(key, phi, photograph, recipe, image_shape=photograph.shape)
    error = np.mean((np.asarray(found.image, np.float64) - photograph) ** 2)
    psnr = 10 * np.log10(255**2 / error)
    assert bool(found.finite)
    assert psnr > (40 if spell is PYRAMID else 60)
