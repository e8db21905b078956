"""What the runners of a paper's tables and figures share: flags, photographs, codes, tables."""

import math
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import rich.progress
from absl import flags

import invert_jax as ij
from experiments.lib import common
from invert_jax._util import hashing

FLAGS = flags.FLAGS
ALEXNET_SIZE = 227
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff")
_SAMPLES = ("chelsea", "astronaut", "coffee", "rocket", "hubble_deep_field")  # those in color


GRAY = {
    "hog": lambda: ij.hog(variant="released"),
    "hogb": lambda: ij.hog(binning="bilinear", variant="released"),
    "dsift": lambda: ij.dsift(variant="released"),
    "hog_vlfeat": lambda: ij.hog(),
    "hogb_vlfeat": lambda: ij.hog(binning="bilinear"),
    "dsift_vlfeat": lambda: ij.dsift(),
}
"""The shallow representations, as the paper's released networks and as VLFeat."""


class Photograph(NamedTuple):
    """A name, and `[H, W, C]`, 0..255."""

    name: str
    image: np.ndarray


def define_flags(name: str, *, num_images: int, alexnet: bool) -> None:
    """Defines the flags that every table and figure takes; `name` is the runner's."""
    flags.DEFINE_list("images", None, "Photographs, or folders of them; the sample photographs if absent.")
    flags.DEFINE_integer(
        "num_images", num_images, "Photographs to take, spread evenly over those given.", lower_bound=1
    )
    flags.DEFINE_integer("seed", 0, "Seed of the random starts.", lower_bound=0, upper_bound=2**31 - 1)
    flags.DEFINE_string("workdir", f"out/{name}", "Folder for pictures and numbers.")
    if alexnet:
        flags.DEFINE_string(
            "weights", None, "Weights of alexnet, .npz or MatConvNet .mat; the bundled small network if absent."
        )
    common.define_cache_flag()


def alexnet(layer: str) -> ij.Representation:
    """CNN-A at a layer, with the weights that `--weights` names."""
    return ij.alexnet(common.alexnet_params(FLAGS.weights), layer=layer)


def network() -> str:
    """What the captions call the network."""
    return "CNN-A, the bundled small network" if FLAGS.weights is None else pathlib.Path(FLAGS.weights).stem


