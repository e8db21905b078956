"""Any function as a representation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refused

import invert_jax as ij

IMAGE = np.random.default_rng(0).uniform(0, 255, (6, 5, 3)).astype(np.float32)
MEAN = IMAGE.astype(np.float64).mean((0, 1))


def scaled_mean(params, image):
    return params["scale"] * image.mean((0, 1))


def test_from_function_calls_it_with_its_params():
    phi = ij.from_function(scaled_mean, {"scale": jnp.array(2.0)})
    np.testing.assert_allclose(phi(IMAGE), 2 * MEAN, rtol=1e-5)
    assert phi.feature_shape((6, 5, 3)) == (3,) and phi(IMAGE).dtype == jnp.float32 and float(phi.center) == 0


def test_new_params_do_not_retrace():
    traces = []

    def counted(params, image):
        traces.append(image)
        return params * image

    for scale in (1.0, 2.0, 3.0):
        np.testing.assert_allclose(ij.from_function(counted, jnp.array(scale))(IMAGE), scale * IMAGE, rtol=1e-6)
    assert len(traces) == 1


@pytest.mark.parametrize("center", [7.0, [1.0, 2.0, 3.0], np.ones((6, 5, 3))], ids=["scalar", "color", "image"])
def test_params_and_center_are_leaves(center):
    phi = ij.from_function(scaled_mean, {"scale": jnp.array(2.0)}, center=center)
    np.testing.assert_array_equal(phi.center, np.asarray(center, np.float32))
    assert len(jax.tree.leaves(phi)) == 2
    hash(jax.tree.structure(phi))
    np.testing.assert_allclose(jax.tree.map(lambda leaf: 2 * leaf, phi)(IMAGE), 4 * MEAN, rtol=1e-5)


@pytest.mark.slow
def test_a_function_can_be_inverted(key):
    phi = ij.from_function(scaled_mean, {"scale": jnp.array(1.0)}, center=100.0)
    recipe = ij.recipes.mahendran_vedaldi(lambda_tv=0.0, lambda_alpha=0.0, stages=((0.5, 200),))
    found = ij.invert(key, phi, phi(IMAGE), recipe, image_shape=IMAGE.shape)
    assert float(found.error) < 1e-4
    np.testing.assert_allclose(np.asarray(found.image).mean((0, 1)), MEAN, rtol=1e-3)


@pytest.mark.parametrize(
    ("call", "noun", "error"),
    [
        (lambda: ij.from_function({"scale": 2.0}), "dict", TypeError),
        (lambda: ij.from_function(scaled_mean, {"scale": "2"}), "['scale']", TypeError),
        (lambda: ij.from_function(scaled_mean, center=np.nan), "center", ValueError),
        (lambda: ij.from_function(scaled_mean, {"scale": 1.0})(IMAGE[..., 0]), "(6, 5)", ValueError),
        (lambda: ij.from_function(scaled_mean, {"scale": 1.0})(IMAGE[None]), "(1, 6, 5, 3)", ValueError),
        (lambda: ij.from_function(scaled_mean, {"scale": 1.0})(np.full((2, 2, 3), np.nan)), "12", ValueError),
    ],
)
def test_what_is_refused(call, noun, error):
    with refused(noun, error):
        call()
