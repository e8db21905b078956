"""One restart under JAX's transforms: jit, vmap, both modes of differentiation, and double precision elsewhere."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from problems import RECIPE, SHAPE, descend, linear_problem, linear_representation, noise_start

import invert_jax as ij


def _error(target, weights, center, key, recipe=RECIPE):
    return ij.invert(key, linear_representation(weights, center), target, recipe, image_shape=SHAPE).error


def test_plain_jit_and_vmap_agree():
    weights, center, target = linear_problem()
    representation = linear_representation(weights, center)
    targets, keys = np.stack([target, target[::-1]]), jax.random.split(jax.random.key(4), 2)

    def invert(key, target, recipe):
        return ij.invert(key, representation, target, recipe, image_shape=SHAPE)

    plain = [invert(key, target, RECIPE) for key, target in zip(keys, targets, strict=True)]
    jitted = [jax.jit(invert)(key, target, RECIPE) for key, target in zip(keys, targets, strict=True)]
    batched = jax.vmap(invert, (0, 0, None))(keys, jnp.asarray(targets, jnp.float32), RECIPE)
    for r in range(2):
        for a, b, c in zip(
            jax.tree.leaves(plain[r]),
            jax.tree.leaves(jitted[r]),
            jax.tree.leaves(jax.tree.map(lambda leaf, r=r: leaf[r], batched)),
            strict=True,
        ):
            np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(c, a, rtol=1e-4, atol=1e-6)


def test_vmap_over_a_leaf_of_the_recipe(key):
    weights, center, target = linear_problem()
    errors = jax.vmap(lambda value: _error(target, weights, center, key, dataclasses.replace(RECIPE, lambda_tv=value)))(
        jnp.array([0.0, 0.02, 1.0])
    )
    expected = [descend(noise_start(key), weights, center, target, lambda_tv=value)[1] for value in (0.0, 0.02, 1.0)]
    np.testing.assert_allclose(errors, expected, rtol=1e-4)


def test_derivatives_through_the_descent(key):
    weights, center, target = linear_problem()
    random = np.random.default_rng(6)
    point = {"target": target, "weights": weights, "lambda_tv": 0.02, "rate": 0.2}
    directions = {
        "target": random.normal(size=target.shape) * np.linalg.norm(target),
        "weights": random.normal(size=weights.shape),
        "lambda_tv": 1.0,
        "rate": 1.0,
    }

    def error(at):
        recipe = dataclasses.replace(RECIPE, lambda_tv=at["lambda_tv"], rates=(at["rate"], 0.05))
        return _error(at["target"], at["weights"], center, key, recipe)

    def by_finite_differences(name, h):
        ends = []
        for sign in (1, -1):
            at = {**point, name: point[name] + sign * h * directions[name]}
            stages = ((at["rate"], 7), (0.05, 5))
            start = noise_start(key)
            _, end, _ = descend(start, at["weights"], center, at["target"], stages=stages, lambda_tv=at["lambda_tv"])
            ends.append(end)
        return (ends[0] - ends[1]) / (2 * h)

    numeric = {name: by_finite_differences(name, 1e-6) for name in point}
    assert all(abs(value) > 1e-3 for value in numeric.values()), numeric

    point = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), point)
    gradient = jax.jit(jax.grad(error))(point)
    for name, expected in numeric.items():
        np.testing.assert_allclose(np.vdot(gradient[name], directions[name]), expected, rtol=1e-3, err_msg=name)

    tangent = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), directions)
    _, forward = jax.jit(lambda at, tangent: jax.jvp(error, (at,), (tangent,)))(point, tangent)
    np.testing.assert_allclose(forward, sum(numeric.values()), rtol=1e-3)


def test_double_precision_elsewhere_in_the_program_does_no_harm(key):
    conv1 = ij.alexnet(layer="conv1")
    target = conv1(ij.example_image("chelsea", size=35))
    recipe = ij.recipes.mahendran_vedaldi(stages=((4e-3, 2),))
    with jax.enable_x64(True):
        found = ij.invert(key, conv1, target, recipe, image_shape=(35, 35, 3))
    assert found.image.dtype == np.float32 and found.finite
