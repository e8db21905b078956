"""One restart: against the descent on eq. 3 written out in NumPy, under transforms, and at degenerate input."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import invert_jax as ij

SHAPE = (4, 5, 2)
SIZE = math.prod(SHAPE)
NUM_FEATURES = 12
SIGMA = 68.92116477 * math.sqrt(SIZE)
STAGES = ((0.2, 7), (0.05, 5))
RECIPE = ij.recipes.mahendran_vedaldi(lambda_tv=0.02, lambda_alpha=0.3, stages=STAGES)
PLAIN = ij.recipes.mahendran_vedaldi(lambda_tv=0.0, lambda_alpha=0.0, stages=((0.5, 1),))


def _linear(weights, image):
    return weights @ image.ravel()


def _identity(params, image):
    return image


IDENTITY = ij.from_function(_identity)


def _problem(seed=0):
    random = np.random.default_rng(seed)
    weights = random.normal(size=(NUM_FEATURES, SIZE)) / math.sqrt(SIZE)
    center = np.array([100.0, 140.0])
    image = random.uniform(0, 255, SHAPE)
    return weights, center, weights @ image.ravel()


def _representation(weights, center):
    return ij.from_function(_linear, jnp.asarray(weights, jnp.float32), center=center)


def _start(key):
    noise = np.asarray(jax.random.normal(key, SHAPE), np.float64)
    return noise / np.sqrt(np.sum(noise**2))


def _terms_and_gradient(x, weights, center, target, lambda_alpha, lambda_tv):
    """Eq. 3 with alpha = 6, beta = 2 at `x`, for features `weights @ image`: `[4]` and `[H, W, C]`, float64."""
    residual = weights @ (center + SIGMA * x).ravel() - target
    scale = np.sum(target**2)
    down, right = np.diff(x, axis=0), np.diff(x, axis=1)
    loss = np.sum(residual**2) / scale
    alpha = lambda_alpha * np.sum(x**6)
    tv = lambda_tv * (np.sum(down**2) + np.sum(right**2))
    gradient = (2 * SIGMA / scale * weights.T @ residual).reshape(x.shape) + 6 * lambda_alpha * x**5
    gradient[1:] += 2 * lambda_tv * down
    gradient[:-1] -= 2 * lambda_tv * down
    gradient[:, 1:] += 2 * lambda_tv * right
    gradient[:, :-1] -= 2 * lambda_tv * right
    return np.array([loss + alpha + tv, loss, alpha, tv]), gradient


def _descend(x, weights, center, target, *, stages=STAGES, lambda_alpha=0.3, lambda_tv=0.02):
    """Momentum 0.9, zeroed between the stages: final image, relative error, energies `[T, 4]`."""
    energy = []
    for rate, steps in stages:
        momentum = np.zeros_like(x)
        for _ in range(steps):
            terms, gradient = _terms_and_gradient(x, weights, center, target, lambda_alpha, lambda_tv)
            momentum = 0.9 * momentum - rate * gradient
            x = x + momentum
            energy.append(terms)
    image = center + SIGMA * x
    error = np.linalg.norm(weights @ image.ravel() - target) / np.linalg.norm(target)
    return image, error, np.array(energy)


def test_agrees_with_eq_3_written_out(key):
    weights, center, target = _problem()
    found = ij.invert(key, _representation(weights, center), target, RECIPE, image_shape=SHAPE)
    image, error, energy = _descend(_start(key), weights, center, target)
    np.testing.assert_allclose(found.energy, energy, rtol=1e-4)
    np.testing.assert_allclose(found.image, image, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found.features, weights @ image.ravel(), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found.error, error, rtol=1e-4)
    assert bool(found.finite)
    assert energy[-1, 0] < energy[0, 0] / 5 and np.all(energy[:, 1:] > 1e-4), "every term should matter"


def test_the_balancing_rule_is_the_default(key):
    # Section 2: lambda_alpha = sigma^alpha / (H W C B^alpha), which the authors' constants make 4e-10 sigma^4.
    weights, center, target = _problem()
    recipe = dataclasses.replace(RECIPE, lambda_alpha=None)
    found = ij.invert(key, _representation(weights, center), target, recipe, image_shape=SHAPE)
    image, _, energy = _descend(_start(key), weights, center, target, lambda_alpha=4e-10 * SIGMA**4)
    np.testing.assert_allclose(found.energy, energy, rtol=1e-4)
    np.testing.assert_allclose(found.image, image, rtol=1e-5, atol=1e-3)
    assert np.all(energy[0, 2] > 10 * _descend(_start(key), weights, center, target)[2][0, 2]), "it should matter"


def test_energy_rows_are_from_before_each_step(key):
    weights, center, target = _problem()
    representation = _representation(weights, center)
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
    weights, center, target = _problem()
    eq3 = ij.objective.make(_representation(weights, center), target, RECIPE, image_shape=SHAPE)
    run = jax.jit(ij.inversion.run)
    start = ij.inversion.init(key, eq3, RECIPE)
    halfway = run(eq3, RECIPE, start, stop=5)
    assert int(halfway.step) == 5 and np.all(halfway.energy[:5, 0] > 0) and np.all(halfway.energy[5:] == 0)
    in_two, at_once = run(eq3, RECIPE, halfway, stop=12), run(eq3, RECIPE, start, stop=12)
    for a, b in zip(jax.tree.leaves(in_two), jax.tree.leaves(at_once), strict=True):
        np.testing.assert_array_equal(a, b)


def test_starts_at_the_initial_image(key):
    weights, center, target = _problem()
    image = np.random.default_rng(1).uniform(0, 255, SHAPE)
    representation = _representation(weights, center)
    expected, _, energy = _descend((image - center) / SIGMA, weights, center, target)
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
    weights, center, target = _problem()
    eq3 = ij.objective.make(_representation(weights, center), target, RECIPE, image_shape=SHAPE)
    starts = [np.asarray(ij.inversion.init(jax.random.key(seed), eq3, RECIPE).z) for seed in (0, 0, 1)]
    for start in starts:
        np.testing.assert_allclose(np.linalg.norm(start), 1, rtol=1e-6)
    np.testing.assert_array_equal(starts[0], starts[1])
    assert np.max(np.abs(starts[0] - starts[2])) > 0.05


def test_any_optax_optimizer_serves(key):
    weights, center, target = _problem()
    rate = 0.03
    recipe = dataclasses.replace(RECIPE, optimizer=optax.adam, rates=(rate, rate))
    found = ij.invert(key, _representation(weights, center), target, recipe, image_shape=SHAPE)
    x, m, v, energy = _start(key), 0.0, 0.0, []
    for t in range(1, 13):
        terms, gradient = _terms_and_gradient(x, weights, center, target, 0.3, 0.02)
        energy.append(terms)
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        x = x - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(found.energy, energy, rtol=1e-3)
    np.testing.assert_allclose(found.image, center + SIGMA * x, rtol=1e-4, atol=2e-2)


def test_optax_optimizers_follow_the_stages(key):
    weights, center, target = _problem()
    recipe = dataclasses.replace(RECIPE, optimizer=optax.sgd)
    found = ij.invert(key, _representation(weights, center), target, recipe, image_shape=SHAPE)
    x = _start(key)
    for rate in 7 * [0.2] + 5 * [0.05]:
        x = x - rate * _terms_and_gradient(x, weights, center, target, 0.3, 0.02)[1]
    np.testing.assert_allclose(found.image, center + SIGMA * x, rtol=1e-5, atol=1e-3)


def _third(x):
    return x / 3


def _times_three(z):
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
    weights, center, target = _problem()
    recipe = dataclasses.replace(RECIPE, rates=(1e12, 1e12))
    found = ij.invert(key, _representation(weights, center), target, recipe, image_shape=SHAPE)
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


# --- losses, masks, degenerate targets ---


def _one_step(key, recipe, target, image, **kwargs):
    found = ij.invert(key, IDENTITY, target, recipe, image_shape=SHAPE, initial_image=image, **kwargs)
    return found, (np.asarray(found.image) - image) / SIGMA  # the step, in the optimizer's units


@pytest.fixture
def pair():
    random = np.random.default_rng(5)
    return random.uniform(20, 230, SHAPE), random.uniform(20, 230, SHAPE)


def test_squared_distance_steps_along_the_difference(key, pair):
    image, target = pair
    found, step = _one_step(key, PLAIN, target, image)
    scale = np.sum(target**2)
    np.testing.assert_allclose(found.energy[0, 1], np.sum((image - target) ** 2) / scale, rtol=1e-5)
    np.testing.assert_allclose(step, -0.5 * 2 * SIGMA * (image - target) / scale, rtol=1e-3, atol=1e-6)


def test_l1_distance_steps_by_the_sign(key, pair):
    image, target = pair
    found, step = _one_step(key, dataclasses.replace(PLAIN, loss=ij.losses.l1_distance), target, image)
    scale = np.sum(np.abs(target))
    np.testing.assert_allclose(found.energy[0, 1], np.sum(np.abs(image - target)) / scale, rtol=1e-5)
    np.testing.assert_allclose(step, -0.5 * SIGMA * np.sign(image - target) / scale, rtol=1e-3, atol=1e-6)


def test_inner_product_steps_along_the_target(key, pair):
    image, target = pair
    found, step = _one_step(key, dataclasses.replace(PLAIN, loss=ij.losses.inner_product), target, image)
    scale = np.sum(target**2)
    np.testing.assert_allclose(found.energy[0, 1], -np.sum(image * target) / scale, rtol=1e-5)
    np.testing.assert_allclose(step, 0.5 * SIGMA * target / scale, rtol=1e-3, atol=1e-6)


def test_activation_drives_the_chosen_neurons_up_alone(key, pair):
    image, target = pair
    mask = np.zeros(SHAPE, bool)
    mask[1, 2, 0] = mask[3, 0, 1] = True
    recipe = dataclasses.replace(PLAIN, loss=ij.losses.activation)
    found, step = _one_step(key, recipe, target, image, mask=mask)
    scale = np.abs(target[mask]).sum()
    np.testing.assert_allclose(found.energy[0, 1], -np.sum(image[mask]) / scale, rtol=1e-5)
    np.testing.assert_allclose(step[mask], 0.5 * SIGMA / scale, rtol=1e-3)
    np.testing.assert_allclose(step[~mask], 0, atol=1e-6)


def test_what_the_mask_leaves_out_does_not_matter(key, pair):
    image, target = pair
    mask = np.random.default_rng(2).random(SHAPE) < 0.4
    other = np.where(mask, target, 1e4)
    recipe = dataclasses.replace(PLAIN, steps=(6,))
    found, step = _one_step(key, recipe, target, image, mask=mask)
    with_other, _ = _one_step(key, recipe, other, image, mask=mask)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(with_other), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(step[~mask], 0, atol=1e-6)
    expected = np.sum((image - target)[mask] ** 2) / np.sum(target[mask] ** 2)
    np.testing.assert_allclose(found.energy[0, 1], expected, rtol=1e-5)
    moved = np.asarray(found.image)
    error = np.linalg.norm((moved - target)[mask]) / np.linalg.norm(target[mask])
    np.testing.assert_allclose(found.error, error, rtol=1e-4)
    assert found.error < np.sqrt(expected)


def test_zero_target_is_reached_without_a_division_by_zero(key, pair):
    image, _ = pair
    recipe = dataclasses.replace(PLAIN, rates=(0.1 / SIGMA**2,), steps=(100,))
    found, _ = _one_step(key, recipe, np.zeros(SHAPE), image)
    assert bool(found.finite)
    np.testing.assert_allclose(found.energy[0, 1], np.sum(image**2), rtol=1e-5)
    np.testing.assert_allclose(found.error, np.linalg.norm(found.image), rtol=1e-5)
    assert found.error < 0.05 * np.linalg.norm(image)


def test_flat_image(key):
    representation = ij.hog(binning="bilinear")
    flat = np.full((16, 16, 1), 128, np.float32)
    target = representation(flat)
    recipe = ij.recipes.mahendran_vedaldi(stages=((4e-3, 5),), beta=1.0)
    found = ij.invert(key, representation, target, recipe, image_shape=flat.shape, initial_image=flat)
    np.testing.assert_allclose(found.image, flat, atol=1e-3)
    assert bool(found.finite) and np.all(found.energy == 0) and found.error == 0


def test_a_representation_with_an_inverse_is_inverted(key):
    random = np.random.default_rng(8)
    rotation = np.linalg.qr(random.normal(size=(SIZE, SIZE)))[0]
    image = random.uniform(0, 255, SHAPE)
    recipe = ij.recipes.mahendran_vedaldi(lambda_tv=0.0, lambda_alpha=0.0, stages=((0.3, 400),))
    representation = _representation(rotation, 128.0)
    found = ij.invert(key, representation, representation(image), recipe, image_shape=SHAPE)
    np.testing.assert_allclose(found.image, image, atol=0.01)
    assert found.error < 1e-4


# --- transforms ---


def _error(target, weights, center, key, recipe=RECIPE):
    return ij.invert(key, _representation(weights, center), target, recipe, image_shape=SHAPE).error


def test_plain_jit_and_vmap_agree():
    weights, center, target = _problem()
    representation = _representation(weights, center)
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
    weights, center, target = _problem()
    errors = jax.vmap(lambda value: _error(target, weights, center, key, dataclasses.replace(RECIPE, lambda_tv=value)))(
        jnp.array([0.0, 0.02, 1.0])
    )
    expected = [_descend(_start(key), weights, center, target, lambda_tv=value)[1] for value in (0.0, 0.02, 1.0)]
    np.testing.assert_allclose(errors, expected, rtol=1e-4)


def test_derivatives_through_the_descent(key):
    weights, center, target = _problem()
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
            start = _start(key)
            _, end, _ = _descend(start, at["weights"], center, at["target"], stages=stages, lambda_tv=at["lambda_tv"])
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


def test_a_line_search_optimizer_gets_what_it_asks_for(key):
    hogb = ij.hog(binning="bilinear")
    target = hogb(ij.sample_image("chelsea", size=32, gray=True))
    recipe = dataclasses.replace(ij.recipes.mahendran_vedaldi(stages=((1.0, 8),)), optimizer=_lbfgs)
    found = ij.invert(key, hogb, target, recipe, image_shape=(32, 32, 1))
    assert found.finite and found.energy[-1, 0] < 0.1 * found.energy[0, 0]


def _lbfgs(learning_rate):
    del learning_rate  # the line search finds its own
    return optax.lbfgs()


@pytest.mark.parametrize("loss", [ij.losses.squared_distance, ij.losses.l1_distance, ij.losses.activation])
def test_every_loss_descends_on_conv1_at_the_papers_rate(key, loss):
    conv1 = ij.alexnet(layer="conv1")
    target = conv1(ij.sample_image("chelsea", size=35))
    recipe = dataclasses.replace(ij.recipes.mahendran_vedaldi(lambda_tv=0.5, stages=((4e-3, 20),)), loss=loss)
    found = ij.invert(key, conv1, target, recipe, image_shape=(35, 35, 3))
    assert found.finite and found.energy[-1, 0] < found.energy[0, 0]


def test_double_precision_elsewhere_in_the_program_does_no_harm(key):
    conv1 = ij.alexnet(layer="conv1")
    target = conv1(ij.sample_image("chelsea", size=35))
    recipe = ij.recipes.mahendran_vedaldi(stages=((4e-3, 2),))
    with jax.enable_x64(True):
        found = ij.invert(key, conv1, target, recipe, image_shape=(35, 35, 3))
    assert found.image.dtype == np.float32 and found.finite
