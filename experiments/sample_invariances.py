"""Samples the invariances of many features: photographs x layers x recipes x random restarts, in a folder that resumes.

    python -m experiments.sample_invariances
    python -m experiments.sample_invariances --images=folder --num_images=100 --layers=conv1,conv5,fc8 --num_restarts=32
    python -m experiments.sample_invariances --representations=hog --size=48 --stages=4e-3x20        # seconds
    python -m experiments.sample_invariances --sweep=sweep.json
    python -m experiments.sample_invariances --num_restarts=64 --extend

A sweep is given by flags, or by a JSON file whose keys are flags' names. It is checked whole, and its size and memory
are printed, before anything runs. The same command resumes a folder, whenever and however it was stopped; --extend adds
restarts to a finished one. Writes into --workdir:

    restarts/CASE/PHOTOGRAPH.npz        image [R, H, W, C], error, energy [R, T]; `ij.load_sweep` reads them
    photographs/CASE-PHOTOGRAPH.png     the photograph alone, rounded to whole gray levels
    montages/CASE-PHOTOGRAPH.png        the photograph and its first restarts
    manifest.json, results.json         settings and versions; errors, failures, device

A case is a layer or representation, with its recipe where there are several. One process drives all devices of its
machine. For several machines start the command on each, with --coordinator, --num_processes and --process_id; they need
a folder that all of them see.
"""

import contextlib
import json
import signal
import time

import jax
import numpy as np
from absl import flags as absl_flags

import invert_jax as ij
from experiments.lib import flags, paper, progress
from experiments.lib import sweep as sweep_flags
from invert_jax._util import command, paths, reprs

FLAGS = flags.FLAGS

_SHOWN = 8  # restarts in a montage


def define_flags() -> None:
    """Defines the flags of the runner."""
    absent = dict.fromkeys(("memory_gb", "sweep", "coordinator"))
    counts = {"num_processes": 1, "process_id": 0}
    sweep_flags.define_flags("sample_invariances", extend=False, **absent, **counts)


def main() -> int:
    """Runs the sweep that the flags describe; returns the exit status."""
    _read_json()
    _join()
    sweep = sweep_flags.make()
    chunk_size = _chunk_size(sweep)
    leader = jax.process_index() == 0
    if leader:
        _announce(sweep, chunk_size)
    workdir, start = command.make_workdir(FLAGS.workdir), time.monotonic()
    options = {"extend": FLAGS.extend, "allow_changed_code": FLAGS.allow_changed_code}
    with _signals() as signals:
        try:
            with progress.display(workdir, leader=leader) as show:
                callbacks = ij.sweeps.Callbacks(show, progress.warn, should_stop=lambda: bool(signals))
                results = ij.sweeps.run(sweep, workdir, chunk_size=chunk_size, callbacks=callbacks, **options)
        except ij.sweeps.StoppedError:
            if leader:
                progress.write_index(workdir, {}, complete=False)
            command.say(f"Stopped; the same command resumes ({workdir}).")
            return 143 if signal.SIGTERM in signals else 130
    return _conclude(sweep, results, workdir, time.monotonic() - start) if leader else 0


