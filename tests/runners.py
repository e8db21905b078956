"""Running runners inside a test, and reading what they wrote."""

import importlib
import json

from absl import flags
from absl.testing import flagsaver

GRAY_SWEEP = ["--num_images=3", "--num_restarts=3", "--gray_size=32", "--representations=hog,hogb"]


def module(paper, runner):
    return importlib.import_module(f"experiments.{paper}.{runner}")


def run(paper, runner, workdir, *arguments):
    """What a paper's runner wrote into results.json, run whole with these flags."""
    run_module(f"{paper}.{runner}", workdir, *arguments)
    return json.loads((workdir / "results.json").read_text())


def run_module(name, workdir, *arguments):
    """Runs a module of experiments whole with these flags."""
    found = importlib.import_module(f"experiments.{name}")
    with flagsaver.flagsaver():  # takes the runner's flags away again
        found._define_flags()
        flags.FLAGS([name, f"--workdir={workdir}", *arguments])
        found.main()


def numbers(value):
    if isinstance(value, dict | list):
        return [number for each in (value.values() if isinstance(value, dict) else value) for number in numbers(each)]
    return [value] if isinstance(value, int | float) else []


def rows(workdir):
    lines = [line for line in (workdir / "table.md").read_text().splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def files(workdir):
    return {
        path.relative_to(workdir): (path.stat().st_mtime_ns if path.suffix == ".npz" else path.read_bytes())
        for path in workdir.rglob("*")
        if path.is_file()
    }


def told(workdir):
    """What invariance_curves has measured there."""
    return json.loads((workdir / "invariance" / "results.json").read_text())
