"""The sweep's runner: flags and JSON, several processes, signals; results.json complete at every moment."""

import json
import signal
import socket

import numpy as np
import pytest
import running

import invert_jax as ij
from experiments.lib import progress
from invert_jax._util import command

pytestmark = pytest.mark.slow

HOG = ("--representations=hog", "--num_images=2", "--size=24", "--chunk_size=2")
SMALL, LONG = (*HOG, "--num_restarts=3", "--stages=4e-3x60"), (*HOG, "--num_restarts=40", "--stages=4e-3x4000")


def run(workdir, *arguments):
    return running.status("sample_invariances", workdir, *arguments)


def start(workdir, *arguments, devices=1):
    return running.start("sample_invariances", f"--workdir={workdir}", *arguments, devices=devices)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("swept")
    assert running.end(start(workdir, *SMALL))[1] == 0
    return workdir


def require_same(workdir, expected):
    expected, found = ij.load_sweep(expected), ij.load_sweep(workdir)
    assert list(found) == list(expected)
    for which in expected:
        np.testing.assert_array_equal(found[which].image, expected[which].image)


def test_a_sweep_by_flags(swept):
    results, found = running.results(swept), ij.load_sweep(swept)
    assert results["complete"] and results["chunk_sizes"] == [2]
    assert [(row["image"], row["restarts"]) for row in results["rows"]] == [("chelsea", 3), ("coffee", 3)]
    for row in results["rows"]:
        np.testing.assert_allclose(row["errors"], found["hog", row["image"]].error)
        assert ij.load_image(swept / "montages" / f"hog-{row['image']}.png").std() > 20
    assert run(swept, *SMALL) == 0  # nothing is left to do
    assert running.results(swept)["rows"] == results["rows"]


def test_a_sweep_by_json_is_extended_by_flags(tmp_path):
    options = dict(argument.removeprefix("--").split("=") for argument in SMALL)
    (tmp_path / "sweep.json").write_text(json.dumps({**options, "num_restarts": 1, "representations": ["hog"]}))
    assert run(tmp_path / "out", f"--sweep={tmp_path / 'sweep.json'}") == 0
    with pytest.raises(ValueError, match="extend"):
        run(tmp_path / "out", *SMALL)
    assert run(tmp_path / "out", *SMALL, "--extend") == 0
    assert all(len(restarts.error) == 3 for restarts in ij.load_sweep(tmp_path / "out").values())


def test_every_restart_diverged(tmp_path):
    words = "--representations=hog,hogb", "--recipes=mahendran_vedaldi"
    assert run(tmp_path, *SMALL, "--stages=1e30x3", *words, "--mask=central:2") == 1
    assert {case for case, _ in ij.load_sweep(tmp_path)} == {"hog", "hogb"}


@pytest.mark.parametrize("content", ["[1]", '{"colour": 1}', '{"num_restarts": 1}', '{"seed": null, "recipes": "x"}'])
def test_mistakes_in_json_end_before_anything_runs(content, tmp_path):
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(ValueError, match=r"JSON|colour|num_restarts|recipes"):
        run(tmp_path / "out", f"--sweep={tmp_path / 'sweep.json'}", *SMALL)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("argument", ["--num_processes=2", "--process_id=1", "--chunk_size=3", "--recipes=soup"])
def test_mistakes_end_before_anything_runs(argument, tmp_path):
    with pytest.raises(ValueError, match=r"process|chunk_size|soup"):
        run(tmp_path / "out", *SMALL, argument)
    assert not (tmp_path / "out" / "restarts").exists()


def test_results_are_complete_json_at_every_moment(tmp_path, monkeypatch):
    counts, write = [], command.write_results

    def watch(workdir, numbers):
        write(workdir, numbers)
        counts.append(sum(row["restarts"] for row in running.results(workdir)["rows"]))

    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    monkeypatch.setattr(command, "write_results", watch)
    run(tmp_path, *SMALL)
    assert counts == sorted(counts) and counts[0] == 0 and counts[-1] == 6


def test_processes_together_make_what_one_makes(swept, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        joined = [f"--coordinator=127.0.0.1:{free.getsockname()[1]}", "--num_processes=2"]
    processes = [start(tmp_path, *SMALL, *joined, f"--process_id={i}", devices=2) for i in range(2)]
    assert [running.end(process)[1] for process in processes] == [0, 0]
    require_same(tmp_path, swept)
    assert running.results(tmp_path)["complete"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_at_a_safe_point(number, status, tmp_path):
    said, found = running.signal_after(start(tmp_path, *LONG), "results.json", tmp_path, number)
    assert found == status and "resumes" in said, said


def test_killed_it_comes_to_the_same(swept, tmp_path):
    running.signal_after(start(tmp_path, *SMALL), "*.npz", tmp_path, signal.SIGKILL)
    assert running.end(start(tmp_path, *SMALL))[1] == 0
    require_same(tmp_path, swept)
