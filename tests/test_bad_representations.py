"""Images, settings and weights that a representation cannot take: each told at the seam, in one sentence."""

import numpy as np
import pytest
from networks import FOURS, random_params
from refusals import both_refuse, refused, three_sums

import invert_jax as ij

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture(scope="module")
def narrow():
    return random_params(FOURS)


# --- images ---


def test_image_smaller_than_a_cell():
    hog = ij.hog(cell_size=8)
    with refused("HOG", "4 x 4", "3 x 20", "larger"):
        hog(np.zeros((3, 20, 1)))
    with refused("HOG", "20 x 3"):
        hog.feature_shape((20, 3, 1))
    both_refuse("4 x 4", "3 x 3", representation=hog, target=np.zeros((1, 1, 27)), image_shape=(3, 3, 1))
    with refused("HOG", "16 x 16", "15 x 20"):
        ij.hog(variant="released")(np.zeros((15, 20, 1)))
    with refused("DSIFT", "16 x 16", "15 x 20"):
        ij.dsift(bin_size=5)(np.zeros((15, 20, 1)))


@pytest.mark.parametrize(("layer", "size"), [("conv1", 11), ("pool1", 19), ("conv3", 35), ("fc6", 227)])
def test_image_smaller_than_the_receptive_field(narrow, layer, size):
    # Padding lets conv3's input be smaller than its field of 99; 35 still gives one neuron.
    representation = ij.alexnet(narrow, layer=layer)
    assert representation.feature_shape((size, size, 3)) is not None
    with refused(f"CNN-A at {layer}", f"{size} x {size}", f"{size - 1} x 300", "larger"):
        representation(np.zeros((size - 1, 300, 3)))
    shape = (300, size - 1, 3)
    both_refuse(f"{size} x {size}", representation=representation, target=np.zeros((1, 1, 4)), image_shape=shape)


def test_wrong_channel_count(narrow):
    with refused("1 channel", "(32, 32, 3)", "gray=True"):
        ij.hog()(np.zeros((32, 32, 3)))
    with refused("1 channel", "(32, 32, 3)"):
        ij.dsift()(np.zeros((32, 32, 3)))
    conv1 = ij.alexnet(narrow, layer="conv1")
    with refused("3 channel", "(32, 32, 1)", "load_image"):
        conv1(np.zeros((32, 32, 1)))
    both_refuse("3 channel", representation=conv1, target=np.zeros((6, 6, 4)), image_shape=(32, 32, 4))


def test_image_without_a_channel_axis():
    with refused("(32, 32)", "[H, W, C]", "image[..., None]"):
        ij.hog()(np.zeros((32, 32)))
    with refused("(2, 32, 32, 1)", "one image"):
        ij.hog()(np.zeros((2, 32, 32, 1)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_image(value):
    image = np.zeros((32, 32, 1))
    image[3, 4, 0] = value
    with refused("image", "1 non-finite"):
        ij.hog()(image)


# --- settings ---


def test_unknown_layer(narrow):
    for call in (lambda: ij.alexnet(narrow, layer="conv9"), lambda: ij.recipes.for_layer("conv9")):
        with refused("'conv9'", "conv1, relu1, pool1", "fc8"):
            call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ij.hog(binning="soft"), ("'soft'", "hard, bilinear, approximate")),
        (lambda: ij.hog(variant="matlab"), ("'matlab'", "vlfeat, released")),
        (lambda: ij.hog(cell_size=0), ("cell_size is 0", "1 or greater")),
        (lambda: ij.hog(num_orientations=-9), ("num_orientations is -9",)),
        (lambda: ij.dsift(bin_size=2.5), ("bin_size is 2.5", "integer")),
        (lambda: ij.dsift(step=0), ("step is 0",)),
        (lambda: ij.from_function(three_sums, center=np.nan), ("center", "non-finite")),
        (lambda: ij.example_image("lena"), ("'lena'", "chelsea")),
    ],
)
def test_bad_settings_of_a_factory(call, words):
    with refused(*words):
        call()


# --- weights ---


def _changed(params, layer, **arrays):
    return {**params, layer: {**params[layer], **arrays}}


def test_missing_weights(narrow):
    without_layer = {name: entry for name, entry in narrow.items() if name != "conv3"}
    with refused("missing", "conv3/kernel", "conv3/bias"):
        ij.alexnet(without_layer, layer="conv1")
    without_array = {**narrow, "fc7": {"kernel": narrow["fc7"]["kernel"]}}
    with refused("missing: fc7/bias"):
        ij.alexnet(without_array, layer="conv1")


def test_extra_weights(narrow):
    with refused("unexpected", "fc9/kernel"):
        ij.alexnet({**narrow, "fc9": {"kernel": np.zeros((1, 1, 4, 4))}}, layer="conv1")
    with refused("unexpected: conv2/scale"):
        ij.alexnet(_changed(narrow, "conv2", scale=np.ones(4)), layer="conv1")


def test_misshapen_weights(narrow):
    with refused("wrong shape", "conv2/kernel is (4, 5, 2, 4), expected (5, 5, 2, 4)"):
        ij.alexnet(_changed(narrow, "conv2", kernel=np.zeros((4, 5, 2, 4))), layer="conv1")
    with refused("wrong shape", "conv2/bias is (3,), expected (4,)"):
        ij.alexnet(_changed(narrow, "conv2", bias=np.zeros(3)), layer="conv1")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_weights(narrow, value):
    bias = np.zeros(4)
    bias[2] = value
    with refused("NaN or infinite", "fc8/bias"):
        ij.alexnet(_changed(narrow, "fc8", bias=bias), layer="conv1")
    with refused("fc8/bias", "non-finite"):
        ij.save_params("a.npz", _changed(narrow, "fc8", bias=bias))


def test_weights_that_are_no_dict():
    with refused("nested dict", "list"):
        ij.alexnet([np.zeros(3)], layer="conv1")
