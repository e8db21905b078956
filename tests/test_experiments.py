"""Every runner, as a user runs it: a process of its own, from the root of the checkout."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from processes import ROOT, environment

import invert_jax as ij
from benchmarks import naive_jax
from experiments import invert_image
from experiments.lib import common


def run(module, *arguments):
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{module}", *arguments],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_invert_image_inverts_conv1_of_a_photograph(tmp_path):
    done = run(
        "invert_image",
        f"--workdir={tmp_path}",
        "--layer=conv1",
        "--size=63",
        "--num_restarts=3",
        "--chunk_size=3",
        "--stages=4e-3x60,4e-4x40",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "energy" in done.stdout and "restart" in done.stdout
    results = json.loads((tmp_path / "results.json").read_text())
    assert max(results["errors"]) < 0.2
    assert results["finite"] == [True] * 3
    assert results["class_ranks"] is None  # 63 pixels are too few for fc8
    assert results["settings"]["layer"] == "conv1" and results["settings"]["seed"] == 0
    assert {"jax", "flax", "optax", "invert_jax"} <= set(results["versions"])
    assert results["device"]["platform"] == "cpu"

    arrays = np.load(tmp_path / "preimages.npz", allow_pickle=False)
    assert arrays["images"].shape == (3, 63, 63, 3) and arrays["energies"].shape == (3, 100, 4)
    # The numbers told are those of the pictures kept.
    photograph = ij.example_image("chelsea", size=63)
    conv1 = ij.alexnet(layer="conv1")
    target = np.asarray(conv1(photograph))
    for image, error in zip(arrays["images"], results["errors"], strict=True):
        assert np.linalg.norm(conv1(image) - target) / np.linalg.norm(target) == pytest.approx(error, rel=1e-3)
        assert ij.metrics.psnr(image, photograph) > 20
    for name in ("montage.png", "spread.png", "convergence.png", "evolution.gif"):
        picture = ij.load_image(tmp_path / name)
        assert picture.std() > 5, f"{name} is blank"
    assert not [p for p in tmp_path.iterdir() if p.suffix == ".tmp"]


def test_invert_image_takes_a_file_a_mask_and_hogb(tmp_path):
    ij.save_image(tmp_path / "photo.png", ij.example_image("coffee", size=48))
    done = run(
        "invert_image",
        f"--workdir={tmp_path / 'out'}",
        f"--image={tmp_path / 'photo.png'}",
        "--representation=hogb",
        "--mask=central:4",
        "--num_restarts=2",
        "--chunk_size=2",
        "--stages=4e-3x20",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["image"] == "photo" and results["representation"] == "hogb"
    assert np.load(tmp_path / "out" / "preimages.npz")["images"].shape == (2, 48, 48, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--image=nowhere.png"], ["no file", "nowhere.png"]),
        (["--num_restarts=0"], ["num_restarts", "0"]),
        (["--sigma=-1"], ["sigma", "-1"]),
        (["--mask=corner"], ["corner", "central:K"]),
        (["--stages=fast"], ["fast", "RATExSTEPS"]),
        (["--representation=hog", "--weights=x.npz"], ["--weights", "hog"]),
        (["--layer=conv1", "--size=5"], ["11 x 11", "5 x 5"]),
        (["--recipe=pyramid", "--stages=1e-3x2"], ["--stages", "--recipe=pyramid"]),
    ],
)
def test_invert_image_refuses_before_it_makes_anything(tmp_path, arguments, words):
    with flagsaver.flagsaver():
        invert_image._define_flags()
        flags.FLAGS(["invert_image", f"--workdir={tmp_path / 'out'}", *arguments])
        with pytest.raises((ValueError, OSError)) as told:
            invert_image.main()
    assert all(word in str(told.value) for word in words), told.value
    assert not list(tmp_path.glob("out/*"))


def test_flags_choose_and_change_the_recipe():
    def recipe(*arguments):
        with flagsaver.flagsaver():
            invert_image._define_flags()
            flags.FLAGS(["invert_image", *arguments])
            return common.recipe(flags.FLAGS)

    assert recipe("--layer=fc8") == ij.recipes.for_layer("fc8")
    assert recipe("--layer=fc8", "--recipe=pyramid") == ij.recipes.laplacian_pyramid("fc8")
    assert recipe("--representation=hog") == ij.recipes.shallow()
    changed = recipe("--layer=fc8", "--recipe=pyramid", "--loss=l1_distance", "--lambda_tv=2")
    assert (changed.loss, changed.lambda_tv) == (ij.losses.normalized_l1, 2)
    assert recipe("--stages=4e-3x5").steps == (5,)


@pytest.mark.parametrize(
    ("arguments", "words"), [(["--image=nowhere.png"], ["no file", "nowhere.png"]), (["stray"], ["stray", "--help"])]
)
def test_invert_image_says_what_is_wrong_in_a_sentence(tmp_path, arguments, words):
    done = run("invert_image", f"--workdir={tmp_path / 'out'}", *arguments)
    assert done.returncode not in (0, None)
    told = " ".join(done.stdout.split())
    assert "Traceback" not in told + done.stderr
    for word in words:
        assert word in told
    assert not list(tmp_path.glob("out/*"))


def test_invert_image_help_reads_well():
    done = run("invert_image", "--help")
    for word in (
        "montage.png",
        "--layer",
        "--mask",
        "--lambda_tv",
        "--num_restarts",
        "--chunk_size",
        "--weights",
        "--seed",
    ):
        assert word in done.stdout


def test_table1_tells_the_errors_of_the_inversions_that_it_keeps(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name in ("chelsea", "coffee", "rocket"):
        ij.save_image(folder / f"{name}.png", ij.example_image(name, size=64))
    out = tmp_path / "out"
    arguments = (f"--workdir={out}", f"--images={folder}", "--num_images=3", "--size=64", "--representations=hogb")
    done = run("mahendran_vedaldi.table1", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((out / "results.json").read_text())
    assert results["images"] == ["chelsea", "coffee", "rocket"]

    hogb = ij.hog(binning="bilinear", variant="released")
    images = [ij.load_image(folder / f"{name}.png", gray=True) for name in results["images"]]
    targets = np.stack([np.asarray(hogb(image), np.float64).ravel() for image in images])
    (sweep,) = map(ij.load_sweep, out.glob("inversions/*"))
    codes = np.stack([np.asarray(hogb(sweep[which].image[0]), np.float64).ravel() for which in sorted(sweep)])
    gaps = np.linalg.norm(codes - targets, axis=-1)
    scale = np.mean([np.linalg.norm(targets[i] - targets[j]) for i, j in ((0, 1), (0, 2), (1, 2))])
    np.testing.assert_allclose(results["errors"]["hogb"]["text"], gaps / scale, rtol=1e-4)
    assert max(results["errors"]["hogb"]["text"]) < 0.25
    assert f"{100 * np.mean(gaps / scale):.1f} ± " in (out / "table.md").read_text()
    assert ij.load_image(out / "table1.png").std() > 5


def test_throughput_is_of_each_number_of_restarts(tmp_path):
    done = run("throughput", f"--workdir={tmp_path}", "--layer=conv1", "--num_restarts=1,3", "--steps=2", "--repeats=1")
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert [row["num_restarts"] for row in results["rows"]] == [1, 3] and results["programs"] == 1
    assert all(0 < row["seconds_per_restart_step"] < 100 and row["peak_gigabytes"] > 0.1 for row in results["rows"])
    assert ij.load_image(tmp_path / "throughput.png").std() > 5


def test_benchmark_times_hog_against_its_plain_form(tmp_path):
    done = run("benchmark", f"--workdir={tmp_path}", "--layers=", "--gray=hog", "--repeats=1", "--steps=1")
    assert done.returncode == 0, done.stdout + done.stderr
    gray = json.loads((tmp_path / "results.json").read_text())["gray"]["hog"]
    assert gray["ratio"] == pytest.approx(gray["invert_jax"] / gray["plain"]) and gray["invert_jax"] > 0


@pytest.mark.parametrize("name", ["hog", "hogb", "dsift"])
def test_plain_forms_are_the_same_representations(name):
    image = ij.example_image("coffee", size=(83, 101), gray=True)
    ours, plain, limit = {
        "hog": (ij.hog(), lambda i: naive_jax.hog(i, binning="hard"), 1e-5),
        "hogb": (ij.hog(binning="bilinear"), lambda i: naive_jax.hog(i, binning="bilinear"), 1e-5),
        "dsift": (ij.dsift(), naive_jax.dsift, 1e-2),  # the exact angle, not VLFeat's cubic
    }[name]
    with jax.numpy_rank_promotion("allow"):  # plain forms are written as users write
        want = np.asarray(plain(image))
    assert np.linalg.norm(ours(image) - want) / np.linalg.norm(want) < limit
