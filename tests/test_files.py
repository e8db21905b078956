"""Files appear whole or not at all."""

import os
import pathlib

import pytest

from invert_jax._util import atomic_io


@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_what_is_written_replaces_what_was_there(tmp_path, kind):
    for data in (b"first\r\n", b"", bytes(range(256))):
        atomic_io.write_bytes(kind(tmp_path / "a"), data)
        assert (tmp_path / "a").read_bytes() == data
    assert os.listdir(tmp_path) == ["a"]


def test_until_all_is_written_the_old_file_stands(tmp_path, monkeypatch):
    path, replace, seen = tmp_path / "a", os.replace, []
    atomic_io.write_bytes(path, b"old")

    def spy(source, target):
        assert os.path.dirname(source) == str(tmp_path)  # the same folder: renaming is atomic there
        seen.append((pathlib.Path(source).read_bytes(), path.read_bytes()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", spy)
    atomic_io.write_bytes(path, b"new")
    assert seen == [(b"new", b"old")] and path.read_bytes() == b"new"


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failing):
    atomic_io.write_bytes(tmp_path / "a", b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="disk full"):
        atomic_io.write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


def test_the_longest_name_can_be_written(tmp_path):
    atomic_io.write_bytes(tmp_path / ("a" * 255), b"x")
    assert os.listdir(tmp_path) == ["a" * 255]


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"The folder .*no of a\.txt does not exist; create it first"):
        atomic_io.write_bytes(tmp_path / "no" / "a.txt", b"x")
    assert os.listdir(tmp_path) == []
