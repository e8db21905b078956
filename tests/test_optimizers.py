"""Momentum descent and its reset, against the same rule written in NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import invert_jax as ij
from invert_jax import optimizers

HESSIAN = np.array([1.0, 4.0, 9.0])


def by_hand(x, rates, steps, decay):
    """Every iterate of momentum descent on `x^T H x / 2`, momentum dropped where a stage begins."""
    path = []
    for rate, count in zip(rates, steps, strict=True):
        momentum = np.zeros_like(x)
        for _ in range(count):
            momentum = decay * momentum - rate * HESSIAN * x
            x = x + momentum
            path.append(x)
    return np.array(path)


def descend(x, rates, steps, **options):
    rate_at = jnp.concatenate([jnp.full(count, rate) for rate, count in zip(rates, steps, strict=True)])
    descent = optimizers.momentum_descent(lambda step: rate_at[step], **options)

    def step(carry, _):
        x, state = carry
        updates, state = descent.update(HESSIAN.astype(np.float32) * x, state, x)
        x = optax.apply_updates(x, updates)
        return (x, state), x

    start = jnp.asarray(x, jnp.float32)
    return jax.lax.scan(step, (start, descent.init(start)), length=sum(steps))[1]


START = np.array([1.0, -2.0, 3.0])


@pytest.mark.parametrize(
    ("rates", "steps"),
    [((0.05,), (12,)), ((0.05, 0.005), (6, 8)), ((0.05, 0.005, 0.05), (5, 1, 7)), ((0.01, 0.02, 0.03), (1, 1, 4))],
)
@pytest.mark.parametrize("decay", [0.9, 0.5, 0.0])
def test_momentum_descent_is_the_rule_written_out(rates, steps, decay):
    expected = by_hand(START, rates, steps, decay)
    np.testing.assert_allclose(descend(START, rates, steps, decay=decay), expected, rtol=1e-4, atol=1e-5)


def test_default_decay_is_the_papers():
    np.testing.assert_allclose(descend(START, (0.05,), (9,)), by_hand(START, (0.05,), (9,), 0.9), rtol=1e-4, atol=1e-5)


def test_momentum_is_dropped_when_the_rate_changes():
    rates, steps = (0.05, 0.005), (6, 8)
    kept = descend(START, (0.05,), (6,))
    first_after = np.asarray(descend(START, rates, steps))[6]
    np.testing.assert_allclose(first_after, kept[-1] * (1 - 0.005 * HESSIAN), rtol=1e-5, atol=1e-6)


def test_a_number_serves_as_learning_rate():
    descent = optimizers.momentum_descent(0.25)
    state = descent.init(jnp.zeros(2))
    total = jnp.zeros(2)
    for _ in range(3):
        update, state = descent.update(jnp.array([1.0, -2.0]), state)
        total += update
    # -0.25 (1 + 1.9 + 2.71) times the gradient
    np.testing.assert_allclose(total, [-1.4025, 2.805], rtol=1e-6)
    assert int(state.step) == 3


def test_variables_may_be_trees():
    descent = optimizers.momentum_descent(0.5)
    z = {"a": jnp.ones((2, 3)), "b": [jnp.ones(())]}
    update, _ = descent.update(z, descent.init(z))
    assert jax.tree.structure(update) == jax.tree.structure(z)
    assert all(np.all(np.asarray(leaf) == -0.5) for leaf in jax.tree.leaves(update))


def test_new_rates_do_not_retrace():
    traces = []

    @jax.jit
    def final(rates):
        traces.append(rates)
        return descend(START, rates, (3, 4))[-1]

    for rates in [(0.05, 0.005), (0.02, 0.001)]:
        np.testing.assert_allclose(final(rates), by_hand(START, rates, (3, 4), 0.9)[-1], rtol=1e-4, atol=1e-5)
    assert len(traces) == 1


def brightness(params, image):
    return image / 255


def test_a_recipe_takes_any_optax_transformation(key):
    """Adam's first step is the sign of the gradient times the rate: only adam leaves that mark."""
    shape, rate = (3, 4, 1), 1e-3
    phi = ij.from_function(brightness, center=100.0)
    target = phi(np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32))
    recipe = dataclasses.replace(ij.recipes.mahendran_vedaldi(stages=((rate, 1),)), optimizer=optax.adam)
    start = np.full(shape, 120.0, np.float32)
    found = ij.invert(key, phi, target, recipe, image_shape=shape, initial_image=start)
    eq3 = ij.objective.make(phi, target, recipe, image_shape=shape)
    gradient = jax.grad(lambda x: ij.objective.evaluate(eq3, x)[0])(eq3.from_image(start))
    moved = (np.asarray(found.image) - start) / np.asarray(eq3.sigma)
    np.testing.assert_allclose(moved, -rate * np.sign(gradient), rtol=1e-2)
