"""One descent: eq. 3 by loops, descents written out in NumPy, stages, the stopping rule, failures, JAX's transforms."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import differences, priors
from oracles import pyramid as oracle
from refusals import refused

import invert_jax as ij
from invert_jax import inversion
from invert_jax.regularizers import TotalVariation
from invert_jax.types import Prior, Stage

RNG = np.random.default_rng(0)


def rows(energy):
    """The terms total, loss, alpha-norm, TV, other, compactness in the last axis, in float64."""
    return np.stack([np.asarray(term, np.float64) for term in energy], -1)


def identity(params, image):
    return image


def scaled(params, image):
    return params * image


IDENTITY = ij.from_function(identity)


# --- the energy against loops over pixels ---

COLORS = (5, 4, 3)
IMAGE, GOAL = RNG.uniform(0, 255, (2, *COLORS)).astype(np.float32)
MIX = RNG.normal(size=(3, 2)).astype(np.float32) / 255
COLOR_CENTER = np.array([120.0, 110.0, 100.0], np.float32)
IMAGE_CENTER = RNG.uniform(90, 130, COLORS).astype(np.float32)
COLOR_SIGMA = 68.92116477 * math.sqrt(5 * 4 * 3)
MASK = RNG.random((5, 4, 2)) < 0.5


def mix_colors(mix, image):
    mixed = jnp.einsum("hwc,cd->hwd", image, mix, precision="highest")
    return mixed + mixed**2


def mix_colors_in_numpy(image):
    mixed = np.einsum("hwc,cd->hwd", np.asarray(image, np.float64), MIX.astype(np.float64))
    return mixed + mixed**2


MIXED_TARGET = mix_colors_in_numpy(GOAL).astype(np.float32)
ENERGY = jax.jit(inversion.energy)


def color_problem(recipe, *, center=COLOR_CENTER, mask=None):
    phi = ij.from_function(mix_colors, jnp.asarray(MIX), center=center)
    return inversion.make_problem(phi, MIXED_TARGET, recipe, image_shape=COLORS, mask=mask)


@pytest.mark.parametrize(
    ("options", "center", "mask"),
    [
        ({}, COLOR_CENTER, None),
        ({}, IMAGE_CENTER, MASK),
        ({"beta": 1.0, "lambda_tv": 0.05}, 110.0, MASK),
        ({"alpha": 3.0, "beta": 1.5, "lambda_alpha": 0.2}, COLOR_CENTER, None),
        ({"lambda_tv": 0.0, "lambda_alpha": 0.0}, COLOR_CENTER, MASK),
    ],
    ids=["paper", "masked", "beta 1", "alpha 3", "no priors"],
)
def test_energy_and_gradient_are_eq_3_by_loops(options, center, mask):
    recipe = ij.recipes.mahendran_vedaldi(**options, stages=((1e-6, 1),))  # no step is taken
    problem, target = color_problem(recipe, center=center, mask=mask)
    weights = {"alpha": 6.0, "beta": 2.0, "lambda_tv": 5.0, "lambda_alpha": 4e-10 * COLOR_SIGMA**4} | options
    np.testing.assert_array_equal(problem.center, np.broadcast_to(center, COLORS))

    def by_loops(x):
        return priors.energy(
            mix_colors_in_numpy, MIXED_TARGET, x, center=center, sigma=COLOR_SIGMA, mask=mask, **weights
        )

    x = (IMAGE - center) / COLOR_SIGMA

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def energy(z):
        terms = inversion.energy(problem, target, z, 0)
        return terms.total, terms

    (_, terms), gradient = energy(x.astype(np.float32))
    np.testing.assert_allclose(rows(terms), [*by_loops(x), 0, 0], rtol=1e-4, atol=1e-7)
    expected = differences.gradient(lambda x: by_loops(x)[0], x, step=1e-5)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


def mean_square(x):
    return jnp.mean(x**2)


def first_pixel(x):
    return x[0, 0, 0]


def test_priors_of_any_function_are_added_with_the_weight_of_the_stage():
    recipe = dataclasses.replace(
        ij.recipes.mahendran_vedaldi(),
        priors=(Prior(0.7, mean_square), Prior(0.3, TotalVariation(1.0), "tv"), Prior(2, first_pixel)),
        stages=(Stage(1.0, 1, 0.5), Stage(1.0, 1, 3.0)),
    )
    problem, target = color_problem(recipe)
    x = (IMAGE - COLOR_CENTER) / COLOR_SIGMA
    for stage, factor in enumerate((0.5, 3.0)):
        total, loss, alpha_norm, tv, other, compactness = rows(ENERGY(problem, target, x, stage))
        assert tv == pytest.approx(factor * 0.3 * priors.total_variation(x, 1), rel=1e-4)
        assert other == pytest.approx(factor * (0.7 * np.mean(x**2) + 2 * x[0, 0, 0]), rel=1e-4)
        assert total == pytest.approx(loss + tv + other, rel=1e-5) and alpha_norm == compactness == 0


def test_given_numbers_precede_the_rules():
    for lambda_alpha, expected in ((7.0, 7.0), (None, 4e-10 * 100**4)):
        recipe = ij.recipes.mahendran_vedaldi(lambda_tv=3, lambda_alpha=lambda_alpha)
        resolved = color_problem(dataclasses.replace(recipe, sigma=100.0))[0].recipe
        found = float(resolved.sigma), float(resolved.weight("alpha_norm")), float(resolved.weight("tv"))
        assert found == pytest.approx((100, expected, 3), rel=1e-5)


def test_no_recipe_is_the_default_one():
    phi = ij.from_function(mix_colors, jnp.asarray(MIX), center=COLOR_CENTER)
    unnamed, default = (color_problem(recipe)[0].recipe for recipe in (None, ij.recipes.default(phi)))
    assert jax.tree.structure(unnamed) == jax.tree.structure(default)
    assert jax.tree.leaves(unnamed) == jax.tree.leaves(default)


@pytest.mark.parametrize("center", [np.zeros(2), np.zeros((5, 3, 3)), np.zeros((4, 3))])
def test_centers_that_do_not_fit_are_refused(center):
    with pytest.raises(ValueError, match="center"):
        color_problem(ij.recipes.mahendran_vedaldi(), center=center)


# --- descents written out in NumPy ---

SHAPE = (4, 5, 2)
SIZE = math.prod(SHAPE)
SIGMA = 68.92116477 * math.sqrt(SIZE)
STAGES = ((0.2, 7), (0.05, 5))
RECIPE = ij.recipes.mahendran_vedaldi(lambda_tv=0.02, lambda_alpha=0.3, stages=STAGES)
PLAIN = ij.recipes.mahendran_vedaldi(lambda_tv=0.0, lambda_alpha=0.0, stages=((0.5, 1),))
WEIGHTS = RNG.normal(size=(12, SIZE)) / math.sqrt(SIZE)
CENTER = np.array([100.0, 140.0])
TARGET = WEIGHTS @ RNG.uniform(0, 255, SIZE)
START = RNG.uniform(0, 255, SHAPE)


def linear(weights, image):
    return weights @ image.ravel()


def linear_representation(weights=WEIGHTS, center=CENTER):
    return ij.from_function(linear, jnp.asarray(weights, jnp.float32), center=center)


def invert(key, recipe=RECIPE, **options):
    return ij.invert(key, linear_representation(), TARGET, recipe, image_shape=SHAPE, **options)


def noise_start(key):
    noise = np.asarray(jax.random.normal(key, SHAPE), np.float64)
    return noise / np.sqrt(np.sum(noise**2))


def terms_and_gradient(x, lambda_alpha=0.3, lambda_tv=0.02, weights=WEIGHTS, target=TARGET):
    """Eq. 3 with alpha = 6, beta = 2 at `x`: total, loss, alpha-norm and TV, and the gradient, in float64."""
    residual = weights @ (CENTER + SIGMA * x).ravel() - target
    scale = np.sum(target**2)
    down, right = np.diff(x, axis=0), np.diff(x, axis=1)
    terms = np.sum(residual**2) / scale, lambda_alpha * np.sum(x**6), lambda_tv * (np.sum(down**2) + np.sum(right**2))
    gradient = (2 * SIGMA / scale * weights.T @ residual).reshape(x.shape) + 6 * lambda_alpha * x**5
    gradient[1:] += 2 * lambda_tv * down
    gradient[:-1] -= 2 * lambda_tv * down
    gradient[:, 1:] += 2 * lambda_tv * right
    gradient[:, :-1] -= 2 * lambda_tv * right
    return np.array([sum(terms), *terms]), gradient


def descend(x, *, stages=STAGES, **options):
    """Momentum 0.9, zeroed between the stages: final image, relative error, energies `[T, 4]`."""
    energy = []
    for rate, num_steps in stages:
        momentum = np.zeros_like(x)
        for _ in range(num_steps):
            terms, gradient = terms_and_gradient(x, **options)
            momentum = 0.9 * momentum - rate * gradient
            x = x + momentum
            energy.append(terms)
    image = CENTER + SIGMA * x
    target = options.get("target", TARGET)
    error = np.linalg.norm(options.get("weights", WEIGHTS) @ image.ravel() - target) / np.linalg.norm(target)
    return image, error, np.array(energy)


def require_descent(found, image, error, energy):
    np.testing.assert_allclose(rows(found.energy)[:, :4], energy, rtol=1e-4)
    np.testing.assert_allclose(found.image, image, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found.features, WEIGHTS @ image.ravel(), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found.error, error, rtol=1e-4)
    assert bool(found.finite) and int(found.evaluations) == len(energy)


@pytest.mark.parametrize("lambda_alpha", [0.3, None])
def test_descent_agrees_with_numpy(key, lambda_alpha):
    weight = 4e-10 * SIGMA**4 if lambda_alpha is None else lambda_alpha  # None: the balancing rule of section 2
    image, error, energy = descend(noise_start(key), lambda_alpha=weight)
    require_descent(invert(key, RECIPE.reweight(alpha_norm=lambda_alpha)), image, error, energy)
    assert energy[-1, 0] < energy[0, 0] / 5 and np.all(energy[:, 1:] > 1e-4), "every term should matter"


def test_descent_from_an_initial_image_agrees_with_numpy():
    expected = descend((START - CENTER) / SIGMA)
    for seed in (0, 7):
        require_descent(invert(jax.random.key(seed), initial_image=START), *expected)


def test_energy_is_recorded_before_each_step_and_run_resumes(key):
    problem, target = inversion.make_problem(linear_representation(), TARGET, RECIPE, image_shape=SHAPE)
    state = start = inversion.init(key, problem, target)
    step, run = jax.jit(inversion.step), jax.jit(inversion.run)
    for t in range(RECIPE.num_steps):
        expected = ENERGY(problem, target, state.z, state.stage)
        state = step(problem, state)
        np.testing.assert_allclose(rows(state.energy)[t], rows(expected), rtol=1e-5)
        assert int(state.step) == t + 1 and np.all(rows(state.energy)[t + 1 :] == 0)
    assert int(state.stage) == len(STAGES)
    frozen = step(problem, state)
    halfway = run(problem, start, stop=5)
    assert int(halfway.step) == 5
    pairs = (frozen, state), (run(problem, halfway, stop=12), run(problem, start, stop=12))
    for a, b in pairs:
        jax.tree.map(np.testing.assert_array_equal, a._replace(key=0), b._replace(key=0))


@pytest.mark.parametrize("factors", [(1.0, 1.0, 1.0), (2.0, 0.0, 0.5)])
def test_stages_have_rates_and_prior_weights(key, factors):
    stages = tuple(map(Stage, (0.3, 0.1, 0.3), (2, 1, 2), factors))
    found = invert(key, dataclasses.replace(RECIPE, optimizer=optax.sgd, stages=stages))
    x, energy = noise_start(key), []
    for rate, factor in zip((0.3, 0.3, 0.1, 0.3, 0.3), np.repeat(factors, (2, 1, 2)), strict=True):
        terms, gradient = terms_and_gradient(x, 0.3 * factor, 0.02 * factor)
        energy.append(terms)
        x = x - rate * gradient
    np.testing.assert_allclose(rows(found.energy)[:, :4], energy, rtol=1e-4)
    np.testing.assert_allclose(found.image, CENTER + SIGMA * x, rtol=1e-5, atol=1e-3)


def test_adam_agrees_with_numpy(key):
    rate = 0.03
    found = invert(key, dataclasses.replace(RECIPE, optimizer=optax.adam, stages=(Stage(rate, 7), Stage(rate, 5))))
    x, m, v, energy = noise_start(key), 0.0, 0.0, []
    for t in range(1, 13):
        terms, gradient = terms_and_gradient(x)
        energy.append(terms)
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        x = x - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(rows(found.energy)[:, :4], energy, rtol=1e-3)
    np.testing.assert_allclose(found.image, CENTER + SIGMA * x, rtol=1e-4, atol=2e-2)


def lbfgs(learning_rate):
    del learning_rate  # the line search chooses the step
    return optax.lbfgs()


@pytest.mark.slow
def test_line_searches_get_the_value_and_the_function(key):
    found = invert(key, dataclasses.replace(RECIPE, optimizer=lbfgs, stages=(Stage(1.0, 8),)))
    assert found.finite and found.energy.total[-1] < 0.1 * found.energy.total[0]


def test_activation_of_chosen_neurons_alone_is_raised(key, rng):
    mask, target = np.arange(SIZE).reshape(SHAPE) % 7 == 3, rng.uniform(20, 230, SHAPE)
    recipe = dataclasses.replace(PLAIN, loss=ij.losses.activation)
    found = ij.invert(key, IDENTITY, target, recipe, image_shape=SHAPE, mask=mask, initial_image=START)
    scale = np.sum(np.abs(target[mask]))
    np.testing.assert_allclose(found.energy.loss, [-np.sum(START[mask]) / scale], rtol=1e-5)
    np.testing.assert_allclose((found.image - START) / SIGMA, 0.5 * SIGMA / scale * mask, rtol=1e-3, atol=1e-6)


def test_an_objective_needs_no_target_and_has_no_error(key):
    mask = np.arange(SIZE).reshape(SHAPE) % 7 == 3
    recipe = dataclasses.replace(PLAIN, loss=ij.losses.activation)
    found = ij.invert(key, IDENTITY, None, recipe, image_shape=SHAPE, mask=mask, initial_image=START)
    np.testing.assert_allclose(found.energy.loss, [-np.sum(START[mask])], rtol=1e-5)
    np.testing.assert_allclose((found.image - START) / SIGMA, 0.5 * SIGMA * mask, rtol=1e-3, atol=1e-6)
    assert found.error is None and found.finite
    many = ij.sample(key, IDENTITY, None, recipe, image_shape=SHAPE, mask=mask, num_restarts=3)
    assert many.error is None and many.finite.all() and many.image.shape == (3, *SHAPE)
    with refused("target"):
        ij.invert(key, IDENTITY, None, PLAIN, image_shape=SHAPE)


def test_masked_neurons_do_not_matter(key, rng):
    target, mask = rng.uniform(20, 230, SHAPE), rng.random(SHAPE) < 0.4
    recipe = dataclasses.replace(PLAIN, stages=(Stage(0.5, 6),))
    found, other = (
        ij.invert(key, IDENTITY, goal, recipe, image_shape=SHAPE, mask=mask, initial_image=START)
        for goal in (target, np.where(mask, target, 1e4))
    )
    jax.tree.map(np.testing.assert_array_equal, found, other)
    np.testing.assert_allclose(found.image[~mask], START[~mask], atol=1e-3)
    error = np.linalg.norm((found.image - target)[mask]) / np.linalg.norm(target[mask])
    np.testing.assert_allclose(found.error, error, rtol=1e-4)
    assert found.error < np.sqrt(found.energy.loss[0])


def test_zero_target_is_approached_without_a_division_by_zero(key):
    recipe = dataclasses.replace(PLAIN, stages=(Stage(0.1 / SIGMA**2, 100),))
    unlike, mask = np.where(np.arange(SHAPE[0])[:, None, None] < 3, 0, 50) + np.zeros(SHAPE), np.zeros(SHAPE, bool)
    mask[:3] = True
    for target, which in ((np.zeros(SHAPE), None), (unlike, mask)):
        with pytest.warns(RuntimeWarning, match="zero at every neuron that counts"):
            found = ij.invert(key, IDENTITY, target, recipe, image_shape=SHAPE, initial_image=START, mask=which)
        counted = slice(None) if which is None else which
        np.testing.assert_allclose(found.energy.loss[0], np.sum(START[counted] ** 2), rtol=1e-5)
        np.testing.assert_allclose(found.error, np.linalg.norm(found.image[counted]), rtol=1e-5)
        assert bool(found.finite) and found.error < 0.05 * np.linalg.norm(START[counted])


@pytest.mark.slow
def test_flat_image_at_the_target_does_not_move(key):
    hog, flat = ij.hog(binning="bilinear"), np.full((16, 16, 1), 128, np.float32)
    recipe = ij.recipes.mahendran_vedaldi(stages=((1e-6, 5),), beta=1.0)
    with pytest.warns(RuntimeWarning, match="zero at every neuron"):
        found = ij.invert(key, hog, hog(flat), recipe, image_shape=flat.shape, initial_image=flat)
    np.testing.assert_allclose(found.image, flat, atol=1e-3)
    assert bool(found.finite) and np.all(rows(found.energy) == 0) and found.error == 0


def shift_image(key, image):
    return jnp.roll(image, jax.random.randint(key, (), 0, image.shape[0]), axis=0)


def test_transform_has_a_key_for_every_step_and_spares_priors_and_results(key):
    recipe = dataclasses.replace(RECIPE, transform=shift_image, optimizer=optax.sgd)
    found = invert(key, recipe)
    x, energy, shifts = noise_start(key), [], []
    for t, rate in enumerate(7 * [0.2] + 5 * [0.05]):
        shifts.append(int(jax.random.randint(jax.random.fold_in(jax.random.fold_in(key, 1), t), (), 0, SHAPE[0])))
        shifted = np.roll(WEIGHTS.reshape(-1, *SHAPE), -shifts[-1], axis=1).reshape(WEIGHTS.shape)
        terms, gradient = terms_and_gradient(x, weights=shifted)  # shifting weights back shifts the image alone
        energy.append(terms)
        x = x - rate * gradient
    assert len(set(shifts)) > 2
    np.testing.assert_allclose(rows(found.energy)[:, :4], energy, rtol=1e-4)
    np.testing.assert_allclose(found.image, CENTER + SIGMA * x, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found.features, WEIGHTS @ np.asarray(found.image).ravel(), rtol=1e-4, atol=1e-3)


# --- failure is data ---


def total(features, target, mask):
    return jnp.sum(features)


def infinite_below_zero(params, image):
    return jnp.where(image > 0, image, jnp.inf)


def test_features_that_are_not_finite_at_the_end_are_flagged(key):
    # One step down from 1 leaves the image finite, and below 0, where the features are not.
    recipe = dataclasses.replace(PLAIN, loss=total, stages=(Stage(2 / SIGMA**2, 1),))
    phi, image = ij.from_function(infinite_below_zero), np.ones(SHAPE)
    found = ij.invert(key, phi, image, recipe, image_shape=SHAPE, initial_image=image)
    assert np.all(np.isfinite(found.image)) and np.all(np.isfinite(rows(found.energy))) and not bool(found.finite)


# --- coarse to fine: eq. 7, and stages that end when they have converged ---

PHOTOGRAPH = ij.example_image("coffee", size=24)
NUM_LEVELS = 3
PHI = ij.from_function(scaled, jnp.linspace(0.5, 2, 24)[:, None, None], center=np.float32([90.0, 100.0, 110.0]))
PHI_0 = PHI(PHOTOGRAPH)
PYRAMID = ij.recipes.laplacian_pyramid(
    num_levels=NUM_LEVELS,
    lambda_compactness=0.1,
    coarse_stage=(0.1, 40),
    lambda_tv=0.1,
    lambda_alpha=0.2,
    fine_stages=((0.1, 60, 0.3), (0.01, 60, 0.0)),
    tolerance=0.02,
    patience=5,
)
STOPPING = ij.recipes.mahendran_vedaldi(lambda_tv=1e-4, lambda_alpha=0.0, stages=((0.3, 30), (0.03, 30)))
STOPPING = dataclasses.replace(STOPPING, tolerance=0.05, patience=4)
invert_photograph = functools.partial(ij.invert, image_shape=PHOTOGRAPH.shape)


def test_energy_of_the_pyramid_is_eq_7_and_images_are_coarse_first(key):
    """Distance and weighted compactness, over the target's norm, and the priors, of the image that a stage shows."""
    recipe = dataclasses.replace(PYRAMID, tolerance=None)
    problem, target = inversion.make_problem(PHI, PHI_0, recipe, image_shape=PHOTOGRAPH.shape)
    step, roughness = jax.jit(inversion.step), {}
    state = inversion.init(key, problem, target)
    center, sigma = np.float64([90, 100, 110]), 68.92116477 * math.sqrt(24 * 24 * 3)
    phi_0, norm = np.asarray(PHI_0, np.float64), np.linalg.norm(np.asarray(PHI_0, np.float64))
    for t in range(3 * 40):
        z, stage = np.asarray(state.z, np.float64), int(state.stage)
        state = step(problem, state)
        if t % 40 not in (0, 17, 39):
            continue
        assert stage == t // 40
        whole = 255 / (1 + np.exp(-z)) - 127.5
        shown = oracle.switched(whole, (np.arange(NUM_LEVELS) >= NUM_LEVELS - 1 - stage).astype(float))
        loss = np.linalg.norm(np.asarray(PHI.params, np.float64) * (127.5 + shown) - phi_0) / norm
        x, factor = (127.5 + shown - center) / sigma, (1, 1, 0.3)[stage]
        terms = loss, factor * 0.2 * np.sum(x**6), factor * 0.1 * np.sum(np.diff(x, axis=0) ** 2)
        terms = (*terms[:2], terms[2] + factor * 0.1 * np.sum(np.diff(x, axis=1) ** 2), 0)
        compactness = 0.1 * np.linalg.norm(whole - shown) / norm
        expected = [sum(terms) + compactness, *terms, compactness]
        np.testing.assert_allclose(rows(state.energy)[t], expected, rtol=1e-4, atol=1e-9)
        assert stage == NUM_LEVELS - 1 or compactness > 1e-5
        roughness[t] = [np.abs(level).mean() for level in oracle.decompose(shown, NUM_LEVELS)]
    assert roughness[39][0] < 0.2 * roughness[119][0]  # the finest level waits for its stage
    assert roughness[39][1] < 0.7 * roughness[79][1]  # and so does the next
    np.testing.assert_allclose(state.energy.total, sum(state.energy[1:]), rtol=1e-5)


