"""A sweep as one HTML page: pictures, maps, curves, tables and settings in a single file."""

import base64
import contextlib
import io
import json
import pathlib
import shlex
import warnings
from typing import Any

import numpy as np
from PIL import Image

from invert_jax import analysis, images, sweeps
from invert_jax._util import atomic_io, paths, reprs
from invert_jax.viz import plots
from invert_jax.viz.montage import to_uint8

_NUM_LEVELS = 6  # bands of the Laplacian pyramid
_NUM_RESTARTS = 8  # restarts of a photograph with pictures
_QUALITY = 85  # of photographs; plots are lossless
_MAX_WEBP_SIDE = 16383  # pixels


_STUDIES = {  # by the folder inside the sweep's: runner, title, text, pictures with their alternative texts
    "invariance": (
        "invariance_curves",
        "Invariance over depth",
        "Means over photographs [95 % intervals over photographs]. The percentiles are ranks of the distance between a "
        "restart's code and the photograph's code: among distances between different photographs, and among distances "
        "to small perturbations of the photograph. The effective number counts distinct images among the restarts.",
        {
            "diversity": "Distance between restarts of one code against layers, with intervals over photographs",
            "bands": "Distance between restarts by band of the Laplacian pyramid against layers",
            "error": "Relative error of the restarts' codes against layers, with intervals over photographs",
            "equivalence": "Percentiles of the restarts' codes, and agreement of classes, against layers",
            "photograph_percentile": "Heat map: percentile of the distance to the photograph's code among those "
            "between photographs, at every layer, by inverted layer",
            "perturbation_percentile": "Heat map: percentile of the distance to the photograph's code among those to "
            "its perturbations, at every layer, by inverted layer",
            "relative_distance": "Heat map: distance between restarts in the code of every layer, by inverted layer",
        },
    ),
    "geometry": (
        "invariance_geometry",
        "Width, paths and tangents",
        "Restarts by the paper's recipe; the same restarts pushed apart, each at no larger error; restarts by the "
        "recipe without priors; paths between two restarts along which the code hardly changes; and the directions to "
        "which a restart's code is most and least sensitive, with singular values per gray level. Images that were "
        "pushed apart, and images on paths, are coupled and therefore no sample.",
        {
            "repulsion": "Restarts, the same pushed apart at no larger error, and restarts without priors",
            "path": "From one restart to another: the straight line, and a path of low error, with errors",
            "directions": "Directions to which the code of a restart is most and least sensitive",
        },
    ),
    "receptive_fields": (
        "receptive_fields",
        "Effective receptive fields",
        "Restarts from the central neurons of each layer: the fraction of the variance inside the neurons' receptive "
        "field, and the side of the square about its center that holds 90 % of the variance inside the field.",
        {
            "receptive_fields": "Standard deviation of restarts from each layer's central neurons, and their field",
            "sides": "Side of the receptive field, and of the square that holds 90 % of the variance, against layers",
        },
    ),
}


