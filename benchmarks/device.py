"""Checks and times an accelerator beside the CPU and PyTorch, in one command that stops at a deadline.

    python -m benchmarks.device --deadline=400

In this order, each row printed and saved as soon as it is known:

- parity: HOG, HOGb and DSIFT against VLFeat's recorded features; features, and energies of the first five steps, of the
  accelerator against the CPU, at the default precision of products and at "highest";
- repeat: whether two descents are equal bit by bit, and a restart whatever runs beside it. On a GPU that is sure only
  with XLA_FLAGS=--xla_gpu_deterministic_ops=true: run it with and without;
- speed: milliseconds of a gradient step, float32 (TF32 on a GPU) and bfloat16, against the restarts at a time, with the
  floating-point operations and the share of the measured matrix product;
- sample: wall time of ij.sample by the default recipe, compilation apart;
- torch: a gradient step beside PyTorch's, in turns, as benchmarks.against_torch; needs the extra `benchmark`.

CNN-A is the bundled network; in the part torch it has random weights at full width.

Writes results.json and table.md, one table for each part, into --workdir after every row.
"""

import functools
import pathlib
import time

import jax
import numpy as np
from absl import flags as absl_flags

import invert_jax as ij
from benchmarks import against_torch
from experiments.lib import flags, paper
from invert_jax._util import command

FLAGS = flags.FLAGS
GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "tests" / "golden"
VLFEAT = {"hog_c8_r255": ij.hog(), "hogb_c8_r255": ij.hog(binning="bilinear"), "dsift_b5_s5": ij.dsift()}
PARTS = ("parity", "repeat", "speed", "sample", "torch")


def define_flags() -> None:
    """Defines the flags of the benchmark."""
    layers = ("conv1", "norm2", "conv3", "relu5", "fc8")
    flags.define("device", layers=layers, chunk_size=None, seed=0)
    absl_flags.DEFINE_list("parts", list(PARTS), f"What to run, of {', '.join(PARTS)}.")
    absl_flags.DEFINE_list("batch_sizes", ["64", "256", "1024"], "Restarts at a time.")
    absl_flags.DEFINE_integer("num_steps", 5, "Descent steps timed together; times are for one.", lower_bound=1)
    absl_flags.DEFINE_integer("repeats", 9, "Timings of each program; the median counts.", lower_bound=1)
    absl_flags.DEFINE_integer("num_restarts", 1024, "Restarts of the part sample.", lower_bound=1)
    absl_flags.DEFINE_bool("compile", None, "Also torch.compile; on a GPU by default.")
    absl_flags.DEFINE_string("profile", None, "Folder for a jax.profiler trace; none if absent.")
    absl_flags.DEFINE_integer("deadline", 420, "Seconds after which no further row is begun.", lower_bound=0)


def main() -> int:
    """Runs the parts that the flags name; the exit status is 1 if a row failed."""
    workdir, start, rows = command.make_workdir(FLAGS.workdir), time.monotonic(), []
    runs = {"parity": _parity, "repeat": _repeat, "speed": _speed, "sample": _sample, "torch": _torch}
    flags.chosen("layers", ij.networks.CAFFENET.layer_names)
    chosen = flags.chosen("parts", PARTS)
    if "torch" in chosen:
        against_torch.import_torch()  # before anything is measured
    for part, name, run in ((each, *row) for each in chosen for row in runs[each]()):
        if time.monotonic() - start > FLAGS.deadline:
            command.say(f"the deadline of {FLAGS.deadline} s has passed; {part} {name} and what follows is left out")
            break
        try:
            row = {"part": part, "name": name, **run()}
        except Exception as error:  # one row that fails, out of memory say, must not cost the others
            row = {"part": part, "name": name, "failed": f"{type(error).__name__}: {error}"[:300]}
        rows.append(row | {"elapsed": time.monotonic() - start})
        command.say(", ".join(f"{key} {_text(value)}" for key, value in row.items()))
        command.write_results(workdir, {"rows": rows})
        command.write_text(workdir / "table.md", "\n".join(_table(each, rows) for each in PARTS))
    return int(any("failed" in row for row in rows))


def _table(part, rows):
    """The rows of a part as Markdown; the columns are the keys of any row, in order of appearance."""
    rows = [row for row in rows if row["part"] == part]
    keys = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in ("part", "elapsed")]
    columns = [(key.replace("_", " "), key, str) for key in keys]
    return paper.table(columns, [{key: _text(row.get(key, "")) for key in keys} for row in rows]) if rows else ""


def _text(value):
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(number)}" for key, number in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _distance(found, expected):
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def _parity():
    for name, phi in VLFEAT.items():
        yield name, functools.partial(_vlfeat, name, phi)
    for precision in (None, "highest"):
        for layer in FLAGS.layers:
            yield f"{layer}, {precision or 'default'} precision", functools.partial(_against_cpu, layer, precision)


