"""Times a gradient step of the objective against PyTorch on the same network, weights and images, in one run.

    pip install -e '.[benchmark]'
    python -m benchmarks.against_torch
    python -m benchmarks.against_torch --layers=conv3,fc8 --batch_sizes=256 --repeats=50      # on a GPU
    python -m benchmarks.against_torch --layers= --representations=hog,hogb,dsift       # against naive_jax, 333 x 500

What is timed is descent, x <- x - rate grad E(x), --num_steps steps at a time: one program in JAX, a Python loop with
PyTorch. Before that the energies and gradients must agree to 1e-3 (the gradients in nine of ten entries: of two values
within rounding of each other either may be a pool's maximum). Then all take turns, so that a drift of the machine's
speed affects all of them. JAX takes its restarts in chunks, as ij.sample does, PyTorch all at once. Medians are
reported, and ratios to PyTorch's fastest form. The ceiling is what a matrix product (2048 x 2048) and a copy (64 MiB)
reach in between. Floating-point operations are counted from the layer table: two for each product of a convolution,
forwards, and two for the gradient to its input. On a GPU both sides multiply in TF32.

Writes results.json, benchmark.md (the table) and benchmark.png (the ratios) into --workdir.
"""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags as absl_flags

import invert_jax as ij
from benchmarks import naive_jax
from experiments.lib import flags, paper
from invert_jax._util import command
from invert_jax.networks import architectures

FLAGS = flags.FLAGS

_RATE = 1e-6  # next to nothing: every step costs the same, and images stay images
SHALLOW = {
    "hog": (ij.hog, functools.partial(naive_jax.hog, binning="hard")),
    "hogb": (functools.partial(ij.hog, binning="bilinear"), functools.partial(naive_jax.hog, binning="bilinear")),
    "dsift": (ij.dsift, naive_jax.dsift),
}
COLUMNS = (
    ("layer", "layer", str),
    ("restarts", "batch_size", str),
    ("invert_jax, ms", "milliseconds", lambda times: f"{times['invert_jax']:.1f}"),
    ("PyTorch's best, ms", "milliseconds", lambda times: f"{times[_best(times)]:.1f}"),
    ("of them", "best_torch", lambda name: name.removeprefix("torch ")),
    ("ratio", "ratio", "{:.2f}".format),
    ("GFLOP/s", "gflop_per_second", "{:.0f}".format),
    ("of a matrix product's", "matmul_gflop_per_second", "{:.0f}".format),
)


def define_flags() -> None:
    """Defines the flags of the benchmark."""
    layers = ("conv1", "norm1", "norm2", "relu5", "fc8")
    flags.define("against_torch", layers=layers, representations=(), weights=None, chunk_size=None, seed=0)
    absl_flags.DEFINE_list("batch_sizes", ["1", "8", "32"], "Restarts at a time.")
    absl_flags.DEFINE_integer("num_steps", 5, "Descent steps timed together; times are for one.", lower_bound=1)
    absl_flags.DEFINE_integer("repeats", 9, "Timings of each program; the median counts.", lower_bound=1)
    absl_flags.DEFINE_bool("compile", None, "Also torch.compile; on a GPU by default.")
    absl_flags.DEFINE_string("profile", None, "Folder for a jax.profiler trace of the first case; none if absent.")


def main() -> None:
    """Runs the benchmark that the flags describe."""
    workdir = command.make_workdir(FLAGS.workdir)
    if FLAGS.representations:
        shallow = {name: _compare_shallow(name) for name in flags.chosen("representations", tuple(SHALLOW))}
        command.write_results(workdir, {"representations": shallow})
    if not FLAGS.layers:
        return
    torch = import_torch()
    key, rows = jax.random.key(FLAGS.seed), []
    params = ij.random_alexnet_params(key) if FLAGS.weights is None else ij.load_params(FLAGS.weights)
    for layer in FLAGS.layers:
        for batch_size in map(int, FLAGS.batch_sizes):
            row = compare(torch, params, layer, batch_size)
            times = ", ".join(f"{name} {value:.1f}" for name, value in row["milliseconds"].items())
            command.say(f"{layer} x {batch_size}: {times} ms; ratio {row['ratio']:.2f}")
            rows.append(row)
            _write(workdir, rows, torch)
    command.say(f"results are in {workdir}")


