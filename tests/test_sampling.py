"""Many restarts: the same bits whatever ran beside them, compiled once, spread over devices, watched, and announced."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, PartitionSpec
from oracles import pictures
from refusals import refused

import invert_jax as ij
from invert_jax import inversion, sampling
from invert_jax.types import Stage

KEY = jax.random.key(11)
SMALL = (2, 2, 3)
TARGET = np.arange(100.0, 700.0, 100.0, dtype=np.float32)
SHORT = dataclasses.replace(
    ij.recipes.mahendran_vedaldi(lambda_tv=0.1, lambda_alpha=0.1, stages=((1e-2, 4), (1e-3, 3))), sigma=300.0
)
STOPPING = ij.recipes.laplacian_pyramid(
    num_levels=2,
    coarse_stage=(0.3, 30),
    fine_stages=((0.1, 60, 0.1),),
    lambda_compactness=0.1,
    tolerance=0.02,
    patience=3,
)


class Counter:
    """A linear map that counts how often it is traced."""

    def __init__(self):
        self.traces = 0

    def __call__(self, weights, image):
        self.traces += 1
        return weights @ image.ravel()

    def representation(self, seed=0):
        weights = np.random.default_rng(seed).normal(size=(6, 12)).astype(np.float32)
        return ij.from_function(self, jnp.asarray(weights), center=100.0)


LINEAR = Counter().representation()
MATRIX = np.asarray(LINEAR.params, np.float64)


def sample_small(representation=LINEAR, *, key=KEY, target=TARGET, recipe=SHORT, num_restarts=3, **options):
    return ij.sample(key, representation, target, recipe, image_shape=SMALL, num_restarts=num_restarts, **options)


def mesh_of(count):
    return None if count is None else sampling.make_mesh(jax.devices()[:count])


def assert_same(found, expected):
    for (path, leaf), other in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(leaf, other, err_msg=jax.tree_util.keystr(path), strict=True)


def rows_of(found, rows):
    return jax.tree.map(lambda leaf: leaf[rows], found)


@functools.cache
def problem_of(name):
    """A representation, a target, a recipe and the shape of images: the first is cheap, the second used in earnest."""
    if name == "linear":
        return LINEAR, TARGET, SHORT, SMALL
    hog, image = ij.hog(binning="bilinear"), pictures.textured(16, 24)[..., None]
    return hog, hog(image), ij.recipes.mahendran_vedaldi(stages=((4e-3, 30), (4e-4, 10))), image.shape


@functools.cache
def restarts_of(name, num_restarts, chunk_size=None, devices=None):
    representation, target, recipe, shape = problem_of(name)
    options = {"num_restarts": num_restarts, "chunk_size": chunk_size, "mesh": mesh_of(devices)}
    return ij.sample(KEY, representation, target, recipe, image_shape=shape, **options)


every_problem = pytest.mark.parametrize("name", ["linear", pytest.param("hog", marks=pytest.mark.slow)])


@every_problem
def test_restarts_are_numpy_arrays_that_differ_and_descend(name):
    representation, target, recipe, shape = problem_of(name)
    found = restarts_of(name, 8)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(found))
    assert found.image.shape == (8, *shape) and found.features.shape == (8, *target.shape)
    assert {term.shape for term in found.energy} == {(8, recipe.num_steps)} and found.finite.tolist() == [True] * 8
    distance = np.abs(found.image[:, None] - found.image[None]).mean((2, 3, 4))
    assert np.all(distance[~np.eye(8, dtype=bool)] > 1)
    assert np.all(found.energy.total[:, -1] < found.energy.total[:, 0] / (2 if name == "hog" else 1))
    features = np.stack([representation(image) for image in found.image])
    np.testing.assert_allclose(found.features, features, rtol=1e-4, atol=1e-3)
    error = np.linalg.norm((features - np.asarray(target)).reshape(8, -1), axis=1) / np.linalg.norm(target)
    np.testing.assert_allclose(found.error, error, rtol=1e-3)


# --- restart r has the same bits whatever ran beside it ---


@every_problem
@pytest.mark.parametrize(
    ("num_restarts", "chunk_size", "devices"),
    [(1, None, None), (3, None, None), (8, None, None), (3, 4, 1), (32, 4, 1), (3, 4, 8), (32, 4, 8)],
)
def test_restarts_do_not_depend_on_count_or_devices(name, num_restarts, chunk_size, devices):
    assert len(jax.devices()) == 8
    found = restarts_of(name, num_restarts, chunk_size, devices)
    assert_same(found, rows_of(restarts_of(name, 32), slice(num_restarts)))


@every_problem
def test_restarts_do_not_depend_on_neighbors_or_padding(name):
    representation, target, recipe, shape = problem_of(name)
    problem, target = inversion.make_problem(representation, target, recipe, image_shape=shape)
    indices, active, mesh = np.array([7, 2, 5, 30]), np.array([True, True, False, True]), mesh_of(1)
    targets = jnp.stack([target, target, 2 * target, target])
    *_, (_, states) = sampling.descend(problem, sampling.restart_keys(KEY, indices), active, targets, mesh=mesh)
    found = sampling.finish_all(problem, states, mesh=mesh)
    assert_same(rows_of(found, active), rows_of(restarts_of(name, 32), indices[active]))
    assert found.evaluations.tolist() == [recipe.num_steps, recipe.num_steps, 0, recipe.num_steps]


@pytest.mark.parametrize(("first", "count"), [(3, 3), (4, 4), (7, 9)])
@every_problem
def test_a_later_call_adds_restarts_to_an_earlier_one(name, first, count):
    representation, target, recipe, shape = problem_of(name)
    options = {"image_shape": shape, "chunk_size": 4, "mesh": mesh_of(1)}
    found = ij.sample(KEY, representation, target, recipe, num_restarts=count, first_restart=first, **options)
    assert_same(found, rows_of(restarts_of(name, 32, 4, 1), slice(first, first + count)))


@every_problem
def test_restarts_are_addressed_by_key_and_index(name):
    # The first five energies: later ones amplify the rounding, which differs with the batch.
    representation, target, recipe, shape = problem_of(name)
    for r in (0, 2, 7):
        alone = ij.invert(jax.random.fold_in(KEY, r), representation, target, recipe, image_shape=shape)
        np.testing.assert_allclose(restarts_of(name, 8).energy.total[r, :5], alone.energy.total[:5], rtol=1e-4)


@pytest.mark.slow
def test_another_chunk_size_agrees_at_first_and_within_the_spread_of_restarts():
    small, usual = restarts_of("hog", 8, 3), restarts_of("hog", 8)
    np.testing.assert_allclose(small.energy.total[:, :2], usual.energy.total[:, :2], rtol=1e-5)
    assert abs(small.error.mean() - usual.error.mean()) < usual.error.std()


def jitter(key, image):
    return image + 10 * jax.random.normal(key, image.shape)


def test_transforms_have_keys_of_the_restart_alone():
    options = {"initial_image": np.full(SMALL, 90.0), "recipe": dataclasses.replace(SHORT, transform=jitter)}
    found = sample_small(num_restarts=6, **options)
    assert_same(sample_small(num_restarts=2, **options), rows_of(found, slice(2)))
    keys = [jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(KEY, r), 1), 0) for r in range(6)]
    features = [MATRIX @ np.asarray(jitter(key, jnp.full(SMALL, 90.0))).ravel() for key in keys]
    expected = np.sum((np.stack(features) - TARGET) ** 2, axis=1) / np.sum(TARGET**2)
    np.testing.assert_allclose(found.energy.loss[:, 0], expected, rtol=1e-4)
    assert np.ptp(expected) > 0.01


# --- restarts that have terminated are frozen ---

STARTS = np.random.default_rng(0).uniform(0, 255, (6, *SMALL))


@functools.cache
def stopping_restarts(num_restarts, chunk_size=5, devices=None):
    options = {"recipe": STOPPING, "chunk_size": chunk_size, "mesh": mesh_of(devices)}
    return sample_small(num_restarts=num_restarts, initial_image=STARTS[:num_restarts], **options)


def test_frozen_restarts_and_padding_do_not_depend_on_restarts_that_run():
    found = stopping_restarts(5)
    assert len(set(found.evaluations.tolist())) > 1 and np.all(found.evaluations < STOPPING.num_steps)
    for r, evaluations in enumerate(found.evaluations):
        assert np.all(found.energy.total[r, evaluations:] == found.energy.total[r, evaluations - 1])
        assert_same(stopping_restarts(r + 1), rows_of(found, slice(r + 1)))


@pytest.mark.slow
def test_devices_that_end_apart_do_not_matter():
    assert_same(stopping_restarts(3, 1, 2), stopping_restarts(3, 1))


# --- the progress bar, and calls under a trace ---


def test_progress_bar_shows_restarts_and_energy_and_changes_nothing(capsys):
    assert_same(sample_small(num_restarts=6, progress=True), restarts_of("linear", 6))
    shown = capsys.readouterr()
    assert "restart 6 of 6" in shown.err and "100%" in shown.err and not shown.out
    assert "nan" not in shown.err
    sample_small(num_restarts=6)  # the standard error is no terminal here
    assert not "".join(capsys.readouterr())


def test_under_a_trace_it_is_refused():
    for trace in (jax.jit, jax.grad, jax.vmap):
        with refused("invert", TypeError):
            trace(lambda scale: sample_small(target=scale * TARGET).error)(np.ones(2 if trace is jax.vmap else ()))
    with refused("invert", TypeError):
        jax.jit(lambda: sample_small().image)()


# --- the callback ---


@pytest.mark.parametrize(("every", "steps"), [(1, [*range(8)]), (3, [0, 3, 6, 7]), (7, [0, 7]), (10, [0, 7])])
def test_callback_sees_steps_energies_and_images_and_changes_nothing(every, steps):
    expected, seen = restarts_of("linear", 6), []
    traces = LINEAR.apply.traces
    found = sample_small(num_restarts=6, callback=seen.append, callback_every=every)
    assert LINEAR.apply.traces == traces
    assert_same(found, expected)
    assert [progress.step for progress in seen] == steps + steps
    assert [progress.restarts for progress in seen] == [range(4)] * len(steps) + [range(4, 6)] * len(steps)
    for progress in seen:
        here = list(progress.restarts)
        assert progress.num_restarts == 6 and progress.image.shape == (len(here), *SMALL)
        for term, trace in zip(progress.energy, found.energy, strict=True):
            row = trace[here, progress.step - 1] if progress.step else np.zeros(len(here))
            np.testing.assert_array_equal(term, row)
        if progress.step == 7:
            np.testing.assert_allclose(progress.image, found.image[here], rtol=1e-6, atol=1e-4)
        else:
            assert np.abs(progress.image - found.image[here]).max() > 1e-3


def test_callback_on_eight_devices_changes_nothing():
    seen = []
    found = sample_small(num_restarts=32, mesh=mesh_of(8), callback=seen.append, callback_every=3)
    assert_same(found, restarts_of("linear", 32, 4, 8))
    assert [(progress.step, progress.restarts) for progress in seen] == [(step, range(32)) for step in (0, 3, 6, 7)]


def test_callback_sees_the_last_step_of_restarts_that_ended_early():
    seen, options = [], {"recipe": STOPPING, "chunk_size": 5, "initial_image": STARTS[:5]}
    found = sample_small(num_restarts=5, callback=seen.append, callback_every=7, **options)
    assert_same(found, stopping_restarts(5))
    np.testing.assert_allclose(seen[0].image.mean(), STARTS[:5].mean(), atol=5)
    for progress in seen[1:]:
        last = np.minimum(progress.step, found.evaluations) - 1
        np.testing.assert_array_equal(progress.energy.total, found.energy.total[np.arange(5), last])
    assert seen[-1].step == found.evaluations.max()


# --- initial images, failures, mistakes ---


def test_initial_images_for_all_restarts_or_one_for_each():
    found, alike = sample_small(initial_image=STARTS, num_restarts=6), sample_small(initial_image=STARTS[5])
    for leaf in jax.tree.leaves(alike):
        np.testing.assert_array_equal(leaf, np.stack([leaf[0]] * 3))
    assert_same(rows_of(alike, slice(1)), rows_of(found, slice(5, 6)))
    expected = np.sum((STARTS.reshape(6, -1) @ MATRIX.T - TARGET) ** 2, axis=1) / np.sum(TARGET**2)
    np.testing.assert_allclose(found.energy.loss[:, 0], expected, rtol=1e-4)


def test_divergence_of_every_restart_is_flagged_and_announced():
    recipe = dataclasses.replace(SHORT, stages=(Stage(1e15, 4), Stage(1e15, 3)))
    with pytest.warns(RuntimeWarning, match="5 of 5 restarts.* step 2;"):
        found = sample_small(recipe=recipe, num_restarts=5)
    assert found.finite.tolist() == [False] * 5


def trapped_image(bound, image):
    """The image, but NaN once its first pixel exceeds the bound."""
    return jnp.where(image[0, 0, 0] > bound, jnp.nan, image)


def away_from_zero(features, target, mask):
    return -jnp.abs(features[0, 0, 0])


def test_restarts_do_not_depend_on_one_that_diverges():
    # Where the first pixel starts above the center, a loss without a minimum drives it up into the trap.
    recipe = ij.recipes.mahendran_vedaldi(lambda_tv=0.0, lambda_alpha=0.0, stages=((1e3, 4),))
    recipe = dataclasses.replace(recipe, loss=away_from_zero)
    options = {"target": np.ones(SMALL), "recipe": recipe, "num_restarts": 8, "chunk_size": 8}
    starts = np.array([jax.random.normal(jax.random.fold_in(KEY, r), SMALL)[0, 0, 0] for r in range(8)])
    with pytest.warns(RuntimeWarning, match=f"{np.sum(starts > 0)} of 8 restarts"):
        trapped = sample_small(ij.from_function(trapped_image, 1e6), **options)
    free = sample_small(ij.from_function(trapped_image, np.inf), **options)
    np.testing.assert_array_equal(trapped.finite, starts < 0)
    assert 0 < np.sum(trapped.finite) < 8 and np.all(free.finite)
    assert_same(rows_of(trapped, trapped.finite), rows_of(free, trapped.finite))


def test_initial_images_for_another_count_and_a_mesh_of_two_axes_are_refused():
    with pytest.raises(ValueError, match="initial_image"):
        sample_small(initial_image=STARTS[:2])
    with pytest.raises(ValueError, match="mesh"):
        sample_small(mesh=Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("restarts", "model")))


# --- traced once ---

CHANGES = {
    "key": {"key": jax.random.key(99)},
    "target": {"target": np.full(6, 300.0, np.float32)},
    "weights": {"representation": ij.from_function(LINEAR.apply, 2 * LINEAR.params, center=np.float32(90))},
    "priors": {"recipe": SHORT.reweight(tv=1, alpha_norm=np.float64(0.9))},
    "sigma": {"recipe": dataclasses.replace(SHORT, sigma=150)},
    "rates": {"recipe": dataclasses.replace(SHORT, stages=(Stage(2e-2, 4, 0.5), Stage(5e-3, 3)))},
    "num_restarts": {"num_restarts": 9},
}


@pytest.mark.parametrize("change", CHANGES)
def test_new_values_do_not_trace_again(change):
    before = restarts_of("linear", 3)
    traces = LINEAR.apply.traces
    found = sample_small(**CHANGES[change])
    assert LINEAR.apply.traces == traces > 0
    same = np.array_equal(found.energy.total[:3], before.energy.total)
    assert same == (change == "num_restarts"), "the new value should be used"


def test_new_masks_images_and_numbers_of_a_pyramid_do_not_trace_again():
    counter, mask = Counter(), np.arange(6) < 3
    stages = tuple(dataclasses.replace(stage, rate=0.2, prior_weight=0.3) for stage in STOPPING.stages)
    recipe = dataclasses.replace(STOPPING, tolerance=0.03, lambda_compactness=0.2, stages=stages)
    given = {"representation": counter.representation(), "recipe": STOPPING, "mask": mask, "initial_image": STARTS[0]}
    before = sample_small(**given)
    traces = counter.traces
    for change in ({"mask": ~mask}, {"initial_image": STARTS[1]}, {"recipe": recipe}):
        found = sample_small(**{**given, **change})
        assert not np.array_equal(found.energy.total, before.energy.total)
    assert counter.traces == traces


@pytest.mark.slow
def test_hog_built_twice_is_one_program():
    _, target, recipe, shape = problem_of("hog")
    expected, compilations = restarts_of("hog", 3), sampling.num_compilations()
    found = ij.sample(KEY, ij.hog(binning="bilinear"), target, recipe, image_shape=shape, num_restarts=3)
    assert_same(found, expected)
    assert sampling.num_compilations() == compilations


def test_other_settings_are_another_representation():
    assert ij.dsift().apply != ij.dsift(step=10).apply
    assert ij.hog().apply not in (ij.hog(cell_size=4).apply, ij.hog(binning="bilinear").apply)
    assert ij.alexnet(layer="conv1").apply != ij.alexnet(layer="relu1").apply


# --- devices ---

COLLECTIVES = r"\b(all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|collective-broadcast|send|recv)\b"


def compiled_for_eight_devices():
    """The text of every program of this process that runs on eight devices."""
    programs = jax.devices()[0].client.live_executables()
    modules = [module.to_string() for program in programs for module in program.hlo_modules()]
    return {text for text in modules if "num_partitions=8" in text}


def test_devices_do_not_communicate():
    specs = {"in_specs": PartitionSpec("restarts"), "out_specs": PartitionSpec()}
    add = jax.jit(jax.shard_map(lambda x: jax.lax.psum(x, "restarts"), mesh=mesh_of(8), **specs))
    add(jnp.arange(8.0))
    restarts_of("linear", 32, 4, 8)
    programs = compiled_for_eight_devices()
    assert any(re.findall(COLLECTIVES, text) for text in programs), "communication should be noticed"
    descents = [text for text in programs if " while(" in text]
    assert descents and [re.findall(COLLECTIVES, text) for text in descents] == [[]] * len(descents)


@pytest.mark.parametrize("axis_type", [AxisType.Explicit, AxisType.Auto])
@pytest.mark.parametrize("count", [1, 8])
def test_a_mesh_of_the_caller_does_not_matter(axis_type, count):
    with jax.set_mesh(jax.make_mesh((count,), ("data",), axis_types=(axis_type,))):
        key, target = jax.random.key(11), jnp.asarray(TARGET)  # placed on that mesh
        assert_same(sample_small(key=key, target=target), restarts_of("linear", 3))
        assert_same(
            sample_small(key=key, target=target, num_restarts=32, mesh=mesh_of(8)), restarts_of("linear", 32, 4, 8)
        )


def test_every_device_holds_a_part_of_the_restarts():
    problem, target = inversion.make_problem(LINEAR, TARGET, SHORT, image_shape=SMALL)
    keys, targets = sampling.restart_keys(KEY, np.arange(32)), jnp.stack([target] * 32)
    *_, (_, states) = sampling.descend(problem, keys, np.ones(32, bool), targets, mesh=mesh_of(8))
    assert len(states.z.sharding.device_set) == 8
    assert {shard.data.shape for shard in states.z.addressable_shards} == {(4, *SMALL)}
