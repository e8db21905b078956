"""Sweeps: what a restart does not depend on, going on after a stop, and failures that are data."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest
from small_sweeps import IMAGES, PROBLEMS, RECIPE, SIZES, assert_same, make, run, stop_after

import invert_jax as ij
from invert_jax import batching, sweeps
from invert_jax.sweeps import plan, store


@functools.cache
def alone(image):
    return ij.sample(
        sweeps.restart_key(0, IMAGES[image]),
        PROBLEMS[0].representation,
        PROBLEMS[0].representation(IMAGES[image]),
        RECIPE,
        image_shape=IMAGES[image].shape,
        num_restarts=3,
        chunk_size=4,
    )


def test_a_sweep_is_sample_of_every_photograph(three):
    """Up to rounding, which the descent amplifies: at the first steps to the bit's worth, at the last in the error."""
    for image in IMAGES:
        found, expected = three["hogb", image], alone(image)
        np.testing.assert_allclose(found.energy[:, :5], expected.energy[:, :5], rtol=1e-4)
        np.testing.assert_allclose(found.error, expected.error, rtol=0.3)
        assert found.finite.all() and (found.failed_at == -1).all() and (found.evaluations == 80).all()
    np.testing.assert_array_equal(three["hogb", "chelsea"].image, alone("chelsea").image)  # on the same lanes


@pytest.mark.parametrize(("num_restarts", "num_devices"), [(1, 1), (32, 1), (8, 8)])
def test_a_restart_depends_neither_on_the_others_nor_on_the_devices(num_restarts, num_devices, three, tmp_path):
    found = run(tmp_path, make(num_restarts), mesh=batching.mesh_of(jax.devices()[:num_devices]))
    assert_same(found, three, min(num_restarts, 3))
    assert all((found[which].restart == np.arange(num_restarts)).all() for which in found)


def test_one_program_for_each_problem_and_size(tmp_path):
    before, seen = batching.num_programs(), []
    lambdas = [dataclasses.replace(RECIPE, lambda_tv=value, steps=(7, 5)) for value in (1.0, 2.0)]
    problems = [sweeps.Problem(str(i), ij.hog(), recipe, SIZES) for i, recipe in enumerate(lambdas)]
    run(tmp_path, sweeps.make(problems, num_restarts=5), hooks=sweeps.Hooks(watch=seen.append))
    assert batching.num_programs() - before == 2  # two sizes; a number is not a new program
    assert seen[-1].programs == batching.num_programs()
    assert (seen[-1].finished, seen[-1].wanted) == (20, 20)
    assert {status.num_steps for status in seen} == {12}


@pytest.mark.parametrize("asked", [1, 3, 8])
def test_what_was_stopped_goes_on_to_the_same_bits(asked, three, tmp_path):
    with pytest.raises(sweeps.StoppedError):
        run(tmp_path, hooks=stop_after(asked))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["0.npz"]
    steps = []
    found = run(tmp_path, hooks=sweeps.Hooks(watch=lambda status: steps.append(status.step)))
    assert steps[0] == 20 * ((asked - 1) % 4)  # where it was
    assert_same(found, three)
    assert not list((tmp_path / "checkpoints").glob("*"))


def test_a_kill_loses_no_more_than_what_came_after_the_last_checkpoint(three, tmp_path):
    class Killed(BaseException):
        pass

    def kill(status):
        if status.step == 60:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path, checkpoint_seconds=1e-9, hooks=sweeps.Hooks(watch=kill))
    steps = []
    found = run(tmp_path, hooks=sweeps.Hooks(watch=lambda status: steps.append(status.step)))
    assert steps[0] == 40
    assert_same(found, three)


def test_a_checkpoint_is_kept_as_often_as_asked(three, tmp_path, monkeypatch):
    kept = []
    original = sweeps.engine.checkpoints.write
    monkeypatch.setattr(
        sweeps.engine.checkpoints,
        "write",
        lambda *arguments, **more: (kept.append(arguments[1]), original(*arguments, **more)),
    )
    assert_same(run(tmp_path, checkpoint_seconds=1e-9), three)
    assert len(kept) >= 12


def test_what_is_under_way_comes_first(three, tmp_path):
    """Although an earlier problem has something to make again; a process keeps one batch under way."""
    with pytest.raises(sweeps.StoppedError):
        run(tmp_path, hooks=stop_after(18))
    before = sweeps.engine.checkpoints.under_way(store.Folder(tmp_path, "", print))
    assert before[0]["problem"] == "hog"
    (tmp_path / "restarts" / "hogb" / "coffee.npz").write_bytes(b"")
    seen = []
    found = run(tmp_path, hooks=sweeps.Hooks(watch=seen.append, tell=lambda sentence: None))
    assert [status.problem for status in seen[:1]] == ["hog"] and seen[0].step > 0
    assert {status.problem for status in seen} == {"hog", "hogb"}
    assert_same(found, three)


