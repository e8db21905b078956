"""The sweep's runner: flags and JSON, several processes, interruption, kills; results.json whole at every moment."""

import json
import signal
import socket
import subprocess
import sys
import time

import kill_sweep
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from processes import ROOT, environment

import invert_jax as ij
from experiments import sample_invariances
from experiments.lib import progress

SMALL = ["--representations=hog", "--num_images=2", "--num_restarts=3", "--gray_size=24", "--chunk_size=2"]


def run(workdir, *arguments):
    with flagsaver.flagsaver():
        sample_invariances._define_flags()
        flags.FLAGS(["sample_invariances", f"--workdir={workdir}", *arguments])
        return sample_invariances.main()


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("swept")
    run(workdir, *SMALL)
    return workdir


def test_a_sweep_by_flags(swept, capsys):
    results = json.loads((swept / "results.json").read_text())
    assert results["complete"] and results["chunk_sizes"] == [2]
    assert [(row["problem"], row["image"], row["restarts"]) for row in results["rows"]] == [
        ("hog", "chelsea", 3),
        ("hog", "coffee", 3),
    ]
    found = ij.load_sweep(swept)
    for row in results["rows"]:
        np.testing.assert_allclose(row["errors"], found["hog", row["image"]].error)
        picture = ij.load_image(swept / "montages" / f"hog-{row['image']}.png")
        assert picture.std() > 20
    assert run(swept, *SMALL) == 0  # nothing is left to do
    assert json.loads((swept / "results.json").read_text())["rows"] == results["rows"]


def test_a_sweep_by_json(swept, tmp_path):
    file = tmp_path / "sweep.json"
    options = dict(argument.removeprefix("--").split("=") for argument in SMALL)
    file.write_text(json.dumps({**options, "num_images": 2, "representations": ["hog"]}))
    assert run(tmp_path / "out", f"--sweep={file}") == 0
    for which, restarts in ij.load_sweep(swept).items():
        np.testing.assert_array_equal(ij.load_sweep(tmp_path / "out")[which].image, restarts.image)


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        ("[1]", [], "is not a JSON file of flags"),
        ("{", [], "is not a JSON file of flags"),
        ('{"colour": 1}', [], "'colour', which is no flag"),
        ('{"seed": 1}', ["--seed=2"], "seed is given by flag and in"),
        ('{"num_restarts": "many"}', [], "num_restarts"),
        ('{"chunk_size": null, "recipes": "soup"}', [], "soup"),
        ("{}", ["--representations=hug"], "hug"),
        ("{}", ["--layers=conv9"], "conv9"),
        ("{}", ["--recipes=soup"], "soup"),
        ("{}", ["--num_processes=2"], "need --coordinator"),
        ("{}", ["--process_id=1"], "--process_id is 1, of 1 processes"),
        ("{}", ["--representations=hog", "--gray_size=24", "--chunk_size=3"], "chunk_size is 3"),
    ],
)
def test_mistakes_are_told_before_anything_runs(content, arguments, said, tmp_path):
    file = tmp_path / "sweep.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=said):
        run(tmp_path / "out", f"--sweep={file}", *arguments)
    assert not (tmp_path / "out" / "restarts").exists()


def test_results_are_whole_at_every_moment(tmp_path, monkeypatch):
    seen = []
    original = progress.Display.show

    def show(self, status):
        original(self, status)
        if (tmp_path / "results.json").exists():
            seen.append(json.loads((tmp_path / "results.json").read_text()))

    monkeypatch.setattr(progress, "REST", 0.0)
    monkeypatch.setattr(progress.Display, "show", show)
    run(tmp_path, *SMALL)
    assert len(seen) > 20 and not seen[0]["complete"]
    made = [sum(row["restarts"] for row in results["rows"]) for results in seen]
    assert made == sorted(made) and made[0] == 0 and made[-1] == 6


def start(workdir, *arguments, devices=1):
    command = [sys.executable, "-m", "experiments.sample_invariances", f"--workdir={workdir}", *SMALL, *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment(devices), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def together(workdir, processes, devices=1):
    """The sweep in several processes, each with a checkpoint after every 20 steps."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        joined = [f"--coordinator=127.0.0.1:{free.getsockname()[1]}", f"--num_processes={processes}"]
    joined.append("--checkpoint_seconds=0.01")
    return [start(workdir, *joined, f"--process_id={i}", devices=devices) for i in range(processes)]


def wait(running):
    said = [process.communicate(timeout=300)[0] for process in running]
    assert [process.returncode for process in running] == [0] * len(running), said


def assert_same(workdir, expected):
    expected, found = ij.load_sweep(expected), ij.load_sweep(workdir)
    assert list(found) == list(expected)
    for which in expected:
        for name, array, other in zip(ij.sweeps.Restarts._fields, found[which], expected[which], strict=True):
            if name != "seconds":
                np.testing.assert_array_equal(array, other)


@pytest.mark.parametrize(("processes", "devices"), [(2, 2), (4, 1)])
def test_processes_together_make_what_one_makes(processes, devices, swept, tmp_path):
    wait(together(tmp_path, processes, devices))
    assert_same(tmp_path, swept)
    assert not [path for path in tmp_path.rglob("*.npz") if "+" in path.name]


def test_killed_processes_go_on_each_from_its_checkpoint(swept, tmp_path):
    running, checkpoints = together(tmp_path, 2), [tmp_path / "checkpoints" / f"{i}.npz" for i in range(2)]
    while not all(path.exists() for path in checkpoints):
        assert all(process.poll() is None for process in running), [process.communicate()[0] for process in running]
        time.sleep(0.005)
    for process in running:
        process.kill()
        process.communicate()
    assert all(path.exists() for path in checkpoints)
    running = together(tmp_path, 2)
    wait(running)
    assert_same(tmp_path, swept)
    assert not list((tmp_path / "checkpoints").iterdir()) and not (tmp_path / "set_aside").exists()


def test_one_of_several_that_is_interrupted_takes_the_others_along(swept, tmp_path):
    running = together(tmp_path, 2)
    while not all((tmp_path / "checkpoints" / f"{i}.npz").exists() for i in range(2)):
        assert all(process.poll() is None for process in running), [process.communicate()[0] for process in running]
        time.sleep(0.005)
    running[1].send_signal(signal.SIGINT)
    said = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [130, 130], said
    wait(together(tmp_path, 2))
    assert_same(tmp_path, swept)


def test_interrupted_it_stops_at_a_safe_point_and_goes_on(swept, tmp_path):
    process = start(tmp_path)
    while not (tmp_path / "results.json").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 130 and "Stopped; the same command goes on from here" in said, said
    assert run(tmp_path, *SMALL) == 0
    assert_same(tmp_path, swept)


def test_killed_twice_it_comes_to_the_same(capfd):
    assert kill_sweep.main(kills=2, seed=1) == 0, capfd.readouterr().out
