"""What the tables and figures share: photographs, inversions and errors, Markdown tables, sheets, and how they end."""

import dataclasses
import functools
import glob
import math
import pathlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import invert_jax as ij
from experiments.lib import cache, flags
from invert_jax._util import command, hashing, paths

FLAGS = flags.FLAGS
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff")
_EXAMPLES = ("chelsea", "astronaut", "coffee", "rocket", "hubble_deep_field")  # the color ones
Columns = Sequence[tuple[str, str, Callable[[Any], Any]]]
"""Of a table: `(heading, key of a row, text of the value)`; errors are marked where descents have not converged."""
_BLANK = np.full((1, 1, 3), 255.0), "", "clip"


class Photograph(NamedTuple):
    """A name, `[H, W, C]`, 0..255, and where it comes from."""

    name: str
    image: np.ndarray
    path: pathlib.Path


class Case(NamedTuple):
    """One inversion of every photograph."""

    label: str  # in the sheet and the table
    representation: str | ij.Representation  # or its word: a layer of alexnet, or "hog", "hogb" or "dsift"
    recipe: ij.Recipe | None  # None is HOGgle, with the dictionaries of `--hoggle`
    mask: Callable[[tuple[int, ...]], np.ndarray] | None = None  # of the features' shape: the neurons that count

    @property
    def phi(self) -> ij.Representation:
        """What is inverted."""
        word = self.representation
        return flags.representation(word) if isinstance(word, str) else word


def network() -> str:
    """What captions call the network."""
    name = flags.value("weights", "bundled")
    return "CNN-A, the bundled small network" if name == "bundled" else pathlib.Path(name).stem


