"""Running sweeps: what a restart does not depend on, resuming, failures as data, short memory."""

import dataclasses

import jax
import numpy as np
import pytest
from small_sweeps import CASES, IMAGES, RECIPE, SIZES, assert_same, make, run, stop_after

import invert_jax as ij
from invert_jax import sampling, sweeps
from invert_jax._util import hashing

pytestmark = pytest.mark.slow
SQUARE = ij.from_function(lambda _, image: image**2)
DARK, LIGHT = np.full((8, 8, 1), 1.0, np.float32), np.full((8, 8, 1), 200.0, np.float32)


def square(images, stages):
    return sweeps.Case("x", SQUARE, ij.recipes.mahendran_vedaldi(lambda_tv=0.0, stages=stages), images)


def test_a_sweep_is_sample_of_every_photograph(three):
    """Up to rounding, which the descent amplifies: in the first steps to a bit, in the end in the error."""
    for image, photograph in IMAGES.items():
        phi, key = CASES[0].representation, sweeps.restart_key(0, photograph)
        options = {"image_shape": photograph.shape, "num_restarts": 3, "chunk_size": 4}
        expected, found = ij.sample(key, phi, phi(photograph), RECIPE, **options), three["hogb", image]
        np.testing.assert_allclose(found.energy.total[:, :5], expected.energy.total[:, :5], rtol=1e-4)
        np.testing.assert_allclose(found.error, expected.error, rtol=0.3)
        assert found.finite.all() and (found.failed_at == -1).all() and (found.evaluations == 80).all()
        if image == "chelsea":  # in the same slots
            np.testing.assert_array_equal(found.image, expected.image)


@pytest.mark.parametrize(("num_restarts", "num_devices"), [(1, 1), (32, 1), (8, 8)])
def test_a_restart_depends_neither_on_the_others_nor_on_the_devices(num_restarts, num_devices, three, tmp_path):
    found = run(tmp_path, make(num_restarts), mesh=sampling.make_mesh(jax.devices()[:num_devices]))
    assert_same(found, three, min(num_restarts, 3))
    assert all((found[which].restart == np.arange(num_restarts)).all() for which in found)


def test_one_program_for_each_case_and_size(tmp_path):
    before, seen = sampling.num_compilations(), []
    stages = tuple(dataclasses.replace(stage, num_steps=6) for stage in RECIPE.stages)
    recipes = [dataclasses.replace(RECIPE, stages=stages).reweight(tv=weight) for weight in (1.0, 2.0)]
    cases = [sweeps.Case(str(i), ij.hog(), recipe, SIZES) for i, recipe in enumerate(recipes)]
    run(tmp_path, sweeps.make_sweep(cases, num_restarts=5), callbacks=sweeps.Callbacks(seen.append))
    assert sampling.num_compilations() - before == 2  # two sizes; a number is not a new program
    last = seen[-1]
    assert (last.finished, last.wanted, last.num_steps, last.programs) == (20, 20, 12, sampling.num_compilations())


@pytest.mark.parametrize(("asked", "finished"), [(1, 0), (7, 4), (12, 8)])
def test_a_stopped_sweep_resumes_to_the_same_bits(asked, finished, three, tmp_path):
    with pytest.raises(sweeps.StoppedError):
        run(tmp_path, callbacks=stop_after(asked))
    seen = []
    assert_same(run(tmp_path, callbacks=sweeps.Callbacks(seen.append)), three)
    assert seen[0].finished == finished


