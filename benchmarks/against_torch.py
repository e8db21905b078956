"""Times a gradient step of eq. 3 against PyTorch on the same network, weights and images, in one run.

    pip install -e '.[benchmark]'
    python -m benchmarks.against_torch
    python -m benchmarks.against_torch --layers=conv3,fc8 --batch_sizes=256 --repeats=50      # on a GPU
    python -m benchmarks.against_torch --layers= --gray=hog,hogb,dsift       # against plain forms in JAX, 333 x 500 pixels

What is timed is descent, x <- x - rate grad E(x), --steps steps at a time: one program here, a loop in Python there.
Before that the energies and gradients must agree to 1e-3 (the gradients in nine of ten entries: of two values within
rounding of each other either may be a pool's maximum). Then the contestants take turns, so that a drifting machine
drifts for all of them. Ours takes its restarts in chunks, as ij.sample does, PyTorch all at once. Medians are
reported, and ratios to PyTorch's fastest form. The ceiling is what a matrix product (2048 x 2048) and a copy (64 MiB)
reach in between. Floating-point operations are counted from the layer table: two for each product of a convolution,
forwards, and two for the gradient to its input. On a GPU both sides multiply in TF32.

Writes results.json, benchmark.md (the table) and benchmark.png (the ratios) into --workdir.
"""

import dataclasses
import functools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

import invert_jax as ij
from benchmarks import naive_jax
from experiments.lib import common

FLAGS = flags.FLAGS


def _define_flags():
    flags.DEFINE_list("layers", ["conv1", "norm1", "norm2", "relu5", "fc8"], "Layers of CNN-A to invert.")
    flags.DEFINE_list("batch_sizes", ["1", "8", "32"], "Restarts at a time.")
    flags.DEFINE_list("gray", [], "Of hog, hogb, dsift: to time against experiments/naive_jax.py.")
    flags.DEFINE_integer(
        "chunk_size",
        4 if jax.default_backend() == "cpu" else 0,
        "Restarts that we descend together, as ij.sample's chunk_size; 0 is all.",
    )
    flags.DEFINE_integer("steps", 5, "Descent steps timed together; times are for one.")
    flags.DEFINE_integer("repeats", 9, "Timings of each contestant; the median counts.")
    flags.DEFINE_bool("compile", None, "Also torch.compile; on a GPU by default.")
    flags.DEFINE_string("weights", None, "Weights of alexnet; full-width random ones if absent.")
    flags.DEFINE_integer("seed", 0, "Seed of the random weights and images.")
    flags.DEFINE_string("profile", None, "Folder for a jax.profiler trace of the first case; none if absent.")
    flags.DEFINE_string("workdir", "out/benchmark", "Folder for the results.")
    flags.adopt_module_key_flags(common)


def main() -> None:
    """Runs the benchmark that the flags describe."""
    workdir = common.make_workdir(FLAGS.workdir)
    gray = {name: _compare_gray(name) for name in FLAGS.gray}
    if gray:
        common.write_results(workdir, {"gray": gray})
    if not FLAGS.layers:
        return
    torch = _import_torch()
    key = jax.random.key(FLAGS.seed)
    params = ij.random_alexnet_params(key) if FLAGS.weights is None else ij.load_params(FLAGS.weights)
    rows = []
    for layer in FLAGS.layers:
        for batch_size in map(int, FLAGS.batch_sizes):
            rows.append(_compare(torch, params, layer, batch_size))
            common.console.print(_line(rows[-1]), highlight=False)
            _write(workdir, rows, torch)
    common.console.print(f"results are in {workdir}", highlight=False)


