"""Width, connectedness and tangent directions of an invariance, close to the restarts of one photograph.

    python -m experiments.invariance_geometry --images=photograph.jpg --layers=norm2,conv4,pool5,fc8
    python -m experiments.invariance_geometry --images=folder --num_images=3 --bound=2 --layers=hog,dsift,conv4

For each photograph and layer (or hog, hogb, dsift), from --num_restarts restarts by the recipe of Mahendran & Vedaldi:

    repulsion.png    the restarts; the same pushed apart, each at no larger error (`ij.analysis.repel`), since random
                     starts underestimate the width; and restarts by the recipe without priors, since priors do not act
                     on the pushed ones. Pushed restarts are coupled, no sample
    path.png         nine images from one restart to another: the straight line, and a path along which the code's error
                     stays below the larger error of the two times the least bound, up to --bound, for which one is
                     found (`ij.analysis.low_error_path`)
    directions.png   the directions to which the code of the first restart is most and least sensitive, among all and
                     among smooth ones (`ij.analysis.singular_directions`), stretched to full contrast

and table.md, results.json. Takes about two minutes for a layer of a photograph on two CPU cores, restarts included.
"""

import functools

import jax
import numpy as np
from absl import flags as absl_flags

import invert_jax as ij
from experiments.lib import cache, flags, paper
from invert_jax._util import command, reprs

FLAGS = flags.FLAGS

LAYERS = ("norm2", "conv4", "pool5", "fc8")
NUM_ON_PATH = 9
NUM_BISECTIONS = 4  # to a sixteenth of what --bound allows beyond the ends' error
NUM_DIRECTIONS = 2  # of each kind
KINDS = {
    "most": {},
    "most, smooth": {"num_frequencies": 16},
    "least": {"least": True},
    "least, smooth": {"least": True, "num_frequencies": 16},
}
_PICTURES = {
    "repulsion": "Restarts; pushed apart at no larger error; without priors (clipped)",
    "path": "From one restart to another, with errors: straight line, path of low error (clipped)",
    "directions": "Directions to which the code is most and least sensitive, and its change for 1 gray level RMS",
}


def define_flags() -> None:
    """Defines the flags of the runner."""
    flags.define_paper(
        "invariance_geometry",
        num_images=1,
        layers=LAYERS,
        weights="bundled",
        architecture=None,
        variant="vlfeat",
        num_restarts=4,
    )
    absl_flags.DEFINE_float(
        "bound", 1.5, "Largest bound tried on the errors of a path, over the larger error of its ends.", lower_bound=1
    )
    absl_flags.DEFINE_integer("num_steps", 200, "Steps of repulsion and of a path.", lower_bound=1)


def main() -> int:
    """Measures and draws what the flags describe."""
    layers = flags.chosen_layers((*ij.networks.CAFFENET.layer_names, *flags.SHALLOW))
    if FLAGS.num_restarts < 2:
        raise ValueError(f"--num_restarts is {FLAGS.num_restarts}; give two or more.")
    photographs = {layer: paper.photographs(size=flags.size_of(layer), gray=layer in flags.SHALLOW) for layer in layers}
    paper.announce(photographs[layers[0]])
    workdir = command.make_workdir(FLAGS.workdir)

    rows, sheets, finite = [], {name: [] for name in _PICTURES}, []
    for layer in layers:
        representation = flags.representation(layer)
        recipe = flags.recipe("mahendran_vedaldi", representation)
        invert = functools.partial(cache.inversions, workdir, representation, num_restarts=FLAGS.num_restarts)
        images = [photo.image for photo in photographs[layer]]
        restarts = invert(recipe, images, description=layer)
        free = invert(recipe.reweight(tv=0.0, alpha_norm=0.0), images, description=f"{layer} without priors")
        for photo, found, without_priors in zip(photographs[layer], restarts, free, strict=True):
            finite += [*found.finite, *without_priors.finite]
            row, tiles = _measure(workdir, layer, representation, photo, found, without_priors)
            rows.append({"layer": layer, "image": photo.name, **row})
            for name in _PICTURES:
                sheets[name] += tiles[name]
    widening = {layer: _widening([row for row in rows if row["layer"] == layer]) for layer in layers}
    return paper.finish(
        workdir,
        results={
            "network": paper.network(),
            "widening_over_photographs": widening,
            "restarts": {"repulsion": "coupled: pushed apart, no sample", "path": "coupled: images of one path"},
            "rows": rows,
        },
        table=_table(rows, widening),
        pictures={name: functools.partial(_sheet, name, tiles) for name, tiles in sheets.items()},
        finite=finite,
    )


