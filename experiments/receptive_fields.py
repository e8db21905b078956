"""Effective receptive fields: where restarts from a layer's central neurons differ, and the field by geometry.

    python -m experiments.receptive_fields --images=folder --num_images=5
    python -m experiments.receptive_fields --layers=conv3,pool5 --num_restarts=16 --side=1

Pixels that the central --side x --side neurons of a layer do not see are left to the priors, so restarts agree there.
Inside the neurons' field, restarts differ where neither the code nor the priors determine a pixel. For each layer: the
fraction of the variance over restarts inside the field (less than all, since the priors converge slowly outside); and
the side of the square about the field's center that holds 90 % of the variance inside the field, beside the side of the
field itself (Table 2 of Mahendran & Vedaldi 2015, in exact integers). Recipe and block are those of Figure 9. A single
neuron with a weak response makes the objective so steep that descents diverge. A photograph with fewer than two finite
restarts is left out of a layer, and counted.

Writes receptive_fields.png (standard deviation for one photograph, and the field), sides.png, table.md, results.json.
"""

import functools

import jax
import numpy as np
from absl import flags as absl_flags

import invert_jax as ij
from experiments.lib import cache, flags, paper
from invert_jax._util import command

FLAGS = flags.FLAGS

LAYERS = ("conv1", "norm1", "conv2", "norm2", "conv3", "conv4", "conv5", "pool5")
LAMBDA_TV = 50.0
_SQUARE = "90 % of the variance in the field"


def define_flags() -> None:
    """Defines the flags of the runner."""
    flags.define_paper(
        "receptive_fields", num_images=3, layers=LAYERS, weights="bundled", architecture=None, num_restarts=4
    )
    absl_flags.DEFINE_integer("side", 5, "Neurons along each side of the central block.", lower_bound=1)


def main() -> int:
    """Measures what the flags describe."""
    layers = flags.chosen_layers([layer.name for layer in ij.networks.CAFFENET.layers_up_to("pool5")])
    if FLAGS.num_restarts < 2:
        raise ValueError(f"--num_restarts is {FLAGS.num_restarts}; give two or more.")
    photographs = paper.photographs(size=flags.size_of(layers[0]), gray=False)
    paper.announce(photographs)
    workdir = command.make_workdir(FLAGS.workdir)
    recipe = ij.recipes.mahendran_vedaldi(lambda_tv=LAMBDA_TV, stages=ij.recipes.CENTRAL_STAGES)
    recipe, images = flags.restage(recipe), [photo.image for photo in photographs]
    architecture = ij.networks.architecture_of(flags.representation(layers[0])) or ij.networks.CAFFENET
    fields = {field.name: field for field in ij.receptive_field.receptive_fields(architecture.layers)}
    rows, maps, finite = {}, {}, []
    for layer in layers:
        representation = flags.representation(layer)
        mask = ij.masks.central(representation.feature_shape(images[0].shape), size=FLAGS.side)
        box = ij.receptive_field.mask_box(fields[layer], mask)
        restarts = cache.inversions(
            workdir, representation, recipe, images, num_restarts=FLAGS.num_restarts, mask=mask, description=layer
        )
        finite += [good for found in restarts for good in found.finite]
        rows[layer], maps[layer] = _measure(layer, restarts, box)
    return paper.finish(
        workdir,
        results={"network": paper.network(), "images": [photo.name for photo in photographs], "layers": rows},
        table=_table(rows),
        pictures={
            "receptive_fields": functools.partial(_draw_maps, photographs[0].name, rows, maps),
            "sides": functools.partial(_draw_sides, rows),
        },
        finite=finite,
    )


def _measure(layer, restarts, box):
    """The numbers of a layer, and the standard deviation of its first photograph as a map."""
    images = [np.clip(found.image[found.finite], 0, 255) for found in restarts if found.finite.sum() > 1]
    if not images:
        raise ValueError(f"No photograph has two finite restarts from {layer}; give another --side, or more --images.")
    maps = [ij.analysis.std_map(finite_images) for finite_images in images]
    top, left, bottom, right = np.maximum(box, 0)
    in_box = np.zeros(maps[0].shape, bool)
    in_box[top:bottom, left:right] = True
    whole = [ij.analysis.concentration(std**2, box) for std in maps]
    inside = [ij.analysis.concentration(np.where(in_box, std**2, 0), box) for std in maps]
    key = jax.random.key(FLAGS.seed)
    row = {
        "box": box,
        "box_side": box[2] - box[0],
        "area_inside": whole[0].area,
        "photographs": len(maps),
        "inside": ij.analysis.bootstrap_ci(key, [found.inside for found in whole]),
        "side": ij.analysis.bootstrap_ci(key, [found.side for found in inside]),
        "error": np.array([ij.analysis.restart_mean(found.error) for found in restarts]),
    }
    return row, maps[0]


def _table(rows):
    def interval(side):
        return f"{side.estimate:.0f}" + (f" [{side.low:.0f}, {side.high:.0f}]" if np.isfinite(side.low) else "")

    columns = {
        "field, pixels": lambda row: row["box_side"],
        f"{_SQUARE}, pixels": lambda row: interval(row["side"]),
        "variance inside, %": lambda row: f"{100 * row['inside'].estimate:.1f}",
        "area inside, %": lambda row: f"{100 * row['area_inside']:.1f}",
        "error, %": lambda row: paper.percent(row["error"]),
        "photographs": lambda row: row["photographs"],
    }
    lines = [[layer, *(cell(row) for cell in columns.values())] for layer, row in rows.items()]
    return paper.markdown(["layer", *columns], lines)


def _draw_maps(name, rows, maps):
    tiles, labels = [], []
    for layer, row in rows.items():
        stretched = np.repeat(255 * maps[layer][..., None] / max(maps[layer].max(), 1e-6), 3, axis=2)
        tiles.append(ij.viz.draw_box(stretched, row["box"], color=(255, 255, 255)))
        labels.append(f"{layer}: {row['side'].estimate:.0f} of {row['box_side']} pixels")
    title = f"Standard deviation of {name} from the central neurons, and their field; {paper.network()}"
    return ij.viz.montage(tiles, labels=labels, columns=4, title=title)


def _draw_sides(rows):
    sides = [row["side"] for row in rows.values()]
    return ij.viz.curves(
        list(rows),
        {"field": [row["box_side"] for row in rows.values()], _SQUARE: [side.estimate for side in sides]},
        intervals={_SQUARE: [side[1:] for side in sides]},
        title="Receptive fields, by geometry and effective",
        y_label="side, pixels",
    )


if __name__ == "__main__":
    command.run(main, define_flags)
