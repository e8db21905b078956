"""A table as data: photographs from layers by several recipes, with the papers' error of each.

A table's module holds one `Table`. Its `main` inverts every photograph for every case of every layer, writes a row for
each case into results.json and table.md, and draws the pictures.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import invert_jax as ij
from experiments.lib import flags, paper
from invert_jax._util import command

FLAGS = flags.FLAGS
_SHOWN = 5  # photographs on a sheet


class Row(NamedTuple):
    """One case of one layer: `numbers` for results.json, and the restarts of each photograph, of which one counts."""

    layer: str
    case: paper.Case
    numbers: dict[str, Any]
    found: Sequence[Any]


@dataclasses.dataclass(frozen=True)
class Table:
    """What a table measures; `numbers` are those of a `Row`."""

    name: str  # of the work folder
    cases: Callable[[str], Sequence[paper.Case]]  # of each layer of --layers
    columns: paper.Columns | Callable[[list[dict]], str]  # or a function from the numbers of all rows to Markdown
    layers: Sequence[str] = ij.networks.CAFFENET.layer_names  # default of --layers
    known: Sequence[str] = ij.networks.CAFFENET.layer_names  # the layers that can be chosen
    num_images: int = 2  # default of --num_images
    more: Callable[..., dict[str, Any]] = lambda *_: {}  # further numbers, of layer, case, restarts, images and numbers
    results: Callable[[list[dict]], dict] = lambda numbers: {"rows": numbers}  # the layout of results.json
    pictures: Callable[[list[Row], list[paper.Photograph]], Mapping[str, Any]] | None = None  # instead of the sheet
    title: str = ""  # of the sheet, which has a line for the photographs and one for each layer
    shown: Callable[[dict], bool] = lambda numbers: True  # whether the sheet has a row with these numbers
    note: str = ""  # below the table
    more_flags: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # with their defaults

    def run(self) -> None:
        """Runs the table's program, and exits."""
        command.run(self.main, self.define_flags)

    def define_flags(self) -> None:
        """Defines the table's flags."""
        entries = {
            "layers": tuple(self.layers),
            "weights": "bundled",
            "architecture": None,
            "num_scale_images": 100,
            **self.more_flags,
        }
        flags.define_paper(self.name, num_images=self.num_images, **entries)

    def main(self) -> int:
        """Measures the table that the flags describe; returns the exit status."""
        layers = flags.chosen_layers(self.known)
        cases = [(layer, case) for layer in layers for case in self.cases(layer)]
        size = flags.size_of(layers[0])
        photographs, scale_by = paper.photographs(size=size, gray=False), paper.scale_photographs(size=size)
        paper.announce(photographs)
        workdir, images = command.make_workdir(FLAGS.workdir), [photo.image for photo in photographs]
        rows = []
        for layer, case in cases:
            label = layer if case.label == layer else f"{layer}, {case.label}"
            found = paper.invert(workdir, case._replace(label=label), images)
            numbers = {"layer": layer, **paper.measure(case.phi, found, images, scale_by)}
            numbers |= self.more(layer, case, found, images, numbers)
            # All images of a large table would fill the memory: those that no sheet shows are left out.
            rest = [restarts._replace(image=None) for restarts in found[_SHOWN:]]
            rows.append(Row(layer, case, numbers, [*found[:_SHOWN], *rest]))
        numbers = [row.numbers for row in rows]
        note = f"mean ± standard deviation over {len(images)} photographs, N_Phi over {len(scale_by)}.{self.note}"
        table = self.columns(numbers) if callable(self.columns) else paper.table(self.columns, numbers)
        return paper.finish(
            workdir,
            results={
                "network": paper.network(),
                "images": [photo.name for photo in photographs],
                "num_scale_images": len(scale_by),
                **self.results(numbers),
            },
            table=f"{table}\n{paper.network()}; {note}\n",
            pictures=(self.pictures or self._sheet)(rows, photographs),
            finite=[row["finite"] for row in numbers],
        )

    def _sheet(self, rows, photographs):
        tiles = [[(photo.image, "" if i else "photograph", "clip") for i, photo in enumerate(photographs[:_SHOWN])]]
        for row in rows:
            if self.shown(row.numbers):
                restored = enumerate(row.found[:_SHOWN])
                tiles.append([(found.image[0], "" if i else row.layer, "clip") for i, found in restored])
        name = self.name.rpartition("_")[2]  # as of figures
        title = f"{self.title}: {paper.network()} (clipped to 0..255)"
        return {name: lambda: paper.sheet(tiles, title=title, height=128)} if len(tiles) > 1 else {}


def lines_of_cases(rows: Sequence[Row], photographs: Sequence[paper.Photograph]) -> dict[str, list[tuple]]:
    """For each layer a line of tiles: the first photograph, and what each case restored, with its normalized error."""
    lines = {row.layer: [(photographs[0].image, f"{photographs[0].name}, {row.layer}", "clip")] for row in rows}
    for row in rows:
        error = 100 * row.numbers["normalized_error"][0]
        lines[row.layer].append((row.found[0].image[0], f"{row.case.label}: {error:.0f} %", "clip"))
    return lines
