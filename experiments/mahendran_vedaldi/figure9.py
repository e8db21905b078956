"""Figure 9: what the central 5 x 5 neurons of a layer encode, and the box that they see.

    python -m experiments.mahendran_vedaldi.figure9 --images=photograph.jpg

Took 9 minutes on two CPU cores that had other work, without flags.

One restart for each layer from conv1 to pool5, lambda_V = 50 and the rates that the released code takes for this
figure; the white box is the neurons' receptive field; clipped to 0..255. In the paper what lies outside the box is
switched off by the regularizer, and what is reconstructed is in some layers much smaller than the box. Our number for
the first is the share of the image's energy inside the box (squared deviation from the intensity about which images
are regularized), beside the box's share of the area; for the second the side of the square about the box's center
that holds 90 % of the energy, beside the box's. The paper gives none.
"""

import functools

import numpy as np

import invert_jax as ij
from experiments.lib.figure import Case, Figure, Measure

LAYERS = tuple(layer.name for layer in ij.networks.CAFFENET.layers_up_to("pool5"))
_RECIPE = ij.recipes.mahendran_vedaldi(lambda_tv=50.0, stages=ij.recipes.CENTRAL_STAGES)
_mask = functools.partial(ij.masks.central, size=5)


def _box(image, case):
    """The pixels that the central neurons see, `(top, left, bottom, right)`."""
    architecture = ij.networks.architecture_of(case.phi) or ij.networks.CAFFENET
    fields = {field.name: field for field in ij.receptive_field.receptive_fields(architecture.layers)}
    return ij.receptive_field.mask_box(fields[case.representation], _mask(case.phi.feature_shape(image.shape)))


def _measure(entry, image, _, case):
    """The height of the box, or this entry of the `Concentration` of the image's energy in the box."""
    box = _box(image, case)
    energy = (np.clip(image, 0, 255) - np.asarray(case.phi.center)) ** 2
    return box[2] - box[0] if entry == "height" else getattr(ij.analysis.concentration(energy, box), entry)


_inside, _area, _side, _height = (functools.partial(_measure, entry) for entry in ("inside", "area", "side", "height"))

FIGURE = Figure(
    name="figure9",
    title="Figure 9: central 5 x 5 neurons, share of the energy in their box,",
    cases=lambda layer: [Case(layer, layer, _RECIPE, _mask)],
    layers=LAYERS,
    known=LAYERS,
    measures={
        "energy_inside": Measure("energy inside", _inside, 3, "inside"),
        "area_inside": Measure("area inside", _area, 3),
        "side_of_90_percent": Measure("side with 90 % of the energy, pixels", _side, 0),
        "box_side": Measure("box, pixels", _height, 0),
    },
    columns=8,
    decorate=lambda image, case: ij.viz.draw_box(image, _box(image, case), color=(255, 255, 255)),
)

if __name__ == "__main__":
    FIGURE.run()
