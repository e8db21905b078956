"""CNN-A's weights: which of them a layer needs, random ones, and those it refuses."""

import flax
import jax
import numpy as np
import pytest
from networks import FULL, MEAN, NARROW, random_params
from refusals import call_refused

import invert_jax as ij


@pytest.fixture(scope="module")
def narrow():
    return random_params(NARROW)


def test_a_representation_carries_only_what_its_layer_needs(narrow):
    assert set(ij.alexnet(narrow, layer="pool2").params) == {"conv1", "conv2", "mean"}
    assert set(ij.alexnet(narrow, layer="relu6").params) == {f"conv{i}" for i in range(1, 6)} | {"fc6", "mean"}


def test_new_weights_do_not_retrace(narrow):
    traces = []

    @jax.jit
    def features(phi, image):
        traces.append(image)
        return phi.apply(phi.params, image)

    image = np.zeros((11, 11, 3), np.float32)
    other = random_params(NARROW, seed=1)
    one, two = (features(ij.alexnet(params, layer="conv1"), image) for params in (narrow, other))
    assert len(traces) == 1
    assert np.all(np.asarray(one) != np.asarray(two))
    same, apart = ij.alexnet(other, layer="conv1").apply, ij.alexnet(other, layer="relu1").apply
    assert same == ij.alexnet(narrow, layer="conv1").apply and hash(same) == hash(
        ij.alexnet(narrow, layer="conv1").apply
    )
    assert same != apart


def test_random_params_are_61_million_numbers(key):
    tree = jax.eval_shape(ij.random_alexnet_params, key)
    expected = jax.tree.map(np.shape, random_params(FULL), is_leaf=lambda leaf: hasattr(leaf, "shape"))
    assert jax.tree.map(lambda leaf: leaf.shape, tree) == expected
    # Krizhevsky's 60,965,224, and the mean's three
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(tree)) == 60_965_224 + 3


def test_random_params_are_he_normal(key):
    params = ij.random_alexnet_params(key, widths=(16, 32, 16, 16, 16, 32, 64, 32))
    assert params["mean"].tolist() == MEAN.tolist()
    for name in ("conv1", "conv2", "conv5", "fc6", "fc7"):
        kernel = np.asarray(params[name]["kernel"])
        assert kernel.std() == pytest.approx(np.sqrt(2 / np.prod(kernel.shape[:3])), rel=0.05)
        assert abs(kernel.mean()) < 0.05 * kernel.std()
        assert np.all(np.asarray(params[name]["bias"]) == 0)
    assert ij.alexnet(params, layer="fc8").feature_shape((227, 227, 3)) == (1, 1, 32)


def test_params_may_be_any_mapping(narrow):
    frozen = flax.core.freeze(narrow)
    assert jax.tree.structure(ij.alexnet(frozen)) == jax.tree.structure(ij.alexnet(narrow))


# --- what is refused ---


def without(params, *names):
    return {name: value for name, value in params.items() if name not in names}


def test_missing_weights(narrow):
    call_refused("missing: conv4/bias, conv4/kernel", ij.alexnet, without(narrow, "conv4"))
    call_refused("missing: conv4/bias, conv4/kernel", ij.alexnet, without(narrow, "conv4"), layer="conv1")
    call_refused(r"\(missing: fc8/bias\)", ij.alexnet, {**narrow, "fc8": {"kernel": narrow["fc8"]["kernel"]}})
    call_refused(r"\(missing: mean\)", ij.alexnet, without(narrow, "mean"))
    call_refused("missing: conv1/bias, conv1/kernel, .*, fc8/bias, fc8/kernel, mean", ij.alexnet, {})


def test_extra_weights(narrow):
    call_refused(r"\(unexpected: conv6/kernel\)", ij.alexnet, {**narrow, "conv6": {"kernel": np.zeros(2)}})
    call_refused(r"unexpected: fc8/scale", ij.alexnet, {**narrow, "fc8": {**narrow["fc8"], "scale": np.zeros(7)}})


def test_misshapen_weights(narrow):
    turned = {**narrow["conv2"], "kernel": narrow["conv2"]["kernel"].transpose(2, 0, 1, 3)}
    call_refused(
        r"wrong shape: conv2/kernel is \(2, 5, 5, 8\), expected \(5, 5, 2, 8\)",
        ij.alexnet,
        {**narrow, "conv2": turned},
    )
    call_refused(
        r"conv1/bias is \(3,\), expected \(4,\)", ij.alexnet, {**narrow, "conv1": {**narrow["conv1"], "bias": MEAN}}
    )
    call_refused(r"mean is \(4,\), expected \(3,\)", ij.alexnet, {**narrow, "mean": np.zeros(4)})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite(narrow, bad):
    kernel = narrow["conv3"]["kernel"].copy()
    kernel[1, 1, 1, 1] = bad
    broken = {**narrow, "conv3": {**narrow["conv3"], "kernel": kernel}}
    call_refused(r"NaN or infinite values as float32 \(in conv3/kernel\)", ij.alexnet, broken)


@pytest.mark.parametrize("params", [[1, 2], "weights.npz", np.zeros(3)], ids=["list", "path", "array"])
def test_weights_that_are_no_dict(params):
    call_refused("nested dict of arrays; got", ij.alexnet, params)


def test_widths_that_groups_do_not_divide(key):
    call_refused(
        r"conv2 has 2 groups, which do not divide its 3 input", ij.random_alexnet_params, key, widths=(3, *[2] * 7)
    )


@pytest.mark.parametrize("widths", [(8,) * 7, (8,) * 9, (0, *[8] * 7), (-2, *[8] * 7)], ids=str)
def test_widths_are_eight_counts(key, widths):
    call_refused("width", lambda: jax.eval_shape(lambda k: ij.random_alexnet_params(k, widths=widths), key))
