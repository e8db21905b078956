"""Strict everywhere: rank promotion raises, warnings are errors (pyproject.toml), 8 forced host devices."""

import os
import tempfile

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"

import jax
import numpy as np
import pytest

import invert_jax as ij

jax.config.update("jax_numpy_rank_promotion", "raise")
pytest.register_assert_rewrite("networks", "refusals")


def pytest_configure(config):
    """What is compiled once serves every worker of the run, and the processes that tests start."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # before there are workers
        folder = tempfile.TemporaryDirectory(prefix="invert_jax_compiled_")
        config.add_cleanup(folder.cleanup)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


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
        image = ij.example_image(name, size=(48, 64))
        ij.save_image(folder / f"{name}.png", image * (0.2, 1.0, 0.2) if name == "astronaut" else image)
    return folder
