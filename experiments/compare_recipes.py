"""Recipes at equal evaluations: error, likeness to the photograph, naturalness and time, with paired intervals.

    python -m experiments.compare_recipes --images=folder --num_images=20
    python -m experiments.compare_recipes --images=folder --weights=bvlc.npz --architecture=bvlc_alexnet --layers=pool5
    python -m experiments.compare_recipes --images=folder --representations=hog,hogb,dsift --gradient=straight_through
    python -m experiments.compare_recipes --model=experiments.lib.random_networks:resnet --layers= --size=64

The stages of every recipe are stretched to --evaluations steps in all, and nothing stops early. Every number is the
mean over the finite restarts of a photograph, and then over photographs. The differences are the last recipe's less
each other one's on the same photographs, with 95 % bootstrap intervals.

The error is the text's, |Phi(x*) - Phi(x_i)| / N_Phi, and the relative one; a mark says where the descents have not
converged. PSNR, SSIM and the image error compare the image, clipped to 0..255, with the photograph; for HOG and DSIFT,
which are blind to brightness and contrast, only after both are standardized. The histogram of gradients is compared
with that of all photographs; the slope is the power spectrum's; nearest is the share of restarts whose photograph is
the most correlated one of all.
"""

import functools
from typing import Any

import jax
import numpy as np

import invert_jax as ij
from experiments.lib import cache, flags, paper
from invert_jax._util import command

FLAGS = flags.FLAGS

_COMPARED = ("normalized_error", "psnr", "ssim")
_tenths = functools.partial(paper.mean, digits=1)
_hundredths = functools.partial(paper.mean, digits=2)
COLUMNS = (
    ("", "representation", str),
    ("recipe", "recipe", str),
    ("normalized error, %", "normalized_error", paper.percent),
    ("relative error, %", "relative_error", paper.percent),
    ("PSNR, dB", "psnr", _tenths),
    ("SSIM", "ssim", _hundredths),
    ("image error", "image_error", _hundredths),
    ("gradients", "gradients", _hundredths),
    ("slope", "slope", _hundredths),
    ("nearest, %", "nearest", lambda share: paper.mean(100 * np.asarray(share))),
    ("seconds", "seconds", _tenths),
    ("diverged", "diverged", lambda count: str(int(np.sum(count)))),
)


def define_flags() -> None:
    """Defines the flags of the comparison."""
    flags.define_paper(
        "compare_recipes",
        num_images=20,
        num_restarts=2,
        num_scale_images=100,
        representations=("alexnet",),
        layers=tuple(ij.networks.CAFFENET.layer_names),
        recipes=("mahendran_vedaldi", "laplacian_pyramid", "default"),
        evaluations=400,
        weights="bundled",
        architecture=None,
        model=None,
        gray=False,
        variant="vlfeat",
        gradient="exact",
    )


def main() -> int:
    """Compares the recipes that the flags name; returns the exit status."""
    names = flags.chosen("recipes", flags.RECIPES)
    words = ["model"] if FLAGS.model else flags.chosen("representations", ("alexnet", *flags.SHALLOW))
    words = [name for word in words for name in (flags.chosen_layers() if word == "alexnet" else [word])]
    workdir, rows, sheets = command.make_workdir(FLAGS.workdir), [], {}
    for word in words:
        gray = FLAGS.gray if word == "model" else word in flags.SHALLOW
        size, representation = flags.size_of(word), flags.representation(word)
        photographs = paper.photographs(size=size, gray=gray)
        images, scale_by = [photo.image for photo in photographs], paper.scale_photographs(size=size, gray=gray)
        found = {}
        for name in names:
            recipe = paper.stretched(flags.recipe(name, representation), FLAGS.evaluations)
            found[name] = [
                _inversions(workdir, representation, recipe, photo, f"{word}, {name}") for photo in photographs
            ]
            numbers = measure(representation, found[name], images, scale_by)
            rows.append({"representation": word, "recipe": name, **numbers})
        sheets[f"{word}"] = _sheet(word, found, photographs)
    differences = _differences(rows, names)
    text = f"{paper.table(COLUMNS, rows)}\n{_differences_table(differences)}\n{_note(images, scale_by)}\n"
    return paper.finish(
        workdir,
        results={
            "images": [photo.name for photo in photographs],
            "evaluations": FLAGS.evaluations,
            "rows": rows,
            "differences": differences,
        },
        table=text,
        pictures=sheets,
        finite=np.concatenate([1 - row["diverged"] for row in rows]),
    )


