"""A sweep as data: what is refused before anything runs, settings in words, slots and shares."""

import concurrent.futures
import contextlib
import dataclasses
import functools
import socket
import time

import jax
import numpy as np
import optax
import pytest
from small_sweeps import CASES, IMAGES, RECIPE, make

import invert_jax as ij
from invert_jax import sweeps
from invert_jax._util import distributed
from invert_jax.sweeps import spec

HOG = CASES[1]


def changed(**fields):
    return [dataclasses.replace(HOG, **fields)]


@pytest.mark.parametrize(
    ("change", "noun"),
    [
        ({"cases": []}, "cases"),
        ({"cases": [HOG] * 2}, "hog, hog"),
        ({"cases": changed(images={})}, "photographs"),
        ({"cases": changed(images={"x": np.full((24, 24, 1), np.nan)})}, "photograph x"),
        ({"cases": changed(images={"x": np.zeros((24, 24))})}, "image"),
        ({"cases": changed(mask=np.ones((2, 2), bool))}, "mask"),
        ({"cases": changed(name="x" * 300)}, "name"),
        ({"cases": changed(images={"": IMAGES["coffee"]})}, "name"),
        ({"cases": changed(images={"\u540d" * 23: IMAGES["coffee"]})}, "takes 207 letters, percent-encoded"),
        ({"num_restarts": 0}, "num_restarts"),
        ({"seed": 1.5}, "seed"),
        ({"seed": "1"}, "seed"),
        ({"dtype": "int8"}, "dtype"),
    ],
)
def test_a_sweep_is_checked_before_anything_runs(change, noun):
    with pytest.raises(ValueError, match=noun):
        sweeps.make_sweep(**{"cases": CASES, "num_restarts": 3, **change})


def test_every_change_is_in_the_settings():
    def settings(**fields):
        words, code = spec.describe(spec.Sweep(tuple(changed(**fields)), 1, 0, "float32"))
        return words | code

    for fields, key in [
        ({"recipe": RECIPE.reweight(tv=6.0)}, "recipe.priors[1].weight"),
        ({"recipe": dataclasses.replace(RECIPE, stages=RECIPE.stages[:1])}, "recipe.stages[1].rate"),
        ({"recipe": dataclasses.replace(RECIPE, optimizer=optax.sgd)}, "recipe.optimizer"),
        ({"recipe": dataclasses.replace(RECIPE, loss=lambda f, t, m: 0.0)}, "function <lambda>"),
        ({"representation": ij.hog(num_orientations=8)}, "representation"),
        ({"representation": dataclasses.replace(HOG.representation, center=np.ones(()))}, "weights"),
        ({"mask": np.ones((3, 3, 31), bool)}, "mask"),
        ({"images": {"chelsea": IMAGES["coffee"]}}, "photograph chelsea"),
    ]:
        assert settings(**fields).get(f"hog: {key}") != settings().get(f"hog: {key}"), key
    equal = ij.recipes.mahendran_vedaldi(lambda_tv=np.float64(5), stages=((4e-3, 50), (4e-4, 30)))
    assert settings(recipe=equal, representation=ij.hog()) == settings()


def test_slots_do_not_depend_on_what_else_is_in_the_batch():
    images, rng = ["a", "b", "c"], np.random.default_rng(0)
    jobs = [(image, r) for image in images for r in range(11)]
    for _ in range(20):
        chunk_size, devices = int(rng.choice([1, 2, 4, 8])), int(rng.integers(1, 5))
        left = [jobs[i] for i in rng.permutation(len(jobs))[: rng.integers(1, len(jobs))]]
        seen, expected = [], sorted(left)
        while left:
            slots, left = spec.assign_slots(left, images, chunk_size, devices)
            for slot, job in ((slot, job) for slot, job in enumerate(slots) if job):
                assert slot % chunk_size == spec.assign_slots([job], images, chunk_size, 1)[0].index(job)
                seen.append(job)
        assert sorted(seen) == expected


def test_batches_are_full_and_shares_even():
    for num_images, num_restarts, chunk_size in [(5, 8, 64), (100, 32, 256), (3, 1, 4)]:
        images = list(map(str, range(num_images)))
        jobs, batches = [(image, r) for image in images for r in range(num_restarts)], 0
        while jobs:
            (_, jobs), batches = spec.assign_slots(jobs, images, chunk_size, 1), batches + 1
        assert batches <= num_images * num_restarts / chunk_size + 1
    owners = spec.owners(make(32), 3, block=4)
    assert len(owners) == make(32).size
    for first in (0, 16):  # of those that are added later, too
        counts = np.bincount([owner for (_, _, r), owner in owners.items() if r >= first])
        assert len(counts) == 3 and np.ptp(counts) <= 8


def test_the_chunk_fits_the_memory():
    one = max(map(sweeps.bytes_per_restart, CASES))
    for memory, largest, chunk_size in [(5, 64, 4), (5, 2, 2), (0, 64, 1), (1000, 64, 64)]:
        assert sweeps.auto_chunk_size(make(), memory=one * memory, largest=largest) == chunk_size
    assert sweeps.auto_chunk_size(make(300)) == (4 if jax.default_backend() == "cpu" else 64)


def test_what_else_connects_to_the_coordinator_does_not_delay_the_processes(monkeypatch):
    monkeypatch.setattr(distributed, "_PATIENCE", 0.2)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *arguments: None)
    monkeypatch.setattr(jax.distributed, "shutdown", lambda: None)
    monkeypatch.setattr(jax.config, "update", lambda *arguments: None)
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    start, process = time.monotonic(), functools.partial(sweeps.initialize_distributed, f"localhost:{port}", 3)
    with concurrent.futures.ThreadPoolExecutor() as pool, contextlib.ExitStack() as strays:
        done = [pool.submit(process, 0)]
        for text in (b"", b"GET / HTTP", b"  "):
            while text is not None:
                with contextlib.suppress(ConnectionError):
                    strays.enter_context(socket.create_connection(("localhost", port))).sendall(text)
                    text = None
        done += [pool.submit(process, 1), pool.submit(process, 2)]
        assert [future.result(timeout=30) for future in done] == [None] * 3
    assert time.monotonic() - start < 10


def test_a_process_whose_partner_does_not_come_says_so():
    for process in range(2):
        with pytest.raises(TimeoutError, match="others"):
            sweeps.initialize_distributed("localhost:47113", 2, process, seconds=0.3)
    for coordinator, process in [("localhost", 0), ("localhost:1", 2)]:
        with pytest.raises(ValueError, match="process"):
            sweeps.initialize_distributed(coordinator, 2, process)
