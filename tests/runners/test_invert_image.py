"""The main job: numbers that are those of the images, saved before any picture and whatever happens after."""

import signal
import sys

import jax
import numpy as np
import processes
import pytest
import running
import weight_writers as write
from networks import NARROW, random_params
from PIL import Image

import invert_jax as ij

pytestmark = pytest.mark.slow

PICTURES = ("montage.png", "spread.png", "convergence.png", "evolution.gif")
HOG = ("--representation=hog", "--size=32", "--chunk_size=2")


def run(workdir, *arguments):
    return running.run("invert_image", workdir, *arguments)


def test_conv1_of_a_photograph(tmp_path):
    arguments = ("--layer=conv1", "--size=63", "--num_restarts=3", "--chunk_size=2", "--recipe=mahendran_vedaldi")
    said, status = running.end(running.start("invert_image", f"--workdir={tmp_path}", *arguments, "--stages=4e-3x60"))
    assert status == 0, said
    results = running.results(tmp_path)
    assert results["complete"] and results["diverged"] == 0 and max(results["errors"]) < 0.3
    assert results["class_ranks"] is None  # 63 pixels are too few for fc8
    assert results["settings"]["layer"] == "conv1" and results["device"]["platform"] == "cpu"

    photograph, conv1 = ij.example_image("chelsea", size=63), ij.pretrained("alexnet", layer="conv1")
    target, recipe = np.asarray(conv1(photograph)), ij.recipes.mahendran_vedaldi(lambda_tv=0.5, stages=((4e-3, 60),))
    shape = photograph.shape
    same = ij.sample(jax.random.key(0), conv1, target, recipe, image_shape=shape, num_restarts=3, chunk_size=2)
    with np.load(tmp_path / "preimages.npz", allow_pickle=False) as arrays:
        np.testing.assert_allclose(arrays["images"], same.image, atol=0.05)
        for image, error in zip(arrays["images"], results["errors"], strict=True):
            assert np.linalg.norm(conv1(image) - target) / np.linalg.norm(target) == pytest.approx(error, rel=1e-3)
    assert all(ij.load_image(tmp_path / name).std() > 5 for name in PICTURES)


def test_names_are_data_not_markup(tmp_path, capsys):
    name = "a$b$ [red]c"
    Image.fromarray(ij.example_image("coffee", size=32).astype(np.uint8)).save(tmp_path / f"{name}.png")
    arguments = ("--representation=hogb", "--mask=central:3", "--num_restarts=2", "--stages=4e-3x20")
    assert run(tmp_path / "out", f"--image={tmp_path / name}.png", *arguments)["image"] == name
    assert name in capsys.readouterr().out
    assert all((tmp_path / "out" / picture).exists() for picture in PICTURES)


@pytest.mark.parametrize("mask", [(), ("--mask=central:2",)])
def test_a_flat_photograph_has_no_relative_error_under_hog(tmp_path, capsys, mask):
    Image.new("L", (32, 32), 128).save(tmp_path / "flat.png")
    results = run(tmp_path, f"--image={tmp_path / 'flat.png'}", *HOG, *mask, "--num_restarts=2", "--stages=4e-3x3")
    assert results["errors"] == [None, None] and results["diverged"] == 0
    shown = capsys.readouterr().out
    assert "zero at every neuron" in shown and "not finite" not in shown


def test_numbers_are_saved_when_pictures_cannot_be_drawn(tmp_path, monkeypatch, capsys):
    for module in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    results = run(tmp_path, *HOG, "--num_restarts=1", "--stages=4e-3x3")
    assert len(results["errors"]) == 1 and "experiments" in capsys.readouterr().out
    assert (tmp_path / "montage.png").exists() and not (tmp_path / "convergence.png").exists()


def test_every_restart_diverged(tmp_path, capsys):
    arguments = *HOG, "--num_restarts=2", "--stages=1e30x3", "--recipe=mahendran_vedaldi"
    assert running.status("invert_image", tmp_path, *arguments) == 1
    assert running.results(tmp_path)["diverged"] == 2 and "diverged" in capsys.readouterr().out
    assert "NaN" not in (tmp_path / "results.json").read_text()


@pytest.mark.parametrize("platform", ["cuda", "nowhere"])
def test_a_platform_that_is_not_there_is_named(tmp_path, monkeypatch, platform):
    environment = {**processes.environment(), "JAX_PLATFORMS": platform}
    monkeypatch.setattr(running, "environment", lambda devices: environment)
    said, status = running.end(running.start("invert_image", f"--workdir={tmp_path / 'out'}", *HOG))
    assert status == 1 and repr(platform) in said and "JAX_PLATFORMS" in said
    assert not list(tmp_path.rglob("*.json"))


