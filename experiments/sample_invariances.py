"""Samples the invariances of many codes: photographs x layers x recipes x random restarts, in a folder to go on with.

    python -m experiments.sample_invariances
    python -m experiments.sample_invariances --images=folder --num_images=100 --layers=conv1,conv5,fc8 --num_restarts=32
    python -m experiments.sample_invariances --sweep=sweep.json
    python -m experiments.sample_invariances --num_restarts=64 --extend

A sweep is given by flags, or by a JSON file whose keys are their names. It is checked whole, and its size, memory and
time are told, before anything runs. The same command goes on with what a folder holds, whenever and however it was
stopped; --extend adds restarts to a finished one. Writes into --workdir:

    restarts/PROBLEM/PHOTOGRAPH.npz   pictures [R, H, W, C], errors, energies [R, T, 4]; `ij.load_sweep` reads them
    montages/PROBLEM-PHOTOGRAPH.png   the photograph and its first restarts
    photographs/PROBLEM-PHOTOGRAPH.png   the photograph alone, rounded to whole gray levels
    manifest.json, results.json       settings and versions; errors, failures, device

One process drives all devices of its machine. For several machines start the command on each, with --coordinator,
--num_processes and --process_id; they need a folder that all of them see.
"""

import json
import pathlib
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

import invert_jax as ij
from experiments.lib import common, described, paper, progress

FLAGS = flags.FLAGS

_SHOWN = 8  # restarts in a montage
_LONGEST_DRAWING = 3600  # seconds that the other processes wait while the first draws the montages


def _define_flags():
    described.define_flags("sample_invariances")
    flags.DEFINE_integer("chunk_size", None, "Restarts at a time on a device, a power of two; by memory if absent.")
    flags.DEFINE_float(
        "memory_gb", None, "Memory of a device to fill; three quarters of its own, and few restarts, if absent."
    )
    flags.DEFINE_float("checkpoint_seconds", 300.0, "How often what is under way is kept.", lower_bound=0.01)
    flags.DEFINE_bool("extend", False, "Add restarts to a folder that was made for fewer.")
    flags.DEFINE_string("sweep", None, "A JSON file with any of these flags by name.")
    flags.DEFINE_string("coordinator", None, "Address:port of process 0, for several processes.")
    flags.DEFINE_integer("num_processes", 1, "How many processes there are.", lower_bound=1)
    flags.DEFINE_integer("process_id", 0, "Which one this is.", lower_bound=0)


def main() -> int:
    """Runs the sweep that the flags describe."""
    _read_json()
    _join()
    sweep = described.sweep()
    own = FLAGS.memory_gb is not None
    memory = FLAGS.memory_gb * 2**30 if own else progress.memory()
    chunk_size = FLAGS.chunk_size or progress.chunk_size(sweep, memory, max(ij.sweeps.CHUNK_SIZES) if own else None)
    leader = jax.process_index() == 0
    begun = _begun(FLAGS.workdir)
    if begun and FLAGS.chunk_size is None:
        chunk_size = begun.manifest["chunk_sizes"][-1]
    if leader:
        _say_plan(sweep, chunk_size, memory, begun)
    workdir = common.make_workdir(FLAGS.workdir)
    asked: list[int] = []
    before = signal.signal(signal.SIGINT, lambda *_: _ask_to_stop(asked))
    began = time.monotonic()
    try:
        with progress.Display(sweep, workdir, leader) as display:
            results = ij.sweeps.run(
                sweep,
                workdir,
                chunk_size=chunk_size,
                extend=FLAGS.extend,
                checkpoint_seconds=FLAGS.checkpoint_seconds,
                hooks=ij.sweeps.Hooks(watch=display.show, tell=progress.tell, stop=lambda: bool(asked)),
            )
    except ij.sweeps.StoppedError:
        common.console.print(f"Stopped; the same command goes on from here ({workdir}).", highlight=False)
        return 130
    finally:
        signal.signal(signal.SIGINT, before)
    if leader:
        _draw(sweep, results, workdir)
        rows = progress.Index(workdir).write(complete=True)
        table = paper.markdown(
            ["problem", "photograph", "restarts", "relative error, %"],
            [[row["problem"], row["image"], row["restarts"], paper.percent(row["errors"])] for row in rows],
        )
        common.console.print(table, highlight=False, markup=False)
        failed = sum(row["not_finite"] for row in rows)
        common.console.print(
            f"{sweep.size} restarts in {time.monotonic() - began:.0f} s, {failed} of them not finite; "
            f"{ij.batching.num_programs()} programs compiled; everything is in {workdir}",
            highlight=False,
            soft_wrap=True,
        )
    return 0


