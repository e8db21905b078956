"""Table 2: the structure of CNN-A, and the receptive field, stride and offset of every layer's neurons.

    python -m experiments.mahendran_vedaldi.table2

Computed from the layer table in exact integers, at once; the paper's receptive fields are listed beside ours and are
the same. It is the structure of the paper's network; the bundled one has 512 channels at fc6 to relu7. The offset is
the first pixel that the first neuron sees: negative where padding reaches beyond the image.
"""

import invert_jax as ij
from experiments.lib import flags, paper
from invert_jax._util import command

PAPER_CHANNELS = (96,) * 4 + (256,) * 4 + (384,) * 4 + (256,) * 3 + (4096,) * 4 + (1000,)
PAPER_FIELDS = (11, 11, 19, 19, 51, 51, 67, 67, 99, 99, 131, 131, 163, 163, 195, 355, 355, 355, 355, 355)


def define_flags() -> None:
    """Defines the one flag of the table."""
    flags.define("table2")


def main() -> int:
    """Computes the table."""
    workdir = command.make_workdir(flags.FLAGS.workdir)
    channels, rows = 3, []
    entries = zip(ij.networks.CAFFENET.layers, ij.receptive_field.alexnet(), PAPER_CHANNELS, PAPER_FIELDS, strict=True)
    for layer, field, paper_channels, paper_field in entries:
        channels = layer.width or channels
        rows.append({"layer": layer.name, "channels": channels, "paper_channels": paper_channels})
        rows[-1] |= {"receptive_field": field.size, "paper_receptive_field": paper_field}
        rows[-1] |= {"stride": field.stride, "offset": field.offset}
    table = paper.markdown(
        ["", "layer", "channels", "the paper's", "receptive field", "the paper's", "stride", "offset"],
        [[str(number), *map(str, row.values())] for number, row in enumerate(rows, start=1)],
    )
    return paper.finish(workdir, results={"layers": rows}, table=table, pictures={})


if __name__ == "__main__":
    command.run(main, define_flags)
