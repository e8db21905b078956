"""Figure 9: what the central 5 x 5 neurons of a layer hold, and the box that they see.

    python -m experiments.mahendran_vedaldi.figure9 --images=photograph.jpg

Took 9 minutes on two CPU cores that had other work, without flags.

One restart for each layer from conv1 to pool5, lambda_V = 50 and the rates that the released code takes for this
figure; the white box is the neurons' receptive field; clipped to 0..255. In the paper what lies outside the box is
switched off by the regularizer, and what is reconstructed is in some layers much smaller than the box. Our number for
the first is the share of the image's energy inside the box (squared deviation from the intensity about which images
are regularized), beside the box's share of the area; for the second the side of the square about the box's center
that holds 90 % of the energy, beside the box's. The paper gives none.
"""

import numpy as np
from absl import flags

import invert_jax as ij
from experiments.lib import cache, common, paper

FLAGS = flags.FLAGS

LAYERS = ij.networks.LAYER_NAMES[: ij.networks.LAYER_NAMES.index("pool5") + 1]
LAMBDA_TV = 50.0
NUM_NEURONS = 5  # a side
_WHITE = (255, 255, 255)
_COLUMNS = 8


def _define_flags():
    paper.define_flags("figure9", num_images=1, alexnet=True)
    flags.DEFINE_list("layers", list(LAYERS), "Layers to invert, of conv1 to pool5.")


def main() -> None:
    """Makes the figure that the flags describe."""
    paper.require_known("--layers", FLAGS.layers, LAYERS)
    photographs = paper.photographs(size=paper.ALEXNET_SIZE, gray=False)
    paper.say_photographs(photographs)
    workdir = common.make_workdir(FLAGS.workdir)
    recipe = ij.recipes.mahendran_vedaldi(lambda_tv=LAMBDA_TV, stages=ij.recipes.CENTRAL_STAGES)
    fields = {field.name: field for field in ij.receptive_field.alexnet()}

    images, inversions, boxes = [photo.image for photo in photographs], {}, {}
    for layer in FLAGS.layers:
        representation = paper.alexnet(layer)
        mask = ij.masks.central(representation.feature_shape(images[0].shape), size=NUM_NEURONS)
        inversions[layer] = cache.inversions(
            workdir, representation, recipe, images, mask=mask, description=layer, chunk_size=1
        )
        boxes[layer] = ij.receptive_field.mask_box(fields[layer], mask)

    sheets, rows, center = [], [], np.asarray(paper.alexnet("fc8").center)
    for i, photo in enumerate(photographs):
        tiles, labels = [photo.image], [photo.name]
        for layer in FLAGS.layers:
            found, box = inversions[layer][i], boxes[layer]
            image = found.image[0]
            row = ij.receptive_field.concentration((np.clip(image, 0, 255) - center) ** 2, box)
            rows.append(
                {
                    "image": photo.name,
                    "layer": layer,
                    "box": box,
                    "relative_error": found.error[0],
                    "energy_inside": row.inside,
                    "area_inside": row.area,
                    "side_of_90_percent": row.side,
                    "box_side": box[2] - box[0],
                }
            )
            tiles.append(ij.viz.draw_box(image, box, color=_WHITE) if found.finite[0] else image)
            labels.append(f"{layer}: {100 * row.inside:.0f} % inside")
        title = f"Figure 9: central 5 x 5 neurons of {paper.network()}, energy in their box (clipped to 0..255)"
        sheets.append(ij.viz.montage(tiles, labels=labels, columns=_COLUMNS, title=None if i else title))

    table = paper.markdown(
        [
            "photograph",
            "layer",
            "error, %",
            "energy inside, %",
            "area inside, %",
            "90 % of it in, pixels",
            "box, pixels",
        ],
        [
            [
                row["image"],
                row["layer"],
                *(f"{100 * row[key]:.1f}" for key in ("relative_error", "energy_inside", "area_inside")),
                row["side_of_90_percent"],
                row["box_side"],
            ]
            for row in rows
        ],
    )
    paper.finish(
        workdir,
        results={"network": paper.network(), "inversions": rows},
        table=table,
        pictures={"figure9": np.concatenate(sheets)},
    )


if __name__ == "__main__":
    _define_flags()
    common.run(main)