def write_report(workdir: str | pathlib.Path, *, num_pictures: int = 60) -> pathlib.Path:
    """Writes `report.html` into a sweep's folder, whole or not at all; the sweep may be unfinished.

    Everything is inside the page, also the results of `invariance_curves`, `invariance_geometry` and `receptive_fields`
    in the folders `invariance`, `geometry` and `receptive_fields`.

    Args:
      workdir: the sweep's folder.
      num_pictures: pairs of photograph and case with pictures, about 0.3 MB each; the tables have all pairs.

    Returns:
      The path of the page.

    Raises:
      FileNotFoundError: the folder holds no sweep.
      ValueError: the sweep has no restarts.
      ImportError: jinja2 or matplotlib is not installed.
    """
    try:
        import jinja2
    except ImportError:
        message = "The report needs jinja2, which is not installed; run: pip install 'invert_jax[experiments]'."
        raise ImportError(message) from None
    workdir = paths.expand(workdir)
    sweep = sweeps.load_sweep(workdir)
    if not sweep:
        raise ValueError(f"The sweep in {workdir} has no restarts; run it first.")
    results, settings = _read_results(workdir / "results.json"), sweep.manifest["settings"]
    finished = {case for case, _ in sweep}
    cases = [case for case in (key.removesuffix(": weights") for key in settings) if case in finished]
    sections = []
    for folder, study in _STUDIES.items():
        if (workdir / folder / "table.md").exists():
            with _passing_over(workdir / folder):
                sections.append(_study_section(workdir / folder, *study, sweep.manifest["num_restarts"]))
    sections += [_case_section(workdir, sweep, case, max(1, num_pictures // len(cases))) for case in cases]
    commands = _command("sample_invariances", results), shlex.join(["python", "-m", "experiments.report", str(workdir)])
    template = pathlib.Path(__file__).with_name("report.html.jinja").read_text()
    page = (
        jinja2.Environment(autoescape=True)
        .from_string(template)
        .render(
            title=f"Which images have the same code? {workdir.name}",
            summary=_summary(sweep, cases, results),
            sections=sections,
            commands="\n".join(filter(None, commands)),
            settings=[(name, value) for name, value in settings.items() if name.partition(": ")[0] not in cases],
        )
    )
    atomic_io.write_bytes(workdir / "report.html", page.encode())
    return workdir / "report.html"


@contextlib.contextmanager
def _passing_over(path):
    """Warns of what no runner wrote, though it has the name of what one writes, and goes on without it."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OSError) as error:
        warnings.warn(f"{path} is not what a runner writes and is passed over ({error}).", stacklevel=4)


def _read_results(path) -> dict[str, Any]:
    """A runner's results.json, checked as far as the page needs it; {} if there is none."""
    if path.exists():
        with _passing_over(path):
            results = json.loads(paths.require_file(path).read_bytes())
            versions, command = results["versions"], results["command"]
            texts = *list.copy(command), versions["invert_jax"], versions["jax"], results["device"]["kind"]
            if all(isinstance(text, str) for text in texts):
                return results
            raise TypeError("its fields are not texts")
    return {}


def _summary(sweep, cases, results):
    finite = np.concatenate([restarts.finite for restarts in sweep.values()])
    text = (
        f"{len(finite)} restarts of {len({image for _, image in sweep})} photographs from {len(cases)} codes, "
        f"{np.sum(~finite)} of them not finite. Each restart is a descent from its own noise toward the photograph's "
        f"code. What restarts have in common, the code determines; where they differ, the code is invariant."
    )
    if not results:
        return text
    versions, device = results["versions"], results["device"]["kind"]
    return f"{text} Made by invert_jax {versions['invert_jax']} with JAX {versions['jax']} on {device}."


def _command(runner, results):
    """The command that wrote these results; empty if they do not say."""
    return shlex.join(["python", "-m", f"experiments.{runner}", *results["command"][1:]]) if results else ""


def _study_section(folder, runner, title, text, pictures, num_restarts):
    """The section of one runner's results: its text, pictures and table."""
    lines, results = (folder / "table.md").read_text().splitlines(), _read_results(folder / "results.json")
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line[:1] == "|"]
    notes, measured = [line for line in lines if line and line[0] != "|"], results.get("num_restarts", num_restarts)
    if measured != num_restarts:
        notes = [f"Measured with {measured} restarts, now there are {num_restarts}: run it again.", *notes]
    return {
        "id": folder.name,
        "title": title,
        "text": [text, *notes],
        "command": _command(runner, results),
        "plots": [  # curves are lossless, photographs are not
            _picture(images.load_image(folder / f"{name}.png"), alt, lossless=folder.name != "geometry")
            for name, alt in pictures.items()
            if (folder / f"{name}.png").exists()
        ],
        "header": header,
        "rows": rows,
    }


def _case_section(workdir, sweep, case, num_pictures):
    """The section of one case: its table, and its first photographs with their pictures."""
    names = [image for other, image in sweep if other == case]
    rows, photographs = [], []
    for i, name in enumerate(names):
        restarts = sweep[case, name]
        finite_images = restarts.image[restarts.finite].astype(np.float32)
        distance = analysis.restart_mean(analysis.pairwise_rms(finite_images))
        error = analysis.restart_mean(restarts.error[restarts.finite])
        error, distance = (f"{value:.1f}" if np.isfinite(value) else "-" for value in (100 * error, distance))
        rows.append([name, len(restarts.error), int((~restarts.finite).sum()), error, distance])
        if i < num_pictures:
            title = f"{name}: relative error {error} %, mean distance {distance} gray levels"
            maps, curves = _maps_and_curves(case, name, restarts, finite_images)
            tiles = _tiles(workdir, case, name, restarts)
            photographs.append({"title": title, "tiles": tiles, "maps": maps, "plots": curves})
    omitted, settings = len(names) > num_pictures, sweep.manifest["settings"].items()
    return {
        "id": f"case-{case}",
        "title": case,
        "text": [f"Pictures of the first {num_pictures} of {len(names)} photographs."] * omitted,
        "settings": [(key.removeprefix(f"{case}: "), value) for key, value in settings if key.startswith(f"{case}: ")],
        "header": ["photograph", "restarts", "not finite", "relative error, %", "mean distance, gray levels"],
        "rows": rows,
        "photographs": photographs,
    }


def _tiles(workdir, case, name, restarts):
    """The photograph, if the folder has it, and its first restarts."""
    tiles, path = [], workdir / "photographs" / f"{case}-{name}.png"
    if path.exists():
        with _passing_over(path):
            tiles.append(_picture(images.load_image(path), f"The photograph {name}", "photograph"))
    for r, image in enumerate(restarts.image[:_NUM_RESTARTS]):
        caption = reprs.error_text(restarts.error[r]) if restarts.finite[r] else "not finite"
        tiles.append(_picture(image, f"Restart {r} of {name} from {case}, {caption}", caption))
    return tiles


def _maps_and_curves(case, name, restarts, finite_images):
    """The mean and the standard deviation by band, as pictures; the standard deviation and the energy, as plots."""
    maps, curves = [], []
    if len(finite_images) > 1:
        statistics = analysis.pixel_std(finite_images, num_levels=_NUM_LEVELS)
        maps.append(_picture(statistics.mean, f"Mean of the restarts of {name} from {case}", "mean"))
        bands = np.sqrt((statistics.bands**2).mean(axis=3, keepdims=True))
        largest = max(float(bands.max()), 1e-6)  # white in every band, so that bands can be compared
        for k, band in enumerate(bands):
            label = {0: "finest band", _NUM_LEVELS - 1: "coarsest band"}.get(k, f"band {k + 1}")
            alt = f"Standard deviation over restarts of {name} from {case}, {label}; white is {largest:.1f} gray levels"
            maps.append(_picture(255 * band / largest, alt, f"{label}, {np.sqrt(np.mean(band**2)):.1f} gray levels"))
        title = f"{case}, {name}: standard deviation over {len(finite_images)} restarts"
        plot = plots.heatmap(analysis.std_map(finite_images), title=title, label="gray levels")
        curves.append(_picture(plot, title, lossless=True))
    title = f"{case}, {name}: energy against steps"
    curves.append(_picture(plots.convergence(restarts.energy, title=title), title, lossless=True))
    return maps, curves


def _picture(image, alt, caption="", *, lossless=False):
    """An image as a data URL, with its texts and size."""
    picture, stream = Image.fromarray(to_uint8(image)), io.BytesIO()
    kind = "webp" if max(picture.size) <= _MAX_WEBP_SIDE else "jpeg"
    picture.save(stream, format=kind, lossless=lossless, quality=_QUALITY)
    source = f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
    return {"source": source, "alt": alt, "caption": caption, "width": picture.width, "height": picture.height}