def test_terminated_it_has_the_finished_restarts(tmp_path):
    process = running.start("invert_image", f"--workdir={tmp_path}", *HOG, "--num_restarts=2000", "--stages=4e-3x200")
    said, status = running.signal_after(process, "results.json", tmp_path, signal.SIGTERM)
    assert status == 143, said
    with np.load(tmp_path / "preimages.npz", allow_pickle=False) as arrays:
        count = len(running.results(tmp_path)["errors"])
        assert not running.results(tmp_path)["complete"] and 2 <= count <= len(arrays["errors"]) < 2000


SHORT = ("--recipe=mahendran_vedaldi", "--stages=4e-4x3", "--num_restarts=1", "--size=48")


def test_networks_by_name_and_by_file(tmp_path):
    params = random_params(NARROW)
    write.caffemodel(tmp_path / "a.caffemodel", params, "bvlc_alexnet")
    ij.save_params(tmp_path / "a.npz", params)
    runs = {
        "vgg16": ("--weights=vgg16", "--layer=relu2_1"),
        "bvlc": (f"--weights={tmp_path}/a.caffemodel", "--layer=pool2"),
        "npz": (f"--weights={tmp_path}/a.npz", "--layer=norm2", "--architecture=bvlc_alexnet"),
        "default": ("--layer=relu3",),
        "without a download": ("--layer=norm2",),
    }
    found = {name: run(tmp_path / name, *SHORT, *arguments) for name, arguments in runs.items()}
    assert [found[name]["representation"] for name in ("vgg16", "bvlc", "default", "without a download")] == [
        "vgg16 relu2_1",
        "a pool2",
        "alexnet relu3",
        "bundled norm2",
    ]
    image = ij.example_image(size=48)
    phi = ij.alexnet(params, layer="pool2", architecture="bvlc_alexnet")
    with np.load(tmp_path / "bvlc" / "preimages.npz") as arrays:
        error = ij.metrics.relative_error(phi(arrays["images"][0]), phi(image))
    assert found["bvlc"]["errors"][0] == pytest.approx(float(error), rel=1e-3)


MODEL = """
import jax.numpy as jnp
import invert_jax as ij

def corner(params, image):
    return params * image[:8, :8]

def make():
    return ij.from_function(corner, jnp.float32(2), center=120)

def several():
    return ij.from_function(lambda params, image: {"a": image[:8], "b": image.mean((0, 1))})

constant = 3
def wrong():
    return corner
"""


def test_a_model_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "my_network.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    said, status = running.end(running.start("invert_image", "--help"))
    assert status == 1 and "--model" in said
    results = run(tmp_path / "out", "--model=my_network:make", *SHORT)
    assert results["representation"] == "my_network:make" and results["class_ranks"] is None
    run(tmp_path / "gray", "--model=my_network:make", "--gray", *SHORT)
    run(tmp_path / "several", "--model=my_network:several", *SHORT)
    with np.load(tmp_path / "gray" / "preimages.npz") as arrays:
        assert arrays["images"].shape == (1, 48, 48, 1)
    run_sweep = ("--model=my_network:make", "--num_images=2", "--num_restarts=1", "--size=32")
    running.run("sample_invariances", tmp_path / "sweep", *run_sweep, "--stages=4e-4x3")
    for flag, noun in [
        ("--model=my_network", "MODULE:FUNCTION"),
        ("--model=nowhere_at_all:make", "neither installed"),
        ("--model=my_network:constant", "no such function"),
        ("--model=my_network:wrong", "ij.Representation"),
        ("--model=my_network:several --mask=central:2", "choose one layer"),
        ("--model=my_network:make --layer=conv1", "drop it"),
        ("--model=my_network:make --representation=hog", "give one"),
        ("--gray", "--model"),
        ("--weights=vgg16 --layer=conv9", "conv5_3"),
        ("--weights=vgg16 --layer=conv1_1 --architecture=vgg16", "drop it"),
        ("--weights=resnet", "does not exist"),
    ]:
        with pytest.raises((ValueError, TypeError, FileNotFoundError), match=noun):
            run(tmp_path / "no", *flag.split())
    assert not (tmp_path / "no").exists()


MISTAKES = ("--image=nowhere.png", "--sigma=-1", "--mask=corner", "--stages=fast", "--cell_size=4")


@pytest.mark.parametrize("argument", MISTAKES)
def test_mistakes_end_before_anything_is_made(tmp_path, argument):
    with pytest.raises((ValueError, OSError), match=argument.strip("-").split("=")[argument.startswith("--image")]):
        run(tmp_path / "out", argument)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("argument", ["--image=nowhere.png", "stray", "--num_restarts=0"])
def test_a_mistake_is_a_sentence(tmp_path, argument):
    _, status = running.end(running.start("invert_image", f"--workdir={tmp_path / 'out'}", argument))
    assert status in (1, 2) and not (tmp_path / "out").exists()
