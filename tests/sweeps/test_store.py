"""The folder of a sweep: what it refuses, moves to quarantine and survives; other runs, full disks."""

import dataclasses
import errno
import os
import pathlib
import shutil
import warnings

import jax
import numpy as np
import pytest
from small_sweeps import CASES, IMAGES, RECIPE, assert_same, make, run, stop_after

import invert_jax as ij
from invert_jax import sweeps
from invert_jax._util import atomic_io, hashing, locks
from invert_jax.sweeps import store

pytestmark = pytest.mark.slow
ONE = sweeps.Case("hog", ij.hog(), dataclasses.replace(RECIPE, stages=RECIPE.stages[:1]), {"x": IMAGES["chelsea"]})


def one(**changes):
    return sweeps.make_sweep([dataclasses.replace(ONE, **changes)], num_restarts=1)


def written(workdir):
    return {path: path.stat().st_mtime_ns for path in workdir.glob("restarts/*/*.npz")}


@pytest.fixture
def copy(three, tmp_path):
    """A copy of the small sweep's folder, to be spoiled."""
    return shutil.copytree(three.path, tmp_path / "copy")


def test_a_folder_is_not_mixed_with_other_settings(three, monkeypatch):
    other = [CASES[0], dataclasses.replace(CASES[1], recipe=RECIPE.reweight(tv=6.0))]
    for sweep, words in [
        (make(seed=7), "seed is 7, saved 0"),
        (make(dtype="float16"), "dtype is float16"),
        (sweeps.make_sweep(other, num_restarts=3), r"hog: recipe\.priors\[1\]\.weight is 6, saved 5"),
    ]:
        with pytest.raises(ValueError, match=words):
            run(three.path, sweep)
    for setting in (jax.default_prng_impl("rbg"), jax.threefry_partitionable(False)):
        with pytest.raises(ValueError, match="random generator"), setting:
            run(three.path)
    monkeypatch.setattr(hashing, "environment", lambda: {"device": "gpu, H100"})
    with pytest.raises(ValueError, match="device is gpu, H100, saved cpu"):
        run(three.path)


def test_an_edited_function_of_the_user_is_refused_by_name(tmp_path):
    def edited(doc, factor):
        scope = {}
        exec(f"def texture_features(params, image):\n    '''{doc}'''\n    return image * {factor}", scope)
        return one(representation=ij.from_function(scope["texture_features"]))

    run(tmp_path, edited("First.", 2.0))
    run(tmp_path, edited("Edited.\n\n    More lines.\n    ", 2.0))
    with pytest.raises(ValueError, match="function texture_features has changed"):
        run(tmp_path, edited("First.", 3.0))


def test_other_versions_warn_and_nothing_is_made_again(three, copy, monkeypatch):
    before, messages, original = written(copy), [], hashing.versions
    callbacks = sweeps.Callbacks(on_message=messages.append)
    for version, options in [("0.1", {}), ("0.2", {"allow_changed_code": True}), ("0.3", {"callbacks": callbacks})]:
        monkeypatch.setattr(hashing, "versions", lambda code, version=version: original(code) | {"jax": version})
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert_same(run(copy, **options), three)
        texts = [str(warning.message) for warning in caught if warning.category is UserWarning]
        assert len(texts) == (not options) and all(f"jax {jax.__version__}, now 0.1" in text for text in texts)
        assert all(warning.filename == run.__code__.co_filename for warning in caught)  # not a line of the library
    assert len(messages) == 1 and "jax 0.2, now 0.3" in messages[0] and written(copy) == before
    assert [record["jax"] for record in ij.load_sweep(copy).manifest["versions"]][1:] == ["0.1", "0.2", "0.3"]


def test_other_names_in_libraries_are_accepted_on_demand_and_other_bytecode_of_another_python(tmp_path, monkeypatch):
    def edited(factor):
        scope = {}
        exec(f"def features(params, image):\n    return image * {factor}", scope)
        return one(representation=ij.from_function(scope["features"]))

    original = run(tmp_path, edited(2.0))
    before, messages, in_words, versions = written(tmp_path), [], hashing.in_words, hashing.versions
    options = {"callbacks": sweeps.Callbacks(on_message=messages.append)}

    def renamed(*arguments):
        settings, code = in_words(*arguments)
        return settings, {key: text.replace("_unit_noise", "_noise") for key, text in code.items()}

    monkeypatch.setattr(hashing, "in_words", renamed)
    with pytest.raises(ValueError, match=r"parameterizations\._noise.*allow_changed_code"):
        run(tmp_path, edited(2.0))
    run(tmp_path, edited(2.0), allow_changed_code=True, **options)
    run(tmp_path, edited(2.0), **options)
    assert len(messages) == 1 and "_unit_noise" in messages.pop()
    monkeypatch.setattr(hashing, "versions", lambda code: versions(code) | {"python": "4.0.1"})
    found = run(tmp_path, edited(3.0), **options)
    assert len(messages) == 1 and "function features" in messages[0] and written(tmp_path) == before
    np.testing.assert_array_equal(found["hog", "x"].image, original["hog", "x"].image)
    with pytest.raises(ValueError, match=r"function features has changed, .*; dtype"):  # both are named
        run(tmp_path, dataclasses.replace(edited(2.0), dtype="float16"))


def _changed(**changes):
    def spoil(path):
        with np.load(path) as file:
            arrays = dict(file)
        np.savez(path, **{**arrays, **{name: change(arrays[name]) for name, change in changes.items()}})

    return spoil


def _pipe(path):
    path.unlink()
    os.mkfifo(path)


