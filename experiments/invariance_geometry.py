"""The shape of an invariance: how wide it is when restarts are pushed, whether they are connected, what its tangent is.

    python -m experiments.invariance_geometry --images=photograph.jpg --layers=norm2,conv4,pool5,fc8
    python -m experiments.invariance_geometry --images=folder --num_images=3 --bound=2 --layers=hog,dsift,conv4

For each photograph and layer, or gray representation, beginning with --num_restarts restarts by the paper's recipe:

    repulsion.png    restarts pushed apart, each at no more error than it had (`ij.analysis.repel`); random starts
                     underestimate how wide an invariance is. The pushed ones are coupled, no sample: results.json and
                     the file that keeps them say so. Natural-image priors do not hold them; what those keep together
                     the third row shows: restarts by the recipe without its priors
    path.png         nine images on a way from one restart to another, the code's error held below --bound times the
                     larger of their own (`ij.analysis.low_error_path`), above it the straight line; the errors under each. The
                     table has the largest error anywhere, between the images too
    directions.png   the changes of the first restart that move its code most, and least, of all and of smooth ones
                     (`ij.analysis.singular_directions`); contrast stretched

and table.md, results.json. About two minutes for a layer of a photograph on two CPU cores, the restarts among them.
"""

import dataclasses

import jax
import numpy as np
from absl import flags

import invert_jax as ij
from experiments.lib import cache, common, paper, restart_statistics

FLAGS = flags.FLAGS

LAYERS = ("norm2", "conv4", "pool5", "fc8")
NUM_FREQUENCIES = 16
_KINDS = {
    "most": {"least": False},
    "most, smooth": {"least": False, "num_frequencies": NUM_FREQUENCIES},
    "least": {"least": True},
    "least, smooth": {"least": True, "num_frequencies": NUM_FREQUENCIES},
}
_SHOWN = 2  # directions of a kind
_ALONG = 9  # images of a way


def _define_flags():
    paper.define_flags("invariance_geometry", num_images=1, alexnet=True)
    flags.DEFINE_list("layers", list(LAYERS), f"Layers of alexnet to look at, or {', '.join(paper.GRAY)}.")
    flags.DEFINE_integer("gray_size", 160, "Side of the photographs of everything but alexnet.", lower_bound=16)
    flags.DEFINE_integer("num_restarts", 4, "Restarts to begin with.", lower_bound=2)
    flags.DEFINE_float("bound", 1.5, "Of a way's errors, times the larger of its ends'.", lower_bound=1)
    flags.DEFINE_integer("num_steps", 200, "Of repulsion and of a way.", lower_bound=1)


def main() -> None:
    """Measures and draws what the flags describe."""
    paper.require_known("--layers", FLAGS.layers, (*ij.networks.LAYER_NAMES, *paper.GRAY))
    photographs = {
        gray: paper.photographs(size=FLAGS.gray_size if gray else paper.ALEXNET_SIZE, gray=gray)
        for gray in (False, True)
    }
    paper.say_photographs(photographs[False])
    workdir = common.make_workdir(FLAGS.workdir)

    rows, sheets = [], {"repulsion": [], "path": [], "directions": []}
    for layer in FLAGS.layers:
        gray = layer in paper.GRAY
        representation = paper.GRAY[layer]() if gray else paper.alexnet(layer)
        recipe = common.RECIPES["pixels"](None if gray else layer)
        bare = dataclasses.replace(recipe, lambda_tv=0.0, lambda_alpha=0.0)
        restarts, free = (
            cache.inversions(
                workdir,
                representation,
                how,
                [photo.image for photo in photographs[gray]],
                num_restarts=FLAGS.num_restarts,
                description=f"{layer}{called}",
            )
            for how, called in ((recipe, ""), (bare, " without priors"))
        )
        for photo, found, loose in zip(photographs[gray], restarts, free, strict=True):
            looked = _look(workdir, representation, photo, found) | {
                "free": loose.image[loose.finite],
                "free_errors": loose.error[loose.finite],
            }
            rows.append({"layer": layer, "image": photo.name, **_numbers(looked)})
            for name, tiles in _tiles(layer, photo, looked).items():
                sheets[name] += tiles

    columns = {"repulsion": 1 + FLAGS.num_restarts, "path": _ALONG, "directions": 1 + _SHOWN * len(_KINDS)}
    titles = {
        "repulsion": "Restarts; the same pushed apart at no more error; restarts without priors (clipped to 0..255)",
        "path": "From one restart to another: straight, and at nearly the same code (error of it; clipped to 0..255)",
        "directions": "Changes of a restart that move its code most and least (the code's change by gray level)",
    }
    widened = {
        layer: ij.analysis.bootstrap_ci(
            jax.random.key(FLAGS.seed),
            [row["pushed_distance"] / row["distance"] for row in rows if row["layer"] == layer],
        )
        for layer in FLAGS.layers
    }
    paper.finish(
        workdir,
        results={
            "network": paper.network(),
            "widened_over_photographs": widened,
            "restarts": {"repulsion": "coupled: pushed apart, no sample", "path": "coupled: strung together"},
            "rows": rows,
        },
        table=_table(rows)
        + "".join(
            f"{layer}: pushed {found.estimate:.1f} times as far apart (95 % over photographs: {found.low:.1f} to "
            f"{found.high:.1f}).\n"
            for layer, found in widened.items()
            if np.isfinite(found.low)
        ),
        pictures={
            name: ij.viz.montage(
                [image for image, _, _ in tiles],
                labels=[label for _, label, _ in tiles],
                mode=[mode for _, _, mode in tiles],
                columns=columns[name],
                title=titles[name],
                height=160,
            )
            for name, tiles in sheets.items()
        },
    )


