"""A sweep as one page: montages, maps, curves, tables, settings; one HTML file that needs no network and no server.

    python -m experiments.report WORKDIR

WORKDIR is what experiments.sample_invariances wrote, finished or not. On the page, too, is what has been measured
there: WORKDIR/invariance by experiments.invariance_curves; WORKDIR/geometry and WORKDIR/receptive_fields, if they are
the --workdir of experiments.invariance_geometry and experiments.receptive_fields. Writes WORKDIR/report.html.
Everything is inside it: mail it, open it on a phone; it follows the reader's dark or light setting. A photograph and
layer take a few seconds.
"""

import base64
import io
import json
import pathlib
import shlex
from typing import NamedTuple

import numpy as np
from absl import flags
from PIL import Image

import invert_jax as ij
from experiments import common

FLAGS = flags.FLAGS

_SHOWN = 8  # restarts of a photograph
_MOST = 20  # photographs of a problem
_BANDS = 6
_QUALITY = 88  # of JPEG, for pictures; plots are PNG


class _Measurement(NamedTuple):
    """What a runner measures, as the page tells it; pictures with their alternative text."""

    runner: str
    title: str
    text: str
    pictures: dict[str, str]


_MEASUREMENTS = {
    "invariance": _Measurement(
        "invariance_curves",
        "Invariance over depth",
        "Means over photographs [95 % intervals over photographs]. The percentile is that of a restart's distance to "
        "the photograph's code among the distances between photographs; distinct is how many different images the "
        "restarts amount to.",
        {
            "diversity": "Distance between restarts of one code against layers, with intervals over photographs",
            "bands": "Distance between restarts band by band of the Laplacian pyramid against layers",
            "error": "Relative error of the restarts' codes against layers, with intervals over photographs",
            "equivalence": "Percentiles of the restarts' codes, and share of classes kept, against layers",
            "percentile": "Heat map: percentile of the distance to the target's code at every layer, by inverted layer",
            "apart": "Heat map: distance between restarts in the code of every layer, by inverted layer",
        },
    ),
    "geometry": _Measurement(
        "invariance_geometry",
        "Width, ways and tangent",
        "Restarts of their own, by the same recipe: pushed apart, each at no more error than it had; strung together "
        "at nearly the same code; and what a restart's code feels most and least, the code's change by gray level. "
        "Pushed and strung ones are coupled, no sample.",
        {
            "repulsion": "Restarts, and below them the same pushed apart at no more error",
            "path": "From one restart to another, straight and at nearly the same code, with the errors along it",
            "directions": "Changes of a restart that move its code most and least",
        },
    ),
    "receptive_fields": _Measurement(
        "receptive_fields",
        "Receptive fields in effect",
        "Of restarts from each layer's central neurons alone: how much of their variance lies in the box that these "
        "can see, and the side of the square about its middle that holds 90 %.",
        {
            "receptive_fields": "Where restarts from each layer's central neurons differ, and the box that these see",
            "sides": "Side of the box against layers, and of the square that holds 90 % of the variance",
        },
    ),
}
"""By the folder below the sweep's."""


def main(path: str | None = None) -> None:
    """Writes the page of a work folder."""
    import jinja2

    if path is None:
        raise ValueError("Name the folder of a sweep: python -m experiments.report WORKDIR.")
    workdir = pathlib.Path(path)
    results = ij.load_sweep(workdir)
    if not results:
        raise ValueError(f"{workdir} has no restarts yet; run the sweep first.")
    told = _read(workdir / "results.json")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    settings = results.manifest["settings"]
    order = [name for name in (key.removesuffix(": weights") for key in settings) if name in results.problems]
    measured = [_measured(workdir / folder, each) for folder, each in _MEASUREMENTS.items() if _has(workdir / folder)]
    sections = [*measured, *(_problem(workdir, results, name) for name in order)]
    page = environment.get_template("report.html.jinja").render(
        title=f"Which images have the same code? {workdir.name}",
        summary=_summary(results, told),
        sections=sections,
        commands=_commands(workdir, told),
        settings=list(settings.items()),
    )
    common.write_text(workdir / "report.html", page)
    size = len(page.encode()) / 2**20
    common.console.print(f"{workdir / 'report.html'}, {size:.1f} MB", highlight=False, soft_wrap=True)


def _read(path):
    """The object in a JSON file; an empty one if there is none, or not a whole one."""
    try:
        found = json.loads(path.read_text())
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}


def _summary(results, told):
    there = sum(len(results.errors(*which)[0]) for which in results)
    lost = sum(int((~results.errors(*which)[1]).sum()) for which in results)
    versions, device = told.get("versions", {}), told.get("device", {})
    made = (
        f" Made by invert_jax {versions['invert_jax']} with JAX {versions['jax']} on {device['kind']}." if told else ""
    )
    return (
        f"{there} restarts of {len(results.images)} photographs from {len(results.problems)} codes, {lost} of them not "
        f"finite. Each began at its own noise and descended until it had the photograph's code as nearly as it could; "
        f"what restarts share, the code holds, and where they differ, it does not care.{made}"
    )


