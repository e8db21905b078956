"""Many restarts: each one the same whatever ran beside it, traced once, watched without a trace, on any mesh."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec
from oracles import pictures

import invert_jax as ij
from invert_jax import sampling

KEY = jax.random.key(11)
HOG = ij.hog(binning="bilinear")
IMAGE = pictures.textured(16, 24)[..., None]
TARGET = HOG(IMAGE)
RECIPE = ij.recipes.mahendran_vedaldi(stages=((4e-3, 30), (4e-4, 10)))
FIELDS = tuple(field.name for field in dataclasses.fields(ij.Preimage))


def _mesh(count):
    return Mesh(np.array(jax.devices()[:count]), ("restarts",))


@functools.cache
def _hog(num_restarts, chunk_size=None, devices=None):
    mesh = None if devices is None else _mesh(devices)
    return ij.sample(
        KEY,
        HOG,
        TARGET,
        RECIPE,
        image_shape=IMAGE.shape,
        num_restarts=num_restarts,
        chunk_size=chunk_size,
        mesh=mesh,
    )


def _assert_same(found, expected):
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field), err_msg=field, strict=True)


def _first(found, count):
    return jax.tree.map(lambda leaf: leaf[:count], found)


def test_shapes_and_types():
    found = _hog(3)
    assert found.image.shape == (3, *IMAGE.shape) and found.features.shape == (3, *TARGET.shape)
    assert found.error.shape == (3,) and found.energy.shape == (3, 40, 4)
    assert found.finite.tolist() == [True, True, True]
    assert all(isinstance(getattr(found, field), np.ndarray) for field in FIELDS)


def test_restarts_differ_and_descend():
    found = _hog(8)
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
    _assert_same(_hog(num_restarts), _first(_hog(32), num_restarts))


@pytest.mark.parametrize("num_restarts", [1, 3, 8, 32])
def test_chunk_size_4_is_the_default_on_cpu(num_restarts):
    _assert_same(_hog(num_restarts, 4), _hog(num_restarts))


@pytest.mark.parametrize("num_restarts", [3, 32])
def test_restart_does_not_depend_on_the_number_of_devices(num_restarts):
    assert len(jax.devices()) == 8
    expected = _first(_hog(32), num_restarts)
    _assert_same(_hog(num_restarts, 4, 1), expected)
    _assert_same(_hog(num_restarts, 4, 8), expected)


def test_restart_is_addressed_by_key_and_index():
    # The first five energies: later ones amplify the rounding, which differs with the batch.
    alone = jax.jit(functools.partial(ij.invert, image_shape=IMAGE.shape))
    for r in (0, 2, 7):
        one = alone(jax.random.fold_in(KEY, r), HOG, TARGET, RECIPE)
        np.testing.assert_allclose(_hog(8).energy[r, :5], one.energy[:5], rtol=1e-4, err_msg=str(r))


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
    small, usual = _hog(8, 3).error, _hog(8).error
    assert abs(small.mean() - usual.mean()) < usual.std()


# --- what may change does not trace again ---


class _Counter:
    """A linear representation that counts how often it is traced; each test makes its own."""

    def __init__(self):
        self.traces = 0

    def __call__(self, params, image):
        self.traces += 1
        return params["weights"] @ image.ravel()

    def representation(self, seed=0):
        weights = np.random.default_rng(seed).normal(size=(6, 12)).astype(np.float32)
        return ij.from_function(self, {"weights": jnp.asarray(weights)}, center=100.0)


SMALL = (2, 2, 3)
TARGET_OF_SIX = np.arange(100.0, 700.0, 100.0, dtype=np.float32)
SHORT = dataclasses.replace(
    ij.recipes.mahendran_vedaldi(lambda_tv=0.1, lambda_alpha=0.1, stages=((1e-2, 4), (1e-3, 3))), sigma=300.0
)


def _sample(representation, *, key=KEY, target=None, recipe=SHORT, num_restarts=3, **kwargs):
    target = TARGET_OF_SIX if target is None else target
    return ij.sample(key, representation, target, recipe, image_shape=SMALL, num_restarts=num_restarts, **kwargs)


CHANGES = {
    "key": {"key": jax.random.key(99)},
    "target": {"target": np.full(6, 300.0, np.float32)},
    "lambda_tv": {"recipe": dataclasses.replace(SHORT, lambda_tv=0.7)},
    "lambda_alpha": {"recipe": dataclasses.replace(SHORT, lambda_alpha=0.9)},
    "sigma": {"recipe": dataclasses.replace(SHORT, sigma=150.0)},
    "rates": {"recipe": dataclasses.replace(SHORT, rates=(2e-2, 5e-3))},
    "num_restarts": {"num_restarts": 9},
}


@pytest.fixture(scope="module")
def counted():
    """A counter after its first run, and what that run found."""
    counter = _Counter()
    found = _sample(counter.representation())
    assert np.all(found.finite)
    return counter, found


@pytest.mark.parametrize("change", CHANGES)
def test_a_new_value_does_not_trace_again(change, counted):
    counter, before = counted
    first = counter.traces
    assert first > 0
    found = _sample(counter.representation(), **CHANGES[change])
    assert counter.traces == first
    same = np.array_equal(found.energy[:3], before.energy)
    assert same == (change == "num_restarts"), "the new value should have been used"


def test_new_weights_do_not_trace_again(counted):
    counter, before = counted
    first = counter.traces
    found = _sample(counter.representation(seed=1))
    assert counter.traces == first
    assert not np.array_equal(found.energy, before.energy)


def test_a_new_mask_or_initial_image_does_not_trace_again():
    counter = _Counter()
    masks = np.arange(6) < 3, np.arange(6) > 2
    images = np.full(SMALL, 10.0, np.float32), np.full(SMALL, 200.0, np.float32)
    before = _sample(counter.representation(), mask=masks[0], initial_image=images[0])
    first = counter.traces
    by_mask = _sample(counter.representation(), mask=masks[1], initial_image=images[0])
    by_image = _sample(counter.representation(), mask=masks[0], initial_image=images[1])
    assert counter.traces == first
    assert len({found.energy[0, 0, 1] for found in (before, by_mask, by_image)}) == 3


def test_what_shapes_the_graph_does_trace_again(counted):
    counter, _ = counted
    first = counter.traces
    _sample(counter.representation(), recipe=dataclasses.replace(SHORT, steps=(4, 2)))
    assert counter.traces > first


def _narrow_alexnet():
    random = np.random.default_rng(0)
    params, inputs = {"mean": np.array([104.0, 117.0, 123.0])}, 3
    for layer in ij.layers.CNN_A:
        if layer.kind == "conv":
            kernel = random.normal(size=(layer.size, layer.size, inputs // layer.groups, 4)) / layer.size
            params[layer.name], inputs = {"kernel": kernel, "bias": np.zeros(4)}, 4
    return params


def _cache_sizes():
    programs = (sampling._init, sampling._run, sampling._finish, sampling._images)
    return [program._cache_size() for program in programs]


def test_hog_built_twice_is_one_program():
    twin, expected = ij.hog(binning="bilinear"), _hog(3)
    assert twin.apply is not HOG.apply
    before = _cache_sizes()
    _assert_same(ij.sample(KEY, twin, TARGET, RECIPE, image_shape=IMAGE.shape, num_restarts=3), expected)
    assert _cache_sizes() == before


def test_alexnet_built_twice_is_one_program_and_new_weights_are_used():
    shape, params, recipe = (15, 19, 3), _narrow_alexnet(), ij.recipes.mahendran_vedaldi(stages=((1e-3, 2),))
    image = np.random.default_rng(0).uniform(0, 255, shape)
    found, sizes = [], []
    for scale in (1, 2):
        conv1 = ij.alexnet(jax.tree.map(lambda array, scale=scale: scale * array, params), layer="conv1")
        found.append(ij.sample(KEY, conv1, conv1(image), recipe, image_shape=shape, num_restarts=2))
        sizes.append(_cache_sizes())
    assert sizes[0] == sizes[1]
    assert not np.array_equal(found[0].features, found[1].features)


def test_other_settings_are_another_representation():
    assert ij.hog().apply == ij.hog().apply and hash(ij.hog().apply) == hash(ij.hog().apply)
    assert ij.dsift().apply == ij.dsift().apply and hash(ij.dsift().apply) == hash(ij.dsift().apply)
    assert ij.dsift().apply != ij.dsift(step=10).apply
    assert ij.hog().apply != ij.hog(cell_size=4).apply
    assert ij.hog().apply != ij.hog(binning="bilinear").apply
    params = _narrow_alexnet()
    assert ij.alexnet(params, layer="conv1").apply != ij.alexnet(params, layer="relu1").apply


# --- the callback ---


def _watched(counter, every, num_restarts=6, **kwargs):
    seen = []
    found = _sample(
        counter.representation(), num_restarts=num_restarts, callback=seen.append, callback_every=every, **kwargs
    )
    return found, seen


@pytest.mark.parametrize(("every", "steps"), [(1, [*range(8)]), (3, [0, 3, 6, 7]), (7, [0, 7]), (10, [0, 7])])
def test_callback_comes_at_the_promised_steps(every, steps, counted):
    _, seen = _watched(counted[0], every)
    assert [progress.step for progress in seen] == steps + steps
    assert [progress.restarts for progress in seen] == [range(4)] * len(steps) + [range(4, 6)] * len(steps)


def test_callback_compiles_nothing_for_another_rhythm():
    counter = _Counter()  # a new one: no other test has stopped it at any step
    _watched(counter, 2)
    first, sizes = counter.traces, _cache_sizes()
    _watched(counter, 5)
    _watched(counter, 1)
    assert counter.traces == first
    assert _cache_sizes() == sizes


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
    mesh = None if devices is None else _mesh(devices)
    expected = _sample(counter.representation(), num_restarts=6, mesh=mesh)
    for every in (1, 3):
        found, seen = _watched(counter, every, mesh=mesh)
        _assert_same(found, expected)
        assert seen[0].restarts == (range(4) if devices is None else range(6))


def test_watching_changes_nothing_in_hog():
    found = ij.sample(
        KEY, HOG, TARGET, RECIPE, image_shape=IMAGE.shape, num_restarts=3, callback=lambda _: None, callback_every=7
    )
    _assert_same(found, _hog(3))


# --- an initial image, and failures ---


def test_all_start_at_the_initial_image_and_stay_equal(counted):
    image = np.random.default_rng(0).uniform(0, 255, SMALL)
    found = _sample(counted[0].representation(), initial_image=image)
    for field in FIELDS:
        values = getattr(found, field)
        np.testing.assert_array_equal(values, np.stack([values[0]] * 3), err_msg=field)
    representation = counted[0].representation()
    eq3 = ij.objective.make(representation, TARGET_OF_SIX, SHORT, image_shape=SMALL)
    _, terms = jax.jit(ij.objective.evaluate)(eq3, eq3.from_image(image.astype(np.float32)))
    np.testing.assert_allclose(found.energy[0, 0], terms, rtol=1e-5)


def test_divergence_is_flagged_for_every_restart(counted):
    recipe = dataclasses.replace(SHORT, rates=(1e15, 1e15))
    found = _sample(counted[0].representation(), recipe=recipe, num_restarts=5)
    assert found.finite.tolist() == [False] * 5


# --- devices ---

COLLECTIVES = r"\b(all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|collective-broadcast|send|recv)\b"


def test_devices_do_not_talk_during_the_descent():
    mesh = _mesh(8)
    eq3 = ij.objective.make(HOG, TARGET, RECIPE, image_shape=IMAGE.shape)
    states = sampling._init(KEY, np.arange(16, dtype=np.int32), eq3, RECIPE, None, mesh=mesh)
    compiled = sampling._run.lower(eq3, RECIPE, states, 40, mesh=mesh).compile().as_text()
    assert "while" in compiled and "num_partitions=8" in compiled
    assert re.findall(COLLECTIVES, compiled) == []


def test_talk_between_devices_would_be_noticed():
    add = jax.jit(
        jax.shard_map(
            lambda x: jax.lax.psum(x, "restarts"),
            mesh=_mesh(8),
            in_specs=PartitionSpec("restarts"),
            out_specs=PartitionSpec(),
        )
    )
    assert re.findall(COLLECTIVES, add.lower(jnp.arange(8.0)).compile().as_text())


def test_every_device_holds_its_own_restarts():
    mesh = _mesh(8)
    eq3 = ij.objective.make(HOG, TARGET, RECIPE, image_shape=IMAGE.shape)
    states = sampling._init(KEY, np.arange(16, dtype=np.int32), eq3, RECIPE, None, mesh=mesh)
    states = sampling._run(eq3, RECIPE, states, 1, mesh=mesh)
    assert len(states.z.sharding.device_set) == 8
    assert {shard.data.shape for shard in states.z.addressable_shards} == {(2, *IMAGE.shape)}


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
        _sample(counted[0].representation(), **given)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("axes", [("batch",), ("restarts", "model")])
def test_mesh_must_have_the_one_axis(axes, counted):
    devices = np.array(jax.devices()).reshape((8,) if len(axes) == 1 else (4, 2))
    with pytest.raises(
        ValueError, match=rf"mesh has axes \({axes[0]!r}.*must be a jax.sharding.Mesh with the one axis 'restarts'"
    ):
        _sample(counted[0].representation(), mesh=Mesh(devices, axes))
