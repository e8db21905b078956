"""Two programs inside every descent that a new version of JAX may make slow, each beside another way to say the same.

    python -m benchmarks.xla_regressions

- The TV prior sums squares of differences. Fused, that is one pass over the image; as a product of vectors it is two.
- A loop writes a number into an array at every step, the energies. In place, the length of the array does not matter;
  copied, it does.

Run it before and after an upgrade, on the same machine. Medians of --repeats, after one run that compiles. Writes
table.md and results.json into --workdir.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags as absl_flags

from experiments.lib import flags, paper
from invert_jax._util import command, hashing
from invert_jax.regularizers import total_variation

FLAGS = flags.FLAGS
COLUMNS = (
    ("program", "program", str),
    ("ms", "milliseconds", "{:.3f}".format),
    ("beside", "other", str),
    ("ms", "other_milliseconds", "{:.3f}".format),
    ("ratio", "ratio", "{:.2f}".format),
)
_SHORT, _LONG, _STEPS = 400, 100_000, 400


def define_flags() -> None:
    """Defines the flags of the measurement."""
    flags.define("xla_regressions", compilation_cache=None)
    absl_flags.DEFINE_integer("batch", 4, "Images at a time.", lower_bound=1)
    absl_flags.DEFINE_integer("side", 227, "Pixels of a side.", lower_bound=8)
    absl_flags.DEFINE_integer("repeats", 30, "Runs of each program.", lower_bound=1)


def main() -> int:
    """Measures what the flags describe."""
    workdir = command.make_workdir(FLAGS.workdir)
    images = jax.random.normal(jax.random.key(0), (FLAGS.batch, FLAGS.side, FLAGS.side, 3))
    pairs = [
        (
            "gradient of TV^2",
            _gradients(total_variation),
            "by products of vectors",
            _gradients(_tv_by_products),
            images,
        ),
        (f"a step that writes into {_LONG} numbers", _loop(_LONG), f"into {_SHORT}", _loop(_SHORT), images),
    ]
    rows = []
    for program, function, other, other_function, argument in pairs:
        ours, others = _seconds([function, other_function], argument)
        rows.append(
            {"program": program, "milliseconds": 1e3 * ours, "other": other, "other_milliseconds": 1e3 * others}
        )
        rows[-1]["ratio"] = ours / others
    results = {"rows": rows, "versions": hashing.versions()}
    table = f"{paper.table(COLUMNS, rows)}\njax {jax.__version__}, {jax.devices()[0].device_kind}.\n"
    return paper.finish(workdir, results=results, table=table, pictures={})


def _gradients(prior):
    return jax.jit(jax.vmap(jax.grad(prior)))


def _tv_by_products(x):
    down, right = (x[1:] - x[:-1]).ravel(), (x[:, 1:] - x[:, :-1]).ravel()
    return down @ down + right @ right


def _loop(length):
    """A loop of steps on images that writes a number of each step, per image, into an array of a length."""

    def step(i, state):
        images, trace = state
        images = images - 1e-3 * jax.vmap(jax.grad(total_variation))(images)
        return images, trace.at[:, i].set(images[:, 0, 0, 0])

    return jax.jit(lambda images: jax.lax.fori_loop(0, _STEPS, step, (images, jnp.zeros((len(images), length)))))


def _seconds(functions, argument):
    """Medians of the functions' times, which alternate."""
    times = []
    for _ in range(FLAGS.repeats + 1):  # the first compiles
        times.append([])
        for function in functions:
            start = time.perf_counter()
            jax.block_until_ready(function(argument))
            times[-1].append(time.perf_counter() - start)
    return np.median(times[1:], axis=0)


if __name__ == "__main__":
    command.run(main, define_flags)
