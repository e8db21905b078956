"""What runners need for a sweep: how many restarts at a time, and what is shown while it works."""

import math
import os
import pathlib
import time

import jax
import rich.progress

import invert_jax as ij
from experiments.lib import common

REST = 10.0
"""Seconds between two lines, or two writings of results.json."""


def memory() -> float:
    """Bytes of a device to plan with: three quarters of its own."""
    stats = jax.local_devices()[0].memory_stats() or {}
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 0.75 * stats.get("bytes_limit", host / jax.local_device_count())


def chunk_size(sweep: ij.sweeps.Sweep, memory: float, most: int | None = None) -> int:
    """Restarts at a time on a device with this much memory to plan with; None is at most 4 on a CPU, else 64."""
    if most is None:
        most = 4 if jax.default_backend() == "cpu" else 64  # more is no faster there, or wasted on a sweep of a few
    return ij.sweeps.chunk_size_for(sweep, memory=memory, most=most)


def run(sweep: ij.sweeps.Sweep, folder: pathlib.Path, *, description: str, chunk_size: int) -> ij.sweeps.SweepResults:
    """Runs a sweep under a progress bar; restarts are added to what there is."""
    with rich.progress.Progress(console=common.console) as bar:
        task = bar.add_task(description, total=sweep.size)

        def show(status):
            bar.update(task, completed=_done(status), total=status.wanted)

        hooks = ij.sweeps.Hooks(show, tell, lambda: False)
        results = ij.sweeps.run(sweep, folder, chunk_size=chunk_size, extend=True, hooks=hooks)
        bar.update(task, completed=sweep.size, total=sweep.size)  # nothing is told of what was there
        return results


def _done(status):
    """How many restarts are finished, and what share the batch under way has made of its own."""
    return status.finished + status.restarts * status.step / status.num_steps


def tell(sentence: str) -> None:
    """Shows what is out of the ordinary."""
    common.console.print(sentence, style="yellow", highlight=False, soft_wrap=True)


class Display:
    """Bars or lines, and results.json, which is whole at every moment; a context manager.

    Args:
      sweep: what is made.
      workdir: the sweep's folder.
      leader: whether this process shows and writes; the others tell what is out of the ordinary, and no more.
    """

    def __init__(self, sweep: ij.sweeps.Sweep, workdir: pathlib.Path, leader: bool):
        self._workdir, self._leader, self._bars = workdir, leader, leader and common.console.is_terminal
        self._progress = rich.progress.Progress(
            "{task.description}",
            rich.progress.BarColumn(),
            "{task.completed:.0f}/{task.total:.0f}",
            rich.progress.TimeRemainingColumn(),
            "{task.fields[note]}",
            console=common.console,
            disable=not self._bars,
        )
        self._restarts = self._progress.add_task("restarts", total=sweep.size, note="")
        self._steps = self._progress.add_task("steps", total=1, note="")
        self._began, self._at, self._made, self._first, self._seen = time.monotonic(), -math.inf, 0, None, None
        self._index = Index(workdir)

    def __enter__(self):
        self._progress.start()
        return self

    def __exit__(self, *_):
        self._progress.stop()

    def show(self, status: ij.sweeps.Status) -> None:
        """Shows where the sweep stands."""
        seen, self._seen = self._seen, status
        self._first = self._first or status
        if seen is not None and seen.step < status.step and seen.problem == status.problem:
            self._made += (status.step - seen.step) * seen.restarts
        ended = seen is not None and status.finished > seen.finished
        elapsed = max(time.monotonic() - self._began, 1e-9)
        rate = self._made / elapsed
        note = f"{status.problem}, energy {status.energy:.4g}, {rate:.0f} restart-steps/s, {status.programs} programs"
        self._progress.update(self._restarts, total=status.wanted, completed=_done(status))
        self._progress.update(self._steps, total=status.num_steps, completed=status.step, note=note)
        if time.monotonic() - self._at < REST and not (ended and status.finished == status.wanted):
            return
        self._at = time.monotonic()
        if not self._bars and self._leader:
            done = _done(status) - self._first.finished
            left = duration(elapsed * (status.wanted - self._first.finished - done) / done) if done > 0 else "?"
            common.console.print(
                f"{status.finished}/{status.wanted} restarts, step {status.step}/{status.num_steps}, {note}, "
                f"{left} left",
                highlight=False,
                soft_wrap=True,
            )
        if self._leader:
            self._index.write(complete=False)


class Index:
    """results.json of a sweep's folder: what each file of restarts holds, read once.

    Args:
      workdir: the sweep's folder.
    """

    def __init__(self, workdir: pathlib.Path):
        self._workdir, self._known = workdir, {}

    def write(self, *, complete: bool) -> list[dict]:
        """Writes results.json, and returns a row for every problem and photograph."""
        results = ij.load_sweep(self._workdir)
        rows = [self._row(results, which) for which in results]
        common.write_results(
            self._workdir, {"complete": complete, "chunk_sizes": results.manifest["chunk_sizes"], "rows": rows}
        )
        return rows

    def _row(self, results, which):
        stamps = tuple((path, _changed(path)) for path in results.index[which])
        if self._known.get(which, (None,))[0] != stamps:
            errors, finite = results.errors(*which)
            row = {
                "problem": which[0],
                "image": which[1],
                "restarts": len(errors),
                "errors": errors,
                "not_finite": int((~finite).sum()),
                "files": [str(path.relative_to(self._workdir)) for path in results.index[which]],
            }
            self._known[which] = stamps, row
        return self._known[which][1]


def _changed(path):
    """When a file was written; None if it is gone, merged into another."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as one says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
