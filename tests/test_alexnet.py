"""CNN-A against Caffe's reference network in float64 NumPy, layer by layer, and the images it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import FULL, MEAN, NARROW, random_params
from oracles import alexnet as oracle
from oracles import differences
from refusals import call_refused

import invert_jax as ij
from invert_jax.networks.alexnet import AlexNet

NAMES = tuple(row[0] for row in oracle.GEOMETRY)


def close(actual, expected, tolerance=1e-5):
    assert np.shape(actual) == np.shape(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def every_tap(params, image):
    """All 20 taps in one program."""
    phi = ij.alexnet(params)
    module = phi.apply.module
    return jax.jit(lambda weights, x: module.apply({"params": weights}, x))(phi.params, image)


@pytest.fixture(scope="module")
def photograph():
    return ij.example_image(size=227)


@pytest.fixture(scope="module")
def narrow():
    return random_params(NARROW)


# --- values ---


@pytest.fixture(scope="module")
def bundled_taps(photograph):
    params = jax.tree.map(np.asarray, ij.weights.bundled())
    return every_tap(None, photograph), oracle.features(params, photograph)


SHAPES = {
    **dict.fromkeys(("conv1", "relu1"), (55, 55, 96)),
    **dict.fromkeys(("pool1", "norm1"), (27, 27, 96)),
    **dict.fromkeys(("conv2", "relu2"), (27, 27, 256)),
    **dict.fromkeys(("pool2", "norm2"), (13, 13, 256)),
    **dict.fromkeys(("conv3", "relu3", "conv4", "relu4"), (13, 13, 384)),
    **dict.fromkeys(("conv5", "relu5"), (13, 13, 256)),
    "pool5": (6, 6, 256),
    **dict.fromkeys(("fc6", "relu6", "fc7", "relu7"), (1, 1, 512)),
    "fc8": (1, 1, 1000),
}


@pytest.mark.parametrize("layer", NAMES)
def test_every_layer_of_the_bundled_network_is_the_oracles(bundled_taps, layer):
    taps, expected = bundled_taps
    assert taps[layer].shape == SHAPES[layer]
    assert taps[layer].dtype == jnp.float32
    assert np.ptp(expected[layer]) > 0
    close(taps[layer], expected[layer])


def test_there_are_exactly_the_twenty_taps(bundled_taps):
    assert set(bundled_taps[0]) == set(NAMES) == set(ij.networks.LAYER_NAMES)


@pytest.mark.parametrize("layer", ["conv1", "norm1", "pool5", "fc8"])
def test_a_representation_is_its_tap(bundled_taps, photograph, layer):
    phi = ij.alexnet(layer=layer)
    assert phi.feature_shape(photograph.shape) == SHAPES[layer]
    close(phi(photograph), bundled_taps[1][layer])


def test_the_papers_network_runs_to_fc8(photograph):
    params = random_params(FULL)
    features = ij.alexnet(params)(photograph)
    assert features.shape == (1, 1, 1000)
    close(features, oracle.features(params, photograph)["fc8"])


def test_larger_images_give_larger_fully_connected_maps(narrow):
    image = ij.example_image(size=(259, 300))
    taps, expected = every_tap(narrow, image), oracle.features(narrow, image)
    assert taps["fc8"].shape == (2, 3, 7)
    for name in NAMES:
        close(taps[name], expected[name])


def test_image_is_rgb_and_weights_are_bgr(narrow):
    kernel = np.zeros_like(narrow["conv1"]["kernel"])
    kernel[:, :, 2] = 1  # the last of blue, green, red
    params = {**narrow, "conv1": {"kernel": kernel, "bias": np.zeros(4)}}
    phi = ij.alexnet(params, layer="conv1")
    image = np.zeros((11, 11, 3), np.float32)
    image[..., 0] = 200
    np.testing.assert_allclose(phi(image), np.full((1, 1, 4), 121 * (200 - 123)), rtol=1e-5)


def test_center_is_the_mean_in_rgb(narrow):
    phi = ij.alexnet(narrow, layer="conv1")
    assert phi.center.tolist() == [123, 117, 104]
    at_center = phi(jnp.broadcast_to(phi.center, (11, 11, 3)))
    np.testing.assert_allclose(at_center[0, 0], narrow["conv1"]["bias"], rtol=1e-5)


def test_mean_may_be_an_image(narrow, photograph):
    mean = np.random.default_rng(0).uniform(90, 130, (227, 227, 3)).astype(np.float32)
    params = {**narrow, "mean": mean}
    phi = ij.alexnet(params, layer="pool2")
    close(phi(photograph), oracle.features(params, photograph)["pool2"])
    np.testing.assert_array_equal(phi.center, mean[..., ::-1])
    with pytest.raises(ValueError, match=r"mean image of shape \(227, 227, 3\); the image is \(240, 227, 3\): resize"):
        phi(np.zeros((240, 227, 3)))


def test_the_module_stops_at_its_last_tap(narrow):
    taps = AlexNet(NARROW, until="norm1").apply(
        {"params": {"conv1": narrow["conv1"], "mean": MEAN}}, np.zeros((30, 30, 3))
    )
    assert list(taps) == ["conv1", "relu1", "pool1", "norm1"]


# --- transforms ---


def test_plain_jit_and_vmap_agree(narrow):
    phi = ij.alexnet(narrow, layer="pool2")
    images = np.random.default_rng(0).uniform(0, 255, (3, 80, 75, 3)).astype(np.float32)
    plain = np.stack([phi.apply(phi.params, image) for image in images])
    close(np.stack([phi(image) for image in images]), plain)
    close(jax.jit(jax.vmap(phi.apply, in_axes=(None, 0)))(phi.params, images), plain)


@pytest.mark.parametrize(("layer", "side"), [("norm1", 51), ("conv3", 99), ("fc8", 227)])
def test_gradient_is_finite_differences(narrow, layer, side):
    phi = ij.alexnet(narrow, layer=layer)
    image = ij.example_image(size=side)
    rng = np.random.default_rng(0)
    weight = rng.normal(size=phi.feature_shape(image.shape)).astype(np.float32)
    gradient = np.asarray(jax.jit(jax.grad(lambda x: jnp.sum(phi.apply(phi.params, x) * weight)))(image), np.float64)
    # Uphill, with as much of a random direction: alone, that would hardly move the features.
    noise = rng.normal(size=image.shape)
    direction = gradient / np.linalg.norm(gradient) + noise / np.linalg.norm(noise)
    expected = differences.slope(
        lambda x: np.sum(oracle.features(narrow, x, until=layer)[layer] * weight), image, direction, step=1e-5
    )
    assert np.vdot(gradient, direction) == pytest.approx(expected, rel=1e-4)


def test_gradient_is_finite_on_a_flat_image(narrow):
    phi = ij.alexnet(narrow, layer="conv3")
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(phi.apply(phi.params, x) ** 2)))(jnp.full((99, 99, 3), 128.0))
    assert np.all(np.isfinite(gradient)) and np.any(np.asarray(gradient) != 0)


# --- precision ---


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


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match=r"precision 'half'.*float32, bfloat16"):
        ij.alexnet(precision="half")


# --- what is refused ---


@pytest.mark.parametrize("layer", ["conv6", "", "FC8", None])
def test_unknown_layer_lists_the_layers(narrow, layer):
    match = rf"Unknown CNN-A layer {layer!r}; choose one of: {', '.join(NAMES)}\."
    call_refused(match, ij.alexnet, narrow, layer=layer)


@pytest.mark.parametrize("layer", NAMES)
def test_smallest_image_of_each_layer(narrow, layer):
    phi = ij.alexnet(narrow, layer=layer)
    need = {"conv1": 11, "relu1": 11, "pool1": 19, "norm1": 19, "fc6": 227, "fc8": 227}.get(layer)
    need = need or ij.networks.smallest_input(ij.networks.layers_up_to(layer))
    assert 1 in phi.feature_shape((need, need + 40, 3))[:2]
    for shape in ((need - 1, 300, 3), (300, need - 1, 3)):
        match = rf"CNN-A at {layer} needs an image of at least {need} x {need} pixels; got {shape[0]} x {shape[1]}"
        call_refused(match, phi.feature_shape, shape)
    call_refused(f"at least {need} x {need} pixels", phi, np.zeros((need - 1, 300, 3)))


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_images_that_are_not_rgb(narrow, channels):
    image = np.zeros((30, 30, channels))
    call_refused(rf"takes 3 channel\(s\); the image .* has {channels}", ij.alexnet(narrow, layer="conv1"), image)


def test_images_that_are_batches_or_gray_or_not_finite(narrow):
    phi = ij.alexnet(narrow, layer="conv1")
    call_refused(r"one image \[H, W, C\]; got shape \(1, 30, 30, 3\)", phi, np.zeros((1, 30, 30, 3)))
    call_refused(r"got shape \(30, 30\) \(a gray image", phi, np.zeros((30, 30)))
    call_refused("image has 2700 non-finite", phi, np.full((30, 30, 3), np.nan))


@pytest.mark.parametrize("pool, relu", [("pool1", "relu1"), ("pool2", "relu2"), ("pool5", "relu5")])
def test_a_pool_sees_the_rectified_map(photograph, pool, relu):
    def pooled(image):
        rectified = ij.alexnet(layer=relu)(image)
        return jax.lax.reduce_window(rectified, -jnp.inf, jax.lax.max, (3, 3, 1), (2, 2, 1), "VALID")

    def gradient(features):
        return jax.jit(jax.grad(lambda image: jnp.sum(jnp.sin(features(image)))))(photograph)

    np.testing.assert_allclose(ij.alexnet(layer=pool)(photograph), pooled(photograph), rtol=1e-6)
    wanted = gradient(pooled)
    close(gradient(ij.alexnet(layer=pool)), wanted)
