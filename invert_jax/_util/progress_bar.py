"""The progress bar of a sample: its restarts, their energy and the time left, measured from the first steps."""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import rich.console
import rich.progress


@contextlib.contextmanager
def show(num_restarts: int, num_steps: int, *, enabled: bool | None) -> Iterator[Callable | None]:
    """Yields `update(num_done, num_running, step, energies)`, or None if no bar is shown.

    The bar is on the standard error, and vanishes at the end; None for `enabled` shows it in terminals and notebooks.
    `num_done` restarts have ended; `num_running` are at `step` of at most `num_steps`, with `energies` `[num_running]`.
    """
    console = rich.console.Console(stderr=True, force_terminal=enabled or None)
    if not (console.is_terminal or console.is_jupyter if enabled is None else enabled):
        yield None
        return
    columns = (*rich.progress.Progress.get_default_columns(), "{task.fields[energy]}")
    with rich.progress.Progress(*columns, console=console, transient=True, speed_estimate_period=600) as bar:
        task = bar.add_task("compiling", total=num_restarts * num_steps, energy="")

        def update(num_done, num_running, step, energies):
            finite = energies[np.isfinite(energies)]
            energy = f"energy {np.median(finite):.4g}" if step and finite.size else ""
            restarts = f"restart {num_done + num_running} of {num_restarts}" if step else "compiling"
            completed = num_done * num_steps + num_running * step
            bar.update(task, completed=completed, description=restarts, energy=energy)

        yield update
