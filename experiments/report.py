"""A sweep as one page: montages, maps, curves, tables, settings; one HTML file that needs no network and no server.

    python -m experiments.report WORKDIR

WORKDIR is what experiments.sample_invariances wrote, finished or not. On the page, too, is what has been measured
there: WORKDIR/invariance by experiments.invariance_curves; WORKDIR/geometry and WORKDIR/receptive_fields, if they are
the --workdir of experiments.invariance_geometry and experiments.receptive_fields. Writes WORKDIR/report.html.
Everything is inside it: mail it, open it on a phone; it follows the reader's dark or light setting. A photograph and
layer take a few seconds, and some 0.3 MB; so --num_shown of them have pictures, the tables have all.
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
from experiments.lib import common, restart_statistics

FLAGS = flags.FLAGS

_SHOWN = 8  # restarts of a photograph
_NUM_SHOWN = 60  # pairs of photograph and code
_QUALITY = 85  # of pictures; plots lose nothing
_LARGEST = 16383  # pixels along a side of WebP


class _Measurement(NamedTuple):
    """What a runner measures, as the page tells it; pictures with their alternative text."""

    runner: str
    title: str
    text: str
    pictures: dict[str, str]
    of_photographs: bool = False


_MEASUREMENTS = {
    "invariance": _Measurement(
        "invariance_curves",
        "Invariance over depth",
        "Means over photographs [95 % intervals over photographs]. The percentiles are those of a restart's distance "
        "to the photograph's code among the distances between photographs, and among those of the photograph's own "
        "small perturbations; distinct is how many different images the restarts amount to.",
        {
            "diversity": "Distance between restarts of one code against layers, with intervals over photographs",
            "bands": "Distance between restarts band by band of the Laplacian pyramid against layers",
            "error": "Relative error of the restarts' codes against layers, with intervals over photographs",
            "equivalence": "Percentiles of the restarts' codes, and share of classes kept, against layers",
            "percentile": "Heat map: percentile of the distance to the target's code among those between photographs, "
            "at every layer, by inverted layer",
            "perturbed": "Heat map: percentile of the distance to the target's code among those of the photograph's "
            "perturbations, at every layer, by inverted layer",
            "apart": "Heat map: distance between restarts in the code of every layer, by inverted layer",
        },
    ),
    "geometry": _Measurement(
        "invariance_geometry",
        "Width, ways and tangent",
        "Restarts of their own, by the paper's recipe: pushed apart, each at no more error than it had; beside them "
        "restarts by the recipe without its priors; strung together at nearly the same code; and what a restart's "
        "code feels most and least, the code's change by gray level. Pushed and strung ones are coupled, no sample.",
        {
            "repulsion": "Restarts, the same pushed apart at no more error, and restarts without priors",
            "path": "From one restart to another, straight and at nearly the same code, with the errors along it",
            "directions": "Changes of a restart that move its code most and least",
        },
        of_photographs=True,
    ),
    "receptive_fields": _Measurement(
        "receptive_fields",
        "Receptive fields in effect",
        "Of restarts from each layer's central neurons alone: how much of their variance lies in the box that these "
        "can see, and the side of the square about its middle that holds 90 % of what lies in it.",
        {
            "receptive_fields": "Where restarts from each layer's central neurons differ, and the box that these see",
            "sides": "Side of the box against layers, and of the square that holds 90 % of the variance in it",
        },
    ),
}
"""By the folder below the sweep's."""


def main(path: str | None = None) -> None:
    """Writes the page of the work folder that the command names."""
    if path is None:
        raise ValueError("Name the folder of a sweep: python -m experiments.report WORKDIR.")
    write_page(pathlib.Path(path), num_shown=FLAGS.num_shown)