def lengths_of_stages(energy, recipe):
    """How many steps each stage makes, by the rule in words, from the energies."""
    lengths, start = [], 0
    for stage in recipe.stages:
        length = stage.num_steps
        for made in range(2 * recipe.patience, stage.num_steps):
            before, after = np.split(energy[start + made - 2 * recipe.patience : start + made], 2)
            if before.mean() - after.mean() <= recipe.tolerance * before.mean():
                length = made
                break
        lengths.append(length)
        start += length
    return lengths


def test_stages_end_when_they_have_converged():
    keys = jax.random.split(jax.random.key(5), 3)
    found = jax.vmap(lambda key: invert_photograph(key, PHI, PHI_0, PYRAMID))(keys)
    assert np.all(found.finite) and np.all(np.asarray(found.error) < 0.02)
    for energy, evaluations in zip(rows(found.energy), found.evaluations, strict=True):
        lengths = lengths_of_stages(energy[:, 0], PYRAMID)
        assert evaluations == sum(lengths) < PYRAMID.num_steps
        assert len(lengths) == 4 and min(lengths) >= 10
        assert np.all(energy[evaluations:] == energy[evaluations - 1])
        assert np.all(np.diff(energy[:evaluations, 0]) != 0)


@pytest.mark.parametrize("patience", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_stages_do_not_end_before_their_patience(patience, key):
    found = invert_photograph(key, PHI, PHI_0, dataclasses.replace(STOPPING, patience=patience))
    assert found.evaluations == 60 and found.finite


@pytest.mark.parametrize("tolerance", [0.05, None])
def test_divergence_is_flagged_and_ends_a_descent_with_a_tolerance(tolerance, key):
    stages = (Stage(1e9, 30), Stage(1e9, 30))
    diverging = dataclasses.replace(STOPPING, stages=stages, patience=20, tolerance=tolerance)
    found = invert_photograph(key, PHI, PHI_0, diverging)
    first = np.flatnonzero(~np.isfinite(found.energy.total))[0]
    assert 0 < first < 59 and not found.finite
    assert found.evaluations == (60 if tolerance is None else first + 1)


# --- JAX's transforms ---


def test_vmap_over_keys_targets_and_recipes_under_jit_agrees_with_numpy():
    targets, keys = np.stack([TARGET, TARGET[::-1]]), jax.random.split(jax.random.key(4), 2)

    @jax.jit
    @jax.vmap
    def descents(key, target, weight):
        return ij.invert(key, linear_representation(), target, RECIPE.reweight(tv=weight), image_shape=SHAPE)

    found = descents(keys, targets.astype(np.float32), jnp.array([0.02, 1.0]))
    for r, weight in enumerate((0.02, 1.0)):
        expected = descend(noise_start(keys[r]), target=targets[r], lambda_tv=weight)
        require_descent(jax.tree.map(lambda leaf, r=r: leaf[r], found), *expected)


def test_derivatives_through_the_descent_agree_with_differences(key, rng):
    point = {"target": TARGET, "weights": WEIGHTS, "lambda_tv": 0.02, "rate": 0.2}
    directions = {
        "target": rng.normal(size=TARGET.shape) * np.linalg.norm(TARGET),
        "weights": rng.normal(size=WEIGHTS.shape),
        "lambda_tv": 1.0,
        "rate": 1.0,
    }

    def error(at):
        recipe = dataclasses.replace(RECIPE.reweight(tv=at["lambda_tv"]), stages=(Stage(at["rate"], 7), Stage(0.05, 5)))
        return ij.invert(key, linear_representation(at["weights"]), at["target"], recipe, image_shape=SHAPE).error

    def error_in_numpy(at):
        stages = ((at.pop("rate"), 7), (0.05, 5))
        return descend(noise_start(key), stages=stages, **at)[1]

    slopes, h = {}, 1e-6
    for name, direction in directions.items():
        ends = [error_in_numpy({**point, name: point[name] + sign * h * direction}) for sign in (1, -1)]
        slopes[name] = (ends[0] - ends[1]) / (2 * h)
    assert all(abs(slope) > 1e-3 for slope in slopes.values()), slopes

    point, tangent = jax.tree.map(jnp.float32, (point, directions))
    gradient = jax.jit(jax.grad(error))(point)
    for name, slope in slopes.items():
        np.testing.assert_allclose(np.vdot(gradient[name], directions[name]), slope, rtol=1e-3, err_msg=name)
    _, forward = jax.jit(lambda at, tangent: jax.jvp(error, (at,), (tangent,)))(point, tangent)
    np.testing.assert_allclose(forward, sum(slopes.values()), rtol=1e-3)


def test_forward_derivatives_pass_through_the_stopping_rule(key):
    def error(scale):
        found = invert_photograph(key, PHI, scale * PHI_0, STOPPING)
        return found.error, found.evaluations

    _, tangent, evaluations = jax.jvp(error, (jnp.float32(1.0),), (jnp.float32(1.0),), has_aux=True)
    assert np.isfinite(tangent) and tangent != 0 and evaluations < STOPPING.num_steps


def wide(params, image):
    return jnp.asarray(image, jax.dtypes.canonicalize_dtype(float)) * params


@pytest.mark.parametrize("optimizer", [RECIPE.optimizer, optax.adam], ids=["momentum", "adam"])
def test_strict_promotion_and_features_in_double_precision(optimizer, key):
    recipe = dataclasses.replace(RECIPE, optimizer=optimizer)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        phi = ij.from_function(wide, np.float64(2))
        target = phi(START)
        assert target.dtype == np.float64
        found = ij.invert(key, phi, target, recipe, image_shape=SHAPE)
    parts = found.image, found.features, found.error, found.energy
    assert found.finite and {leaf.dtype.name for leaf in jax.tree.leaves(parts)} == {"float32"}


@pytest.mark.slow
def test_double_precision_elsewhere_in_the_program_does_no_harm(key):
    conv1 = ij.alexnet(layer="conv1")
    target = conv1(ij.example_image("chelsea", size=35))
    with jax.enable_x64(True):
        recipe = ij.recipes.mahendran_vedaldi(stages=((4e-3, 2),))
        found = ij.invert(key, conv1, target, recipe, image_shape=(35, 35, 3))
    assert found.image.dtype == np.float32 and found.finite