@contextlib.contextmanager
def _signals():
    """The SIGINT or SIGTERM that has come, which asks to stop at the next safe point; a second one stops at once."""
    found = []

    def ask(number, _):
        if found:
            raise command.Terminated if number == signal.SIGTERM else KeyboardInterrupt
        found.append(number)
        command.say("Stopping at the next safe point; a second signal stops at once.")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _read_json():
    """Sets the flags that `--sweep` gives."""
    if FLAGS.sweep is None:
        return
    try:
        given = dict(json.loads(paths.require_file(FLAGS.sweep).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"--sweep={FLAGS.sweep} is not a JSON file of flags ({reprs.reason(error)}).") from None
    known = {flag.name for flag in command.defined_flags()}
    for name, value in given.items():
        if name not in known or name == "sweep":
            raise ValueError(f"{FLAGS.sweep} has {name!r}, which is no flag of this runner; see --help.")
        if FLAGS[name].present:
            raise ValueError(f"{name} is given by flag and in {FLAGS.sweep}; give it once.")
        try:
            if value is not None:
                FLAGS[name].parse(",".join(map(str, value)) if isinstance(value, list) else str(value))
        except absl_flags.IllegalFlagValueError as error:
            raise ValueError(f"{FLAGS.sweep}: {error}.") from None
    command.use_compilation_cache()


def _join():
    """Joins the other processes, before JAX does anything else."""
    if FLAGS.process_id >= FLAGS.num_processes:
        raise ValueError(f"--process_id is {FLAGS.process_id}, of {FLAGS.num_processes} processes; they count from 0.")
    if FLAGS.num_processes > 1:
        if FLAGS.coordinator is None:
            raise ValueError("Several processes need --coordinator=ADDRESS:PORT, that of process 0.")
        ij.sweeps.initialize_distributed(FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id)


def _chunk_size(sweep):
    """That of the flag, of the folder, or what fits into memory; only with --memory_gb more than a few."""
    saved = _saved()
    if FLAGS.chunk_size or saved is not None:
        return FLAGS.chunk_size or saved.manifest["chunk_sizes"][-1]
    if FLAGS.memory_gb is None:
        return ij.sweeps.auto_chunk_size(sweep)
    return ij.sweeps.auto_chunk_size(sweep, memory=FLAGS.memory_gb * 2**30, largest=max(ij.sweeps.CHUNK_SIZES))


def _saved():
    """What the folder holds of a sweep; None if it is no folder of a sweep, or damaged, which `sweeps.run` reports."""
    try:
        return ij.load_sweep(FLAGS.workdir)
    except (FileNotFoundError, ValueError):
        return None


def _announce(sweep, chunk_size):
    """Prints what the sweep takes."""
    gigabytes = chunk_size * max(map(ij.sweeps.bytes_per_restart, sweep.cases)) / 2**30
    pixels = sum(image.size for case in sweep.cases for image in case.images.values())
    disk = sweep.num_restarts * np.dtype(sweep.dtype).itemsize * pixels
    steps = max(case.recipe.num_steps for case in sweep.cases)
    num_saved = sum(len(restarts.error) for restarts in (_saved() or {}).values())
    command.say(
        f"{len(sweep.cases)} cases, {sweep.size} restarts of {steps} steps at most"
        f"{f', {num_saved} of them saved' if num_saved else ''}; {chunk_size} at a time on each of "
        f"{jax.device_count()} devices, about {gigabytes:.1f} GB of memory; {disk / 2**30:.2f} GB on disk."
    )


def _conclude(sweep, results, workdir, seconds):
    """Writes results.json, then the pictures, and prints the table; the exit status is 1 if every restart diverged."""
    rows = progress.write_index(workdir, {}, complete=True)
    command.attempt("A montage", lambda: _draw(sweep, results, workdir))
    lines = [[row["case"], row["image"], row["restarts"], paper.percent(row["errors"])] for row in rows]
    command.say(paper.markdown(["case", "photograph", "restarts", "relative error, %"], lines))
    diverged = sum(row["diverged"] for row in rows)
    command.say(
        f"{sweep.size} restarts in {seconds:.0f} s, {diverged} of them diverged; "
        f"{ij.sampling.num_compilations()} programs compiled; everything is in {workdir}"
    )
    return int(diverged == sweep.size)


def _draw(sweep, results, workdir):
    folder = command.make_workdir(workdir / "montages")
    sweep_flags.save_photographs(sweep, workdir)
    for case in sweep.cases:
        for name, image in case.images.items():
            found = results[case.name, name]
            tiles = [image, *np.nan_to_num(found.image[:_SHOWN].astype(np.float32))]
            pairs = zip(found.error[:_SHOWN], found.finite[:_SHOWN], strict=True)
            labels = [reprs.error_text(error) if finite else "not finite" for error, finite in pairs]
            gray = image.shape[2] == 1  # HOG and DSIFT are nearly blind to contrast
            title = f"{case.name} ({'stretched to full contrast' if gray else 'clipped to 0..255'})"
            modes = ["clip", *["stretch" if gray else "clip"] * len(labels)]
            sheet = ij.viz.montage(tiles, labels=[name, *labels], columns=3, title=title, mode=modes)
            ij.save_image(folder / f"{case.name}-{name}.png", sheet)


if __name__ == "__main__":
    command.run(main, define_flags)
