"""How large a receptive field is in effect: where restarts from a layer's central neurons differ, and the exact box.

    python -m experiments.receptive_fields --images=folder --num_images=5
    python -m experiments.receptive_fields --layers=conv3,pool5 --num_restarts=16 --side=1

What the central --side x --side neurons of a layer do not see, the regularizers switch off, so that restarts agree
there. Inside the box that the neurons see, they differ where the code neither fixes a pixel nor leaves it to the
regularizers. For each layer: the share of the variance over restarts that lies in the box, which is less than all since
the regularizers take long to arrive outside; and the side of the square about the box's center that holds 90 % of what
lies in it, beside the box's own (Table 2 of the paper composes them exactly). Descent and block are Figure 9's; a
single neuron that hardly answers makes eq. 3 so steep that descents diverge. A photograph with fewer than two finite
restarts is left out of a layer, and counted.

Writes receptive_fields.png (a photograph's variance, stretched, and the box), sides.png, table.md and results.json.
"""

import jax
import numpy as np
from absl import flags

import invert_jax as ij
from experiments.lib import cache, common, paper

FLAGS = flags.FLAGS

LAYERS = ("conv1", "norm1", "conv2", "norm2", "conv3", "conv4", "conv5", "pool5")
LAMBDA_TV = 50.0
_WHITE = (255, 255, 255)


def _define_flags():
    paper.define_flags("receptive_fields", num_images=3, alexnet=True)
    flags.DEFINE_list("layers", list(LAYERS), "Layers, of conv1 to pool5.")
    flags.DEFINE_integer("num_restarts", 4, "Random starts of every photograph.", lower_bound=2)
    flags.DEFINE_integer("side", 5, "Neurons along each side of the central block.", lower_bound=1)


def main() -> None:
    """Measures what the flags describe."""
    known = ij.networks.LAYER_NAMES[: ij.networks.LAYER_NAMES.index("pool5") + 1]
    paper.require_known("--layers", FLAGS.layers, known)
    photographs = paper.photographs(size=paper.ALEXNET_SIZE, gray=False)
    paper.say_photographs(photographs)
    workdir = common.make_workdir(FLAGS.workdir)
    recipe = ij.recipes.mahendran_vedaldi(lambda_tv=LAMBDA_TV, stages=ij.recipes.CENTRAL_STAGES)
    fields = {field.name: field for field in ij.receptive_field.alexnet()}
    images = [photo.image for photo in photographs]

    key, rows, tiles, labels = jax.random.key(FLAGS.seed), {}, [], []
    for layer in FLAGS.layers:
        representation = paper.alexnet(layer)
        mask = ij.masks.central(representation.feature_shape(images[0].shape), size=FLAGS.side)
        box = ij.receptive_field.mask_box(fields[layer], mask)
        found = cache.inversions(
            workdir, representation, recipe, images, num_restarts=FLAGS.num_restarts, mask=mask, description=layer
        )
        variances = [_variance(each) for each in found if each.finite.sum() > 1]
        if not variances:
            raise ValueError(f"Of {layer} no photograph has two finite restarts; give another --side, or more images.")
        looked = [ij.receptive_field.concentration(variance, box) for variance in variances]
        boxed = [ij.receptive_field.concentration(_inside(variance, box), box) for variance in variances]
        rows[layer] = {
            "box": box,
            "box_side": box[2] - box[0],
            "area_inside": looked[0].area,
            "photographs": len(looked),
            "inside": ij.analysis.bootstrap_ci(key, [each.inside for each in looked]),
            "side": ij.analysis.bootstrap_ci(key, [each.side for each in boxed]),
            "error": np.array([paper.mean_of(each.error) for each in found]),
        }
        deviation = np.sqrt(variances[0].mean(axis=2, keepdims=True))
        shown = np.repeat(255 * deviation / max(deviation.max(), 1e-6), 3, axis=2)
        tiles.append(ij.viz.draw_box(shown, box, color=_WHITE))
        labels.append(f"{layer}: {rows[layer]['side'].estimate:.0f} of {rows[layer]['box_side']} pixels")

    table = paper.markdown(
        [
            "layer",
            "box, pixels",
            "holds 90 % of it, pixels",
            "variance inside, %",
            "area inside, %",
            "error, %",
            "photographs",
        ],
        [
            [
                layer,
                row["box_side"],
                f"{row['side'].estimate:.0f}" + _ends(row["side"]),
                f"{100 * row['inside'].estimate:.1f}",
                f"{100 * row['area_inside']:.1f}",
                paper.percent(row["error"]),
                row["photographs"],
            ]
            for layer, row in rows.items()
        ],
    )
    title = f"Spread of {photographs[0].name} from the central neurons, and their box; {paper.network()}"
    paper.finish(
        workdir,
        results={"network": paper.network(), "images": [photo.name for photo in photographs], "layers": rows},
        table=table,
        pictures={
            "receptive_fields": ij.viz.montage(tiles, labels=labels, columns=4, title=title),
            "sides": ij.viz.curves(
                list(rows),
                {
                    "box": [row["box_side"] for row in rows.values()],
                    "90 % of the variance in it": [row["side"].estimate for row in rows.values()],
                },
                intervals={"90 % of the variance in it": [row["side"][1:] for row in rows.values()]},
                title="Receptive fields, by geometry and in effect",
                y_label="side, pixels",
            ),
        },
    )


def _ends(interval):
    return f" [{interval.low:.0f}, {interval.high:.0f}]" if np.isfinite(interval.low) else ""


def _inside(variance, box):
    """The same, zero outside the box."""
    top, left, bottom, right = np.maximum(box, 0)
    inside = np.zeros_like(variance)
    inside[top:bottom, left:right] = variance[top:bottom, left:right]
    return inside


def _variance(restarts):
    """Over the restarts that are finite, `[H, W, C]`, of what can be shown."""
    return np.clip(restarts.image[restarts.finite], 0, 255).var(axis=0, ddof=1)


if __name__ == "__main__":
    _define_flags()
    common.run(main)
