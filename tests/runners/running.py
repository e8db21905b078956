"""Runs runners whole, with tiny settings, in this process or in one of its own, and reads what they wrote."""

import importlib
import json
import subprocess
import sys
import time

from absl import flags
from absl.testing import flagsaver
from processes import ROOT, environment


def module(name):
    """A module of `experiments` or `benchmarks`; `invert_jax.cli` for "invert_image"."""
    package = name if name.startswith("benchmarks.") else f"experiments.{name}"
    return importlib.import_module("invert_jax.cli" if name == "invert_image" else package)


def program(name):
    """What has `define_flags` and `main`: the figure or table of a module, or the module."""
    found = module(name)
    return getattr(found, "FIGURE", None) or getattr(found, "TABLE", found)


def parsed(function, name, *arguments):
    """What a function returns when a runner has these flags."""
    with flagsaver.flagsaver():  # removes the runner's flags again
        program(name).define_flags()
        flags.FLAGS([name, *arguments])
        return function()


def status(name, workdir, *arguments):
    """The exit status of a runner with these flags; an error is raised."""
    main = module(name).invert_photograph if name == "invert_image" else program(name).main
    return parsed(main, name, f"--workdir={workdir}", *arguments) or 0


def run(name, workdir, *arguments):
    """results.json of a runner with these flags."""
    assert status(name, workdir, *arguments) == 0
    return results(workdir)


def results(workdir):
    return json.loads((workdir / "results.json").read_text())


def start(name, *arguments, devices=1):
    """A runner in a process of its own, from the root of the checkout."""
    command = [sys.executable, "-m", f"experiments.{name}", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment(devices), **pipes)


def end(process):
    """What a process printed, and its exit status; never a traceback."""
    said = process.communicate(timeout=120)[0]
    assert "Traceback" not in said, said
    return said, process.returncode


def signal_after(process, pattern, folder, number):
    """Sends a signal once a file appears in a folder."""
    while not list(folder.rglob(pattern)) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    return end(process)


def numbers(value):
    """All numbers in a JSON value."""
    if isinstance(value, dict | list):
        return [number for entry in (value.values() if isinstance(value, dict) else value) for number in numbers(entry)]
    return [value] if isinstance(value, int | float) else []


def rows(workdir):
    """The cells of table.md below the header."""
    lines = [line for line in (workdir / "table.md").read_text().splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