def _link(path):
    path.unlink()
    path.symlink_to("nothing")


SPOIL = [
    lambda path: path.write_bytes(path.read_bytes()[:-1000]),
    lambda path: np.savez(path, picture=np.zeros(3)),
    lambda path: path.write_bytes((path.parent / "chelsea.npz").read_bytes()),  # another photograph's
    _pipe,
    _link,
    _changed(stamp=lambda stamp: np.array("0123")),
    _changed(image=lambda image: image[:, :-1]),
    _changed(error=lambda error: error.astype(object)),
    _changed(restart=lambda restart: restart[::-1]),
    _changed(restart=lambda restart: restart[0]),
    _changed(restart=lambda restart: restart + 100),
    _changed(finite=lambda finite: finite[:-1]),
    _changed(image=lambda image: np.where(np.arange(len(image))[:, None, None, None] == 1, np.nan, image)),
    _changed(**{"energy.total": lambda total: total * np.float32(np.inf)}),
    lambda path: path.rename(path.with_name("stranger.npz")),
]


@pytest.mark.parametrize("spoil", SPOIL)
def test_a_damaged_or_foreign_file_goes_to_quarantine_and_is_made_again(spoil, three, copy):
    spoiled, messages = copy / "restarts" / "hogb" / "coffee.npz", []
    spoil(spoiled)
    (spoiled.parent / f".{'0' * 32}.tmp").write_bytes(b"of a killed run")
    assert_same(run(copy, callbacks=sweeps.Callbacks(on_message=messages.append)), three)
    assert len(messages) == 1 and str(spoiled.parent) in messages[0]
    assert len(list((copy / "quarantine").iterdir())) == 1 and not list(copy.rglob("*.tmp"))


def test_a_damaged_manifest_is_named_and_deleting_it_rescues(three, copy):
    before, manifest = written(copy), copy / "manifest.json"
    for text in ("{}", "[1]", "\0", manifest.read_text().replace("4\n", "3\n")):  # a chunk size that is none
        manifest.write_text(text)
        for read in (run, ij.load_sweep):
            with pytest.raises(ValueError, match="delete that file"):
                read(copy)
    manifest.unlink()
    with pytest.raises(FileNotFoundError, match="manifest"):
        ij.load_sweep(copy)
    assert_same(run(copy), three)
    assert written(copy) == before


def test_two_runs_do_not_share_a_folder(tmp_path):
    refused = []

    def another(status):
        with pytest.raises(BlockingIOError, match="Another run"):
            run(tmp_path)
        refused.append(status)

    run(tmp_path, one(), callbacks=sweeps.Callbacks(another))
    with locks.locked(tmp_path / ".lock-1"), pytest.raises(BlockingIOError, match="Another run"):
        run(tmp_path, one())  # a process is left of a run with more of them
    assert refused
    (tmp_path / "notes").write_text("not to be changed")
    (tmp_path / ".lock-1").unlink()
    (tmp_path / ".lock-1").symlink_to(tmp_path / "notes")
    with pytest.raises(OSError, match="symbolic"):  # which is not followed
        run(tmp_path, one())
    assert (tmp_path / "notes").read_text() == "not to be changed"


def test_what_process_0_merges_while_another_lists_files_is_not_missing(three, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "merge", lambda folder: None)
    run(tmp_path)
    monkeypatch.undo()
    stamp, listed = ij.load_sweep(tmp_path).manifest["stamp"], pathlib.Path.glob
    folder, expected = store.Folder(tmp_path, stamp, [4], [], {}, print), {which: set(range(3)) for which in three}
    assert store.scan(folder, make()) == expected

    def late(path, pattern):
        files = list(listed(path, pattern))
        monkeypatch.undo()
        store.merge(folder)
        return files

    monkeypatch.setattr(pathlib.Path, "glob", late)
    assert store.scan(folder, make()) == expected


def test_a_reader_finds_what_was_merged_under_it(three, tmp_path):
    with pytest.raises(sweeps.StoppedError):
        run(tmp_path, callbacks=stop_after(7))
    before = ij.load_sweep(tmp_path)
    assert any("+" in path.name for paths in before.index.values() for path in paths)
    run(tmp_path)
    for which in before:
        np.testing.assert_array_equal(before[which].image, three[which].image)
    with pytest.raises(KeyError, match="rocket"):
        before["hog", "rocket"]


@pytest.mark.parametrize("name", ["..", "../up", "a/b", "a+b", "ü *[x]", "x" * 200])
def test_any_name_of_a_photograph_or_case_stays_in_the_folder(name, tmp_path):
    found = run(tmp_path, one(name=name, images={name: IMAGES["chelsea"]}))
    assert list(found) == [(name, name)] and len(found[name, name].error) == 1
    assert all(path.parts[: len(tmp_path.parts)] == tmp_path.parts for path in found.index[name, name])


@pytest.mark.parametrize(("number", "fails_at"), [(errno.ENOSPC, 0), (errno.ENOSPC, 3), (errno.EROFS, 6)])
def test_a_full_disk_leaves_everything_whole(number, fails_at, three, tmp_path, monkeypatch):
    count, original = iter(range(100)), atomic_io.write_bytes

    def write(path, data):
        if next(count) == fails_at:
            raise OSError(number, "no")
        original(path, data)

    monkeypatch.setattr(atomic_io, "write_bytes", write)
    with pytest.raises(OSError, match="disk"):
        run(tmp_path)
    assert_same(run(tmp_path), three)
    assert not list(tmp_path.rglob("*.tmp"))
