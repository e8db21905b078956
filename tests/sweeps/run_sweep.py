"""Runs the small sweep as a runner does: `run_sweep.py WORKDIR [COORDINATOR PROCESS]`."""

import signal
import sys

from invert_jax import sweeps


def main(workdir, *others):
    if others:
        sweeps.initialize_distributed(others[0], 2, int(others[1]))
    import small_sweeps  # only now, since it computes

    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    callbacks = sweeps.Callbacks(should_stop=lambda: bool(stopping))
    sweeps.run(small_sweeps.make(6), workdir, chunk_size=2, callbacks=callbacks)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except sweeps.StoppedError:
        print("Stopped.")
        sys.exit(143)
    except ChildProcessError as error:
        sys.exit(str(error))
