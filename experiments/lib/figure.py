"""A figure as data: photographs beside their inversions, with a table of errors and measures.

A figure's module holds one `Figure`. Its `main` inverts every photograph for every case, writes a row for each pair
into results.json and table.md, and draws one sheet.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import invert_jax as ij
from experiments.lib import flags, paper
from experiments.lib.paper import Case
from invert_jax._util import command, reprs

FLAGS = flags.FLAGS


def cases_by_weight(recipe: Callable[..., ij.Recipe], *weights: float) -> Callable[[str], list[Case]]:
    """A figure's cases with these weights of TV^2."""
    return lambda word: [Case(f"lambda_V {weight:g}", word, recipe(lambda_tv=weight)) for weight in weights]


class Measure(NamedTuple):
    """A number for each restored image."""

    title: str  # the column of the table, with the unit
    function: Callable[[np.ndarray, np.ndarray, Case], float]  # of image, photograph and case
    digits: int = 1  # after the point
    short: str = ""  # its name below the image; empty leaves it out there
    of_photograph: bool = False  # whether the photograph has it too, as `function(photograph, photograph, case)`

    def label(self, number: float) -> str:
        """The number as shown below an image."""
        return f", {self.short} {number:.{self.digits}f}" if self.short else ""


@dataclasses.dataclass(frozen=True)
class Figure:
    """What a figure shows."""

    name: str  # of the work folder; the last word, such as "figure1", is the picture's
    title: str
    cases: Callable[[str], Sequence[Case]]  # of each layer of --layers, or word of --representations
    layers: Sequence[str] = ()  # default of --layers; empty for a figure of gray representations
    representations: Sequence[str] = ()  # default of --representations; empty for a figure of layers
    known: Sequence[str] = ij.networks.CAFFENET.layer_names  # the layers that can be chosen
    measures: Mapping[str, Measure] = dataclasses.field(default_factory=dict)  # by key in results.json
    num_images: int = 1  # default of the flag
    num_restarts: int = 1  # default of the flag
    columns: int | None = None  # images in a row of the sheet; None is all of a photograph's, or of a layer's
    row_per_layer: bool = False  # each layer has a row, with the photograph in front
    transpose: bool = False  # photographs above, inversions below
    decorate: Callable[[np.ndarray, Case], np.ndarray] = lambda image, case: image  # how an image is drawn
    details: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]] | None = None  # of a row's images, in a row below
    more_flags: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # with their defaults

    def run(self) -> None:
        """Runs the figure's program, and exits."""
        command.run(self.main, self.define_flags)

    def define_flags(self) -> None:
        """Defines the figure's flags."""
        deep = {"layers": tuple(self.layers), "weights": "bundled", "architecture": None}
        shallow = {"representations": tuple(self.representations), "variant": "vlfeat"}
        entries = {**(deep if self.layers else shallow), **self.more_flags}
        flags.define_paper(self.name, num_images=self.num_images, num_restarts=self.num_restarts, **entries)

    def main(self) -> int:
        """Makes the figure that the flags describe; returns the exit status."""
        gray = not self.layers
        words = flags.chosen("representations", flags.SHALLOW) if gray else flags.chosen_layers(self.known)
        groups = [self.cases(word) for word in words]
        # Gray photographs are not resized: HOG and DSIFT take any size, as in the paper.
        size = FLAGS.size if gray else flags.size_of(words[0])
        photographs = paper.photographs(size=size, gray=gray)
        paper.announce(photographs)
        workdir, images = command.make_workdir(FLAGS.workdir), [photo.image for photo in photographs]
        found = [[(case, self._invert(workdir, case, images)) for case in group] for group in groups]
        blocks = [
            [self._cell(photo, case, inversions[i]) for case, inversions in group]
            for i, photo in enumerate(photographs)
            for group in found
        ]
        rows = [row for block in blocks for _, _, _, row in block]
        results = {"images": [photo.name for photo in photographs], "rows": rows}
        return paper.finish(
            workdir,
            results=results if gray else {"network": paper.network(), **results},
            table=self._table(rows),
            pictures={self.name.rpartition("_")[2]: functools.partial(self._sheet, blocks, len(words))},
            finite=[finite for row in rows for finite in row["finite"]],
        )

    def _invert(self, workdir, case, images):
        recipe = None if case.recipe is None else flags.restage(case.recipe)
        return paper.invert(workdir, case._replace(recipe=recipe), images, FLAGS.num_restarts)

    def _cell(self, photo, case, found):
        """One photograph in one case, with its row of results.json."""
        row = {
            "image": photo.name,
            "case": case.label,
            "relative_errors": found.error,
            "finite": found.finite,
            "evaluations": found.evaluations,
        }
        for key, measure in self.measures.items():
            row[key] = [
                measure.function(image, photo.image, case) if finite else np.nan
                for image, finite in zip(found.image, found.finite, strict=True)
            ]
            if measure.of_photograph:
                row[f"{key}_of_photograph"] = measure.function(photo.image, photo.image, case)
        if len(found.image) > 1:
            shown = np.clip(found.image[found.finite], 0, 255)
            row["spread"] = np.sqrt(np.mean(shown.var(axis=0, ddof=1))) if len(shown) > 1 else np.nan
        return photo, case, found, row

    def _table(self, rows):
        columns = [("photograph", "image", str), ("", "case", str)]
        columns.append(("relative error, %", "relative_errors", paper.percent))
        for key, measure in self.measures.items():
            text = functools.partial(paper.mean, digits=measure.digits)
            columns.append((measure.title, key, text))
            if measure.of_photograph:
                columns.append(("the photograph's", f"{key}_of_photograph", text))
        if "spread" in rows[0]:
            columns.append(("spread of restarts, gray levels", "spread", functools.partial(paper.mean, digits=1)))
        return paper.table([*columns, ("evaluations", "evaluations", paper.mean)], rows)

    def _sheet(self, blocks, num_groups):
        """The picture; a block has the cells `(photograph, case, restarts, row)` of one photograph and one layer."""
        lines = []
        for i, block in enumerate(blocks):
            if self.row_per_layer or i % num_groups == 0:
                lines.append([self._front(*block[0])])
            lines[-1] += [tile for cell in block for tile in self._tiles(*cell)]
        if self.details is not None:
            below = [[(image, "", "clip") for image in self.details([tile[0] for tile in line])] for line in lines]
            lines = [line for pair in zip(lines, below, strict=True) for line in pair]
        if self.transpose:
            lines = list(zip(*lines, strict=True))
        title = f"{self.title} of {paper.network()}" if self.layers else self.title
        note = "clipped to 0..255" if self.layers else "stretched to full contrast"
        return paper.sheet(lines, title=f"{title}, relative error ({note})", columns=self.columns)

    def _front(self, photo, case, found, row):
        """The tile of the photograph."""
        measures = {key: measure for key, measure in self.measures.items() if measure.of_photograph}
        numbers = "".join(measure.label(row[f"{key}_of_photograph"]) for key, measure in measures.items())
        return photo.image, photo.name + numbers, "clip"

    def _tiles(self, photo, case, found, row):
        """The tiles of the restarts, those that are not finite undecorated."""
        for r, (image, finite) in enumerate(zip(found.image, found.finite, strict=True)):
            number = f", restart {r}" if len(found.image) > 1 else ""
            numbers = "".join(measure.label(row[key][r]) for key, measure in self.measures.items())
            label = f"{case.label}{number}: {reprs.error_text(found.error[r])}{numbers}"
            yield self.decorate(image, case) if finite else image, label, "clip" if self.layers else "stretch"
