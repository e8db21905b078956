"""Sweeps: what a restart does not depend on, going on after a stop, and what becomes of failures."""

import dataclasses
import errno
import functools
import json

import jax
import numpy as np
import pytest

import invert_jax as ij
from invert_jax import batching, files, sweeps
from invert_jax.sweeps import plan, store

RECIPE = ij.recipes.mahendran_vedaldi(stages=((4e-3, 50), (4e-4, 30)))
IMAGES = {name: ij.sample_image(name, size=24, gray=True) for name in ("chelsea", "coffee", "rocket")}
SIZES = {"chelsea": IMAGES["chelsea"], "wide": ij.sample_image("chelsea", size=(24, 40), gray=True)}
PROBLEMS = (
    sweeps.Problem("hogb", ij.hog(binning="bilinear"), RECIPE, IMAGES),  # whose descents amplify any other rounding
    sweeps.Problem("hog", ij.hog(), RECIPE, SIZES),
)
MESH = batching.mesh_of(jax.devices()[:1])


def make(num_restarts=3, **options):
    return sweeps.make(PROBLEMS, num_restarts=num_restarts, **options)


def run(workdir, sweep=None, **options):
    options = {"chunk_size": 4, "mesh": MESH, **options}
    return sweeps.run(make() if sweep is None else sweep, workdir, **options)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return run(tmp_path_factory.mktemp("three"))


def assert_same(found, expected, count=3):
    assert list(found) == list(expected)
    for which in expected:
        for name, array, other in zip(sweeps.Restarts._fields, found[which], expected[which], strict=True):
            if name != "seconds":
                np.testing.assert_array_equal(array[:count], other[:count], err_msg=f"{which} {name}")


def stop_after(count):
    """Hooks that stop a run when it asks for the count-th time."""
    asked = iter(range(1, 10_000))
    return sweeps.Hooks(stop=lambda: next(asked) >= count)


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
    _truncate(tmp_path / "restarts" / "hogb" / "coffee.npz")
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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 7}, r"seed is 7, there 0\."),
        ({"dtype": "float16"}, "dtype is float16, there float32"),
        ({"recipe": dataclasses.replace(RECIPE, lambda_tv=6.0)}, r"hog: recipe: lambda_tv is 6\.0, there 5\.0"),
        ({"images": {**SIZES, "chelsea": IMAGES["coffee"]}}, "hog: photograph chelsea is"),
        ({"images": {"wide": SIZES["wide"]}}, "hog: photograph chelsea is absent, there"),
        ({"representation": ij.hog(num_orientations=8)}, "hog: representation is"),
        ({"images": {"wide": SIZES["wide"]}, "mask": np.ones((3, 5, 27), bool)}, "hog: mask is .*, there none"),
    ],
)
def test_a_folder_is_not_mixed_with_other_settings(change, said, three):
    options = {name: change[name] for name in ("seed", "dtype") if name in change}
    fields = {name: value for name, value in change.items() if name not in options}
    problems = [PROBLEMS[0], dataclasses.replace(PROBLEMS[1], **fields)]
    with pytest.raises(ValueError, match=said):
        run(three.path, sweeps.make(problems, num_restarts=3, **options))


def test_another_library_is_another_sweep(three, monkeypatch):
    other = {**ij.surroundings(), "jax": "0.1"}
    monkeypatch.setattr(sweeps.engine.fingerprints, "surroundings", lambda: other)
    with pytest.raises(ValueError, match=rf"jax is 0\.1, there {jax.__version__}"):
        run(three.path)


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


def _foreign(path):
    np.savez(path, picture=np.zeros(3))


def _anothers(path):
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, "stamp": np.array("0123456789abcdef")})


@pytest.mark.parametrize("spoil", [_truncate, _foreign, _anothers])
def test_a_file_that_is_not_whole_is_set_aside_and_made_again(spoil, three, tmp_path):
    run(tmp_path)
    spoiled = tmp_path / "restarts" / "hogb" / "coffee.npz"
    spoil(spoiled)
    content, told = spoiled.read_bytes(), []
    assert_same(run(tmp_path, hooks=sweeps.Hooks(tell=told.append)), three)
    assert len(told) == 1 and str(spoiled) in told[0] and "made again" in told[0]
    assert [path.read_bytes() for path in (tmp_path / "set_aside").iterdir()] == [content]


def test_a_file_of_another_photograph_is_set_aside(three, tmp_path):
    run(tmp_path)
    stray = tmp_path / "restarts" / "hog" / "stranger.npz"
    stray.write_bytes((tmp_path / "restarts" / "hog" / "wide.npz").read_bytes())
    told = []
    assert_same(run(tmp_path, hooks=sweeps.Hooks(tell=told.append)), three)
    assert len(told) == 1 and str(stray) in told[0] and not stray.exists()