def _compare_gray(name):
    """One restart at the paper's size: seconds for the paper's 800 steps, ours and the plain form's, in turn."""
    image = ij.example_image("chelsea", size=(333, 500), gray=True)
    forms = {
        "hog": (ij.hog(), functools.partial(naive_jax.hog, binning="hard")),
        "hogb": (ij.hog(binning="bilinear"), functools.partial(naive_jax.hog, binning="bilinear")),
        "dsift": (ij.dsift(), naive_jax.dsift),
    }
    if name not in forms:
        raise ValueError(f"--gray names {name!r}; choose of: {', '.join(forms)}.")
    ours, plain = forms[name]
    recipe, times = ij.recipes.shallow(), {"invert_jax": [], "plain": []}
    contestants = dict(zip(times, (ours, ij.from_function(_Plain(plain), center=128.0)), strict=True))
    objectives = {
        who: ij.objective.make(phi, phi(image), recipe, image_shape=image.shape) for who, phi in contestants.items()
    }
    x = objectives["invert_jax"].from_image(image + 20 * jax.random.normal(jax.random.key(FLAGS.seed), image.shape))[
        None
    ]
    steps = 4 * FLAGS.steps
    for _ in range(FLAGS.repeats):
        for who, objective in objectives.items():
            jax.block_until_ready(_descend(objective, x, steps))
            began = time.perf_counter()
            jax.block_until_ready(_descend(objective, x, steps))
            times[who].append((time.perf_counter() - began) / steps)
    seconds = {who: recipe.num_steps * float(np.median(values)) for who, values in times.items()}
    ratio = seconds["invert_jax"] / seconds["plain"]
    common.console.print(
        f"{name}, 333 x 500, {recipe.num_steps} steps: {seconds['invert_jax']:.1f} s, "
        f"plain form {seconds['plain']:.1f} s, ratio {ratio:.2f}",
        highlight=False,
    )
    return {**seconds, "ratio": ratio}


@dataclasses.dataclass(frozen=True)
class _Plain:
    form: Callable

    def __call__(self, params, image):
        del params
        return self.form(image)


def _import_torch():
    try:
        import torch
    except ImportError:
        raise ValueError("The benchmark compares with PyTorch: pip install 'invert_jax[benchmark]'.") from None
    return torch


def _compare(torch, params, layer, batch_size):
    """One layer and batch size: agreement checked, then everyone timed in turn."""
    representation = ij.alexnet(params, layer=layer)
    image = ij.example_image("chelsea", size=227)
    objective = ij.objective.make(
        representation, representation(image), ij.recipes.for_layer(layer), image_shape=image.shape
    )
    noise = 20 * jax.random.normal(jax.random.key(FLAGS.seed), (batch_size, *image.shape))
    x = jax.vmap(objective.from_image)(image + noise)

    wanted = [np.asarray(value) for value in _gradient(objective, x)]
    chunks = jnp.split(x, list(range(FLAGS.chunk_size, batch_size, FLAGS.chunk_size))) if FLAGS.chunk_size else [x]
    contestants = {"invert_jax": lambda: jax.block_until_ready([_descend(objective, c, FLAGS.steps) for c in chunks])}
    for name, step, argument in _torch_steps(torch, objective, params, layer, np.asarray(x)):
        energies, gradient = (value.cpu().float().numpy() for value in step(argument))
        _require_equal(f"{name}'s energy", energies, wanted[0])
        _require_equal(f"{name}'s gradient", np.transpose(gradient, (0, 2, 3, 1)), wanted[1])
        contestants[name] = _blocking(torch, step, argument)

    floating = _operations(layer) * batch_size
    contestants |= _ceilings()
    if FLAGS.profile:
        with jax.profiler.trace(FLAGS.profile):
            contestants["invert_jax"]()
        FLAGS.profile = None
    times = {name: [] for name in contestants}
    for _ in range(FLAGS.repeats):
        for name, run in contestants.items():
            run()  # caches and threads are this contestant's again
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    medians = {name: float(np.median(values)) for name, values in times.items()}
    for name in medians:
        if name not in _CEILINGS:
            medians[name] /= FLAGS.steps
    best = min((name for name in medians if name.startswith("torch")), key=medians.__getitem__)
    cost = _gradient.lower(objective, x).compile().cost_analysis() or {}
    return {
        "layer": layer,
        "batch_size": batch_size,
        "milliseconds": {name: 1e3 * value for name, value in medians.items()},
        "best_torch": best,
        "ratio": medians["invert_jax"] / medians[best],
        "gflop": floating / 1e9,
        "gflop_per_second": floating / medians["invert_jax"] / 1e9,
        "matmul_gflop_per_second": 2 * _SIDE**3 / medians["matmul"] / 1e9,
        "megabytes": float(cost.get("bytes accessed", float("nan"))) / 1e6,
        "copy_gigabytes_per_second": 2 * 4 * _COPIED / medians["copy"] / 1e9,
    }


