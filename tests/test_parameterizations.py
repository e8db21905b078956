"""How an image is spelled: the start, the way back, and whether a photograph can be reached."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

import invert_jax as ij
from invert_jax import parameterizations

every_one = pytest.mark.parametrize("spell", [parameterizations.pixels], ids=["pixels"])
SHAPES = [(7, 5, 3), (1, 1, 1)]


@every_one
@pytest.mark.parametrize("shape", SHAPES)
def test_start_is_noise_of_unit_norm(spell, shape, key):
    x = np.asarray(spell.decode(spell.init(key, shape)), np.float64)
    assert x.shape == shape
    assert np.sqrt((x**2).sum()) == pytest.approx(1, rel=1e-5)


@every_one
def test_start_is_normal_and_each_key_has_its_own(spell):
    keys = jax.random.split(jax.random.key(0), 50)
    starts = jax.jit(jax.vmap(lambda k: spell.decode(spell.init(k, (16, 16, 3)))))(keys)
    values = np.asarray(starts).reshape(50, -1) * np.sqrt(16 * 16 * 3)
    assert abs(values.mean()) < 0.02
    assert abs((values**4).mean() - 3) < 0.1  # the normal distribution's; uniform noise has 1.8, signs 1
    assert np.abs(np.corrcoef(values) - np.eye(50)).max() < 0.2


@every_one
def test_decode_undoes_encode(spell):
    x = np.random.default_rng(0).normal(size=(9, 6, 3)).astype(np.float32)
    for decoded in (spell.decode(spell.encode(x)), jax.jit(lambda a: spell.decode(spell.encode(a)))(x)):
        np.testing.assert_allclose(decoded, x, rtol=1e-6)
    assert jax.tree.structure(spell.encode(x)) == jax.tree.structure(spell.init(jax.random.key(0), x.shape))


def unchanged(params, image):
    return image


@every_one
@pytest.mark.parametrize("optimizer", [ij.optimizers.momentum_descent, optax.adam], ids=["momentum", "adam"])
def test_fits_a_photograph(spell, optimizer, key):
    photograph = ij.sample_image(size=64)
    phi = ij.from_function(unchanged, center=128.0)
    rates = {ij.optimizers.momentum_descent: (0.3, 0.3), optax.adam: (1e-3, 1e-4)}[optimizer]
    recipe = ij.recipes.mahendran_vedaldi(lambda_tv=1e-4, lambda_alpha=0.0, stages=tuple((r, 100) for r in rates))
    recipe = dataclasses.replace(recipe, optimizer=optimizer, parameterization=spell)
    found = ij.invert(key, phi, photograph, recipe, image_shape=photograph.shape)
    error = np.mean((np.asarray(found.image, np.float64) - photograph) ** 2)
    psnr = 10 * np.log10(255**2 / error)
    assert bool(found.finite)
    assert psnr > 60
