"""Strict everywhere: rank promotion raises, warnings are errors (pyproject.toml), 8 forced host devices."""

import os
import tempfile

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"

import jax
import numpy as np
import pytest

import invert_jax as ij

jax.config.update("jax_numpy_rank_promotion", "raise")
pytest.register_assert_rewrite("networks", "refusals", "runners")


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


@pytest.fixture
def asked(monkeypatch):
    """What runners ask of a sweep: the recipe and mask of every restart; noise about gray is what they get."""
    calls = []

    def make(worker, group, lanes, leaves, seconds):
        problem, (jobs, shape) = group.problem, ([job for job in lanes if job], (len(lanes), *group.shape))
        calls.extend((problem.recipe, problem.mask) for _ in jobs)
        keys = [ij.sweeps.restart_key(r, problem.images[image]) for image, r in (job or jobs[0] for job in lanes)]
        found = ij.Preimage(
            image=128 + 40 * np.stack([jax.random.normal(key, group.shape) for key in keys]),
            features=np.zeros(shape, np.float32),
            error=0.1 + 0.1 * np.stack([jax.random.uniform(key) for key in keys]),
            energy=np.ones((len(lanes), problem.recipe.num_steps, 4), np.float32),
            finite=np.ones(len(lanes), bool),
            evaluations=np.full(len(lanes), problem.recipe.num_steps, np.int32),
        )
        worker._keep(problem.name, lanes, found, 1.0)

    monkeypatch.setattr(ij.sweeps.work.Worker, "make", make)
    return calls


@pytest.fixture(scope="session")
def three(tmp_path_factory):
    """What the small sweep finds, three restarts of every photograph, undisturbed."""
    import small_sweeps  # here, since it computes when imported

    return small_sweeps.run(tmp_path_factory.mktemp("three"))


@pytest.fixture(scope="session")
def gray(tmp_path_factory):
    """HOG and HOGb of three small photographs, swept and measured."""
    from runners import GRAY_SWEEP, run_module

    workdir = tmp_path_factory.mktemp("gray")
    run_module("sample_invariances", workdir, *GRAY_SWEEP)
    run_module("invariance_curves", workdir, *GRAY_SWEEP)
    return workdir


@pytest.fixture
def kept():
    """How many restarts a runner has kept in a work folder."""

    def count(workdir):
        sweeps = [ij.load_sweep(folder) for folder in workdir.glob("inversions/*") if folder.is_dir()]
        return sum(len(restarts.error) for sweep in sweeps for restarts in sweep.values())

    return count


@pytest.fixture(scope="module")
def counted():
    """A counter of traces after its first run of restarts, and what that run found."""
    from restarts import Counter, sample_small  # here, since it computes when imported

    counter = Counter()
    found = sample_small(counter.representation())
    assert np.all(found.finite)
    return counter, found
