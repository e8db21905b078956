"""Stages: what each one sees, when it is over, and what becomes of restarts that have ended."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import pyramid as oracle

import invert_jax as ij

KEY = jax.random.key(5)
SIZE = 24
PHOTOGRAPH = ij.example_image("coffee", size=SIZE)
NUM_LEVELS = 3
RECIPE = ij.recipes.laplacian_pyramid(
    num_levels=NUM_LEVELS,
    lambda_compactness=0.1,
    coarse_stage=(0.1, 40),
    lambda_tv=0.0,
    lambda_alpha=0.0,
    fine_stages=((0.1, 60, 1.0), (0.01, 60, 1.0)),
    tolerance=0.02,
    patience=5,
)
EVERY_STEP = dataclasses.replace(RECIPE, tolerance=None)
PIXELS = ij.recipes.mahendran_vedaldi(lambda_tv=1e-4, lambda_alpha=0.0, stages=((0.3, 30), (0.03, 30)))
PIXELS = dataclasses.replace(PIXELS, tolerance=0.05, patience=4)


def _scaled(params, image):
    return params * image


PHI = ij.from_function(_scaled, jnp.linspace(0.5, 2, SIZE)[:, None, None], center=np.float32([90.0, 100.0, 110.0]))
TARGET = PHI(PHOTOGRAPH)
EQ7 = ij.objective.make(PHI, TARGET, RECIPE, image_shape=PHOTOGRAPH.shape)


@functools.cache
def restarts(num_restarts=5, recipe=RECIPE, **options):
    return ij.sample(
        KEY, PHI, TARGET, recipe, image_shape=PHOTOGRAPH.shape, num_restarts=num_restarts, chunk_size=5, **options
    )


def stops(total, recipe):
    """How many steps each stage makes, by the rule in words, from the energies; the descent's end where they end."""
    lengths, start = [], 0
    for most in recipe.steps:
        count = most
        for made in range(2 * recipe.patience, most):
            before, after = np.split(total[start + made - 2 * recipe.patience : start + made], 2)
            if before.mean() - after.mean() <= recipe.tolerance * before.mean():
                count = made
                break
        lengths.append(count)
        start += count
    return lengths


def test_stages_end_when_they_have_converged():
    found = restarts()
    for r in range(5):
        lengths = stops(np.asarray(found.energy[r, :, 0], np.float64), RECIPE)
        assert found.evaluations[r] == sum(lengths)
        assert len(lengths) == 4 and min(lengths) >= 10 and sum(lengths) < RECIPE.num_steps
    assert found.finite.all() and (found.error < 0.02).all()


def test_after_the_end_energies_repeat_and_nothing_moves():
    found = restarts()
    for r, count in enumerate(found.evaluations):
        assert np.all(found.energy[r, count:] == found.energy[r, count - 1])
        assert np.all(np.diff(found.energy[r, :count, 0]) != 0)


def test_a_restart_does_not_notice_that_others_go_on():
    """The one that ends first stands still while the rest of its chunk descends."""
    loose = dataclasses.replace(RECIPE, tolerance=0.1)
    found = restarts(recipe=loose)
    assert len(set(found.evaluations.tolist())) > 1
    for r in range(4):  # with fewer restarts, what pads the chunk has ended from the start
        fewer = restarts(r + 1, recipe=loose)
        np.testing.assert_array_equal(fewer.evaluations, found.evaluations[: r + 1])
        np.testing.assert_array_equal(fewer.image, found.image[: r + 1])


def test_watching_changes_nothing():
    seen = []
    found = ij.sample(
        KEY,
        PHI,
        TARGET,
        RECIPE,
        image_shape=PHOTOGRAPH.shape,
        num_restarts=5,
        chunk_size=5,
        callback=seen.append,
        callback_every=15,
    )
    for progress in seen:
        rows = np.minimum(progress.step, found.evaluations) - 1
        expected = found.energy[np.arange(5), rows] if progress.step else np.zeros((5, 4))
        np.testing.assert_array_equal(progress.energy, expected)
    for field in ("image", "energy", "evaluations"):
        np.testing.assert_array_equal(getattr(found, field), getattr(restarts(), field))
    assert [progress.step for progress in seen][-1] == RECIPE.num_steps
    np.testing.assert_allclose(seen[-1].image, found.image, atol=1e-3)