def write_page(workdir: pathlib.Path, *, num_shown: int = _NUM_SHOWN) -> None:
    """Writes `report.html` into a sweep's folder, with pictures of so many pairs of photograph and code."""
    import jinja2

    results = ij.load_sweep(workdir)
    if not results:
        raise ValueError(f"{workdir} has no restarts yet; run the sweep first.")
    told = _read(workdir / "results.json")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    settings = results.manifest["settings"]
    order = [name for name in (key.removesuffix(": weights") for key in settings) if name in results.problems]
    measured = [
        _measured(workdir / folder, each, results)
        for folder, each in _MEASUREMENTS.items()
        if (workdir / folder / "table.md").exists()
    ]
    most = max(1, num_shown // len(results.problems))
    sections = [*measured, *(_problem(workdir, results, name, most) for name in order)]
    page = environment.get_template("report.html.jinja").render(
        title=f"Which images have the same code? {workdir.name}",
        summary=_summary(results, told),
        sections=sections,
        commands="\n".join(
            [*_command("sample_invariances", told), f"python -m experiments.report {shlex.quote(str(workdir))}"]
        ),
        settings=[(name, value) for name, value in settings.items() if name.partition(": ")[0] not in order],
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


def _command(runner, told):
    """The command that wrote these results, if they tell."""
    if "command" not in told:
        return []
    return [shlex.join(["python", "-m", f"experiments.{runner}", *told["command"][1:]])]


def _measured(room, measurement, sweep):
    """The section of what a runner has measured: its text, pictures and table."""
    lines, told = (room / "table.md").read_text().splitlines(), _read(room / "results.json")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    now, text = sweep.manifest["num_restarts"], [measurement.text]
    if told.get("num_restarts", now) != now:
        text.append(f"Measured when there were {told['num_restarts']} restarts of each, not {now}: run it again.")
    return {
        "id": room.name,
        "title": measurement.title,
        "text": [*text, *(line for line in lines if line and not line.startswith("|"))],
        "command": "\n".join(_command(measurement.runner, told)),
        "settings": [],
        "plots": [
            _picture(
                np.asarray(Image.open(room / f"{name}.png").convert("RGB")),
                alt,
                "",
                plot=not measurement.of_photographs,
            )
            for name, alt in measurement.pictures.items()
            if (room / f"{name}.png").exists()
        ],
        "header": cells[0],
        "rows": cells[2:],
        "photographs": [],
    }


def _problem(workdir, results, problem, most):
    names = [image for which, image in results if which == problem]
    rows, photographs = [], []
    for number, name in enumerate(names):
        found = results[problem, name]
        images = found.image[found.finite].astype(np.float32)
        distance = "-"
        if len(images) > 1:
            distance = f"{restart_statistics.mean_over(ij.analysis.pairwise_rms(images)):.1f}"
        error = f"{100 * found.error[found.finite].mean():.1f}" if len(images) else "-"
        rows.append([name, len(found.error), int((~found.finite).sum()), error, distance])
        if number >= most:
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
        "text": [f"Pictures are of the first {most} photographs of {len(names)}."] if len(names) > most else [],
        "command": "",
        "settings": [
            (name.removeprefix(f"{problem}: "), value)
            for name, value in results.manifest["settings"].items()
            if name.startswith(f"{problem}: ")
        ],
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
        spread = ij.analysis.pixel_std(images, num_levels=restart_statistics.BANDS)
        maps.append(_picture(spread.mean, f"Mean of the restarts of {name} from {problem}", "mean"))
        bands = np.sqrt((spread.bands**2).mean(axis=3, keepdims=True))
        most = max(float(bands.max()), 1e-6)
        for band, deviation in enumerate(bands):
            called = {0: "finest band", restart_statistics.BANDS - 1: "coarsest band"}.get(band, f"band {band + 1}")
            alt = (
                f"Standard deviation over restarts of {name} from {problem}, {called}; white is {most:.1f} gray levels"
            )
            root = np.sqrt(np.mean(deviation**2))
            maps.append(_picture(255 * deviation / most, alt, f"{called}, {root:.1f} gray levels"))
        whole = np.sqrt((spread.deviation**2).mean(axis=2))
        title = f"{problem}, {name}: standard deviation over {len(images)} restarts"
        plots.append(_picture(ij.viz.heatmap(whole, title=title, label="gray levels"), title, "", plot=True))
    title = f"{problem}, {name}: energy against steps"
    plots.append(_picture(ij.viz.convergence(found.energy, title=title), title, "", plot=True))
    return {"maps": maps, "plots": plots}


def _picture(image, alt, caption, *, plot=False):
    """An image as the page holds it: its bytes in the address."""
    picture, stream = Image.fromarray(ij.viz.display(image)), io.BytesIO()
    kind = "webp" if max(picture.size) <= _LARGEST else "jpeg"
    picture.save(stream, format=kind, lossless=plot, quality=_QUALITY)
    return {
        "source": f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}",
        "alt": alt,
        "caption": caption,
        "width": picture.width,
        "height": picture.height,
    }


def _define_flags():
    flags.DEFINE_integer(
        "num_shown", _NUM_SHOWN, "Pairs of photograph and code with pictures on the page.", lower_bound=1
    )


if __name__ == "__main__":
    _define_flags()
    common.run(main, most=1)