def import_torch():
    """PyTorch; ValueError if it is not installed."""
    try:
        import torch
    except ImportError:
        raise ValueError("The benchmark compares with PyTorch: pip install 'invert_jax[benchmark]'.") from None
    return torch


def _compare_shallow(name):
    """One restart at the paper's size: seconds for the paper's 800 steps, of the library and of naive_jax, in turn."""
    image, recipe = ij.example_image("chelsea", size=(333, 500), gray=True), ij.recipes.shallow()
    make, naive = SHALLOW[name]
    forms = {"invert_jax": make(), "naive_jax": ij.from_function(lambda _, image: naive(image), center=128.0)}
    options = {"recipe": recipe, "image_shape": image.shape}
    problems = {name: ij.inversion.make_problem(phi, phi(image), **options) for name, phi in forms.items()}
    x, num_steps = noisy(problems["invert_jax"][0], image, 1), 4 * FLAGS.num_steps
    runs = {name: functools.partial(blocking_descents, *p, [x], num_steps) for name, p in problems.items()}
    seconds = {program: recipe.num_steps * median / num_steps for program, median in medians(runs).items()}
    ratio = seconds["invert_jax"] / seconds["naive_jax"]
    times = ", ".join(f"{program} {value:.1f} s" for program, value in seconds.items())
    command.say(f"{name}, 333 x 500, {recipe.num_steps} steps: {times}, ratio {ratio:.2f}")
    return {**seconds, "ratio": ratio}


def compare(torch, params, layer, batch_size):
    """One layer and batch size: agreement checked, then every program timed in turn."""
    representation, image = ij.alexnet(params, layer=layer), ij.example_image("chelsea", size=227)
    problem, target = ij.inversion.make_problem(
        representation, representation(image), ij.recipes.for_layer(layer), image_shape=image.shape
    )
    x = noisy(problem, image, batch_size)
    with jax.default_matmul_precision("highest"):  # TF32 would differ by its own rounding
        energies, gradients = (np.asarray(value) for value in _gradient(problem, target, x))
    # As ij.sample: what is larger than a cache does not get faster on a CPU.
    chunk_size = FLAGS.chunk_size or (4 if jax.default_backend() == "cpu" else batch_size)
    chunks = jnp.split(x, list(range(chunk_size, batch_size, chunk_size)))
    runs = {"invert_jax": functools.partial(blocking_descents, problem, target, chunks, FLAGS.num_steps)}
    for name, step, argument in _torch_steps(torch, problem, target, params, layer, np.asarray(x)):
        _use_tf32(torch, False)
        energy, gradient = (value.cpu().float().numpy() for value in step(argument))
        _use_tf32(torch, True)
        for found, expected in ((energy, energies), (np.transpose(gradient, (0, 2, 3, 1)), gradients)):
            error = np.quantile(np.abs(found - expected), 0.9) / np.sqrt(np.mean(expected**2))
            if not error < 1e-3:
                raise ValueError(f"{name} differs from JAX by {error:.1e}, more than 1e-3: the times do not compare.")
        runs[name] = functools.partial(_torch_descent, torch, step, argument)
    if FLAGS.profile:
        with jax.profiler.trace(FLAGS.profile):
            runs["invert_jax"]()
        FLAGS.profile = None  # the first case alone
    machine = medians(runs | ceilings())
    steps = {name: machine.pop(name) / FLAGS.num_steps for name in runs}
    cost = _gradient.lower(problem, target, x).compile().cost_analysis() or {}
    gflop = operations(layer) * batch_size / 1e9
    return {
        "layer": layer,
        "batch_size": batch_size,
        "milliseconds": {name: 1e3 * value for name, value in {**steps, **machine}.items()},
        "best_torch": _best(steps),
        "ratio": steps["invert_jax"] / steps[_best(steps)],
        "gflop": gflop,
        "gflop_per_second": gflop / steps["invert_jax"],
        "matmul_gflop_per_second": 2 * machine_sizes()[0] ** 3 / machine["matmul"] / 1e9,
        "megabytes": float(cost.get("bytes accessed", float("nan"))) / 1e6,
        "copy_gigabytes_per_second": 2 * 4 * machine_sizes()[1] / machine["copy"] / 1e9,
    }