def _read_json():
    if FLAGS.sweep is None:
        return
    try:
        given = json.loads(pathlib.Path(FLAGS.sweep).read_text())
        if not isinstance(given, dict):
            raise ValueError("it is not an object")
    except (OSError, ValueError) as error:
        raise ValueError(f"--sweep={FLAGS.sweep} is not a JSON file of flags ({error}).") from None
    own = {flag.name for flag in FLAGS.get_key_flags_for_module(__name__)} | set(_settings())
    for name, value in given.items():
        if name not in own or name == "sweep":
            raise ValueError(f"{FLAGS.sweep} has {name!r}, which is no flag of this runner; see --help.")
        if FLAGS[name].present:
            raise ValueError(f"{name} is given by flag and in {FLAGS.sweep}; give it once.")
        if value is None:
            continue
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        try:
            FLAGS[name].parse(text)
        except flags.IllegalFlagValueError as error:
            raise ValueError(f"{FLAGS.sweep}: {error}.") from None
    common.use_cache()


def _settings():
    return [flag.name for name, all_ in FLAGS.flags_by_module_dict().items() if "absl" not in name for flag in all_]


def _join():
    """Joins the other processes, before JAX does anything else."""
    if FLAGS.process_id >= FLAGS.num_processes:
        raise ValueError(f"--process_id is {FLAGS.process_id}, of {FLAGS.num_processes} processes; they count from 0.")
    if FLAGS.num_processes > 1:
        if FLAGS.coordinator is None:
            raise ValueError("Several processes need --coordinator=ADDRESS:PORT, that of process 0.")
        jax.distributed.initialize(
            FLAGS.coordinator,
            FLAGS.num_processes,
            FLAGS.process_id,
            shutdown_timeout_seconds=_LONGEST_DRAWING,
        )


def _begun(workdir):
    """What the folder holds of a sweep; None if it is none, or none that can be read, which the engine will say."""
    try:
        results = ij.load_sweep(workdir)
        return results if results.manifest["chunk_sizes"] and results.manifest["settings"] else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _say_plan(sweep, chunk_size, memory, begun):
    gigabytes = chunk_size * max(map(ij.sweeps.memory_of_restart, sweep.problems)) / 2**30
    disk = sum(
        sweep.num_restarts * np.dtype(sweep.dtype).itemsize * sum(image.size for image in problem.images.values())
        for problem in sweep.problems
    )
    steps = sorted({problem.recipe.num_steps for problem in sweep.problems})
    steps = "-".join(map(str, dict.fromkeys((steps[0], steps[-1]))))
    there: dict[str, int] = {}
    for problem, image in begun or ():
        there[problem] = there.get(problem, 0) + len(begun.errors(problem, image)[0])
    left = {name: sweep.num_restarts * len(p.images) - there.get(name, 0) for p in sweep.problems for name in [p.name]}
    seconds = _expected_seconds(sweep, left)
    known = f", {sum(there.values())} of them there" if there else ""
    common.console.print(
        f"{len(sweep.problems)} problems, {sweep.size} restarts of {steps} steps at most{known}; {chunk_size} at a "
        f"time on each of {jax.device_count()} devices, about {gigabytes:.1f} of {memory / 2**30:.1f} GB; "
        f"{disk / 2**30:.2f} GB on disk; about {progress.duration(seconds)}, by arithmetic alone.",
        highlight=False,
        soft_wrap=True,
    )


def _expected_seconds(sweep, left):
    """From the operations of a step, and the speed of all devices at a matrix product."""
    matrix = jnp.ones((1024, 1024))
    multiply = jax.jit(jnp.matmul)
    multiply(matrix, matrix).block_until_ready()
    began = time.monotonic()
    for _ in range(4):
        product = multiply(matrix, matrix)
    product.block_until_ready()
    speed = 4 * 2 * 1024**3 / (time.monotonic() - began)
    speed *= jax.process_count() if jax.default_backend() == "cpu" else jax.device_count()
    return (
        sum(
            ij.sweeps.operations_of_step(problem) * problem.recipe.num_steps * max(left[problem.name], 0)
            for problem in sweep.problems
        )
        / speed
    )


def _ask_to_stop(asked):
    if asked:
        raise KeyboardInterrupt
    asked.append(1)
    common.console.print("Stopping at the next safe point; again to stop at once.", highlight=False)


def _draw(sweep, results, workdir):
    room = common.make_workdir(workdir / "montages")
    described.save_photographs(sweep, workdir)
    for problem in sweep.problems:
        for name, image in problem.images.items():
            found = results[problem.name, name]
            labels = [
                f"{100 * error:.1f} %" if good else "not finite"
                for error, good in zip(found.error, found.finite, strict=True)
            ]
            tiles = [image, *np.nan_to_num(found.image[:_SHOWN].astype(np.float32))]
            picture = ij.viz.montage(
                tiles, labels=[name, *labels[:_SHOWN]], columns=3, title=f"{problem.name} (clipped to 0..255)"
            )
            ij.save_image(room / f"{problem.name}-{name}.png", picture)


if __name__ == "__main__":
    _define_flags()
    common.run(main)