def test_devices_do_not_matter_though_they_end_apart():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("restarts",))
    found = ij.sample(KEY, PHI, TARGET, PIXELS, image_shape=PHOTOGRAPH.shape, num_restarts=3, chunk_size=1, mesh=mesh)
    for r in range(3):
        alone = ij.sample(KEY, PHI, TARGET, PIXELS, image_shape=PHOTOGRAPH.shape, num_restarts=r + 1, chunk_size=1)
        for field in ("image", "energy", "evaluations"):
            np.testing.assert_array_equal(getattr(alone, field)[r], getattr(found, field)[r])


def test_a_descent_that_leaves_the_finite_numbers_ends_there(key):
    recipe = dataclasses.replace(PIXELS, rates=(1e9, 1e9))
    found = ij.invert(key, PHI, TARGET, recipe, image_shape=PHOTOGRAPH.shape)
    lost = np.flatnonzero(~np.isfinite(found.energy[:, 0]))
    assert found.evaluations == lost[0] + 1 < recipe.num_steps and not found.finite
    every = ij.invert(key, PHI, TARGET, dataclasses.replace(recipe, tolerance=None), image_shape=PHOTOGRAPH.shape)
    assert every.evaluations == recipe.num_steps and not every.finite


def test_too_few_stages_to_show_everything_are_refused():
    recipe = dataclasses.replace(ij.recipes.for_layer("conv1"), parameterization=RECIPE.parameterization)
    with pytest.raises(ValueError, match=r"2 stages.*stage 3"):
        ij.objective.make(
            PHI, TARGET, dataclasses.replace(recipe, rates=(1.0, 1.0), steps=(5, 5)), image_shape=PHOTOGRAPH.shape
        )


def test_without_a_tolerance_every_step_is_made():
    found = restarts(recipe=EVERY_STEP)
    assert (found.evaluations == EVERY_STEP.num_steps).all()


def test_energy_is_eq_7(key):
    """Distance plus weighted compactness, over the target's norm, in NumPy, at the image that each stage shows."""
    step = jax.jit(ij.inversion.step)
    state = ij.inversion.init(key, EQ7, EVERY_STEP)
    for t in range(3 * 40):
        z, stage = np.asarray(state.z, np.float64), int(state.stage)
        state = step(EQ7, EVERY_STEP, state)
        if t % 40 not in (0, 17, 39):
            continue
        whole = 255 / (1 + np.exp(-z)) - 127.5
        shown = oracle.switched(whole, (np.arange(NUM_LEVELS) >= NUM_LEVELS - 1 - stage).astype(float))
        image = np.asarray(PHI.params, np.float64) * (127.5 + shown)
        norm = np.linalg.norm(np.asarray(TARGET, np.float64))
        loss = np.linalg.norm(image - np.asarray(TARGET, np.float64)) / norm
        assert stage == t // 40
        np.testing.assert_allclose(state.energy[t, 1], loss, rtol=1e-4)
        expected = loss + 0.1 * np.linalg.norm(whole - shown) / norm
        np.testing.assert_allclose(state.energy[t, 0], expected, rtol=1e-4)
        assert stage == NUM_LEVELS - 1 or expected > loss + 1e-5


def test_pictures_under_way_are_coarse_first(key):
    run = jax.jit(ij.inversion.run)
    state, roughness = ij.inversion.init(key, EQ7, EVERY_STEP), []
    for stop in (40, 80, 120):
        state = run(EQ7, EVERY_STEP, state, stop=stop - 1)
        image = np.asarray(ij.inversion.current_image(EQ7, EVERY_STEP, state))
        levels = oracle.decompose(image - 127.5, NUM_LEVELS)
        roughness.append([np.abs(level).mean() for level in levels])
    assert roughness[0][0] < 0.2 * roughness[2][0]  # the finest level waits for its stage
    assert roughness[0][1] < 0.7 * roughness[1][1]  # and so does the next


