"""What is shown during a sweep, and results.json, its index."""

import contextlib
import functools
import math
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import rich.markup
import rich.progress

import invert_jax as ij
from experiments.lib import flags
from invert_jax._util import command

INTERVAL = 10.0
"""Seconds between two lines, or between two versions of results.json."""


warn = functools.partial(command.say, style="yellow")
"""Shows a sentence that needs attention."""


def track(jobs: Sequence, description: str) -> Iterable:
    """The jobs, with a progress bar."""
    return rich.progress.track(jobs, description=rich.markup.escape(description), console=command.console)


def run(
    sweep: ij.sweeps.Sweep, folder: pathlib.Path, *, description: str, chunk_size: int | None = None
) -> ij.sweeps.SweepResults:
    """Runs a sweep under a progress bar; restarts are added to those that are saved."""
    with rich.progress.Progress(console=command.console) as bar:
        task = bar.add_task(rich.markup.escape(description), total=sweep.size)

        def show(status):
            bar.update(task, completed=_num_done(status), total=status.wanted)

        chunk_size = chunk_size or flags.value("chunk_size")
        callbacks = ij.sweeps.Callbacks(on_progress=show, on_message=warn)
        options = {"extend": True, "allow_changed_code": flags.value("allow_changed_code", False)}
        results = ij.sweeps.run(sweep, folder, chunk_size=chunk_size, callbacks=callbacks, **options)
        bar.update(task, completed=sweep.size, total=sweep.size)  # a finished sweep reports nothing
        return results


def _num_done(status):
    """Finished restarts, with the share of its steps that the present chunk has made."""
    return status.finished + status.restarts * status.step / status.num_steps


@contextlib.contextmanager
def display(workdir: pathlib.Path, *, leader: bool) -> Iterator[Callable[[ij.sweeps.Status], None]]:
    """Yields what shows the status of a sweep: by a bar, or by lines where there is no terminal.

    Every few seconds, and when the sweep is finished, results.json is written too, by the leading process alone.
    """
    index, shown, finished = {}, -math.inf, -1
    with_bar = leader and command.console.is_terminal
    columns = (
        *rich.progress.Progress.get_default_columns(),
        rich.progress.TextColumn("{task.fields[note]}", markup=False),
    )
    # The time left is measured over ten minutes: a batch takes long, and the first compiles.
    options = {"disable": not with_bar, "speed_estimate_period": 600}
    with rich.progress.Progress(*columns, console=command.console, **options) as bar:
        task = bar.add_task("restarts", note="")

        def show(status):
            nonlocal shown, finished
            energy = f"energy {status.energy:.4g}" if math.isfinite(status.energy) else "compiling"
            note = f"{status.case}, step {status.step}/{status.num_steps}, {energy}"
            bar.update(task, completed=_num_done(status), total=status.wanted, note=note)
            ended, finished = status.finished == status.wanted != finished, status.finished
            if leader and (ended or time.monotonic() - shown > INTERVAL):
                shown = time.monotonic()
                if not with_bar:
                    seconds = bar.tasks[task].time_remaining
                    left = "" if seconds is None else f"; about {seconds:.0f} s left"
                    command.say(f"{status.finished}/{status.wanted} restarts; {note}{left}")
                write_index(workdir, index, complete=False)

        yield show


def write_index(workdir: pathlib.Path, index: dict, *, complete: bool) -> list[dict]:
    """Writes results.json: a row for every case and photograph, from `index` where the files have not changed."""
    results = ij.load_sweep(workdir)
    # To read every file anew every few seconds would take longer than the sweep.
    for which, files in results.index.items():
        stamps = [(path, _changed(path)) for path in files]
        if index.get(which, (None,))[0] != stamps:
            found = results[which]
            index[which] = (
                stamps,
                {
                    "case": which[0],
                    "image": which[1],
                    "restarts": len(found.error),
                    "errors": found.error,
                    "diverged": int((~found.finite).sum()),
                    "files": [str(path.relative_to(workdir)) for path in files],
                },
            )
    rows = [index[which][1] for which in results]
    numbers = {"complete": complete, "chunk_sizes": results.manifest["chunk_sizes"], "rows": rows}
    command.write_results(workdir, numbers)
    return rows


def _changed(path):
    """When a file was written; None if it was merged into another."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime_ns