def medians(runs):
    """Median seconds of each run, all taking turns."""
    times = {name: [] for name in runs}
    for _ in range(FLAGS.repeats):
        for name, run in runs.items():
            run()  # once untimed: caches and threads belong to this program again
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in times.items()}


def _best(times):
    """The name of PyTorch's fastest form."""
    return min((name for name in times if name.startswith("torch")), key=times.__getitem__)


def noisy(problem, image, count):
    """The variables of pixels' descent, `(image - center) / sigma`, of the image with noise, `[count, H, W, C]`."""
    recipe, noise = problem.recipe, jax.random.normal(jax.random.key(FLAGS.seed), (count, *image.shape))
    images = image[None] + 20 * noise
    return jax.vmap(lambda image: recipe.parameterization.encode(image, problem.center, recipe.sigma))(images)


def blocking_descents(problem, target, chunks, num_steps):
    """Makes so many steps of every chunk, and waits for them."""
    jax.block_until_ready([_descend(problem, target, x, num_steps) for x in chunks])


@jax.jit
def _descend(problem, target, x, num_steps):
    return jax.lax.fori_loop(0, num_steps, lambda _, x: x - _RATE * _gradient(problem, target, x)[1], x)


@jax.jit
def _gradient(problem, target, x):
    def energy(x):
        return ij.inversion.energy(problem, target, x, 0).total

    return jax.vmap(jax.value_and_grad(energy))(x)


def _torch_steps(torch, problem, target, params, layer, x):
    """Yields PyTorch's forms: a name, the step, and its argument."""
    from benchmarks import torch_reference

    device = "cuda" if torch.cuda.is_available() and jax.default_backend() == "gpu" else "cpu"
    if device == "cuda":
        torch.backends.cudnn.benchmark = True
    compiled = device == "cuda" if FLAGS.compile is None else FLAGS.compile
    for name, layout in (("NCHW", torch.contiguous_format), ("channels_last", torch.channels_last)):
        options = {"device": device, "memory_format": layout}
        step, convert = torch_reference.make_step(problem, target, params, layer, **options)
        yield f"torch {name}", step, convert(x)
        if compiled:
            yield f"torch.compile {name}", torch.compile(step), convert(x)


def _use_tf32(torch, allowed):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def _torch_descent(torch, step, x):
    on_gpu = x.is_cuda
    for _ in range(FLAGS.num_steps):
        x = x - _RATE * step(x)[1]
    if on_gpu:
        torch.cuda.synchronize()


def machine_sizes():
    """The side of the matrices multiplied and the length of the vector copied: several times a cache."""
    return (2048, 1 << 24) if jax.default_backend() == "cpu" else (8192, 1 << 28)


def ceilings():
    """What the machine reaches: a matrix product and a copy."""
    matmul, copy = jax.jit(lambda a: a @ a), jax.jit(lambda b: b + 1)
    side, copied = machine_sizes()
    a, b = jax.random.normal(jax.random.key(0), (side, side)), jnp.ones(copied)
    return {"matmul": lambda: jax.block_until_ready(matmul(a)), "copy": lambda: jax.block_until_ready(copy(b))}


def operations(layer):
    """Operations of one gradient: convolutions forwards and backwards to their input."""
    side, channels, total = 227, 3, 0
    for row in architectures.CAFFENET.layers_up_to(layer):
        side = architectures.output_size((row,), side)
        if row.kind == "conv":
            total += 2 * side**2 * row.width * row.size**2 * channels // row.groups
            channels = row.width
    return 2 * total


def _write(workdir, rows, torch):
    mean = float(np.exp(np.mean([np.log(row["ratio"]) for row in rows])))
    note = f"Geometric mean of the ratios: {mean:.2f}. jax {jax.__version__}, torch {torch.__version__}."
    command.write_text(workdir / "benchmark.md", f"{paper.table(COLUMNS, rows)}\n{note}\n")
    command.write_results(workdir, {"rows": rows, "mean_ratio": mean, "torch": torch.__version__})
    speeds = {f"{row['layer']} x {row['batch_size']}": 1 / row["ratio"] for row in rows}
    labels = {"title": "CNN-A, restarts at a time", "label": "speed, PyTorch's best = 1", "reference": 1.0}
    command.attempt("benchmark.png", lambda: ij.save_image(workdir / "benchmark.png", ij.viz.bars(speeds, **labels)))


if __name__ == "__main__":
    command.run(main, define_flags)
