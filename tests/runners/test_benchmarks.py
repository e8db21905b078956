"""The benchmarks run, and compare like with like."""

import jax
import numpy as np
import pytest
from running import run, status

import invert_jax as ij
from benchmarks import against_torch

pytestmark = pytest.mark.slow


def test_throughput_of_each_number_of_restarts(tmp_path):
    arguments = ("--layer=conv1", "--size=63", "--counts=1,3", "--num_steps=2", "--repeats=1")
    rows = run("benchmarks.throughput", tmp_path, *arguments)["rows"]
    assert [row["num_restarts"] for row in rows] == [1, 3]
    assert all(0 < row["seconds_per_restart_step"] < 100 and row["peak_gigabytes"] > 0.1 for row in rows)
    assert ij.load_image(tmp_path / "throughput.png").std() > 5


def test_programs_that_a_new_jax_may_make_slow(tmp_path):
    rows = run("benchmarks.xla_regressions", tmp_path, "--side=16", "--batch=1", "--repeats=1")["rows"]
    assert len(rows) == 2 and all(row["ratio"] == row["milliseconds"] / row["other_milliseconds"] > 0 for row in rows)


def test_hog_is_timed_against_naive_jax(tmp_path):
    arguments = ("--layers=", "--representations=hog", "--repeats=1", "--num_steps=1")
    with jax.numpy_rank_promotion("allow"):  # naive_jax is written as users write
        times = run("benchmarks.against_torch", tmp_path, *arguments)["representations"]["hog"]
    assert times["ratio"] == pytest.approx(times["invert_jax"] / times["naive_jax"]) and times["invert_jax"] > 0


@pytest.mark.parametrize("name", ["hog", "hogb", "dsift"])
def test_naive_jax_has_the_same_representations(name):
    image = ij.example_image("coffee", size=(83, 101), gray=True)
    make, naive = against_torch.SHALLOW[name]
    library, limit = make(), 1e-2 if name == "dsift" else 1e-5  # the exact angle of dsift, not VLFeat's cubic
    with jax.numpy_rank_promotion("allow"):
        expected = np.asarray(naive(image))
    assert np.linalg.norm(library(image) - expected) / np.linalg.norm(expected) < limit


def test_device_checks_before_it_times(tmp_path):
    arguments = ["--layers=conv1", "--batch_sizes=1", "--repeats=1", "--num_steps=1", "--parts=parity,repeat,speed"]
    rows = run("benchmarks.device", tmp_path, *arguments)["rows"]
    assert not [row for row in rows if "failed" in row]
    by_part = {part: [row for row in rows if row["part"] == part] for part in ("parity", "repeat", "speed")}
    assert all(row["relative"] < 2e-5 for row in by_part["parity"][:3])
    assert all(max(row["features"], row["energies"]) < 1e-6 for row in by_part["parity"][3:])
    assert all(row["run to run"] and row["restart alone"] for row in by_part["repeat"])
    assert [row["name"] for row in by_part["speed"]] == ["conv1 x 1, float32", "conv1 x 1, bfloat16"]
    assert all(0 < row["ms"] < 1e4 and row["tflops"] > 0 for row in by_part["speed"])
    assert "| hog_c8_r255 |" in (tmp_path / "table.md").read_text()


def test_device_begins_nothing_after_its_deadline(tmp_path, capsys):
    assert status("benchmarks.device", tmp_path, "--parts=parity,speed", "--deadline=0") == 0
    assert "hog_c8_r255 and what follows is left out" in " ".join(capsys.readouterr().out.split())
    assert not list(tmp_path.iterdir())
