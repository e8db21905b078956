"""Sweeps in other processes: killed and resumed, several that share a folder, one that ends before the others."""

import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

import pytest
from small_sweeps import assert_same

import invert_jax as ij

pytestmark = pytest.mark.slow
SCRIPT = pathlib.Path(__file__).with_name("run_sweep.py")


def start(workdir, *arguments):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    command = [sys.executable, str(SCRIPT), str(workdir), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def start_two(workdir):
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        port = listener.getsockname()[1]
    return [start(workdir, f"localhost:{port}", process) for process in range(2)]


def finished(process):
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def await_start(workdir):
    """Until both processes are at work, and one has finished something."""
    deadline = time.monotonic() + 300
    while len(list(workdir.glob(".lock-[01]"))) < 2 or not list(workdir.glob("restarts/*/*.npz")):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    for name in ("compiles", "timed"):
        workdir, start_time = tmp_path_factory.mktemp(name), time.monotonic()
        assert finished(start(workdir)) == (0, "")
    return ij.load_sweep(workdir), time.monotonic() - start_time


def test_killed_at_any_moment_a_sweep_resumes_to_the_same_bits(undisturbed, tmp_path):
    expected, seconds = undisturbed
    num_kills, chance, done, sweeps = int(os.environ.get("KILLS", "4")), random.Random(0), 0, 0
    while done < num_kills:
        workdir = tmp_path / str(sweeps)
        process = start(workdir)
        try:
            process.wait(chance.uniform(0.2, 1.0) * seconds)
            assert finished(process) == (0, "")
            assert_same(ij.load_sweep(workdir), expected)
            sweeps += 1
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            done += 1
            print(f"kill {done}: {len(list(workdir.glob('restarts/*/*.npz')))} files in {workdir.name}", flush=True)
    assert finished(start(workdir)) == (0, "")
    assert_same(ij.load_sweep(workdir), expected)
    assert not list(tmp_path.rglob("*.tmp")) and not list(tmp_path.rglob("quarantine"))


def test_two_processes_make_what_one_makes(undisturbed, tmp_path):
    results = [finished(process) for process in start_two(tmp_path)]
    assert results == [(0, ""), (0, "")]
    assert_same(ij.load_sweep(tmp_path), undisturbed[0])
    assert not list(tmp_path.glob("restarts/*/*+*.npz"))


@pytest.mark.parametrize("stopped", [0, 1])
def test_sigterm_ends_one_process_and_the_other_says_so(stopped, undisturbed, tmp_path):
    processes = start_two(tmp_path)
    await_start(tmp_path)
    processes[stopped].send_signal(signal.SIGTERM)
    (code, output), (other_code, other_output) = (finished(processes[p]) for p in (stopped, 1 - stopped))
    assert code == 143 and output == "Stopped.\n"
    assert (
        other_code == 1 and other_output.startswith(f"Process {stopped} of 2 ended") and other_output.count("\n") == 1
    )
    assert [finished(process) for process in start_two(tmp_path)] == [(0, ""), (0, "")]
    assert_same(ij.load_sweep(tmp_path), undisturbed[0])
