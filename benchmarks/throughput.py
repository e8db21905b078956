"""Time per restart, and memory, against the number of restarts of a sweep.

    python -m benchmarks.throughput
    python -m benchmarks.throughput --layer=fc8 --num_restarts=1,8,64,256,1024 --chunk_size=256      # on a GPU

One sweep of one photograph for each number of restarts, all at one chunk size, files included; a first one, which
compiles, is not timed. Of --repeats sweeps the median counts. Memory is the highest that the process (on a CPU: its
resident set; else: on the device) had reached by then, counts ascending, so that a flat line means that memory does not
grow. Writes throughput.png, table.md and results.json into --workdir.
"""

import dataclasses
import pathlib
import resource
import tempfile
import time

import jax
import numpy as np
from absl import flags

import invert_jax as ij
from experiments.lib import common, paper

FLAGS = flags.FLAGS


def _define_flags():
    flags.DEFINE_enum("layer", "conv4", ij.networks.LAYER_NAMES, "Layer of the bundled network.")
    flags.DEFINE_list("num_restarts", [str(2**k) for k in range(7)], "Numbers of restarts, ascending.")
    flags.DEFINE_integer("chunk_size", 4, "Restarts at a time on a device.", lower_bound=1)
    flags.DEFINE_integer("steps", 20, "Steps of every restart.", lower_bound=1)
    flags.DEFINE_integer("repeats", 3, "Sweeps of each size.", lower_bound=1)
    flags.DEFINE_string("workdir", "out/throughput", "Folder for the results.")
    common.define_cache_flag()


def main() -> None:
    """Measures what the flags describe."""
    counts = [int(count) for count in paper.numbers("--num_restarts", FLAGS.num_restarts)]
    if counts != sorted(counts) or counts[0] < 1:
        raise ValueError(f"--num_restarts is {','.join(FLAGS.num_restarts)}; give counts >= 1, ascending.")
    workdir = common.make_workdir(FLAGS.workdir)
    _seconds(1)
    rows = []
    for count in counts:
        seconds = np.median([_seconds(count) for _ in range(FLAGS.repeats)])
        rows.append({"num_restarts": count, "seconds_per_restart_step": seconds / (count * FLAGS.steps)})
        rows[-1]["peak_gigabytes"] = _peak() / 2**30
        common.console.print(rows[-1], highlight=False)
    table = paper.markdown(
        ["restarts", "ms per restart and step", "peak memory, GB"],
        [
            [row["num_restarts"], f"{1e3 * row['seconds_per_restart_step']:.1f}", f"{row['peak_gigabytes']:.2f}"]
            for row in rows
        ],
    )
    title = f"{FLAGS.layer}, chunks of {FLAGS.chunk_size} on each of {jax.local_device_count()} x {_device()}"
    series = {
        "time per restart,\nthe last's = 1": [
            row["seconds_per_restart_step"] / rows[-1]["seconds_per_restart_step"] for row in rows
        ],
        "peak memory, GB": [row["peak_gigabytes"] for row in rows],
    }
    picture = ij.viz.curves(counts, series, title=title, x_label="restarts")
    ij.save_image(workdir / "throughput.png", picture)
    common.write_text(workdir / "table.md", table)
    common.write_results(workdir, {"rows": rows, "programs": ij.batching.num_programs()})
    common.console.print(f"results are in {workdir}", highlight=False)


def _seconds(num_restarts):
    """What a sweep of this many restarts takes."""
    image = ij.example_image("chelsea", size=paper.ALEXNET_SIZE)
    recipe = dataclasses.replace(ij.recipes.for_layer(FLAGS.layer), rates=(4e-4,), steps=(FLAGS.steps,))
    problem = ij.sweeps.Problem(FLAGS.layer, ij.alexnet(layer=FLAGS.layer), recipe, {"chelsea": image})
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        ij.sweeps.run(
            ij.sweeps.make([problem], num_restarts=num_restarts), pathlib.Path(folder), chunk_size=FLAGS.chunk_size
        )
        return time.monotonic() - began


def _peak():
    """Most bytes held so far: on the first device, or, on a CPU, by the process."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("peak_bytes_in_use", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def _device():
    return jax.local_devices()[0].device_kind


if __name__ == "__main__":
    _define_flags()
    common.run(main)