def photographs(*, size: int | tuple[int, int] | None, gray: bool, count: int | None = None) -> list[Photograph]:
    """The photographs that `--images` names: `count` of them, `--num_images` if None."""
    count = FLAGS.num_images if count is None else count
    every = _paths()
    if len(every) < count:
        raise ValueError(
            f"There are {len(every)} {'sample ' if FLAGS.images is None else ''}photographs, {count} are asked for: "
            f"give --images more of them, or ask for fewer."
        )
    chosen = [every[i * len(every) // count] for i in range(count)]
    return [Photograph(path.stem, common.photograph(str(path), size=size, gray=gray)[1]) for path in chosen]


def num_photographs() -> int:
    """How many photographs `--images` names."""
    return len(_paths())


def _paths():
    if FLAGS.images is None:
        return [pathlib.Path(name) for name in _SAMPLES]
    return paths("--images", FLAGS.images)


def paths(flag: str, names: Sequence[str]) -> list[pathlib.Path]:
    """The photographs that a flag names, those of a folder by name; a sentence if there are none."""
    found = []
    for path in map(pathlib.Path, names):
        if path.is_dir():
            found += sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES and file.is_file())
        elif path.is_file():
            found.append(path)
        else:
            raise FileNotFoundError(f"{flag} names {path}, where nothing is; give photographs or folders of them.")
    if not found:
        raise ValueError(
            f"{flag}={','.join(names)} has no photographs ({', '.join(_SUFFIXES)}; folders inside it are not "
            f"searched); give another."
        )
    return found


def say_photographs(chosen: Sequence[Photograph]) -> None:
    """Tells which photographs were taken; that they are samples, if none were given."""
    if FLAGS.images is None:
        names = ", ".join(photo.name for photo in chosen)
        common.console.print(
            f"No --images given: taking scikit-image's public-domain photographs ({names}).", highlight=False
        )


def require_known(flag: str, names: Sequence[str], known: Iterable[str]) -> None:
    """Raises a ValueError if a flag names something that does not exist."""
    for name in names:
        if name not in known:
            raise ValueError(f"{flag} names {name!r}; choose of: {', '.join(known)}.")
    if not names:
        raise ValueError(f"{flag} is empty; choose of: {', '.join(known)}.")


def numbers(flag: str, texts: Sequence[str], *, count: int | None = None, other: str = "") -> list[float]:
    """The numbers, none negative, that a flag lists: `count` of them if given; `other` is what else it takes."""
    try:
        found = [float(text) for text in texts]
    except ValueError:
        found = []
    if not found or not all(0 <= number < math.inf for number in found) or count not in (None, len(found)):
        wanted = "numbers" if count is None else f"{count} numbers"
        raise ValueError(
            f"{flag} is {','.join(texts)!r}; give {wanted} >= 0 such as 0.5,5,50{other and ', or ' + other}."
        )
    return found


def codes(representation: ij.Representation, images: Iterable[np.ndarray]) -> np.ndarray:
    """Features `[N, F...]` of N images, one at a time; NaN for an image that is not finite."""

    def code(image):
        if np.isfinite(image).all():
            return np.asarray(representation(image))
        return np.full(representation.feature_shape(image.shape), np.nan, np.float32)

    return np.stack([code(image) for image in images])


def define_scale_flag() -> None:
    """Defines the flag of the photographs that give errors their scale."""
    flags.DEFINE_integer(
        "num_scale_images", 100, "Photographs whose codes give the scale N_Phi; all, if there are fewer."
    )


def scale_photographs(*, size: int = ALEXNET_SIZE, gray: bool = False) -> list[np.ndarray]:
    """The photographs whose codes give the scale N_Phi."""
    count = min(FLAGS.num_scale_images, num_photographs())
    if count < 2:
        raise ValueError(
            f"Errors are scaled by distances between photographs; --num_scale_images or --images gives {count}."
        )
    return [photo.image for photo in photographs(size=size, gray=gray, count=count)]


def text_errors(
    representation: ij.Representation,
    restored: Sequence[np.ndarray],
    images: Sequence[np.ndarray],
    scale_by: Sequence[np.ndarray],
) -> np.ndarray:
    """The text's error of each restored image, `[N]`; NaN for one that is not finite."""
    features, targets, scale = (codes(representation, some) for some in (restored, images, scale_by))
    return np.asarray(ij.metrics.normalized_errors(features, targets, scale=scale).text)


def measures(
    representation: ij.Representation,
    found: Sequence[ij.sweeps.Restarts],
    images: Sequence[np.ndarray],
    scale_by: Sequence[np.ndarray],
) -> dict[str, np.ndarray]:
    """Of the first restart of each photograph, `[N]`: both errors, whether finite, and evaluations."""
    finite = np.array([each.finite[0] for each in found])
    text = text_errors(representation, [each.image[0] for each in found], images, scale_by)
    return {
        "text": np.where(finite, text, np.nan),
        "relative": np.array([each.error[0] for each in found]),
        "finite": finite,
        "evaluations": np.array([each.evaluations[0] for each in found]),
    }


def coarse_difference(image: np.ndarray, reference: np.ndarray) -> float:
    """Root mean square difference, in gray levels, of the three coarsest of six levels of two pictures."""
    return float(np.sqrt(np.mean(_coarse(image, reference) ** 2)))


def color_difference(image: np.ndarray, reference: np.ndarray) -> float:
    """The same without lightness: of what is left when each pixel's mean over the channels is taken away."""
    coarse = _coarse(image, reference)
    return float(np.sqrt(np.mean((coarse - coarse.mean(axis=2, keepdims=True)) ** 2)))


def _coarse(image, reference):
    return np.asarray(ij.pyramid.switched_at_stage(np.asarray(image - reference, np.float32), 2, num_levels=6))


def track(jobs: Sequence, description: str) -> Iterable:
    """The jobs, with a progress bar."""
    return rich.progress.track(jobs, description=description, console=common.console)


def variation(image: np.ndarray) -> float:
    """Mean length of the gradient of the picture shown, clipped to 0..255, in gray levels per pixel."""
    return float(ij.regularizers.total_variation(np.clip(image, 0, 255), beta=1.0)) / image.size


def mean_of(values: Iterable[float]) -> float:
    """Of those that are numbers; NaN if none is."""
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    return known.mean() if known.size else np.nan


def percent(values) -> str:
    """`mean ± standard deviation` of fractions, in percent; what is not finite is left out, and counted."""
    values = np.asarray(values)
    finite = 100 * values[np.isfinite(values)]
    lost = f" ({values.size - finite.size} not finite)" if finite.size < values.size else ""
    if not finite.size:
        return "-" + lost
    spread = f" ± {finite.std(ddof=1):.1f}" if finite.size > 1 else ""
    return f"{finite.mean():.1f}{spread}{lost}"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def finish(workdir: pathlib.Path, *, results: dict, table: str, pictures: dict[str, np.ndarray]) -> None:
    """Writes results.json, table.md and the pictures, and shows the table."""
    if "weights" in FLAGS:
        results = {**results, "weights_fingerprint": hashing.content_hash(alexnet("fc8").params)}
    for name, picture in pictures.items():
        ij.save_image(workdir / f"{name}.png", picture)
    common.write_text(workdir / "table.md", table)
    common.write_results(workdir, results)
    common.console.print(table, highlight=False, markup=False)
    common.console.print(f"pictures and numbers are in {workdir}", highlight=False, soft_wrap=True)
