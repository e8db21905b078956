"""Strict everywhere: rank promotion raises, warnings are errors (pyproject.toml), 8 forced host devices."""

import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"

import jax
import numpy as np
import pytest

import invert_jax as ij

jax.config.update("jax_numpy_rank_promotion", "raise")
pytest.register_assert_rewrite("networks", "refusals", "runners")


@pytest.fixture
def key():
    """A fixed random key."""
    return jax.random.key(0)


@pytest.fixture
def rng():
    """A fixed generator of NumPy."""
    return np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, which relative paths start from."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    """A folder of three photographs: a green one, and two that are not."""
    folder = tmp_path_factory.mktemp("photographs")
    for name in ("astronaut", "chelsea", "coffee"):
        image = ij.sample_image(name, size=(48, 64))
        ij.save_image(folder / f"{name}.png", image * (0.2, 1.0, 0.2) if name == "astronaut" else image)
    return folder


@pytest.fixture
def asked(monkeypatch):
    """What runners ask of `ij.invert`: the recipe and mask of every call; noise about gray is what they get."""
    calls = []

    def invert(key, representation, target, recipe, *, image_shape, mask):
        ij.objective.make(representation, target, recipe, image_shape=image_shape, mask=mask)  # refuses what is wrong
        calls.append((recipe, mask))
        image = 128 + 40 * np.asarray(jax.random.normal(key, image_shape))
        error = np.float32(0.1) + 0.1 * np.asarray(jax.random.uniform(key))
        energy = np.ones((recipe.num_steps, 4), np.float32)
        return ij.Preimage(image, target, error, energy, np.asarray(True), np.int32(recipe.num_steps))

    monkeypatch.setattr(ij, "invert", invert)
    return calls


@pytest.fixture(scope="module")
def counted():
    """A counter of traces after its first run of restarts, and what that run found."""
    from restarts import Counter, sample_small  # here, since it computes when imported

    counter = Counter()
    found = sample_small(counter.representation())
    assert np.all(found.finite)
    return counter, found
