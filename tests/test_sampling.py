"""Many restarts: each one the same whatever ran beside it, and watched without a trace."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from restarts import (
    FIELDS,
    HOG,
    IMAGE,
    KEY,
    RECIPE,
    SHORT,
    SMALL,
    TARGET,
    TARGET_OF_SIX,
    Counter,
    assert_same,
    cache_sizes,
    first_of,
    hog_restarts,
    mesh_of,
    sample_small,
)

import invert_jax as ij


def test_shapes_and_types():
    found = hog_restarts(3)
    assert found.image.shape == (3, *IMAGE.shape) and found.features.shape == (3, *TARGET.shape)
    assert found.error.shape == (3,) and found.energy.shape == (3, 40, 4)
    assert found.finite.tolist() == [True, True, True]
    assert all(isinstance(getattr(found, field), np.ndarray) for field in FIELDS)


def test_restarts_differ_and_descend():
    found = hog_restarts(8)
    distance = np.abs(found.image[:, None] - found.image[None]).mean((2, 3, 4))
    assert np.all(distance[~np.eye(8, dtype=bool)] > 1)
    assert np.all(found.energy[:, -1, 0] < found.energy[:, 0, 0] / 2)
    features = np.stack([np.asarray(HOG(image)) for image in found.image])
    np.testing.assert_allclose(found.features, features, atol=1e-4)
    error = np.linalg.norm((features - np.asarray(TARGET)).reshape(8, -1), axis=1) / np.linalg.norm(TARGET)
    np.testing.assert_allclose(found.error, error, rtol=1e-3)


# --- restart r is the same bit for bit whatever ran beside it ---


@pytest.mark.parametrize("num_restarts", [1, 3, 8])
def test_restart_does_not_depend_on_how_many_ran(num_restarts):
    assert_same(hog_restarts(num_restarts), first_of(hog_restarts(32), num_restarts))


@pytest.mark.parametrize("num_restarts", [1, 3, 8, 32])
def test_chunk_size_4_is_the_default_on_cpu(num_restarts):
    assert_same(hog_restarts(num_restarts, 4), hog_restarts(num_restarts))


def test_restart_is_addressed_by_key_and_index():
    # The first five energies: later ones amplify the rounding, which differs with the batch.
    alone = jax.jit(functools.partial(ij.invert, image_shape=IMAGE.shape))
    for r in (0, 2, 7):
        one = alone(jax.random.fold_in(KEY, r), HOG, TARGET, RECIPE)
        np.testing.assert_allclose(hog_restarts(8).energy[r, :5], one.energy[:5], rtol=1e-4, err_msg=str(r))


class _EnoughError(Exception):
    """Ends a run from its callback."""


def _after_one_step(chunk_size):
    seen = []

    def watch(progress):
        seen.append(progress)
        if progress.step == 1:
            raise _EnoughError

    with pytest.raises(_EnoughError):
        ij.sample(
            KEY,
            HOG,
            TARGET,
            RECIPE,
            image_shape=IMAGE.shape,
            num_restarts=3,
            chunk_size=chunk_size,
            callback=watch,
            callback_every=1,
        )
    return seen


def test_another_chunk_size_agrees_for_a_single_step():
    for small, usual in zip(_after_one_step(3), _after_one_step(4), strict=True):
        assert small.step == usual.step
        np.testing.assert_allclose(small.energy, usual.energy, rtol=1e-5)
        for a, b in zip(small.image, usual.image, strict=True):
            assert np.linalg.norm(a - b) < 1e-5 * np.linalg.norm(a - 128)


def test_another_chunk_size_agrees_within_the_spread_of_restarts():
    small, usual = hog_restarts(8, 3).error, hog_restarts(8).error
    assert abs(small.mean() - usual.mean()) < usual.std()


# --- the callback ---


def _watched(counter, every, num_restarts=6, **kwargs):
    seen = []
    found = sample_small(
        counter.representation(), num_restarts=num_restarts, callback=seen.append, callback_every=every, **kwargs
    )
    return found, seen


@pytest.mark.parametrize(("every", "steps"), [(1, [*range(8)]), (3, [0, 3, 6, 7]), (7, [0, 7]), (10, [0, 7])])
def test_callback_comes_at_the_promised_steps(every, steps, counted):
    _, seen = _watched(counted[0], every)
    assert [progress.step for progress in seen] == steps + steps
    assert [progress.restarts for progress in seen] == [range(4)] * len(steps) + [range(4, 6)] * len(steps)


def test_callback_compiles_nothing_for_another_rhythm():
    counter = Counter()  # a new one: no other test has stopped it at any step
    _watched(counter, 2)
    first, sizes = counter.traces, cache_sizes()
    _watched(counter, 5)
    _watched(counter, 1)
    assert counter.traces == first
    assert cache_sizes() == sizes


def test_callback_sees_the_right_energies_and_images(counted):
    found, seen = _watched(counted[0], 3)
    for progress in seen:
        count = len(progress.restarts)
        assert progress.energy.shape == (count, 4) and progress.image.shape == (count, *SMALL)
        rows = found.energy[list(progress.restarts)]
        expected = rows[:, progress.step - 1] if progress.step else np.zeros((count, 4))
        np.testing.assert_array_equal(progress.energy, expected)
        if progress.step == 7:
            np.testing.assert_allclose(progress.image, found.image[list(progress.restarts)], rtol=1e-6, atol=1e-4)
        else:
            assert np.abs(progress.image - found.image[list(progress.restarts)]).max() > 1e-3


def test_callback_sees_the_start(counted):
    image = np.random.default_rng(0).uniform(0, 255, SMALL)
    _, seen = _watched(counted[0], 3, initial_image=image)
    np.testing.assert_allclose(seen[0].image, np.stack([image] * 4), rtol=1e-5)


@pytest.mark.parametrize("devices", [None, 8])
def test_watching_changes_nothing(devices, counted):
    counter, _ = counted
    mesh = None if devices is None else mesh_of(devices)
    expected = sample_small(counter.representation(), num_restarts=6, mesh=mesh)
    for every in (1, 3):
        found, seen = _watched(counter, every, mesh=mesh)
        assert_same(found, expected)
        assert seen[0].restarts == (range(4) if devices is None else range(6))


def test_watching_changes_nothing_in_hog():
    found = ij.sample(
        KEY, HOG, TARGET, RECIPE, image_shape=IMAGE.shape, num_restarts=3, callback=lambda _: None, callback_every=7
    )
    assert_same(found, hog_restarts(3))


# --- an initial image, and failures ---


def test_all_start_at_the_initial_image_and_stay_equal(counted):
    image = np.random.default_rng(0).uniform(0, 255, SMALL)
    found = sample_small(counted[0].representation(), initial_image=image)
    for field in FIELDS:
        values = getattr(found, field)
        np.testing.assert_array_equal(values, np.stack([values[0]] * 3), err_msg=field)
    representation = counted[0].representation()
    eq3 = ij.objective.make(representation, TARGET_OF_SIX, SHORT, image_shape=SMALL)
    _, terms = jax.jit(ij.objective.evaluate)(eq3, eq3.from_image(image.astype(np.float32)))
    np.testing.assert_allclose(found.energy[0, 0], terms, rtol=1e-5)


def test_divergence_is_flagged_for_every_restart(counted):
    recipe = dataclasses.replace(SHORT, rates=(1e15, 1e15))
    found = sample_small(counted[0].representation(), recipe=recipe, num_restarts=5)
    assert found.finite.tolist() == [False] * 5


# --- mistakes ---


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_restarts": 0}, "num_restarts is 0"),
        ({"num_restarts": -2}, "num_restarts is -2"),
        ({"num_restarts": 2.0}, r"num_restarts is 2\.0"),
        ({"chunk_size": 0}, "chunk_size is 0"),
        ({"chunk_size": -1}, "chunk_size is -1"),
        ({"callback": print, "callback_every": 0}, "callback_every is 0"),
    ],
)
def test_counts_must_be_positive(given, message, counted, capsys):
    with pytest.raises(ValueError, match=f"{message}; it must be an integer, 1 or greater"):
        sample_small(counted[0].representation(), **given)
    assert capsys.readouterr().out == ""