def test_an_extended_sweep_makes_only_what_is_added(three, tmp_path):
    run(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.npz")}
    with pytest.raises(ValueError, match="--extend"):
        run(tmp_path, make(5))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.npz")} == before
    seen = []
    found = run(tmp_path, make(5), extend=True, callbacks=sweeps.Callbacks(seen.append))
    assert_same(found, three)
    assert (seen[0].finished, seen[0].wanted) == (15, 25) and all(len(found[which].error) == 5 for which in found)
    with pytest.raises(ValueError, match="5 restarts"):
        run(tmp_path, extend=True)


def test_failures_are_data_and_leave_the_others_alone(tmp_path):
    """In one batch; the loss is over the target's square, so that the dark photograph's rate is far too high."""
    case = square({"dark": DARK, "light": LIGHT}, ((4e-3, 40),))
    with pytest.warns(UserWarning, match="2 of 4 restarts diverged"):
        found = run(tmp_path / "both", sweeps.make_sweep([case], num_restarts=2))
    dark, light = found["x", "dark"], found["x", "light"]
    assert light.finite.all() and (light.failed_at == -1).all() and not dark.finite.any()
    for total, step in zip(dark.energy.total, dark.failed_at, strict=True):
        assert step > 0 and np.isfinite(total[:step]).all() and not np.isfinite(total[step])
    case = square({"light": LIGHT}, ((4e-3, 40),))
    alone = run(tmp_path / "light", sweeps.make_sweep([case], num_restarts=2))["x", "light"]
    np.testing.assert_allclose(light.image, alone.image, rtol=1e-5)


@pytest.mark.parametrize("mask", [None, np.arange(64).reshape(8, 8, 1) < 9])
def test_a_target_of_zero_has_no_relative_error(mask, tmp_path):
    images, messages = {"black": np.zeros((8, 8, 1), np.float32), "light": LIGHT}, []
    case = dataclasses.replace(square(images, ((1e-12, 4),)), mask=mask)
    callbacks = sweeps.Callbacks(on_message=messages.append)
    found = run(tmp_path, sweeps.make_sweep([case], num_restarts=5), callbacks=callbacks)
    assert np.isnan(found["x", "black"].error).all() and found["x", "black"].finite.all()
    assert np.isfinite(found["x", "light"].error).all()
    assert [message.split(":")[0] for message in messages] == ["x, photograph black"]


def test_on_a_gpu_the_flag_of_deterministic_operations_is_a_setting(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    assert hashing.is_deterministic() is None and "deterministic operations" not in hashing.environment()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for flags, expected in [
        ("", False),
        ("--xla_gpu_deterministic_ops", True),
        ("--xla_gpu_autotune_level=0 --xla_gpu_deterministic_ops=true", True),
        ("--xla_gpu_deterministic_ops=true --xla_gpu_deterministic_ops=false", False),
    ]:
        monkeypatch.setenv("XLA_FLAGS", flags)
        assert hashing.is_deterministic() is expected
        assert hashing.environment()["deterministic operations"] == str(expected)


def test_half_precision(three, tmp_path):
    found = run(tmp_path / "three", make(dtype="float16"))["hogb", "coffee"]
    assert found.image.dtype == np.float16
    np.testing.assert_array_equal(found.image, three["hogb", "coffee"].image.astype(np.float16))
    np.testing.assert_array_equal(found.error, three["hogb", "coffee"].error)
    # All energies are finite, the features of the last image are not: the last step has spoiled them.
    sweep = sweeps.make_sweep([square({"dark": DARK}, ((1e12, 1),))], num_restarts=1, dtype="float16")
    with pytest.warns(UserWarning, match="1 of 1 restarts diverged"):
        found = run(tmp_path / "last", sweep)["x", "dark"]
    assert not found.finite[0] and np.isfinite(found.energy.total).all() and found.failed_at[0] == 1


def test_short_memory_halves_the_chunk(tmp_path, monkeypatch):
    original, messages = sampling.descend, []

    def tight(problem, keys, *arguments, **options):
        if len(keys) > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return original(problem, keys, *arguments, **options)

    monkeypatch.setattr(sampling, "descend", tight)
    sweep = sweeps.make_sweep(CASES[1:], num_restarts=3)
    found = run(tmp_path, sweep, callbacks=sweeps.Callbacks(on_message=messages.append))
    assert len(messages) == 1 and found.manifest["chunk_sizes"] == [4, 2]
    assert all((found[which].chunk_size == 2).all() and found[which].finite.all() for which in found)
    monkeypatch.setattr(sampling, "descend", original)
    more = run(tmp_path, sweeps.make_sweep(CASES[1:], num_restarts=5), extend=True)
    assert (more["hog", "chelsea"].chunk_size == 2).all()
    with pytest.raises(ValueError, match="chunk_size"):
        run(tmp_path, chunk_size=3)
