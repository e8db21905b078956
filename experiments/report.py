"""A sweep as one page: montages, maps, curves, tables and settings in one HTML file, without network or server.

    python -m experiments.report WORKDIR

WORKDIR is the folder of experiments.sample_invariances, finished or not. Writes WORKDIR/report.html, which also shows
WORKDIR/invariance by experiments.invariance_curves, and WORKDIR/geometry and WORKDIR/receptive_fields if these were the
--workdir of experiments.invariance_geometry and experiments.receptive_fields. A photograph of a case takes a few
seconds and about 0.3 MB; --num_pictures limits how many have pictures.
"""

from absl import flags

from invert_jax._util import command
from invert_jax.viz import report

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of the runner."""
    flags.DEFINE_integer("num_pictures", 60, "Pairs of photograph and case with pictures on the page.", lower_bound=1)


def main(workdir: str | None = None) -> None:
    """Writes the page of the sweep in WORKDIR."""
    if workdir is None:
        raise ValueError("The folder of a sweep is missing; run: python -m experiments.report WORKDIR.")
    path = report.write_report(workdir, num_pictures=FLAGS.num_pictures)
    command.say(f"{path}, {path.stat().st_size / 2**20:.1f} MB")


if __name__ == "__main__":
    command.run(main, define_flags, max_arguments=1)
