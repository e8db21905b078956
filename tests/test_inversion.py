"""One restart: against the descent on eq. 3 written out in NumPy, with other optimizers, and where it fails."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import (
    IDENTITY,
    PLAIN,
    RECIPE,
    SHAPE,
    SIGMA,
    descend,
    linear_problem,
    linear_representation,
    noise_start,
    terms_and_gradient,
)

import invert_jax as ij


def test_agrees_with_eq_3_written_out(key):
    weights, center, target = linear_problem()
    found = ij.invert(key, linear_representation(weights, center), target, RECIPE, image_shape=SHAPE)
    image, error, energy = descend(noise_start(key), weights, center, target)
    np.testing.assert_allclose(found.energy, energy, rtol=1e-4)
    np.testing.assert_allclose(found.image, image, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found.features, weights @ image.ravel(), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found.error, error, rtol=1e-4)
    assert bool(found.finite)
    assert energy[-1, 0] < energy[0, 0] / 5 and np.all(energy[:, 1:] > 1e-4), "every term should matter"


def test_the_balancing_rule_is_the_default(key):
    # Section 2: lambda_alpha = sigma^alpha / (H W C B^alpha), which the authors' constants make 4e-10 sigma^4.
    weights, center, target = linear_problem()
    recipe = dataclasses.replace(RECIPE, lambda_alpha=None)
    found = ij.invert(key, linear_representation(weights, center), target, recipe, image_shape=SHAPE)
    image, _, energy = descend(noise_start(key), weights, center, target, lambda_alpha=4e-10 * SIGMA**4)
    np.testing.assert_allclose(found.energy, energy, rtol=1e-4)
    np.testing.assert_allclose(found.image, image, rtol=1e-5, atol=1e-3)
    assert np.all(energy[0, 2] > 10 * descend(noise_start(key), weights, center, target)[2][0, 2]), "it should matter"


def test_energy_rows_are_from_before_each_step(key):
    weights, center, target = linear_problem()
    representation = linear_representation(weights, center)
    found = ij.invert(key, representation, target, RECIPE, image_shape=SHAPE)
    eq3 = ij.objective.make(representation, target, RECIPE, image_shape=SHAPE)
    state, expected = ij.inversion.init(key, eq3, RECIPE), []
    step, evaluate = jax.jit(ij.inversion.step), jax.jit(ij.objective.evaluate)
    for _ in range(RECIPE.num_steps):
        total, terms = evaluate(eq3, state.z)
        assert total == terms[0]
        expected.append(terms)
        state = step(eq3, RECIPE, state)
    np.testing.assert_allclose(found.energy, jnp.stack(expected), rtol=1e-4)
    np.testing.assert_allclose(found.energy[:, 0], np.sum(found.energy[:, 1:], axis=1), rtol=1e-6)
    assert int(state.step) == RECIPE.num_steps == len(found.energy)


def test_run_stops_where_it_is_told_and_goes_on_from_there(key):
    weights, center, target = linear_problem()
    eq3 = ij.objective.make(linear_representation(weights, center), target, RECIPE, image_shape=SHAPE)
    run = jax.jit(ij.inversion.run)
    start = ij.inversion.init(key, eq3, RECIPE)
    halfway = run(eq3, RECIPE, start, stop=5)
    assert int(halfway.step) == 5 and np.all(halfway.energy[:5, 0] > 0) and np.all(halfway.energy[5:] == 0)
    in_two, at_once = run(eq3, RECIPE, halfway, stop=12), run(eq3, RECIPE, start, stop=12)
    for a, b in zip(jax.tree.leaves(in_two), jax.tree.leaves(at_once), strict=True):
        np.testing.assert_array_equal(a, b)


def test_starts_at_the_initial_image(key):
    weights, center, target = linear_problem()
    image = np.random.default_rng(1).uniform(0, 255, SHAPE)
    representation = linear_representation(weights, center)
    expected, _, energy = descend((image - center) / SIGMA, weights, center, target)
    for one in (key, jax.random.key(7)):
        found = ij.invert(one, representation, target, RECIPE, image_shape=SHAPE, initial_image=image)
        np.testing.assert_allclose(found.energy[0], energy[0], rtol=1e-4)
        np.testing.assert_allclose(found.image, expected, rtol=1e-5, atol=1e-3)


def test_no_step_to_speak_of_returns_the_initial_image(key):
    image = np.random.default_rng(1).uniform(0, 255, SHAPE)
    recipe = dataclasses.replace(PLAIN, rates=(1e-30,))
    found = ij.invert(key, IDENTITY, image, recipe, image_shape=SHAPE, initial_image=image)
    np.testing.assert_allclose(found.image, image, rtol=1e-6)
    np.testing.assert_allclose(found.energy[0, 1], 0, atol=1e-12)
    assert found.error < 1e-6


def test_noise_starts_have_unit_norm_and_depend_on_the_key():
    weights, center, target = linear_problem()
    eq3 = ij.objective.make(linear_representation(weights, center), target, RECIPE, image_shape=SHAPE)
    starts = [np.asarray(ij.inversion.init(jax.random.key(seed), eq3, RECIPE).z) for seed in (0, 0, 1)]
    for start in starts:
        np.testing.assert_allclose(np.linalg.norm(start), 1, rtol=1e-6)
    np.testing.assert_array_equal(starts[0], starts[1])
    assert np.max(np.abs(starts[0] - starts[2])) > 0.05


def test_any_optax_optimizer_serves(key):
    weights, center, target = linear_problem()
    rate = 0.03
    recipe = dataclasses.replace(RECIPE, optimizer=optax.adam, rates=(rate, rate))
    found = ij.invert(key, linear_representation(weights, center), target, recipe, image_shape=SHAPE)
    x, m, v, energy = noise_start(key), 0.0, 0.0, []
    for t in range(1, 13):
        terms, gradient = terms_and_gradient(x, weights, center, target, 0.3, 0.02)
        energy.append(terms)
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        x = x - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(found.energy, energy, rtol=1e-3)
    np.testing.assert_allclose(found.image, center + SIGMA * x, rtol=1e-4, atol=2e-2)


def test_optax_optimizers_follow_the_stages(key):
    weights, center, target = linear_problem()
    recipe = dataclasses.replace(RECIPE, optimizer=optax.sgd)
    found = ij.invert(key, linear_representation(weights, center), target, recipe, image_shape=SHAPE)
    x = noise_start(key)
    for rate in 7 * [0.2] + 5 * [0.05]:
        x = x - rate * terms_and_gradient(x, weights, center, target, 0.3, 0.02)[1]
    np.testing.assert_allclose(found.image, center + SIGMA * x, rtol=1e-5, atol=1e-3)


def test_a_line_search_optimizer_gets_what_it_asks_for(key):
    hogb = ij.hog(binning="bilinear")
    target = hogb(ij.example_image("chelsea", size=32, gray=True))
    recipe = dataclasses.replace(ij.recipes.mahendran_vedaldi(stages=((1.0, 8),)), optimizer=_lbfgs)
    found = ij.invert(key, hogb, target, recipe, image_shape=(32, 32, 1))
    assert found.finite and found.energy[-1, 0] < 0.1 * found.energy[0, 0]


def _lbfgs(learning_rate):
    del learning_rate  # the line search finds its own
    return optax.lbfgs()


def _third(x, center, sigma):
    del center, sigma
    return x / 3


def _times_three(z, center, sigma, stage):
    del center, sigma, stage
    return 3 * z


def test_the_variable_is_spelled_by_the_parameterization(key):
    # With x = 3 z, a step of z by -rate dE/dz moves x by -9 rate dE/dx.
    spelling = dataclasses.replace(
        PLAIN, parameterization=ij.parameterizations.pixels._replace(encode=_third, decode=_times_three)
    )
    image = np.random.default_rng(1).uniform(0, 255, SHAPE)
    run = functools.partial(ij.invert, key, IDENTITY, 255 - image, image_shape=SHAPE, initial_image=image)
    plain, spelled = run(PLAIN), run(spelling)
    np.testing.assert_allclose(spelled.energy[0], plain.energy[0], rtol=1e-5)
    np.testing.assert_allclose(spelled.image - image, 9 * (plain.image - image), rtol=1e-3, atol=1e-2)


# --- failure is data ---


def test_a_descent_that_diverges_is_flagged_not_raised(key):
    weights, center, target = linear_problem()
    recipe = dataclasses.replace(RECIPE, rates=(1e12, 1e12))
    found = ij.invert(key, linear_representation(weights, center), target, recipe, image_shape=SHAPE)
    assert not bool(found.finite)
    assert not np.all(np.isfinite(found.energy))
    assert np.all(np.isfinite(found.energy[0]))


def _infinite(features, target, mask):
    return jnp.inf + jnp.sum(0 * features)


def _infinite_below_zero(params, image):
    return jnp.where(image > 0, image, jnp.inf)


@pytest.mark.parametrize("what", ["energy", "features"])
def test_any_non_finite_part_is_flagged(what, key):
    image = np.ones(SHAPE)
    if what == "energy":
        representation, recipe = IDENTITY, dataclasses.replace(PLAIN, loss=_infinite)
    else:
        # One step down from 1 leaves the image finite, and below 0, where the features are not.
        representation = ij.from_function(_infinite_below_zero)
        recipe = dataclasses.replace(PLAIN, loss=_sum, rates=(2 / SIGMA**2,))
    found = ij.invert(key, representation, image, recipe, image_shape=SHAPE, initial_image=image)
    finite = {field: bool(np.all(np.isfinite(getattr(found, field)))) for field in ("image", "features", "energy")}
    assert finite == {"image": True, "features": what != "features", "energy": what != "energy"}
    assert not bool(found.finite)


def _sum(features, target, mask):
    return jnp.sum(features)


def _trap(params, image):
    """The image, but not a number once its first pixel is over 1e6."""
    return jnp.where(image[0, 0, 0] > 1e6, jnp.nan, image)


def test_other_restarts_do_not_notice_one_that_diverges():
    # Where the first pixel starts above the center it is driven up and out by a loss without a floor.
    recipe = dataclasses.replace(
        PLAIN, loss=_flight, rates=(1e3,), steps=(4,), parameterization=ij.parameterizations.pixels
    )
    target = np.ones(SHAPE)
    trapped = ij.sample(
        jax.random.key(3), ij.from_function(_trap), target, recipe, image_shape=SHAPE, num_restarts=8, chunk_size=8
    )
    free = ij.sample(jax.random.key(3), IDENTITY, target, recipe, image_shape=SHAPE, num_restarts=8, chunk_size=8)
    starts = np.array([jax.random.normal(jax.random.fold_in(jax.random.key(3), r), SHAPE)[0, 0, 0] for r in range(8)])
    np.testing.assert_array_equal(trapped.finite, starts < 0)
    assert 0 < np.sum(trapped.finite) < 8 and np.all(free.finite)
    for field in ("image", "features", "error", "energy"):
        survivors, expected = getattr(trapped, field)[trapped.finite], getattr(free, field)[trapped.finite]
        assert np.all(np.isfinite(survivors))
        np.testing.assert_allclose(survivors, expected, rtol=1e-5, err_msg=field)


def _flight(features, target, mask):
    return -features[0, 0, 0] * jnp.sign(features[0, 0, 0])
