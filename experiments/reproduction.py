"""What the runners of a paper's tables and figures share: flags, photographs, kept inversions, tables.

Every inversion is kept in `<workdir>/inversions/`, in a file named after everything that it came from. A runner that
was stopped, by whatever means, takes up where it was, and another setting never meets an old result.
"""

import pathlib
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np
import rich.progress
from absl import flags

import invert_jax as ij
from experiments import common

FLAGS = flags.FLAGS
ALEXNET_SIZE = 227
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
_SAMPLES = ("chelsea", "astronaut", "coffee", "rocket", "hubble_deep_field")  # those in color
_CHUNK_SIZE = 4  # restarts at a time


class Photograph(NamedTuple):
    """A name, and `[H, W, C]`, 0..255."""

    name: str
    image: np.ndarray


class Inversion(NamedTuple):
    """R restarts on one photograph.

    Attributes:
      image: `[R, H, W, C]`, 0..255, not clipped.
      error: `[R]`, relative.
      energy: `[R, 4]`, total, loss, alpha-norm and TV terms before the last step.
      finite: `[R]`.
    """

    image: np.ndarray
    error: np.ndarray
    energy: np.ndarray
    finite: np.ndarray


def define_flags(name: str, *, num_images: int, alexnet: bool) -> None:
    """Defines the flags that every table and figure takes; `name` is the runner's."""
    flags.DEFINE_list("images", None, "Photographs, or folders of them; the sample photographs if absent.")
    flags.DEFINE_integer(
        "num_images", num_images, "Photographs to take, spread evenly over those given.", lower_bound=1
    )
    flags.DEFINE_integer("seed", 0, "Seed of the random starts.")
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
    paths = _paths()
    if len(paths) < count:
        raise ValueError(
            f"{'--images has' if FLAGS.images else 'There are'} {len(paths)} "
            f"{'' if FLAGS.images else 'sample '}photographs, {count} are asked for: give a folder with more to "
            f"--images, or ask for fewer."
        )
    chosen = [paths[i * len(paths) // count] for i in range(count)]
    return [Photograph(path.stem, common.photograph(str(path), size=size, gray=gray)[1]) for path in chosen]


def num_photographs() -> int:
    """How many photographs `--images` names."""
    return len(_paths())


def _paths():
    if FLAGS.images is None:
        return [pathlib.Path(name) for name in _SAMPLES]
    paths = []
    for path in map(pathlib.Path, FLAGS.images):
        if path.is_dir():
            paths += sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
        elif path.is_file():
            paths.append(path)
        else:
            raise FileNotFoundError(f"--images names {path}, where nothing is; give photographs or folders of them.")
    return paths


def say_photographs(chosen: Sequence[Photograph]) -> None:
    """Tells which photographs were taken; that they are samples, if none were given."""
    if FLAGS.images is None:
        names = ", ".join(photo.name for photo in chosen)
        common.console.print(
            f"No --images given: taking scikit-image's public-domain photographs ({names}).", highlight=False
        )


def inverter(workdir: pathlib.Path, representation: ij.Representation, recipe: ij.Recipe) -> Callable[..., Inversion]:
    """Inversion of a representation by a recipe, each result kept in the work folder.

    Args:
      workdir: where `inversions/` is.
      representation: what to invert.
      recipe: how.

    Returns:
      `invert(image, *, num_restarts=1, mask=None) -> Inversion`. Restart `r` of a photograph begins from the same
      noise whatever its place among the others.
    """
    folder = common.make_workdir(workdir / "inversions")
    setting = ij.fingerprint((ij.__version__, representation, recipe, FLAGS.seed))

    def invert(image, *, num_restarts=1, mask=None):
        path = folder / f"{ij.fingerprint((setting, image, num_restarts, mask))}.npz"
        found = _read(path)
        if found is None:
            sampled = ij.sample(
                jax.random.fold_in(jax.random.key(FLAGS.seed), zlib.crc32(np.ascontiguousarray(image).tobytes())),
                representation,
                representation(image),
                recipe,
                image_shape=image.shape,
                num_restarts=num_restarts,
                mask=mask,
                chunk_size=min(num_restarts, _CHUNK_SIZE),
            )
            found = Inversion(sampled.image, sampled.error, sampled.energy[:, -1], sampled.finite)
            common.write_arrays(path, **found._asdict())
        return found

    return invert


def _read(path):
    """The inversion in a file; None if there is none, or not a whole one, which is then made again."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return Inversion(**{name: file[name] for name in Inversion._fields})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        common.console.print(f"{path} is not a whole inversion; it is made again.", style="yellow", highlight=False)
        return None


def require_known(flag: str, names: Sequence[str], known: Iterable[str]) -> None:
    """Raises a ValueError if a flag names something that does not exist."""
    for name in names:
        if name not in known:
            raise ValueError(f"{flag} names {name!r}; choose of: {', '.join(known)}.")
    if not names:
        raise ValueError(f"{flag} is empty; choose of: {', '.join(known)}.")


def codes(representation: ij.Representation, images: Iterable[np.ndarray]) -> np.ndarray:
    """Features `[N, F...]` of N images, one at a time; NaN for an image that is not finite."""

    def code(image):
        if np.isfinite(image).all():
            return np.asarray(representation(image))
        return np.full(representation.feature_shape(image.shape), np.nan, np.float32)

    return np.stack([code(image) for image in images])


def track(jobs: Sequence, description: str) -> Iterable:
    """The jobs, with a progress bar."""
    return rich.progress.track(jobs, description=description, console=common.console)


def percent(values) -> str:
    """`mean ± standard deviation` of fractions, in percent; what is not finite is left out, and counted."""
    values = np.asarray(values)
    finite = 100 * values[np.isfinite(values)]
    lost = f" ({values.size - finite.size} not finite)" if finite.size < values.size else ""
    return (f"{finite.mean():.1f} ± {finite.std():.1f}" if finite.size else "-") + lost


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def finish(workdir: pathlib.Path, *, results: dict, table: str, pictures: dict[str, np.ndarray]) -> None:
    """Writes results.json, table.md and the pictures, and shows the table."""
    for name, picture in pictures.items():
        ij.save_image(workdir / f"{name}.png", picture)
    common.write_text(workdir / "table.md", table)
    common.write_results(workdir, results)
    common.console.print(table, highlight=False, markup=False)
    common.console.print(f"pictures and numbers are in {workdir}", highlight=False, soft_wrap=True)