def test_each_stage_has_its_rate(key):
    """Plain descent: the update is the rate times the gradient, in every stage."""
    recipe = dataclasses.replace(
        ij.recipes.mahendran_vedaldi(lambda_tv=0.0, lambda_alpha=0.0, stages=((0.3, 2), (0.1, 1), (0.3, 2))),
        optimizer=optax.sgd,
    )
    eq3 = ij.objective.make(PHI, TARGET, recipe, image_shape=PHOTOGRAPH.shape)
    state, step = ij.inversion.init(key, eq3, recipe), jax.jit(ij.inversion.step)
    for rate in (0.3, 0.3, 0.1, 0.3, 0.3):
        gradient = jax.grad(lambda x: ij.objective.evaluate(eq3, x)[0])(state.z)
        after = step(eq3, recipe, state)
        np.testing.assert_allclose(after.z - state.z, -rate * gradient, rtol=1e-3, atol=1e-7)
        state = after
    assert int(state.stage) == 3


def test_new_numbers_compile_nothing_new():
    recipe = dataclasses.replace(RECIPE, tolerance=0.03, lambda_compactness=0.2, rates=(0.2, 0.2, 0.1, 0.02))
    restarts()
    before = ij.batching.num_programs()
    restarts(recipe=recipe)
    assert ij.batching.num_programs() == before


def test_each_stage_has_its_share_of_the_priors(key):
    shares = (2.0, 0.0, 0.5)
    recipe = ij.recipes.mahendran_vedaldi(lambda_tv=0.1, lambda_alpha=0.3, stages=((0.3, 2), (0.3, 1), (0.3, 2)))
    recipe = dataclasses.replace(recipe, prior_shares=shares, optimizer=optax.sgd)
    found = ij.invert(key, PHI, TARGET, recipe, image_shape=PHOTOGRAPH.shape)
    eq3 = ij.objective.make(PHI, TARGET, recipe, image_shape=PHOTOGRAPH.shape)
    state, step = ij.inversion.init(key, eq3, recipe), jax.jit(ij.inversion.step)
    for t, stage in enumerate((0, 0, 1, 2, 2)):
        x = np.asarray(state.z, np.float64)
        expected = shares[stage] * 0.3 * np.sum(x**6), shares[stage] * 0.1 * _variation(x)
        state = step(eq3, recipe, state)
        np.testing.assert_allclose(state.energy[t, 2:], expected, rtol=1e-4)
        np.testing.assert_allclose(state.energy[t, 0], state.energy[t, 1:].sum(), rtol=1e-5)
    np.testing.assert_allclose(found.energy, state.energy, rtol=1e-4)


def _variation(x):
    return sum(np.sum(np.diff(x, axis=axis) ** 2) for axis in (0, 1))


@pytest.mark.parametrize(
    ("shares", "said"), [((1.0, 2.0, 3.0), "3 prior_shares and 2 stages"), ((1.0, -2.0), "share of the priors is -2")]
)
def test_shares_that_do_not_fit_the_stages_are_refused(shares, said):
    with pytest.raises(ValueError, match=said):
        ij.objective.check_recipe(dataclasses.replace(PIXELS, prior_shares=shares))


@pytest.mark.parametrize(("patience", "stops"), [(4, True), (20, False), (1000, False)])
def test_pixels_stop_as_well_but_not_before_their_patience(patience, stops, key):
    recipe = dataclasses.replace(PIXELS, patience=patience)
    found = ij.invert(key, PHI, TARGET, recipe, image_shape=PHOTOGRAPH.shape)
    assert (found.evaluations < 60) == stops and found.finite


def test_forward_derivatives_pass_through_the_stopping_rule(key):
    def error(scale):
        return ij.invert(key, PHI, scale * TARGET, PIXELS, image_shape=PHOTOGRAPH.shape).error

    _, tangent = jax.jvp(error, (jnp.float32(1.0),), (jnp.float32(1.0),))
    assert np.isfinite(tangent)
