"""A runner killed at any moment and started again gives what an undisturbed one gives, byte for byte."""

import shutil
import signal
import subprocess
import sys
import time

import numpy as np
from processes import ROOT, environment

TABLE1 = (
    "experiments.mahendran_vedaldi.table1",
    "--size=48",
    "--num_images=3",
    "--representations=hogb,dsift_vlfeat",
)


def start(workdir):
    command = [sys.executable, "-m", *TABLE1, f"--workdir={workdir}"]
    return subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def complete(workdir):
    process = start(workdir)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said.decode()
    return said.decode()


def kept(workdir):
    return sorted(workdir.glob("inversions/*/restarts/*/*.npz"))


def test_killed_and_started_again(tmp_path):
    workdir = tmp_path / "out"
    complete(workdir)
    wanted = {path.name: path.read_bytes() for path in workdir.iterdir() if path.is_file()}
    assert set(wanted) == {"results.json", "table.md", "table1.png"} and len(kept(workdir)) == 6
    shutil.rmtree(workdir)

    process = start(workdir)
    deadline = time.monotonic() + 200
    while len([path for path in kept(workdir) if "+" not in path.name]) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    survivors = {path: path.stat().st_mtime_ns for path in kept(workdir) if "+" not in path.name}
    assert 2 <= len(survivors) < 6 and not (workdir / "results.json").exists()

    # A file cut short, as another program or a failing disk may leave it, is told of and made again.
    damaged = next(iter(survivors))
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert "not a whole file of this sweep" in complete(workdir).replace("\n", " ")
    assert {path.name: path.read_bytes() for path in workdir.iterdir() if path.is_file()} == wanted
    for path, written in survivors.items():
        assert path == damaged or path.stat().st_mtime_ns == written
    assert np.load(damaged)["image"].shape == (1, 48, 48, 1)
