"""Safe derivatives against NumPy and finite differences; files that are written whole or not at all."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import processes
import pytest
from oracles import differences
from refusals import refused

from invert_jax._util import atomic_io, locks
from invert_jax._util.safe_math import safe_abs, safe_angle, safe_hypot, safe_norm, safe_power

POINTS, OTHERS = (np.random.default_rng(seed).normal(size=(3, 4)).astype(np.float32) for seed in (0, 1))

# --- safe_math ---


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 1)])
def test_norm_is_numpys(axis):
    expected = np.sqrt((POINTS.astype(np.float64) ** 2).sum(axis))
    np.testing.assert_allclose(safe_norm(POINTS, axis), expected, rtol=1e-6)


def test_hypot_angle_and_power_are_numpys():
    np.testing.assert_allclose(safe_hypot(POINTS, OTHERS), np.hypot(POINTS, OTHERS), rtol=1e-6)
    np.testing.assert_allclose(safe_angle(POINTS, OTHERS), np.arctan2(OTHERS, POINTS), rtol=1e-6)
    for exponent in (0.25, 0.5, 1, 1.5, 3, 6.0):
        v = np.append(np.abs(POINTS), 0).astype(np.float32)
        np.testing.assert_allclose(safe_power(v, exponent), v.astype(np.float64) ** exponent, rtol=1e-5)


FUNCTIONS = {
    "norm": (safe_norm, lambda x: np.sqrt((x**2).sum())),
    "norm of rows": (lambda x: safe_norm(x, 1) ** 3, lambda x: (x**2).sum(1) ** 1.5),
    "hypot": (lambda x: safe_hypot(x, OTHERS), lambda x: np.hypot(x, OTHERS)),
    "hypot, second": (lambda x: safe_hypot(OTHERS, x), lambda x: np.hypot(OTHERS, x)),
    "angle": (lambda x: safe_angle(x, OTHERS), lambda x: np.arctan2(OTHERS, x)),
    "angle, second": (lambda x: safe_angle(OTHERS, x), lambda x: np.arctan2(x, OTHERS)),
    "power .5": (lambda x: safe_power(x * x + 0.1, 0.5), lambda x: (x * x + 0.1) ** 0.5),
    "power 1": (lambda x: safe_power(x * x, 1), lambda x: x * x),
    "power 2.5": (lambda x: safe_power(x * x, 2.5), lambda x: (x * x) ** 2.5),
    "abs": (safe_abs, np.abs),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_finite_differences_in_both_modes_and_under_vmap(name):
    function, oracle = FUNCTIONS[name]
    expected = differences.gradient(lambda x: np.sum(oracle(x)), POINTS)

    @jax.jit
    def gradients(x):
        def total(x):
            return jnp.sum(function(x))

        batched = jax.vmap(jax.grad(total))(jnp.stack([x, x]))
        return jax.grad(total)(x), jax.jacfwd(total)(x), *batched

    for gradient in gradients(POINTS):
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


ORIGIN = {
    "norm": safe_norm,
    "norm of rows": lambda x: safe_norm(x, 1),
    "hypot": lambda x: safe_hypot(x, x),
    "angle": lambda x: safe_angle(x, x),
    "power .5": lambda x: safe_power(x, 0.5),
    "power 3": lambda x: safe_power(x, 3),
    "abs": safe_abs,
}


@pytest.mark.parametrize("name", ORIGIN)
def test_gradients_are_zero_at_the_origin_in_both_modes(name):
    @jax.jit
    def both_modes(x):
        return *jax.jvp(ORIGIN[name], (x,), (jnp.ones((3, 4)),)), jax.grad(lambda x: jnp.sum(ORIGIN[name](x)))(x)

    for array in both_modes(jnp.zeros((3, 4))):
        assert np.all(np.asarray(array) == 0)


def test_one_zero_among_others_does_not_disturb_them():
    rows = POINTS.copy()
    rows[1] = 0
    gradient = np.asarray(jax.grad(lambda x: jnp.sum(safe_norm(x, 1)))(rows))
    assert np.all(gradient[1] == 0)
    others = [0, 2]
    np.testing.assert_allclose(gradient[others], rows[others] / np.linalg.norm(rows[others], axis=1)[:, None], 1e-5)
    assert float(jax.grad(lambda v: safe_power(v, 1))(0.0)) == 1


# --- atomic_io ---


@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_a_file_is_replaced(tmp_path, kind):
    for data in (b"first\r\n", b"", bytes(range(256))):
        atomic_io.write_bytes(kind(tmp_path / "a"), data)
        assert (tmp_path / "a").read_bytes() == data
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failing):
    atomic_io.write_bytes(tmp_path / "a", b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="disk full"):
        atomic_io.write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


def test_the_longest_name_and_a_missing_folder(tmp_path):
    atomic_io.write_bytes(tmp_path / ("a" * 255), b"x")
    assert os.listdir(tmp_path) == ["a" * 255]
    with refused("folder", FileNotFoundError):
        atomic_io.write_bytes(tmp_path / "no" / "a.txt", b"x")


# --- other systems ---


def test_a_link_is_no_lock(tmp_path):
    (tmp_path / "precious").write_text("text")
    (tmp_path / "lock").symlink_to("precious")
    with refused("symbolic link", OSError), locks.locked(tmp_path / "lock"):
        pass
    assert (tmp_path / "precious").read_text() == "text"


def test_locks_of_a_system_without_fcntl(tmp_path, monkeypatch):
    held = set()

    class Bytes:
        """Windows's locks of bytes, by the file that a descriptor is of."""

        LK_NBLCK = 2

        @staticmethod
        def locking(descriptor, mode, count):
            assert (mode, count) == (2, 1)
            if (file := os.fstat(descriptor).st_ino) in held:
                raise PermissionError(13, "Permission denied")
            held.add(file)

    monkeypatch.setattr(locks, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", Bytes)
    with locks.locked(tmp_path / "lock"):
        assert locks.is_locked(tmp_path / "lock") and not locks.is_locked(tmp_path / "other")
        with pytest.raises(BlockingIOError, match="Another process"), locks.locked(tmp_path / "lock"):
            pass
        monkeypatch.setattr(locks, "_POLL", 0)
        monkeypatch.setattr(locks.time, "sleep", lambda _: held.clear())
        with locks.locked(tmp_path / "lock", wait=True):
            assert held


WITHOUT_FCNTL = """
import os, sys
sys.modules["fcntl"] = None
del os.sysconf, os.O_NOFOLLOW
import invert_jax as ij
image = ij.example_image(size=32, gray=True)
hog = ij.sweeps.Case("hog", ij.hog(), ij.recipes.shallow(), {"cat": image})
assert ij.sweeps.auto_chunk_size(ij.sweeps.make_sweep([hog], num_restarts=1), largest=2) == 2
"""


def test_the_package_is_imported_where_there_is_no_fcntl():
    subprocess.run([sys.executable, "-c", WITHOUT_FCNTL], check=True, env=processes.environment())
