"""Kills a sweep at random moments, goes on each time, and compares the end with a sweep that nobody killed.

    python tests/kill_sweep.py --kills=20

Prints what it does; the exit status is 0 if every number is the same to the bit.
"""

import argparse
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import numpy as np

import invert_jax as ij

ROOT = pathlib.Path(__file__).parents[1]
COMMAND = [
    *(sys.executable, "-m", "experiments.sample_invariances", "--representations=hog", "--num_images=2"),
    *("--num_restarts=6", "--gray_size=48", "--chunk_size=2", "--checkpoint_seconds=0.2"),
]


def main(kills: int, seed: int) -> int:
    """How many arrays differ."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = pathlib.Path(folder, "whole"), pathlib.Path(folder, "killed")
        cache = f"--compilation_cache={folder}/cache"
        began = time.monotonic()
        subprocess.run([*COMMAND, cache, f"--workdir={whole}"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        print(f"not killed: {time.monotonic() - began:.0f} s", flush=True)
        began = time.monotonic()
        subprocess.run([*COMMAND, cache, f"--workdir={folder}/again"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        length = time.monotonic() - began
        done = 0
        while done < kills:
            run = subprocess.Popen([*COMMAND, cache, f"--workdir={killed}"], cwd=ROOT, stdout=subprocess.DEVNULL)
            try:
                run.wait(chance.uniform(0.2, 1.0) * length)
                if run.returncode:
                    return run.returncode
                print("it came to its end; another sweep", flush=True)
                if differing := _differing(whole, killed):
                    return differing
                killed = pathlib.Path(folder, f"killed after {done}")
            except subprocess.TimeoutExpired:
                run.kill()
                run.wait()
                done += 1
                there = len(list(killed.rglob("*.npz")))
                print(f"kill {done} of {kills}: {there} files of arrays are there", flush=True)
        subprocess.run([*COMMAND, cache, f"--workdir={killed}"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        differing = _differing(whole, killed)
        left = [path for path in killed.rglob("*") if path.suffix == ".tmp" or path.name == "set_aside"]
    print(f"{differing} arrays differ; left behind: {len(left)} files")
    return differing + len(left)


def _differing(whole, killed):
    expected, found = ij.load_sweep(whole), ij.load_sweep(killed)
    if list(found) != list(expected):
        return 1
    return sum(
        not np.array_equal(array, other)
        for which in expected
        for name, array, other in zip(ij.sweeps.Restarts._fields, found[which], expected[which], strict=True)
        if name != "seconds"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sys.exit(main(arguments.kills, arguments.seed))
