"""Norms, magnitudes, angles and powers: NumPy's values, finite-difference gradients, and zero where there is none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import differences

from invert_jax._util import safe_math

POINTS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
OTHERS = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 1)])
def test_norm_is_numpys(axis):
    expected = np.sqrt((POINTS.astype(np.float64) ** 2).sum(axis))
    np.testing.assert_allclose(safe_math.safe_norm(POINTS, axis), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(safe_math.safe_norm, static_argnums=1)(POINTS, axis), expected, rtol=1e-6)


def test_magnitude_and_angle_are_numpys():
    np.testing.assert_allclose(safe_math.safe_hypot(POINTS, OTHERS), np.hypot(POINTS, OTHERS), rtol=1e-6)
    np.testing.assert_allclose(safe_math.safe_angle(POINTS, OTHERS), np.arctan2(OTHERS, POINTS), rtol=1e-6)


def test_angle_names_the_four_directions():
    x, y = jnp.array([1.0, 0.0, -1.0, 0.0]), jnp.array([0.0, 1.0, 0.0, -1.0])
    np.testing.assert_allclose(safe_math.safe_angle(x, y), [0, np.pi / 2, np.pi, -np.pi / 2], rtol=1e-6)


@pytest.mark.parametrize("exponent", [0.25, 0.5, 0.75, 1, 1.0, 1.5, 3, 6.0])
def test_power_is_numpys(exponent):
    v = np.abs(POINTS)
    np.testing.assert_allclose(safe_math.safe_power(v, exponent), v.astype(np.float64) ** exponent, rtol=1e-5)
    assert float(safe_math.safe_power(jnp.zeros(()), exponent)) == 0


ONE_ARGUMENT = {
    "norm": (safe_math.safe_norm, lambda x: np.sqrt((x**2).sum())),
    "norm of rows": (lambda x: safe_math.safe_norm(x, 1) ** 3, lambda x: (x**2).sum(1) ** 1.5),
    "magnitude": (lambda x: safe_math.safe_hypot(x, OTHERS), lambda x: np.hypot(x, OTHERS)),
    "magnitude, second": (lambda x: safe_math.safe_hypot(OTHERS, x), lambda x: np.hypot(OTHERS, x)),
    "angle": (lambda x: safe_math.safe_angle(x, OTHERS), lambda x: np.arctan2(OTHERS, x)),
    "angle, second": (lambda x: safe_math.safe_angle(OTHERS, x), lambda x: np.arctan2(x, OTHERS)),
    "power .5": (lambda x: safe_math.safe_power(x * x + 0.1, 0.5), lambda x: (x * x + 0.1) ** 0.5),
    "power 1": (lambda x: safe_math.safe_power(x * x, 1), lambda x: x * x),
    "power 2.5": (lambda x: safe_math.safe_power(x * x, 2.5), lambda x: (x * x) ** 2.5),
}


@pytest.mark.parametrize("name", ONE_ARGUMENT)
def test_gradients_are_finite_differences_in_reverse_and_forward_mode(name):
    function, oracle = ONE_ARGUMENT[name]
    expected = differences.gradient(lambda x: np.sum(oracle(x)), POINTS)

    def total(x):
        return jnp.sum(function(x))

    reverse, forward = jax.grad(total)(POINTS), jax.jacfwd(total)(POINTS)
    np.testing.assert_allclose(reverse, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(forward, expected, rtol=1e-4, atol=1e-5)


ORIGIN = {
    "norm": safe_math.safe_norm,
    "norm of rows": lambda x: safe_math.safe_norm(x, 1),
    "magnitude": lambda x: safe_math.safe_hypot(x, x),
    "angle": lambda x: safe_math.safe_angle(x, x),
    "power .5": lambda x: safe_math.safe_power(x, 0.5),
    "power 1.5": lambda x: safe_math.safe_power(x, 1.5),
    "power 3": lambda x: safe_math.safe_power(x, 3),
}


@pytest.mark.parametrize("name", ORIGIN)
def test_gradients_are_zero_at_the_origin_in_reverse_and_forward_mode(name):
    origin = jnp.zeros((3, 4))
    value = ORIGIN[name](origin)
    _, tangent = jax.jvp(ORIGIN[name], (origin,), (jnp.ones((3, 4)),))
    gradient = jax.grad(lambda x: jnp.sum(ORIGIN[name](x)))(origin)
    for array in (value, tangent, gradient):
        assert np.all(np.asarray(array) == 0)


def test_one_zero_among_others_does_not_disturb_them():
    rows = POINTS.copy()
    rows[1] = 0
    gradient = np.asarray(jax.grad(lambda x: jnp.sum(safe_math.safe_norm(x, 1)))(rows))
    assert np.all(gradient[1] == 0)
    kept = [0, 2]
    np.testing.assert_allclose(gradient[kept], rows[kept] / np.linalg.norm(rows[kept], axis=1)[:, None], rtol=1e-5)


def test_power_one_has_slope_one_even_at_zero():
    assert float(jax.grad(lambda v: safe_math.safe_power(v, 1))(0.0)) == 1


ELEMENTWISE = {
    "magnitude": safe_math.safe_hypot,
    "angle": safe_math.safe_angle,
    "power": lambda x, y: safe_math.safe_power(x * x, 0.5) * y,
    "norm": lambda x, y: safe_math.safe_norm(x, -1) * safe_math.safe_norm(y),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_plain_jit_and_vmap_agree(name):
    function = ELEMENTWISE[name]
    plain = np.stack([function(x, y) for x, y in zip(POINTS, OTHERS, strict=True)])
    np.testing.assert_allclose(jax.vmap(function)(POINTS, OTHERS), plain, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.vmap(function))(POINTS, OTHERS), plain, rtol=1e-6)

    def slope(x, y):
        return jax.grad(lambda a: jnp.sum(function(a, y)))(x)

    gradients = np.stack([slope(x, y) for x, y in zip(POINTS, OTHERS, strict=True)])
    np.testing.assert_allclose(jax.jit(jax.vmap(slope))(POINTS, OTHERS), gradients, rtol=1e-5, atol=1e-7)