def _vlfeat(name, phi):
    with np.load(GOLDEN / "vlfeat_coffee_101x131.npz") as golden:
        image, expected = golden["image"], golden[name]
    found = np.asarray(phi(image[..., None]))
    if name.startswith("hog"):
        expected = expected[..., : found.shape[-1]]  # the texture channels are VLFeat's alone
    return {"relative": _distance(found, expected.reshape(found.shape))}


def _against_cpu(layer, precision):
    recipe = ij.recipes.mahendran_vedaldi(stages=((4e-4, 5),))
    with jax.default_matmul_precision(precision):
        found = _features_and_energies(layer, recipe)
    with jax.default_device(jax.devices("cpu")[0]):
        expected = _features_and_energies(layer, recipe)
    return {"features": _distance(found[0], expected[0]), "energies": _distance(found[1], expected[1])}


def _features_and_energies(layer, recipe):
    phi, image = ij.alexnet(layer=layer), ij.example_image("chelsea", size=227)
    features = np.asarray(phi(image))
    found = ij.invert(jax.random.key(0), phi, features, recipe, image_shape=image.shape)
    return features, np.asarray(found.energy.total)


def _repeat():
    for layer in FLAGS.layers:
        yield layer, functools.partial(_equal_bits, layer)


def _equal_bits(layer):
    phi, image = ij.alexnet(layer=layer), ij.example_image("chelsea", size=227)
    recipe, target = ij.recipes.mahendran_vedaldi(stages=((4e-4, 20),)), phi(image)
    sample = functools.partial(ij.sample, jax.random.key(0), phi, target, recipe, image_shape=image.shape, chunk_size=8)
    first, again, alone = (sample(num_restarts=count).image for count in (8, 8, 3))
    differ = float(np.max(np.abs(first - again))), float(np.max(np.abs(first[:3] - alone)))
    return {"run to run": differ[0] == 0, "restart alone": differ[1] == 0, "largest difference": max(differ)}


def _speed():
    for layer in FLAGS.layers:
        for batch_size in map(int, FLAGS.batch_sizes):
            for precision in ("float32", "bfloat16"):
                run = functools.partial(_step_time, layer, batch_size, precision)
                yield f"{layer} x {batch_size}, {precision}", run


def _step_time(layer, batch_size, precision):
    phi, image = ij.alexnet(layer=layer, precision=precision), ij.example_image("chelsea", size=227)
    recipe = ij.recipes.for_layer(layer)
    problem, target = ij.inversion.make_problem(phi, phi(image), recipe, image_shape=image.shape)
    x = against_torch.noisy(problem, image, batch_size)
    start = time.perf_counter()
    run = functools.partial(against_torch.blocking_descents, problem, target, [x], FLAGS.num_steps)
    run()
    compiled, medians = time.perf_counter() - start, against_torch.medians({"step": run} | against_torch.ceilings())
    seconds = medians["step"] / FLAGS.num_steps
    side, copied = against_torch.machine_sizes()
    stats = jax.devices()[0].memory_stats() or {}
    return {
        "ms": 1e3 * seconds,
        "restart_steps_per_second": batch_size / seconds,
        "tflops": against_torch.operations(layer) * batch_size / seconds / 1e12,
        "matmul_tflops": 2 * side**3 / medians["matmul"] / 1e12,
        "copy_gigabytes_per_second": 8 * copied / medians["copy"] / 1e9,
        "compile_seconds": compiled,
        "peak_gigabytes": stats.get("peak_bytes_in_use", 0) / 2**30,
    }


def _sample():
    for layer in FLAGS.layers:
        for chunk_size in (None, *[size for size in (128, 512) if size <= FLAGS.num_restarts]):
            name = f"{layer}, chunks of {chunk_size or 'the default'}"
            yield name, functools.partial(_sample_time, layer, chunk_size)


def _sample_time(layer, chunk_size):
    phi, image = ij.alexnet(layer=layer), ij.example_image("chelsea", size=227)
    sample = functools.partial(
        ij.sample, jax.random.key(0), phi, phi(image), image_shape=image.shape, chunk_size=chunk_size, progress=False
    )
    start = time.perf_counter()
    sample(num_restarts=1)
    compiled, start = time.perf_counter() - start, time.perf_counter()
    found = sample(num_restarts=FLAGS.num_restarts)
    seconds, errors = time.perf_counter() - start, found.error[found.finite]
    return {"restarts": FLAGS.num_restarts, "seconds": seconds, "first_call": compiled, "error": float(np.mean(errors))}


def _torch():
    torch = against_torch.import_torch()
    params = ij.random_alexnet_params(jax.random.key(FLAGS.seed))
    for layer in FLAGS.layers:
        for batch_size in map(int, FLAGS.batch_sizes):
            compare = functools.partial(against_torch.compare, torch, params, layer, batch_size)
            yield f"{layer} x {batch_size}", compare


if __name__ == "__main__":
    command.run(main, define_flags)