def _measure(workdir, layer, representation, photo, found, without_priors):
    """The numbers of one photograph, and the tiles of each picture: `(image, label, mode)`."""
    images, errors = found.image[found.finite], found.error[found.finite]
    free, free_errors = without_priors.image[without_priors.finite], without_priors.error[without_priors.finite]
    if len(images) < 2:
        raise ValueError(f"{len(images)} of the restarts of {photo.name} are finite, two are needed; give more.")
    target = representation(photo.image)
    cached = cache.arrays(workdir, (representation, photo.image, images, FLAGS.num_steps, FLAGS.bound, FLAGS.seed))
    command.say(f"{photo.name}: repulsion, path, directions")
    steps = FLAGS.num_steps
    pushed = cached("repulsion", lambda: _arrays(ij.analysis.repel(representation, target, images, num_steps=steps)))
    path = cached("path", functools.partial(_least_path, representation, target, images[:2], float(max(errors[:2]))))
    directions = cached("directions", functools.partial(_directions, representation, images[0]))
    line = np.linspace(images[0], images[1], NUM_ON_PATH)
    line_errors = np.array([float(ij.metrics.relative_error(representation(image), target)) for image in line])
    numbers = {
        "error": errors,
        "distance": float(pushed["initial"]),
        "pushed_error": pushed["error"],
        "pushed_distance": float(pushed["final"]),
        "pushed_feasible": pushed["feasible"],
        "free_error": free_errors,
        "free_distance": ij.analysis.restart_mean(ij.analysis.pairwise_rms(free)),
        "line_error": line_errors,
        "line_length": float(path["initial"]),
        "path_error": path["error"],
        "path_max_segment_error": path["max_segment_error"],
        "path_length": float(path["final"]),
        "path_feasible": path["feasible"],
        "path_bound": float(path["times"]),
        **{
            name: {kind: directions[f"{kind}, {name}"] for kind in KINDS} for name in ("gain", "resolution", "residual")
        },
    }

    def with_errors(images, errors):
        return [(image, reprs.error_text(error), "clip") for image, error in zip(images, errors, strict=True)]

    def row(label, distance, images, errors):
        blanks = (FLAGS.num_restarts - len(images)) * [(np.full_like(photo.image, 255), "", "clip")]
        return [(photo.image, f"{label}: {distance:.1f} apart", "clip"), *with_errors(images, errors), *blanks]

    return numbers, {
        "repulsion": [
            *row(f"{photo.name}, {layer}", numbers["distance"], images, errors),
            *row("pushed", numbers["pushed_distance"], pushed["image"], pushed["error"]),
            *row("no priors", numbers["free_distance"], free, free_errors),
        ],
        "path": [*with_errors(line, line_errors), *with_errors(path["image"], path["error"])],
        "directions": [
            (images[0], f"restart 0 of {photo.name}, {layer}", "clip"),
            *(
                (directions[f"{kind}, direction"][i], f"{kind}: {_gain_text(numbers, kind, i)}", "stretch")
                for kind in KINDS
                for i in range(NUM_DIRECTIONS)
            ),
        ],
    }


def _arrays(coupled):
    """Arrays for a file, which says that they are no sample."""
    return {name: np.asarray(value) for name, value in coupled._asdict().items()} | {"coupled": np.array(True)}


def _least_path(representation, target, ends, error):
    """The path of the least bound that holds, over the larger error of its ends, by bisection from 1 to `--bound`."""

    def path_of(times):
        options = {"bound": times * error, "num_images": NUM_ON_PATH, "num_steps": FLAGS.num_steps}
        path = ij.analysis.low_error_path(representation, target, *ends, **options)
        holds = path.feasible.all() and path.max_segment_error.max() <= 1.001 * times * error
        return _arrays(path) | {"times": np.array(times), "feasible": np.array(holds)}, holds

    low, high = 1.0, FLAGS.bound
    best, holds = path_of(high)
    for _ in range(NUM_BISECTIONS if holds else 0):
        middle = (low + high) / 2
        path, holds = path_of(middle)
        best, low, high = (path, low, middle) if holds else (best, middle, high)
    return best


def _directions(representation, image):
    key, result = jax.random.key(FLAGS.seed), {}
    for kind, options in KINDS.items():
        found = ij.analysis.singular_directions(key, representation, image, count=NUM_DIRECTIONS, **options)
        result |= {f"{kind}, {name}": array for name, array in found._asdict().items()}
    return result


def _gain_text(numbers, kind, i):
    """A gain, in percent of the code for one gray level RMS; "< x" where the solver tells no more."""
    gain, resolution = 100 * numbers["gain"][kind][i], 100 * numbers["resolution"][kind][i]
    return f"{gain:.2g} %" if resolution < 1.5 * gain else f"< {resolution:.2g} %"


def _widening(rows):
    """How many times as far apart the pushed restarts are, with an interval over photographs."""
    ratios = [row["pushed_distance"] / row["distance"] for row in rows]
    return ij.analysis.bootstrap_ci(jax.random.key(FLAGS.seed), ratios)


def _sheet(name, tiles):
    counts = {"repulsion": 1 + FLAGS.num_restarts, "path": NUM_ON_PATH, "directions": 1 + NUM_DIRECTIONS * len(KINDS)}
    images, labels, modes = zip(*tiles, strict=True)
    options = {"columns": counts[name], "title": _PICTURES[name], "height": 160}
    return ij.viz.montage(images, labels=labels, mode=modes, **options)


def _table(rows, widening):
    def number(value, feasible=True):
        return f"{value:.1f}" + ("" if np.all(feasible) else " (not feasible)")

    lines = [
        {
            "layer": row["layer"],
            "photograph": row["image"],
            "error, %": number(100 * np.mean(row["error"])),
            "distance, gray levels": number(row["distance"]),
            "pushed: distance": number(row["pushed_distance"], row["pushed_feasible"]),
            "pushed: error, %": number(100 * np.mean(row["pushed_error"])),
            "without priors: distance": number(row["free_distance"]),
            "without priors: error, %": number(100 * np.mean(row["free_error"])),
            "line: largest error, %": number(100 * np.max(row["line_error"])),
            "line: length": number(row["line_length"]),
            "path: largest error, %": number(100 * np.max(row["path_max_segment_error"]), row["path_feasible"]),
            "path: bound over the ends' error": f"{row['path_bound']:.2f}",
            "path: length": number(row["path_length"]),
            **{f"gain, {kind}": _gain_text(row, kind, 0) for kind in KINDS},
        }
        for row in rows
    ]
    text = paper.markdown(list(lines[0]), [list(line.values()) for line in lines])
    for layer, (estimate, low, high) in widening.items():
        if np.isfinite(low):
            interval = f"95 % over photographs: {low:.1f} to {high:.1f}"
            text += f"{layer}: pushed {estimate:.1f} times as far apart ({interval}).\n"
    return text


if __name__ == "__main__":
    command.run(main, define_flags)