def test_a_checkpoint_that_is_not_whole_is_dropped(three, tmp_path):
    with pytest.raises(sweeps.StoppedError):
        run(tmp_path, hooks=stop_after(3))
    for path in (tmp_path / "checkpoints").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    assert_same(run(tmp_path, hooks=sweeps.Hooks(tell=lambda sentence: None)), three)


def test_a_manifest_that_is_none_is_named(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match="is not the manifest of a sweep"):
        run(tmp_path)


def test_two_runs_do_not_share_a_folder(tmp_path):
    refused = []

    def another(status):
        with pytest.raises(BlockingIOError, match="Another run is at work in"):
            run(tmp_path)
        refused.append(status)

    problem = sweeps.Problem("hog", ij.hog(), RECIPE, {"chelsea": IMAGES["chelsea"]})
    run(tmp_path, sweeps.make([problem], num_restarts=1), hooks=sweeps.Hooks(watch=another))
    assert refused


def test_a_process_left_of_another_run_holds_the_folder(tmp_path):
    problem = sweeps.Problem("hog", ij.hog(), RECIPE, {"chelsea": IMAGES["chelsea"]})
    with store.claimed(tmp_path, 1, 2), pytest.raises(BlockingIOError, match="Another run is at work in"):
        run(tmp_path, sweeps.make([problem], num_restarts=1))
    with store.claimed(tmp_path, 1, 2), store.claimed(tmp_path, 0, 2):
        pass  # two of one run


def test_a_reader_finds_what_was_merged_under_it(three, tmp_path):
    sweep = sweeps.make(PROBLEMS[:1], num_restarts=3)
    with pytest.raises(sweeps.StoppedError):
        run(tmp_path, sweep, hooks=stop_after(6))
    before = ij.load_sweep(tmp_path)
    assert any("+" in path.name for files_ in before.index.values() for path in files_)
    run(tmp_path, sweep)
    for which in before:
        np.testing.assert_array_equal(before[which].image, three[which].image)


def test_out_of_memory_halves_the_chunk_and_goes_on(tmp_path, monkeypatch):
    original, told = batching.run, []

    def tight(eq3, recipe, states, stop, *, mesh):
        if len(states.stage) > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return original(eq3, recipe, states, stop, mesh=mesh)

    monkeypatch.setattr(batching, "run", tight)
    sweep = sweeps.make(PROBLEMS[1:], num_restarts=3)
    found = run(tmp_path, sweep, hooks=sweeps.Hooks(tell=told.append))
    assert len(told) == 1 and "runs 2 restarts at a time, at which the rounding differs" in told[0]
    assert found.manifest["chunk_sizes"] == [4, 2]
    assert (found["hog", "chelsea"].chunk_size == 2).all() and found["hog", "chelsea"].finite.all()
    monkeypatch.setattr(batching, "run", original)
    run(tmp_path, sweeps.make(PROBLEMS[1:], num_restarts=5), extend=True)  # a folder goes on at its own size
    assert (sweeps.load_sweep(tmp_path)["hog", "chelsea"].chunk_size == 2).all()


def test_out_of_memory_in_a_batch_that_goes_on(tmp_path, monkeypatch):
    """As when another program takes memory in the meantime."""
    sweep, original, told = sweeps.make(PROBLEMS[1:], num_restarts=3), batching.run, []
    with pytest.raises(sweeps.StoppedError):
        run(tmp_path, sweep, hooks=stop_after(2))

    def tight(eq3, recipe, states, stop, *, mesh):
        if len(states.stage) > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return original(eq3, recipe, states, stop, mesh=mesh)

    monkeypatch.setattr(batching, "run", tight)
    found = run(tmp_path, sweep, hooks=sweeps.Hooks(tell=told.append))
    assert len(told) == 1 and found.manifest["chunk_sizes"] == [4, 2]
    assert all((found[which].restart == range(3)).all() and (found[which].chunk_size == 2).all() for which in found)
    assert not list((tmp_path / "checkpoints").iterdir())


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "is full"), (errno.EROFS, "cannot be written to")])
@pytest.mark.parametrize("fails_at", [0, 3, 6])
def test_a_full_disk_leaves_everything_whole(number, said, fails_at, three, tmp_path, monkeypatch):
    written = iter(range(100))
    original = files.write

    def write(path, data):
        if next(written) == fails_at:
            raise OSError(number, "no")
        original(path, data)

    monkeypatch.setattr(files, "write", write)
    with pytest.raises(OSError, match=rf"The disk of .* {said}.*give the same command to go on"):
        run(tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))
    monkeypatch.setattr(files, "write", original)
    assert_same(run(tmp_path), three)


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