def _look(workdir, representation, photo, found):
    """Restarts, pushed ones, a way and directions, kept in the work folder."""
    images = found.image[found.finite]
    if len(images) < 2:
        raise ValueError(f"{len(images)} restarts of {photo.name} are finite; two are needed.")
    target, errors = representation(photo.image), found.error[found.finite]
    keep = cache.keeper(workdir, (representation, photo.image, images, FLAGS.num_steps, FLAGS.bound, FLAGS.seed))
    common.console.print(f"{photo.name}: repulsion, a way, directions", highlight=False)

    def arrays(coupled):
        return {name: np.asarray(value) for name, value in coupled._asdict().items()} | {"coupled": np.array(True)}

    def way():
        bound = FLAGS.bound * float(max(errors[:2]))
        return arrays(
            ij.analysis.low_error_path(
                representation,
                target,
                *images[:2],
                bound=bound,
                num_images=_ALONG,
                num_steps=FLAGS.num_steps,
            )
        )

    def directions():
        found = {
            kind: ij.analysis.singular_directions(
                jax.random.key(FLAGS.seed), representation, images[0], count=_SHOWN, **options
            )
            for kind, options in _KINDS.items()
        }
        return {f"{kind}, {name}": array for kind, each in found.items() for name, array in each._asdict().items()}

    line = np.linspace(images[0], images[1], _ALONG)
    return {
        "restarts": images,
        "errors": errors,
        "pushed": keep(
            "repulsion",
            lambda: arrays(ij.analysis.repel(representation, target, images, num_steps=FLAGS.num_steps)),
        ),
        "line": line,
        "line_errors": np.array([float(ij.metrics.relative_error(representation(one), target)) for one in line]),
        "way": keep("path", way),
        "directions": keep("directions", directions),
    }


def _numbers(looked):
    pushed, way, directions = looked["pushed"], looked["way"], looked["directions"]
    return {
        "error": looked["errors"],
        "distance": float(pushed["before"]),
        "pushed_error": pushed["error"],
        "pushed_distance": float(pushed["after"]),
        "pushed_within": pushed["within"],
        "free_error": looked["free_errors"],
        "free_distance": _apart(looked["free"]),
        "line_error": looked["line_errors"],
        "line_length": float(way["before"]),
        "way_error": way["error"],
        "way_error_between": way["between"],
        "way_length": float(way["after"]),
        "way_within": way["within"],
        "gains": {kind: directions[f"{kind}, gain"] for kind in _KINDS},
        "residuals": {kind: directions[f"{kind}, residual"] for kind in _KINDS},
    }


def _apart(images):
    """Mean distance of pairs."""
    return restart_statistics.mean_over(ij.analysis.pairwise_rms(images))


def _tiles(layer, photo, looked):
    """`(image, label, mode)` for each picture's row of this photograph and layer."""

    def told(images, errors):
        return [(image, f"{100 * error:.1f} %", "clip") for image, error in zip(images, errors, strict=True)]

    pushed, way, directions = looked["pushed"], looked["way"], looked["directions"]
    blank = [(np.full_like(photo.image, 255), "", "clip")]

    def row(label, images, errors):
        lost = (FLAGS.num_restarts - len(images)) * blank
        return [(photo.image, label, "clip"), *told(images, errors), *lost]

    return {
        "repulsion": [
            *row(f"{photo.name}, {layer}: {pushed['before']:.1f} apart", looked["restarts"], looked["errors"]),
            *row(f"pushed: {pushed['after']:.1f} apart", pushed["image"], pushed["error"]),
            *row(f"without priors: {_apart(looked['free']):.1f} apart", looked["free"], looked["free_errors"]),
        ],
        "path": [*told(looked["line"], looked["line_errors"]), *told(way["image"], way["error"])],
        "directions": [
            (looked["restarts"][0], f"restart 0 of {photo.name}, {layer}", "clip"),
            *(
                (direction, f"{kind}: {gain:.3g}", "stretch")
                for kind in _KINDS
                for direction, gain in zip(directions[f"{kind}, direction"], directions[f"{kind}, gain"], strict=True)
            ),
        ],
    }


def _table(rows):
    return paper.markdown(
        [
            "layer",
            "photograph",
            "error, %",
            "apart, gray levels",
            "pushed apart",
            "error then, %",
            "without priors",
            "error then, %",
            "straight line's error, %",
            "the way's, %",
            "length",
            "the way's",
            *(f"gain, {kind}" for kind in _KINDS),
        ],
        [
            [
                row["layer"],
                row["image"],
                f"{100 * np.mean(row['error']):.1f}",
                f"{row['distance']:.1f}",
                f"{row['pushed_distance']:.1f}" + ("" if np.all(row["pushed_within"]) else " (not held)"),
                f"{100 * np.mean(row['pushed_error']):.1f}",
                f"{row['free_distance']:.1f}",
                f"{100 * np.mean(row['free_error']):.1f}",
                f"{100 * np.max(row['line_error']):.1f}",
                f"{100 * np.max(row['way_error_between']):.1f}" + ("" if np.all(row["way_within"]) else " (not held)"),
                f"{row['line_length']:.1f}",
                f"{row['way_length']:.1f}",
                *(f"{row['gains'][kind][0]:.2g}" for kind in _KINDS),
            ]
            for row in rows
        ],
    )


if __name__ == "__main__":
    _define_flags()
    common.run(main)
