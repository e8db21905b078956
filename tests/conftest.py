"""Strict everywhere: rank promotion raises, warnings are errors (pyproject.toml), 8 forced host devices."""

import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"

import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
pytest.register_assert_rewrite("networks", "refusals")


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


@pytest.fixture(scope="module")
def counted():
    """A counter of traces after its first run of restarts, and what that run found."""
    from restarts import Counter, sample_small  # here, since it computes when imported

    counter = Counter()
    found = sample_small(counter.representation())
    assert np.all(found.finite)
    return counter, found
