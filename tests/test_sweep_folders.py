"""The folder of a sweep: what it refuses, sets aside and survives; other runs, short memory, full disks."""

import dataclasses
import errno

import jax
import numpy as np
import pytest
from small_sweeps import IMAGES, PROBLEMS, RECIPE, SIZES, assert_same, run, stop_after

import invert_jax as ij
from invert_jax import batching, sweeps
from invert_jax._util import atomic_io, hashing
from invert_jax.sweeps import store


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
    other = {**hashing.environment(), "jax": "0.1"}
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


def _another_photographs(path):
    path.write_bytes((path.parent / "chelsea.npz").read_bytes())


def _another_problems(path):
    path.write_bytes(next((path.parents[1] / "hog").glob("*.npz")).read_bytes())


@pytest.mark.parametrize("spoil", [_truncate, _foreign, _anothers, _another_photographs, _another_problems])
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
    with pytest.raises(ValueError, match="remove that file to go on with the restarts"):
        ij.load_sweep(tmp_path)


def test_without_its_manifest_a_folder_is_gone_on_with(three, tmp_path):
    run(tmp_path)
    whole = {path: path.stat().st_mtime_ns for path in tmp_path.glob("restarts/*/*.npz")}
    (tmp_path / "manifest.json").unlink()
    assert_same(run(tmp_path), three)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("restarts/*/*.npz")} == whole


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
    assert len(told) == 1 and "this process runs 2 restarts at a time" in told[0]
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
    original = atomic_io.write_bytes

    def write(path, data):
        if next(written) == fails_at:
            raise OSError(number, "no")
        original(path, data)

    monkeypatch.setattr(atomic_io, "write_bytes", write)
    with pytest.raises(OSError, match=rf"The disk of .* {said}.*give the same command to go on"):
        run(tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))
    monkeypatch.setattr(atomic_io, "write_bytes", original)
    assert_same(run(tmp_path), three)
