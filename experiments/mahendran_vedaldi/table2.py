"""Table 2: the structure of CNN-A, and the receptive field, stride and offset of every layer's neurons.

    python -m experiments.mahendran_vedaldi.table2

Computed from the layer table in exact integers, at once; the paper's receptive fields stand beside ours and are the
same. It is the structure of the paper's network; the one that comes along has 512 channels at fc6 to relu7. The offset
is the first pixel that the first neuron sees: negative where padding reaches beyond the image.
"""

from absl import flags

import invert_jax as ij
from experiments.lib import common, paper

FLAGS = flags.FLAGS

PAPER_CHANNELS = (96,) * 4 + (256,) * 4 + (384,) * 4 + (256,) * 3 + (4096,) * 4 + (1000,)
PAPER_FIELDS = (11, 11, 19, 19, 51, 51, 67, 67, 99, 99, 131, 131, 163, 163, 195, 355, 355, 355, 355, 355)


def _define_flags():
    flags.DEFINE_string("workdir", "out/table2", "Folder for the table.")


def main() -> None:
    """Computes the table."""
    workdir = common.make_workdir(FLAGS.workdir)
    channels, rows = 3, []
    for number, (layer, field) in enumerate(zip(ij.networks.CNN_A, ij.receptive_field.alexnet(), strict=True)):
        channels = layer.width or channels
        rows.append(
            {
                "layer": layer.name,
                "channels": channels,
                "paper_channels": PAPER_CHANNELS[number],
                "receptive_field": field.size,
                "paper_receptive_field": PAPER_FIELDS[number],
                "stride": field.stride,
                "offset": field.offset,
            }
        )
    table = paper.markdown(
        ["", "layer", "channels", "the paper's", "receptive field", "the paper's", "stride", "offset"],
        [[str(number), *map(str, row.values())] for number, row in enumerate(rows, start=1)],
    )
    paper.finish(workdir, results={"layers": rows}, table=table, pictures={})


if __name__ == "__main__":
    _define_flags()
    common.run(main)