def photographs(*, size: int | tuple[int, int] | None, gray: bool, count: int | None = None) -> list[Photograph]:
    """The photographs that `--images` names: `count` of them, `--num_images` if None."""
    count, found, read = FLAGS.num_images if count is None else count, files(), {}
    while True:
        if len(found) < count:
            raise ValueError(f"{len(found)} photographs are too few, {count} are needed; give more --images.")
        chosen = [found[i * len(found) // count] for i in range(count)]
        for path in chosen:
            try:
                read[path] = read.get(path) or Photograph(*flags.photograph(str(path), size=size, gray=gray), path)
            except ValueError as error:
                if not flags.value("skip_unreadable"):
                    raise ValueError(f"{str(error).rstrip('.')}, or pass it over by --skip_unreadable.") from None
                _announce_unreadable(str(error))
                found = [other for other in found if other != path]
        if set(chosen) <= set(found):
            return [read[path] for path in chosen]


@functools.cache  # once for each file, though every size reads it again
def _announce_unreadable(error):
    command.say(f"Passed over: {error}", style="yellow")


def files() -> list[pathlib.Path]:
    """What `--images` names; the examples if absent."""
    return [pathlib.Path(name) for name in _EXAMPLES] if FLAGS.images is None else find("images", FLAGS.images)


def find(flag: str, text: str) -> list[pathlib.Path]:
    """The photographs that a flag names: files, folders and patterns such as `dir/*.jpg`, separated by commas.

    Those of a folder are in order of name. Names that begin with a dot, such as macOS's `._dog.jpg`, are passed over.

    Raises:
      ValueError: there are none.
      FileNotFoundError: a name that nothing has.
    """
    found = []
    for path in _split(text):
        matches = [path] if path.exists() else sorted(map(pathlib.Path, glob.glob(str(path), recursive=True)))
        if not matches:
            raise FileNotFoundError(f"--{flag} names {path}, which does not exist; give photographs or folders.")
        for match in matches:
            if match.is_dir():
                found += sorted(file for file in match.iterdir() if _is_photograph(file))
            elif path.exists() or _is_photograph(match):
                found.append(match)
    if not found:
        where = f"{', '.join(_SUFFIXES)}; folders inside it are not searched"
        raise ValueError(f"--{flag}={text} has no photographs ({where}); give another.")
    return list(dict.fromkeys(found))


def _is_photograph(path):
    return path.suffix.lower() in _SUFFIXES and path.is_file() and not path.name.startswith(".")


def _split(text):
    """Paths between commas; a comma belongs to a path where that exists."""
    parts, found = text.split(","), []
    while parts:
        joined = [paths.expand(",".join(parts[:n]).strip()) for n in range(len(parts), 0, -1)]
        length = next((len(parts) - i for i, path in enumerate(joined) if path.exists() or glob.glob(str(path))), 1)
        found.append(joined[len(parts) - length])
        parts = parts[length:]
    return found


def announce(chosen: Sequence[Photograph]) -> None:
    """Says which example photographs are used, if no others were given."""
    if FLAGS.images is None:
        command.say(f"No --images given: using the example photographs {', '.join(photo.name for photo in chosen)}.")


def scale_photographs(*, size: int, gray: bool = False) -> list[np.ndarray]:
    """The photographs between whose features the mean distance N_Phi is taken."""
    count = min(FLAGS.num_scale_images, len(files()))
    if count < 2:
        raise ValueError("Errors are normalized by distances between photographs; give two --images or more.")
    return [photo.image for photo in photographs(size=size, gray=gray, count=count)]


def invert(workdir: pathlib.Path, case: Case, images: Sequence[np.ndarray], num_restarts: int = 1) -> Sequence[Any]:
    """A `Restarts` for each image, or for HOGgle a `Preimage` of one restart."""
    if case.recipe is None:
        return cache.hoggle(workdir, FLAGS.hoggle, images)
    mask = None if case.mask is None else case.mask(case.phi.feature_shape(images[0].shape))
    return cache.inversions(
        workdir, case.phi, case.recipe, images, num_restarts=num_restarts, mask=mask, description=case.label
    )


def measure(
    representation: ij.Representation,
    found: Sequence[Any],
    images: Sequence[np.ndarray],
    scale_by: Sequence[np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Of the first restart of each image, `[N]`: errors and naturalness, NaN if not finite, and how it descended.

    The normalized error is the papers' |Phi(x*) - Phi(x_i)| / N_Phi, with N_Phi the mean distance between the features
    of two of the photographs `scale_by`, of `images` if None.
    """
    finite = np.array([restarts.finite[0] for restarts in found])
    # A network refuses an image that is not finite: the photograph takes its place, and the error is left out below.
    pairs = zip(found, images, strict=True)
    restored = [restarts.image[0] if restarts.finite[0] else image for restarts, image in pairs]
    parts = (restored, images, images if scale_by is None else scale_by)
    features, targets, scale = (np.stack([representation(image) for image in part]) for part in parts)
    errors = {
        "normalized_error": ij.metrics.normalized_error(features, targets, scale=scale),
        "normalized_squared_error": ij.metrics.normalized_squared_error(features, targets, scale=scale),
        "relative_error": np.array([restarts.error[0] for restarts in found]),
    }
    others = images if scale_by is None else scale_by
    pairs = zip(restored, images, finite, strict=True)
    near = [naturalness(np.clip(found, 0, 255), image, others) if good else {} for found, image, good in pairs]
    errors |= {name: np.array([part.get(name, np.nan) for part in near]) for name in NATURALNESS}
    return {name: np.where(finite, error, np.nan) for name, error in errors.items()} | {
        "finite": finite,
        "evaluations": np.array([restarts.evaluations[0] for restarts in found]),
        "fall": np.array([_fall(restarts) for restarts in found]),
    }


def _fall(restarts):
    """Share of its energy that the first restart still shed; 0 for HOGgle, which has none."""
    return 0.0 if restarts.energy is None else float(ij.metrics.remaining_fall(restarts.energy.total[0]))


def published_recipe(**numbers: Any) -> ij.Recipe:
    """`recipes.mahendran_vedaldi` by the paper's numbers, without its warning: what they do is what is reproduced."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        return ij.recipes.mahendran_vedaldi(**numbers)


def stretched(recipe: ij.Recipe, num_steps: int) -> ij.Recipe:
    """The recipe with its stages stretched to this many steps in all, at least one each, and no early stop."""
    counts = [stage.num_steps for stage in recipe.stages]
    # Ends are rounded, not lengths, whose errors would add up to another number of steps.
    ends = np.round(np.cumsum(counts) * (num_steps / recipe.num_steps)).astype(int)
    stages = zip(recipe.stages, np.diff(ends, prepend=0), strict=True)
    stages = tuple(dataclasses.replace(stage, num_steps=int(count)) for stage, count in stages)
    return dataclasses.replace(recipe, stages=stages, tolerance=None)


FALLING = "A dagger marks descents that have not converged: their last tenth lowered the energy by more than 5 %."


def falling(share: Any) -> str:
    """A dagger if the share of their energy that descents still shed, on average, says that they have not converged."""
    return "†" if float(mean(share, 6)) > ij.metrics.FALLING else ""


NATURALNESS = ("psnr", "ssim", "image_error", "gradients", "slope", "nearest")


def naturalness(restored: np.ndarray, photograph: np.ndarray, others: Sequence[np.ndarray]) -> dict[str, float]:
    """How near a restored image, 0..255, is to its photograph, and how natural: `NATURALNESS` by `ij.metrics`.

    A gray image is standardized to the photograph's mean and contrast, to which HOG and SIFT are blind. Histograms of
    gradients are those of the first ten others; nearest is whether the photograph is the most correlated one of all.
    """
    height, width, channels = restored.shape  # HOGgle restores whole cells alone
    photograph, *others = (image[:height, :width] for image in (photograph, *others))
    image = restored
    if channels == 1:
        image = (restored - restored.mean()) / max(restored.std(), 1e-6) * photograph.std() + photograph.mean()
    everything = np.stack([photograph, *others])
    nearest = everything[ij.metrics.nearest(restored, everything)]
    return {
        "psnr": float(ij.metrics.psnr(image, photograph)),
        "ssim": float(ij.metrics.ssim(image, photograph)),
        "image_error": float(ij.metrics.image_error(image, photograph)),
        "gradients": float(ij.metrics.gradient_histogram_intersection(image, everything[:11])),
        "slope": float(ij.metrics.spectrum_slope(image)),
        "nearest": float(np.array_equal(nearest, photograph)),
    }


def coarse_difference(image: np.ndarray, reference: np.ndarray, *, color: bool = False) -> float:
    """Root mean square difference, gray levels, of the three coarsest of six pyramid levels of two images.

    With `color` without lightness: each pixel's mean over the channels is subtracted first.
    """
    stage = ij.pyramid.switched_at_stage(np.asarray(image - reference, np.float32), 2, num_levels=6)
    coarse = np.asarray(stage)
    return float(np.sqrt(np.mean((coarse - color * coarse.mean(axis=2, keepdims=True)) ** 2)))


def variation(image: np.ndarray) -> float:
    """Mean length of the gradient of the image, clipped to 0..255, in gray levels per pixel."""
    return float(ij.regularizers.total_variation(np.clip(image, 0, 255), beta=1.0)) / image.size


def mean(values: Any, digits: int = 0) -> str:
    """The mean of the finite values; nan if there are none."""
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    return f"{values.mean() if values.size else math.nan:.{digits}f}"


LIKENESS: Columns = (
    ("PSNR, dB", "psnr", functools.partial(mean, digits=1)),
    ("SSIM", "ssim", functools.partial(mean, digits=2)),
)
"""Columns that stand beside errors, of `naturalness`."""


def percent(values: Any) -> str:
    """`mean ± standard deviation` of fractions, in percent; values that are not finite count as none.

    A restart that diverged has no error, nor has one whose target is zero.
    """
    values = np.atleast_1d(values)
    finite = 100 * values[np.isfinite(values)]
    note = f" ({values.size - finite.size} without)" if finite.size < values.size else ""
    if not finite.size:
        return "-" + note
    spread = f" ± {finite.std(ddof=1):.1f}" if finite.size > 1 else ""
    return f"{finite.mean():.1f}{spread}{note}"


def markdown(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def table(columns: Columns, rows: Iterable[Mapping[str, Any]]) -> str:
    """A Markdown table of rows by columns."""
    header, rows = [heading for heading, _, _ in columns], list(rows)
    cells = [[f"{text(row[key])}{_mark(key, row)}" for _, key, text in columns] for row in rows]
    note = f"\n{FALLING}\n" if any(_mark(key, row) for _, key, _ in columns for row in rows) else ""
    return markdown(header, cells) + note


def _mark(key, row):
    return falling(row["fall"]) if key in ("normalized_error", "relative_error") and "fall" in row else ""


def sheet(lines: Sequence[Sequence[tuple]], *, title: str, columns: int | None = None, height: int | None = None):
    """A montage of lines of tiles `(image, label, mode)`, the shorter ones filled with white."""
    longest = max(map(len, lines))
    columns = min(columns or longest, longest)
    tiles = [tile for line in lines for tile in (*line, *[_BLANK] * (-len(line) % columns))]
    images, labels, modes = zip(*tiles, strict=True)
    return ij.viz.montage(images, labels=labels, columns=columns, title=title, mode=modes, height=height)


def finish(
    workdir: pathlib.Path,
    *,
    results: dict[str, Any],
    table: str,
    pictures: Mapping[str, np.ndarray | Callable[[], np.ndarray]],
    finite: Any = True,
) -> int:
    """Writes results.json and table.md, draws the pictures, and shows the table.

    A picture is an image, or a function that draws it. Returns the exit status: 1 if no restart is finite.
    """
    if "weights" in FLAGS:
        results = {**results, "weights_hash": hashing.content_hash(flags.representation(flags.last_layer()).params)}
    command.write_text(workdir / "table.md", table)
    command.write_results(workdir, results)
    for name, picture in pictures.items():
        path = workdir / f"{name}.png"
        command.attempt(path.name, lambda p=picture, path=path: ij.save_image(path, p() if callable(p) else p))
    command.say(table)
    command.say(f"pictures and numbers are in {workdir}")
    finite = np.asarray(finite)
    if not finite.all():
        command.say(f"{np.sum(~finite)} of {finite.size} restarts diverged and are not finite.", style="yellow")
    return int(not finite.any())