_RATE = 1e-6  # next to nothing: every step costs the same, and images stay images


@jax.jit
def _descend(objective, x, steps):
    return jax.lax.fori_loop(0, steps, lambda _, x: x - _RATE * _gradient(objective, x)[1], x)


@jax.jit
def _gradient(objective, x):
    def energy(x):
        return ij.objective.evaluate(objective, x)[0]

    return jax.vmap(jax.value_and_grad(energy))(x)


def _torch_steps(torch, objective, params, layer, x):
    from benchmarks import torch_reference

    device = "cuda" if torch.cuda.is_available() and jax.default_backend() == "gpu" else "cpu"
    if device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    compiled = device == "cuda" if FLAGS.compile is None else FLAGS.compile
    for name, memory_format in (("NCHW", torch.contiguous_format), ("channels_last", torch.channels_last)):
        step, bring = torch_reference.make_step(objective, params, layer, device=device, memory_format=memory_format)
        yield f"torch {name}", step, bring(x)
        if compiled:
            yield f"torch.compile {name}", torch.compile(step), bring(x)


def _blocking(torch, step, argument):
    def run():
        x = argument
        for _ in range(FLAGS.steps):
            x = x - _RATE * step(x)[1]
        if argument.is_cuda:
            torch.cuda.synchronize()

    return run


def _require_equal(what, theirs, ours):
    error = np.quantile(np.abs(theirs - ours), 0.9) / np.sqrt(np.mean(ours**2))
    if not error < 1e-3:
        raise ValueError(f"{what} and ours differ by {error:.1e}, more than 1e-3: their times do not compare.")


_SIDE, _COPIED = 2048, 1 << 24
_CEILINGS = ("matmul", "copy")


def _ceilings():
    a, b = jnp.ones((_SIDE, _SIDE)), jnp.ones(_COPIED)
    matmul, copy = jax.jit(lambda a: a @ a), jax.jit(lambda b: b + 1)
    return dict(
        zip(
            _CEILINGS,
            (lambda: jax.block_until_ready(matmul(a)), lambda: jax.block_until_ready(copy(b))),
            strict=True,
        )
    )


def _operations(layer):
    """Operations of one gradient: convolutions forwards and backwards to their input."""
    side, channels, total = 227, 3, 0
    for row in ij.networks.layers_up_to(layer):
        side = ij.networks.output_size((row,), side)
        if row.kind == "conv":
            total += 2 * side**2 * row.width * row.size**2 * channels // row.groups
            channels = row.width
    return 2 * total


def _line(row):
    times = ", ".join(f"{name} {value:.1f}" for name, value in row["milliseconds"].items())
    return (
        f"{row['layer']} x {row['batch_size']}: {times} ms; ratio {row['ratio']:.2f}; {row['gflop_per_second']:.0f} of "
        f"{row['matmul_gflop_per_second']:.0f} GFLOP/s"
    )


def _write(workdir, rows, torch):
    mean = float(np.exp(np.mean([np.log(row["ratio"]) for row in rows])))
    lines = [
        "| layer | restarts | invert_jax, ms | PyTorch's best, ms | ratio | GFLOP/s | of a matrix product's |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        best = row["milliseconds"][row["best_torch"]]
        lines.append(
            f"| {row['layer']} | {row['batch_size']} | {row['milliseconds']['invert_jax']:.1f} | {best:.1f} "
            f"({row['best_torch'].removeprefix('torch ')}) | {row['ratio']:.2f} | {row['gflop_per_second']:.0f} | "
            f"{row['matmul_gflop_per_second']:.0f} |"
        )
    lines.append(f"\nGeometric mean of the ratios: {mean:.2f}. jax {jax.__version__}, torch {torch.__version__}.")
    common.write_text(workdir / "benchmark.md", "\n".join(lines) + "\n")
    common.write_results(workdir, {"rows": rows, "mean_ratio": mean, "torch": torch.__version__})
    speeds = {f"{row['layer']} x {row['batch_size']}": 1 / row["ratio"] for row in rows}
    plot = ij.viz.bars(speeds, title="CNN-A, restarts at a time", label="speed, PyTorch's best = 1", reference=1.0)
    ij.save_image(workdir / "benchmark.png", plot)


if __name__ == "__main__":
    _define_flags()
    common.run(main)
