"""Momentum descent and the reset of its momentum, against the same rule written in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from invert_jax import optimizers

HESSIAN = np.array([1.0, 4.0, 9.0], np.float32)
START = np.array([1.0, -2.0, 3.0])


def by_hand(x, stages, decay):
    """Every iterate of momentum descent on `x^T H x / 2`, with zero momentum at the start of each stage."""
    path = []
    for rate, count in stages:
        momentum = np.zeros_like(x)
        for _ in range(count):
            momentum = decay * momentum - rate * HESSIAN * x
            x = x + momentum
            path.append(x)
    return np.array(path)


def descend(x, stages, **options):
    """The same by `momentum_descent`, made anew for each stage's rate, as `inversion.step` does."""
    x, path = jnp.asarray(x, jnp.float32), []
    state = optimizers.momentum_descent(stages[0][0], **options).init(x)
    for rate, count in stages:
        descent = optimizers.momentum_descent(rate, **options)
        for _ in range(count):
            updates, state = descent.update(HESSIAN * x, state, x)
            x = optax.apply_updates(x, updates)
            path.append(x)
    return jnp.stack(path)


@pytest.mark.parametrize(
    "stages", [((0.05, 12),), ((0.05, 6), (0.005, 8)), ((0.05, 5), (0.005, 1), (0.05, 7)), ((0.01, 1), (0.02, 4))]
)
@pytest.mark.parametrize("options", [{}, {"decay": 0.5}, {"decay": 0.0}])
def test_momentum_descent_against_numpy(stages, options):
    expected = by_hand(START, stages, options.get("decay", 0.9))
    np.testing.assert_allclose(descend(START, stages, **options), expected, rtol=1e-4, atol=1e-5)


def test_variables_may_be_trees_and_rates_may_be_traced():
    def first_update(rate):
        descent = optimizers.momentum_descent(rate)
        z = {"a": jnp.ones((2, 3)), "b": [jnp.ones(())]}
        return descent.update(z, descent.init(z))[0]

    update = jax.jit(first_update)(0.5)
    assert jax.tree.map(jnp.shape, update) == {"a": (2, 3), "b": [()]}
    assert all(np.all(np.asarray(leaf) == -0.5) for leaf in jax.tree.leaves(update))


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_normalized_momentum_against_numpy(scale):
    """Its path does not depend on the scale of the gradient."""
    x, momentum, square, path = START.copy(), np.zeros(3), None, []
    for _ in range(15):
        gradient = HESSIAN * x
        mean = np.mean(gradient**2)
        square = mean if square is None else 0.8 * square + 0.2 * mean
        momentum = 0.7 * momentum + gradient / np.sqrt(square)
        x = x - 0.05 * momentum
        path.append(x)
    descent = optimizers.normalized_momentum(0.05, decay=0.7, b2=0.8)
    x, found = jnp.asarray(START, jnp.float32), []
    state = descent.init(x)
    for _ in range(15):
        updates, state = descent.update(scale * HESSIAN * x, state, x)
        x = optax.apply_updates(x, updates)
        found.append(x)
    np.testing.assert_allclose(found, path, rtol=1e-4, atol=1e-5)


def test_normalized_momentum_of_a_zero_gradient_moves_nothing():
    descent = optimizers.normalized_momentum(0.1)
    x = jnp.zeros(3)
    updates, state = descent.update(jnp.zeros(3), descent.init(x), x)
    assert updates.tolist() == [0, 0, 0]
    updates, _ = descent.update(jnp.ones(3), state, x)
    assert np.all(np.isfinite(updates))