def _commands(workdir, told):
    """The commands that made the folder and this page; what the folder tells of its own, if anything."""
    lines = []
    measured = [(each.runner, _read(workdir / folder / "results.json")) for folder, each in _MEASUREMENTS.items()]
    for runner, results in (("sample_invariances", told), *measured):
        if "command" in results:
            lines.append(shlex.join(["python", "-m", f"experiments.{runner}", *results["command"][1:]]))
    return "\n".join([*lines, shlex.join(["python", "-m", "experiments.report", str(workdir)])])


def _has(room):
    return (room / "table.md").exists()


def _measured(room, measurement):
    """The section of what a runner has measured: its text, pictures and table."""
    lines = (room / "table.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {
        "id": room.name,
        "title": measurement.title,
        "text": [measurement.text, *(line for line in lines if line and not line.startswith("|"))],
        "plots": [
            _picture(np.asarray(Image.open(room / f"{name}.png").convert("RGB")), alt, "", plot=True)
            for name, alt in measurement.pictures.items()
            if (room / f"{name}.png").exists()
        ],
        "header": cells[0],
        "rows": cells[2:],
        "photographs": [],
    }


def _problem(workdir, results, problem):
    names = [image for which, image in results if which == problem]
    rows, photographs = [], []
    for number, name in enumerate(names):
        found = results[problem, name]
        images = found.image[found.finite].astype(np.float32)
        distance = "-"
        if len(images) > 1:
            apart = ij.invariance.distances(images)
            distance = f"{apart[np.triu_indices(len(apart), 1)].mean():.1f}"
        error = f"{100 * found.error[found.finite].mean():.1f}" if len(images) else "-"
        rows.append([name, len(found.error), int((~found.finite).sum()), error, distance])
        if number >= _MOST:
            continue
        photographs.append(
            {
                "title": f"{name}: relative error {error} %, {distance} gray levels apart",
                "tiles": _tiles(workdir, problem, name, found),
                **_maps(problem, name, found, images),
            }
        )
    return {
        "id": f"problem-{problem}",
        "title": problem,
        "text": [f"Pictures are of the first {_MOST} photographs of {len(names)}."] if len(names) > _MOST else [],
        "plots": [],
        "header": ["photograph", "restarts", "not finite", "relative error, %", "distance between them, gray levels"],
        "rows": rows,
        "photographs": photographs,
    }


def _tiles(workdir, problem, name, found):
    """The photograph, if the folder has it, and its first restarts."""
    tiles = []
    original = workdir / "photographs" / f"{problem}-{name}.png"
    if original.exists():
        tiles.append(_picture(ij.load_image(original), f"The photograph {name}", "photograph"))
    for restart, (image, error, good) in enumerate(zip(found.image[:_SHOWN], found.error, found.finite, strict=False)):
        said = f"{100 * error:.1f} %" if good else "not finite"
        tiles.append(_picture(image, f"Restart {restart} of {name} from {problem}, {said}", said))
    return tiles


def _maps(problem, name, found, images):
    """Where restarts differ, whole and band by band on one scale from black, their mean, and their descent."""
    maps, plots = [], []
    if len(images) > 1:
        spread = ij.invariance.spread(images, num_levels=_BANDS)
        maps.append(_picture(spread.mean, f"Mean of the restarts of {name} from {problem}", "mean"))
        bands = np.sqrt((spread.bands**2).mean(axis=3, keepdims=True))
        most = max(float(bands.max()), 1e-6)
        for band, deviation in enumerate(bands):
            called = {0: "finest band", _BANDS - 1: "coarsest band"}.get(band, f"band {band + 1}")
            alt = (
                f"Standard deviation over restarts of {name} from {problem}, {called}; white is {most:.1f} gray levels"
            )
            root = np.sqrt(np.mean(deviation**2))
            maps.append(_picture(255 * deviation / most, alt, f"{called}, {root:.1f} gray levels"))
        whole = np.sqrt((spread.deviation**2).mean(axis=2))
        title = f"{problem}, {name}: standard deviation over {len(images)} restarts"
        plots.append(_picture(ij.plots.heatmap(whole, title=title, label="gray levels"), title, "", plot=True))
    title = f"{problem}, {name}: energy against steps"
    plots.append(_picture(ij.plots.convergence(found.energy, title=title), title, "", plot=True))
    return {"maps": maps, "plots": plots}


def _picture(image, alt, caption, *, plot=False):
    """An image as the page holds it: its bytes in the address."""
    picture, stream = Image.fromarray(ij.figures.display(image)), io.BytesIO()
    if plot:
        picture = picture.quantize(256)
    picture.save(stream, format="PNG" if plot else "JPEG", quality=_QUALITY, optimize=plot)
    kind, data = ("png" if plot else "jpeg"), base64.b64encode(stream.getvalue()).decode()
    return {
        "source": f"data:image/{kind};base64,{data}",
        "alt": alt,
        "caption": caption,
        "width": picture.width,
        "height": picture.height,
    }


if __name__ == "__main__":
    common.run(main, most=1)