def test_another_chunk_size_of_the_devices_starts_the_batch_again(three, tmp_path):
    sweep = sweeps.make(PROBLEMS[1:], num_restarts=3)
    with pytest.raises(sweeps.StoppedError):
        run(tmp_path, sweep, hooks=stop_after(3))
    told = []
    found = run(tmp_path, sweep, mesh=batching.mesh_of(jax.devices()[:2]), hooks=sweeps.Hooks(tell=told.append))
    for which in found:
        np.testing.assert_array_equal(found[which].image, three[which].image)
    assert len(told) == 1 and "or not for this many processes and devices" in told[0]


def test_extended_a_sweep_keeps_what_it_has(three, tmp_path):
    run(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.npz")}
    with pytest.raises(ValueError, match=r"3 restarts, 5 are asked for: extend it with --extend"):
        run(tmp_path, make(5))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.npz")} == before
    made = []
    found = run(tmp_path, make(5), extend=True, hooks=sweeps.Hooks(watch=lambda status: made.append(status.restarts)))
    assert_same(found, three)
    assert max(made) <= 4 and all(len(found[which].error) == 5 for which in found)
    with pytest.raises(ValueError, match=r"5 restarts, 3 are asked for: give more, or as many"):
        run(tmp_path)


def test_failures_are_data(tmp_path):
    recipe = dataclasses.replace(RECIPE, rates=(1e7, 1e7))  # the programs of the others
    found = run(
        tmp_path, sweeps.make([sweeps.Problem("x", ij.hog(), recipe, {"coffee": IMAGES["coffee"]})], num_restarts=2)
    )
    restarts = found["x", "coffee"]
    assert not restarts.finite.any()
    for r, step in enumerate(restarts.failed_at):
        total = restarts.energy[r, :, 0]
        assert step > 0 and np.isfinite(total[:step]).all() and not np.isfinite(total[step])
    errors, finite = found.errors("x", "coffee")
    assert len(errors) == 2 and not finite.any()


def _squares(params, image):
    return image**2


def test_restarts_that_fail_leave_the_others_alone(tmp_path):
    """In one batch; the loss is over the target's square, so that the dark photograph's rate is far too high."""
    phi = ij.Representation(_squares, (), np.zeros(()))
    images = {"dark": np.full((8, 8, 1), 1.0, np.float32), "light": np.full((8, 8, 1), 200.0, np.float32)}
    recipe = ij.recipes.mahendran_vedaldi(stages=((4e-3, 40),))
    both = run(tmp_path / "both", sweeps.make([sweeps.Problem("x", phi, recipe, images)], num_restarts=2))
    assert not both["x", "dark"].finite.any() and both["x", "light"].finite.all()
    assert (both["x", "light"].failed_at == -1).all() and (both["x", "dark"].failed_at > 0).all()
    target = np.asarray(phi(images["light"]))
    alone = ij.sample(
        sweeps.restart_key(0, images["light"]), phi, target, recipe, image_shape=(8, 8, 1), num_restarts=2, chunk_size=4
    )
    np.testing.assert_allclose(both["x", "light"].image, alone.image, rtol=1e-5)


def test_what_only_the_last_step_spoils_is_dated(tmp_path):
    """All energies are finite; the features of the last image are not."""
    phi = ij.Representation(_squares, (), np.zeros(()))
    recipe = ij.recipes.mahendran_vedaldi(stages=((1e12, 1),))
    problem = sweeps.Problem("x", phi, recipe, {"dark": np.full((8, 8, 1), 1.0, np.float32)})
    found = run(tmp_path, sweeps.make([problem], num_restarts=1, dtype="float16"))["x", "dark"]
    assert not found.finite[0] and np.isfinite(found.energy).all() and found.failed_at[0] == 1


def test_half_the_folder(three, tmp_path):
    found = run(tmp_path, make(dtype="float16"))
    assert found["hogb", "coffee"].image.dtype == np.float16
    np.testing.assert_array_equal(found["hogb", "coffee"].image, three["hogb", "coffee"].image.astype(np.float16))
    np.testing.assert_array_equal(found["hogb", "coffee"].error, three["hogb", "coffee"].error)


def test_results_are_found_by_problem_and_photograph(three):
    again = ij.load_sweep(str(three.path))
    assert set(again.problems) == {"hog", "hogb"} and set(again.images) == {*IMAGES, "wide"}
    assert len(again) == 5 and again["hog", "wide"].image.shape == (3, 24, 40, 1)
    errors, finite = again.errors("hog", "wide")
    np.testing.assert_array_equal(errors, again["hog", "wide"].error)
    assert finite.all()
    with pytest.raises(KeyError, match="has no restarts"):
        again["hog", "rocket"]
    assert json.loads((three.path / "manifest.json").read_text())["settings"]["hog: recipe: lambda_tv"] == "5.0"


def test_a_folder_without_a_sweep(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no manifest\.json: it is not the work folder of a sweep"):
        ij.load_sweep(tmp_path)


@pytest.mark.parametrize("name", ["..", "../up", "a/b", "a+b", "ü *[x]", "x" * 200])
def test_any_name_of_a_photograph_or_problem_stays_in_the_folder(name, tmp_path):
    problem = sweeps.Problem(name, ij.hog(), dataclasses.replace(RECIPE, steps=(2, 2)), {name: IMAGES["chelsea"]})
    found = run(tmp_path, sweeps.make([problem], num_restarts=5))
    assert list(found) == [(name, name)] and len(found[name, name].error) == 5
    assert all(path.parts[: len(tmp_path.parts)] == tmp_path.parts for path in found.index[name, name])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"problems": []}, "at least one problem"),
        ({"problems": [PROBLEMS[1]] * 2}, "More than one problem is called hog"),
        ({"problems": [dataclasses.replace(PROBLEMS[1], images={})]}, "hog has no photographs"),
        ({"problems": [dataclasses.replace(PROBLEMS[1], images={"x": np.full((24, 24, 1), np.nan)})]}, "photograph x"),
        ({"problems": [dataclasses.replace(PROBLEMS[1], images={"x": np.zeros((24, 24))})]}, "takes one image"),
        ({"problems": [dataclasses.replace(PROBLEMS[1], mask=np.ones((2, 2), bool))]}, "mask"),
        ({"problems": [dataclasses.replace(PROBLEMS[1], name="x" * 300)]}, "A problem is called 'xxx"),
        ({"problems": [dataclasses.replace(PROBLEMS[1], images={"": IMAGES["coffee"]})]}, "A photograph is called ''"),
        ({"num_restarts": 0}, "num_restarts is 0"),
        ({"dtype": "int8"}, "dtype"),
    ],
)
def test_a_sweep_is_checked_whole(change, said):
    with pytest.raises(ValueError, match=said):
        sweeps.make(**{"problems": PROBLEMS, "num_restarts": 3, **change})


