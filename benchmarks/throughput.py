"""Time per restart, and memory, against the number of restarts of a sweep.

    python -m benchmarks.throughput
    python -m benchmarks.throughput --layer=fc8 --counts=1,8,64,256,1024 --chunk_size=256      # on a GPU

One sweep of one photograph for each number of restarts, all at one chunk size, files included; a first one, which
compiles, is not timed. Of --repeats sweeps the median counts. Memory is the highest that the process (on a CPU: its
resident set; else: on the device) had reached by then, counts ascending, so that a flat line means that memory does not
grow. Writes throughput.png, table.md and results.json into --workdir.
"""

import resource
import tempfile
import time

import jax
import numpy as np
from absl import flags as absl_flags

import invert_jax as ij
from experiments.lib import flags, paper
from invert_jax._util import command

FLAGS = flags.FLAGS
COLUMNS = (
    ("restarts", "num_restarts", str),
    ("ms per restart and step", "seconds_per_restart_step", lambda seconds: f"{1e3 * seconds:.1f}"),
    ("peak memory, GB", "peak_gigabytes", "{:.2f}".format),
)


def define_flags() -> None:
    """Defines the flags of the measurement."""
    flags.define("throughput", layer="conv4", weights=None, size=None, chunk_size=4, seed=0, compilation_cache=None)
    absl_flags.DEFINE_list("counts", [str(2**k) for k in range(7)], "Numbers of restarts, ascending.")
    absl_flags.DEFINE_integer("num_steps", 20, "Steps of every restart.", lower_bound=1)
    absl_flags.DEFINE_integer("repeats", 3, "Sweeps of each size.", lower_bound=1)


def main() -> int:
    """Measures what the flags describe."""
    counts = [int(count) for count in flags.numbers("counts")]
    if counts != sorted(counts) or counts[0] < 1:
        raise ValueError(f"--counts is {','.join(FLAGS.counts)}; give whole numbers >= 1, ascending.")
    workdir = command.make_workdir(FLAGS.workdir)
    _seconds(1)  # compiles
    rows = []
    for count in counts:
        seconds = np.median([_seconds(count) for _ in range(FLAGS.repeats)])
        rows.append({"num_restarts": count, "seconds_per_restart_step": seconds / (count * FLAGS.num_steps)})
        rows[-1]["peak_gigabytes"] = _peak() / 2**30
        command.say(rows[-1])
    return paper.finish(
        workdir,
        results={"rows": rows, "programs": ij.sampling.num_compilations()},
        table=paper.table(COLUMNS, rows),
        pictures={"throughput": lambda: _plot(rows)},
    )


def _plot(rows):
    counts, seconds, gigabytes = ([row[key] for row in rows] for _, key, _ in COLUMNS)
    relative = [time / seconds[-1] for time in seconds]
    series = {"time per restart,\nthe last's = 1": relative, "peak memory, GB": gigabytes}
    devices = f"{jax.local_device_count()} x {jax.local_devices()[0].device_kind}"
    title = f"{FLAGS.layer}, chunks of {FLAGS.chunk_size} on each of {devices}"
    return ij.viz.curves(counts, series, title=title, x_label="restarts")


def _seconds(num_restarts):
    """The time of a sweep of this many restarts."""
    image = ij.example_image("chelsea", size=flags.size_of(FLAGS.layer))
    recipe = ij.recipes.mahendran_vedaldi(stages=((4e-4, FLAGS.num_steps),))
    case = ij.sweeps.Case(FLAGS.layer, flags.representation(FLAGS.layer), recipe, {"chelsea": image})
    sweep = ij.sweeps.make_sweep([case], num_restarts=num_restarts, seed=FLAGS.seed)
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        ij.sweeps.run(sweep, folder, chunk_size=FLAGS.chunk_size)
        return time.monotonic() - start


def _peak():
    """The most bytes used so far: on the first device, or, on a CPU, by the process."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("peak_bytes_in_use", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    command.run(main, define_flags)
