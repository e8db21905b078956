"""AlexNet and VGG-16 against float64 NumPy, layer by layer, their weights, and what is refused."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import FOURS, FULL, LAYERS, MEAN, NARROW, random_params
from oracles import alexnet as oracle
from oracles import differences
from refusals import refused

import invert_jax as ij
from invert_jax.networks import ARCHITECTURES, CAFFENET, architectures
from invert_jax.networks.sequential import Sequential

NAMES = tuple(row[0] for row in oracle.GEOMETRY)
NARROW_PARAMS = random_params(NARROW)
SLOW = pytest.mark.slow


def close(actual, expected, tolerance=1e-5):
    assert np.shape(actual) == np.shape(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def network(name, params, layer="fc8"):
    """A layer of any of the networks."""
    if name == "vgg16":
        return ij.networks.vgg16(params, layer=layer)
    return ij.alexnet(params, layer=layer, architecture=name)


def assert_all_taps_are_the_oracles(params, image, name="caffenet", layer="fc8"):
    """All taps up to a layer, in one program."""
    phi = network(name, params, layer)
    taps = jax.jit(phi.apply.every)(phi.params, image)
    expected = oracle.features(jax.tree.map(np.asarray, phi.params), image, until=layer, network=name)
    assert list(expected) == list(ARCHITECTURES[name].layers_up_to(layer)[i].name for i in range(len(expected)))
    assert set(taps) == set(expected)
    for layer, features in expected.items():
        assert taps[layer].dtype == jnp.float32 and np.ptp(features) > 0
        close(taps[layer], features)
    return taps, expected


@pytest.fixture(scope="module")
def photograph():
    return ij.example_image(size=227)


# --- values ---

SIDES = (55, 55, 27, 27, 27, 27, 13, 13, 13, 13, 13, 13, 13, 13, 6, 1, 1, 1, 1, 1)
CHANNELS = (96,) * 4 + (256,) * 4 + (384,) * 4 + (256,) * 3 + (512,) * 4 + (1000,)
SHAPES = {name: (side, side, width) for name, side, width in zip(NAMES, SIDES, CHANNELS, strict=True)}


@pytest.mark.slow
def test_every_layer_of_the_bundled_network_is_the_oracles(photograph):
    taps, expected = assert_all_taps_are_the_oracles(None, photograph)
    assert {layer: tap.shape for layer, tap in taps.items()} == SHAPES
    for layer in ("conv1", "norm1", "pool5", "fc8"):  # alone, in a program of its own
        phi = ij.alexnet(layer=layer)
        assert phi.feature_shape(photograph.shape) == SHAPES[layer]
        close(phi(photograph), expected[layer])


def test_every_layer_of_a_narrow_network_is_the_oracles_on_a_larger_image():
    taps, _ = assert_all_taps_are_the_oracles(NARROW_PARAMS, ij.example_image(size=(259, 260)))
    assert taps["fc8"].shape == (2, 2, 7)


NARROW_WIDTHS = {"caffenet": NARROW, "bvlc_alexnet": NARROW, "torchvision": NARROW, "vgg16": (3, 4, 5) * 5 + (7,)}
# Sides at which Caffe rounds some pooled sizes up: 240 gives 58, 29 and then 14.
SIZES = {"caffenet": (204, 240), "bvlc_alexnet": (240, 204), "torchvision": (224, 240), "vgg16": (70, 65)}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[SLOW] * (name != "torchvision")) for name in SIZES])
def test_every_layer_of_each_network_is_the_oracles_at_other_sizes(name):
    params = random_params(NARROW_WIDTHS[name], network=name)
    layer = "pool5" if name == "vgg16" else "fc8"  # at 70 pixels
    assert_all_taps_are_the_oracles(params, ij.example_image(size=SIZES[name]), name, layer)


@SLOW
def test_every_layer_of_vgg16_is_the_oracles(photograph):
    params = random_params(NARROW_WIDTHS["vgg16"], network="vgg16")
    taps, _ = assert_all_taps_are_the_oracles(params, ij.example_image(size=224), "vgg16")
    assert taps["fc8"].shape == (1, 1, 7)


FULL_WIDTHS = {
    "bvlc_alexnet": FULL,
    "torchvision": (64, 192, 384, 256, 256, 4096, 4096, 1000),
    "vgg16": (64,) * 2 + (128,) * 2 + (256,) * 3 + (512,) * 6 + (4096, 4096, 1000),
}
# Of the published files: 60,965,224, 61,100,840 and 138,357,544 numbers.
NUM_WEIGHTS = {"caffenet": 60_965_224, "bvlc_alexnet": 60_965_224, "torchvision": 61_100_840, "vgg16": 138_357_544}


@pytest.mark.parametrize("name", NUM_WEIGHTS)
def test_the_published_networks_have_these_shapes(name):
    architecture = ARCHITECTURES[name]
    assert tuple(row.width for row in architecture.convolutions) == FULL_WIDTHS.get(name, FULL)
    expected = ij.networks.sequential.expected_shapes(architecture, {}, "fc8")
    weights = [leaf for layer in expected.values() if isinstance(layer, dict) for leaf in layer.values()]
    assert sum(np.prod(leaf.shape) for leaf in weights) == NUM_WEIGHTS[name]
    assert architectures.output_size(architecture.layers, architecture.image_size) == 1


@pytest.mark.slow
def test_the_papers_network_runs_to_fc8(photograph):
    params = random_params(FULL)
    features = ij.alexnet(params)(photograph)
    assert features.shape == (1, 1, 1000)
    close(features, oracle.features(params, photograph)["fc8"])


def test_image_is_rgb_and_weights_are_bgr():
    kernel = np.zeros_like(NARROW_PARAMS["conv1"]["kernel"])
    kernel[:, :, 2] = 1  # the last of blue, green, red
    phi = ij.alexnet({**NARROW_PARAMS, "conv1": {"kernel": kernel, "bias": np.zeros(4)}}, layer="conv1")
    image = np.zeros((11, 11, 3), np.float32)
    image[..., 0] = 200
    np.testing.assert_allclose(phi(image), np.full((1, 1, 4), 121 * (200 - 123)), rtol=1e-5)
    assert phi.center.tolist() == [123, 117, 104]


def test_mean_may_be_an_image():
    mean = np.random.default_rng(0).uniform(90, 130, (27, 23, 3)).astype(np.float32)
    params, image = {**NARROW_PARAMS, "mean": mean}, ij.example_image(size=(27, 23))
    phi = ij.alexnet(params, layer="pool1")
    close(phi(image), oracle.features(params, image, until="pool1")["pool1"])
    np.testing.assert_array_equal(phi.center, mean[..., ::-1])
    with refused("mean"):
        phi(np.zeros((30, 23, 3)))


def test_the_module_stops_at_its_last_tap():
    variables = {"params": {"conv1": NARROW_PARAMS["conv1"], "mean": MEAN}}
    module = Sequential(CAFFENET, NARROW, (3,), until="norm1")
    taps = jax.eval_shape(module.apply, variables, np.zeros((30, 30, 3), np.float32))
    assert set(taps) == {"conv1", "relu1", "pool1", "norm1"}


# --- transforms and derivatives ---


@pytest.mark.slow
def test_plain_jit_and_vmap_agree():
    phi = ij.alexnet(NARROW_PARAMS, layer="pool2")
    images = np.random.default_rng(0).uniform(0, 255, (3, 80, 75, 3)).astype(np.float32)
    plain = np.stack([phi.apply(phi.params, image) for image in images])
    close(np.stack([phi(image) for image in images]), plain)
    close(jax.jit(jax.vmap(phi.apply, in_axes=(None, 0)))(phi.params, images), plain)


@pytest.mark.parametrize("layer", ["norm1", *(pytest.param(x, marks=pytest.mark.slow) for x in ("conv3", "fc8"))])
def test_gradient_is_finite_differences(layer):
    phi, rng = ij.alexnet(NARROW_PARAMS, layer=layer), np.random.default_rng(0)
    image = ij.example_image(size={"norm1": 51, "conv3": 99, "fc8": 227}[layer])
    weight = rng.normal(size=phi.feature_shape(image.shape)).astype(np.float32)
    gradient_of = jax.jit(jax.grad(lambda x: jnp.sum(phi.apply(phi.params, x) * weight)))
    gradient = np.asarray(gradient_of(image), np.float64)
    # Uphill, with as much of a random direction: alone, that would hardly move the features.
    noise = rng.normal(size=image.shape)
    direction = gradient / np.linalg.norm(gradient) + noise / np.linalg.norm(noise)
    expected = differences.slope(
        lambda x: np.sum(oracle.features(NARROW_PARAMS, x, until=layer)[layer] * weight), image, direction, step=1e-5
    )
    assert np.vdot(gradient, direction) == pytest.approx(expected, rel=1e-4)
    flat = gradient_of(np.full_like(image, 128))
    assert np.all(np.isfinite(flat)) and np.any(np.asarray(flat) != 0)


@pytest.mark.slow
def test_bfloat16_rounds_the_network_and_nothing_else(key):
    photograph = ij.example_image("chelsea", size=67)
    for layer in ("conv1", "norm1", "conv2"):
        exact, rounded = ij.alexnet(layer=layer), ij.alexnet(layer=layer, precision="bfloat16")
        want, got = exact(photograph), rounded(photograph)
        assert got.dtype == np.float32
        error = np.linalg.norm(got - want) / np.linalg.norm(want)
        assert 1e-4 < error < 2e-2, layer  # 8 bits of mantissa, no more and no less
    recipe = ij.recipes.mahendran_vedaldi(lambda_tv=0.5, stages=((4e-3, 30),))
    ends = [ij.invert(key, phi, exact(photograph), recipe, image_shape=photograph.shape) for phi in (exact, rounded)]
    assert ends[1].image.dtype == np.float32 and ends[1].finite
    assert ends[1].error == pytest.approx(float(ends[0].error), rel=0.05)


# --- weights ---


def test_a_representation_holds_only_what_its_layer_needs():
    for layer, names in {"pool2": LAYERS[:2], "relu6": LAYERS[:6]}.items():
        assert set(ij.alexnet(NARROW_PARAMS, layer=layer).params) == {*names, "mean"}
    frozen = flax.core.freeze(NARROW_PARAMS)
    assert jax.tree.structure(ij.alexnet(frozen)) == jax.tree.structure(ij.alexnet(NARROW_PARAMS))


def test_new_weights_do_not_retrace():
    traces = []

    @jax.jit
    def features(phi, image):
        traces.append(image)
        return phi.apply(phi.params, image)

    image, others = np.zeros((11, 11, 3), np.float32), random_params(NARROW, seed=1)
    one, two = (features(ij.alexnet(params, layer="conv1"), image) for params in (NARROW_PARAMS, others))
    assert len(traces) == 1 and np.all(np.asarray(one) != np.asarray(two))
    assert ij.alexnet(others, layer="conv1").apply != ij.alexnet(others, layer="relu1").apply


@pytest.mark.slow
def test_random_params_are_61_million_numbers(key):
    tree = jax.eval_shape(ij.random_alexnet_params, key)
    expected = jax.tree.map(np.shape, random_params(FULL), is_leaf=lambda leaf: hasattr(leaf, "shape"))
    assert jax.tree.map(lambda leaf: leaf.shape, tree) == expected
    # Krizhevsky's 60,965,224, and the mean's three
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(tree)) == 60_965_224 + 3


@pytest.mark.slow
def test_random_params_are_he_normal(key):
    params = ij.random_alexnet_params(key, widths=(16, 32, 16, 16, 16, 32, 64, 32))
    assert params["mean"].tolist() == MEAN.tolist()
    for name in ("conv1", "conv2", "conv5", "fc6", "fc7"):
        kernel = np.asarray(params[name]["kernel"])
        assert kernel.std() == pytest.approx(np.sqrt(2 / np.prod(kernel.shape[:3])), rel=0.05)
        assert abs(kernel.mean()) < 0.05 * kernel.std()
        assert np.all(np.asarray(params[name]["bias"]) == 0)
    assert ij.alexnet(params, layer="fc8").feature_shape((227, 227, 3)) == (1, 1, 32)


# --- what is refused ---


def without(*names):
    return {name: value for name, value in NARROW_PARAMS.items() if name not in names}


def changed(layer, **arrays):
    return {**NARROW_PARAMS, layer: {**NARROW_PARAMS[layer], **arrays}}


BAD_PARAMS = {
    "conv4": without("conv4"),
    "fc8/bias": {**NARROW_PARAMS, "fc8": {"kernel": NARROW_PARAMS["fc8"]["kernel"]}},
    "mean": without("mean"),
    "conv1/bias": {},
    "conv6/kernel": {**NARROW_PARAMS, "conv6": {"kernel": np.zeros(2)}},
    "fc8/scale": changed("fc8", scale=np.zeros(7)),
    "conv2/kernel": changed("conv2", kernel=NARROW_PARAMS["conv2"]["kernel"].transpose(2, 0, 1, 3)),
    "(3,)": changed("conv1", bias=MEAN),
    "(4,)": {**NARROW_PARAMS, "mean": np.zeros(4)},
    "conv3/bias": changed("conv3", bias=np.full(6, np.nan)),
    "list": [1, 2],
    "str": "weights.npz",
    "groups": random_params((3, *FOURS[1:])),
}


@pytest.mark.parametrize("noun", BAD_PARAMS)
def test_weights_that_do_not_fit(noun):
    with refused(noun):  # even for a layer below them, unless they are missing
        ij.alexnet(BAD_PARAMS[noun], layer="conv4" if noun == "conv4" else "conv1")


def test_weights_may_lack_what_comes_after_the_layer():
    convolutions = without("fc6", "fc7", "fc8")
    phi, image = ij.alexnet(convolutions, layer="pool5"), ij.example_image(size=99)
    np.testing.assert_array_equal(phi(image), ij.alexnet(NARROW_PARAMS, layer="pool5")(image))
    assert ij.networks.available_layers(CAFFENET, convolutions)[-1] == "pool5"
    ij.alexnet(without("conv4"), layer="norm2")
    for params, noun in ((convolutions, "end at conv5"), (without("conv4"), "missing: conv4/bias")):
        with refused(noun):
            ij.alexnet(params, layer="fc6")


def test_weights_of_another_order_or_network_are_recognized():
    foreign = random_params(FOURS, network="torchvision")
    foreign["conv1"] = {"kernel": np.ones((11, 11, 3, 64), np.float32), "bias": np.zeros(64)}
    foreign["conv2"]["kernel"] = np.ones((5, 5, 64, 4), np.float32)
    with refused("architecture='torchvision'"):
        ij.alexnet({**foreign, "mean": MEAN})
    with refused("vgg16"):
        ij.alexnet(random_params(NARROW_WIDTHS["vgg16"], network="vgg16"), layer="conv1")
    for name in ("conv1", "conv2", "fc6"):
        with refused("PyTorch"):
            ij.alexnet(changed(name, kernel=NARROW_PARAMS[name]["kernel"].transpose(3, 2, 0, 1)))
    with refused("pretrained"):
        ij.alexnet(architecture="torchvision", layer="conv1")
    with refused("architecture"):
        ij.alexnet(architecture="vgg16")


@pytest.mark.parametrize("widths", [(8,) * 7, (8,) * 9, (0, *[8] * 7), (-2, *[8] * 7), (3, *[2] * 7)], ids=str)
def test_bad_widths(key, widths):
    with refused("width"):
        ij.random_alexnet_params(key, widths=widths)


@pytest.mark.parametrize("layer", ["conv6", "", "FC8", None])
def test_an_unknown_layer_or_precision_lists_the_choices(layer):
    for call in (lambda: ij.alexnet(NARROW_PARAMS, layer=layer), lambda: ij.recipes.for_layer(layer)):
        with refused(", ".join(NAMES)):
            call()
    with refused("bfloat16"):
        ij.alexnet(precision="half")


@pytest.mark.parametrize(("layer", "side"), [("conv1", 11), ("pool1", 15), ("conv3", 23), ("pool5", 39), ("fc8", 199)])
def test_smallest_image_of_each_layer(layer, side):
    phi = ij.alexnet(NARROW_PARAMS, layer=layer)
    assert side == architectures.smallest_input(CAFFENET.layers_up_to(layer))
    assert 1 in phi.feature_shape((side, side + 40, 3))[:2]
    for shape in ((side - 1, 300, 3), (300, side - 1, 3)):
        with refused(f"{side} x {side}"):
            phi.feature_shape(shape)


@pytest.mark.parametrize("shape", [(30, 30, 1), (30, 30, 2), (30, 30, 4), (1, 30, 30, 3), (30, 30)])
def test_images_that_are_not_one_rgb_image(shape):
    with refused(str(shape)):
        ij.alexnet(NARROW_PARAMS, layer="conv1")(np.zeros(shape))


def test_images_that_are_not_finite():
    with refused("2700"):
        ij.alexnet(NARROW_PARAMS, layer="conv1")(np.full((30, 30, 3), np.nan))