@pytest.mark.parametrize("chunk_size", [0, 3, 2048])
def test_chunks_have_one_of_a_few_sizes(chunk_size, tmp_path):
    with pytest.raises(ValueError, match=f"chunk_size is {chunk_size}; it must be one of 1, 2, 4"):
        run(tmp_path / "never", chunk_size=chunk_size)
    assert not (tmp_path / "never").exists()


def test_seats_do_not_depend_on_who_else_sits():
    images = ["a", "b", "c"]
    jobs = [(image, r) for image in images for r in range(11)]
    rng = np.random.default_rng(0)
    for _ in range(20):
        chunk_size, devices = int(rng.choice([1, 2, 4, 8])), int(rng.integers(1, 5))
        left = [jobs[i] for i in rng.permutation(len(jobs))[: rng.integers(1, len(jobs))]]
        seen = []
        while left:
            lanes, later = plan.seat(left, images, chunk_size, devices)
            assert len(lanes) == chunk_size * devices and len(later) < len(left)
            for lane, job in enumerate(lanes):
                if job:
                    alone, _ = plan.seat([job], images, chunk_size, 1)
                    assert lane % chunk_size == alone.index(job)
                    seen.append(job)
            left = later
        assert len(seen) == len(set(seen))


@pytest.mark.parametrize(("num_images", "num_restarts", "chunk_size"), [(5, 8, 64), (100, 32, 256), (3, 1, 4)])
def test_seats_are_not_wasted(num_images, num_restarts, chunk_size):
    images = [str(i) for i in range(num_images)]
    jobs, batches = [(image, r) for image in images for r in range(num_restarts)], 0
    while jobs:
        _, jobs = plan.seat(jobs, images, chunk_size, 1)
        batches += 1
    assert batches <= num_images * num_restarts / chunk_size + 1


def test_the_chunk_fits_the_memory():
    sweep = make()
    one = max(map(sweeps.memory_of_restart, PROBLEMS))
    assert sweeps.chunk_size_for(sweep, memory=one * 5, most=64) == 4
    assert sweeps.chunk_size_for(sweep, memory=one * 5, most=2) == 2
    assert sweeps.chunk_size_for(sweep, memory=1, most=64) == 1
    more = sweeps.make(PROBLEMS, num_restarts=300)
    assert sweeps.chunk_size_for(more, memory=one * 1000, most=64) == 64
    assert sweeps.chunk_size_for(sweep, memory=one * 1000, most=64) == 64  # that more may be added, and are the same


def test_a_photograph_without_a_target_is_told_before_anything_runs():
    """One that is dark where the mask looks, and one whose features overflow."""
    light = np.full((16, 16, 1), 128.0, np.float32)
    dark = light * (np.arange(16) > 7)[:, None, None]
    whole = ij.from_function(lambda _, image: image)
    mask = np.zeros((16, 16, 1), bool)
    mask[:8] = True
    problem = sweeps.Problem("top", whole, ij.recipes.shallow(), {"light": light, "dark": dark}, mask)
    with pytest.raises(ValueError, match="top, photograph dark: The target is zero at every neuron of the mask"):
        sweeps.make([problem], num_restarts=1)
    far = ij.from_function(lambda _, image: 1e38 * image)
    with pytest.raises(ValueError, match=r"far, photograph light: .*target"):
        sweeps.make([sweeps.Problem("far", far, ij.recipes.shallow(), {"light": light})], num_restarts=1)