def _inversions(workdir, representation, recipe, photo, description):
    """The restarts of one photograph, saved apart from the others', so that a later run may add photographs."""
    options = {"num_restarts": FLAGS.num_restarts, "description": f"{description}, {photo.name}"}
    return cache.inversions(workdir, representation, recipe, [photo.image], **options)[0]


def measure(
    representation: ij.Representation,
    found: list[ij.sweeps.Restarts],
    images: list[np.ndarray],
    scale_by: list[np.ndarray],
) -> dict[str, np.ndarray]:
    """The numbers of every photograph, `[N]`: means over its finite restarts, NaN where there are none."""
    scale = np.stack([representation(image) for image in scale_by])
    others, parts = [*images, *scale_by], []
    for restarts, image in zip(found, images, strict=True):
        target = np.asarray(representation(image))
        parts.append([])
        for restored in np.clip(restarts.image[restarts.finite], 0, 255):
            features = np.asarray(representation(restored))
            error = ij.metrics.normalized_error(features[None], target[None], scale=scale)[0]
            parts[-1].append({"normalized_error": error, **paper.naturalness(restored, image, others)})
    shared = {
        "relative_error": [restarts.error for restarts in found],
        "fall": [ij.metrics.remaining_fall(restarts.energy.total) for restarts in found],
        "seconds": [restarts.seconds.min(keepdims=True) for restarts in found],
    }
    return {
        **{name: np.array([_mean([part[name] for part in of_image]) for of_image in parts]) for name in _NUMBERS},
        **{name: np.array([_mean(values) for values in lists]) for name, lists in shared.items()},
        "diverged": np.concatenate([~restarts.finite for restarts in found]).astype(int),
    }


_NUMBERS = ("normalized_error", *paper.NATURALNESS)


def _mean(values) -> float:
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else np.nan


def _differences(rows, names) -> list[dict[str, Any]]:
    """The last recipe's numbers less each other one's, with intervals over photographs."""
    cells = {(row["representation"], row["recipe"]): row for row in rows}
    found = []
    for word in dict.fromkeys(row["representation"] for row in rows):
        for other in names[:-1]:
            entry = {"representation": word, "recipe": names[-1], "less": other}
            for i, number in enumerate(_COMPARED):
                pairs = cells[word, names[-1]][number] - cells[word, other][number]
                pairs = pairs[np.isfinite(pairs)]
                key = jax.random.fold_in(jax.random.key(FLAGS.seed), i)
                interval = ij.analysis.bootstrap_ci(key, pairs) if pairs.size > 1 else None
                entry[number] = interval or ij.analysis.Interval(_mean(pairs), np.nan, np.nan)
            found.append(entry)
    return found


def _differences_table(differences) -> str:
    def text(interval, factor):
        estimate, low, high = (f"{factor * value:.2f}" for value in interval)
        return f"{estimate} [{low}, {high}]" if np.isfinite(interval.low) else f"{estimate} [-]"

    columns = (
        ("", "representation", str),
        ("recipe", "recipe", str),
        ("less", "less", str),
        ("normalized error, %", "normalized_error", lambda interval: text(interval, 100)),
        ("PSNR, dB", "psnr", lambda interval: text(interval, 1)),
        ("SSIM", "ssim", lambda interval: text(interval, 1)),
    )
    return paper.table(columns, differences) if differences else ""


def _note(images, scale_by):
    return (
        f"{paper.network()}; {FLAGS.evaluations} evaluations, {len(images)} photographs, {FLAGS.num_restarts} restarts "
        f"of each, N_Phi over {len(scale_by)}."
    )


def _sheet(word, found, photographs):
    """A line for each of the first photographs: it, and the first restart by each recipe with its relative error."""
    lines, mode = [], "stretch" if word in flags.SHALLOW else "clip"
    for i, photo in enumerate(photographs[:5]):
        line = [(photo.image, photo.name, "clip")]
        line += [(of[i].image[0], f"{name} {100 * of[i].error[0]:.1f} %", mode) for name, of in found.items()]
        lines.append(line)
    return lambda: paper.sheet(lines, title=f"{word}, {FLAGS.evaluations} evaluations", height=200)


if __name__ == "__main__":
    command.run(main, define_flags)
