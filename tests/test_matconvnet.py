"""MatConvNet's .mat files: both layouts, RGB turned to BGR, and every file that is not CNN-A one clear sentence."""

import numpy as np
import pytest
import scipy.io
from networks import LAYERS, TINY, assert_same, random_params

from invert_jax import weights

# Between the convolutions of MatConvNet's files, as Caffe's own deploy.prototxt of each network has it.
POOL_FIRST = {
    "conv1": ("relu", "pool", "lrn"),
    "conv2": ("relu", "pool", "lrn"),
    "conv3": ("relu",),
    "conv4": ("relu",),
    "conv5": ("relu", "pool"),
    "fc6": ("relu", "dropout"),
    "fc7": ("relu", "dropout"),
    "fc8": ("softmax",),
}
NORM_FIRST = POOL_FIRST | {"conv1": ("relu", "lrn", "pool"), "conv2": ("relu", "lrn", "pool")}
CNN_A_ORDER = "conv1 relu pool norm conv2 relu pool norm conv3 relu conv4 relu conv5 relu pool fc6 relu fc7 relu fc8"


def mat_contents(params, *, layout, mean=None, order=POOL_FIRST, wrap=False):
    """What MatConvNet's importer writes: RGB conv1 and mean, [H, W, in, out] filters, row vectors."""
    layers = []
    for name, following in order.items():
        kernel, bias = params[name]["kernel"], params[name]["bias"].reshape(1, -1)
        if name == "conv1":
            kernel = kernel[:, :, [2, 1, 0], :]
        layer = {"type": "conv", "name": name, "stride": np.ones((1, 2)), "pad": np.zeros((1, 4))}
        if layout == "old":
            layer |= {"filters": kernel, "biases": bias}
        else:
            cell = np.empty((1, 2), object)
            cell[0, 0], cell[0, 1] = kernel, bias
            layer |= {"weights": cell}
        layers.append(layer)
        kinds = ["normalize" if layout == "old" and kind == "lrn" else kind for kind in following]
        layers += [{"type": kind, "name": f"{kind}{name[-1]}"} for kind in kinds]
    normalization = {
        "averageImage": params["mean"][..., [2, 1, 0]] if mean is None else mean,
        "imageSize": np.array([[227.0, 227.0, 3.0]]),
        "interpolation": "bicubic",
    }
    net = {"layers": np.array(layers, object).reshape(1, -1), "classes": {"name": np.array(["a"], object)}}
    net |= {"normalization": normalization} if layout == "old" else {"meta": {"normalization": normalization}}
    return {"net": net} if wrap else net


@pytest.mark.parametrize("layout", ["old", "new"])
@pytest.mark.parametrize("wrap", [False, True])
def test_mat_is_read_with_conv1_and_mean_turned_from_rgb_to_bgr(tmp_path, layout, wrap):
    params = random_params(TINY)
    scipy.io.savemat(tmp_path / "a.mat", mat_contents(params, layout=layout, wrap=wrap), do_compression=True)
    assert_same(weights.load_params(tmp_path / "a.mat"), params)


def test_mat_conv1_sees_the_same_image_in_either_channel_order(tmp_path):
    # Independent of the test's own writer: an RGB filter on an RGB patch = the BGR filter on the BGR patch.
    params = random_params(TINY)
    contents = mat_contents(params, layout="new")
    scipy.io.savemat(tmp_path / "a.mat", contents)
    loaded = weights.load_params(tmp_path / "a.mat")
    rgb_filter = contents["layers"][0, 0]["weights"][0, 0]
    rgb_mean = contents["meta"]["normalization"]["averageImage"]
    patch = np.random.default_rng(3).uniform(0, 255, (11, 11, 3))
    response = np.einsum("hwc,hwco->o", patch - rgb_mean, rgb_filter)
    np.testing.assert_allclose(
        np.einsum("hwc,hwco->o", patch[:, :, ::-1] - loaded["mean"], loaded["conv1"]["kernel"]),
        response,
        rtol=1e-6,
    )


@pytest.mark.parametrize("shape", [(3,), (1, 1, 3), (227, 227, 3)])
@pytest.mark.parametrize("dtype", ["float64", "uint8"])
def test_mat_mean_shapes(tmp_path, shape, dtype):
    rgb = np.random.default_rng(4).uniform(0, 255, shape).astype(dtype)
    scipy.io.savemat(tmp_path / "a.mat", mat_contents(random_params(TINY), layout="old", mean=rgb))
    mean = weights.load_params(tmp_path / "a.mat")["mean"]
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(mean, np.squeeze(rgb)[..., ::-1].astype("float32"))


@pytest.mark.parametrize("layout", ["old", "new"])
def test_mat_with_norm_before_pool_is_read_with_a_warning(tmp_path, layout):
    params = random_params(TINY)
    scipy.io.savemat(tmp_path / "a.mat", mat_contents(params, layout=layout, order=NORM_FIRST))
    with pytest.warns(UserWarning, match=r"a\.mat was trained with normalization before pooling") as caught:
        loaded = weights.load_params(tmp_path / "a.mat")
    assert len(caught) == 1 and caught[0].filename == __file__
    assert "from pool1 on; use imagenet-caffe-ref.mat" in str(caught[0].message)
    assert_same(loaded, params)


def _order(**changed):
    return POOL_FIRST | changed


@pytest.mark.parametrize(
    ("order", "given"),
    [
        (POOL_FIRST | {"fc9": ()}, CNN_A_ORDER + " fc9"),
        ({"conv0": ()} | POOL_FIRST, "conv0 " + CNN_A_ORDER),
        (POOL_FIRST | {"dropout": ()}, CNN_A_ORDER + " dropout"),  # a convolution of that name
        ({name: POOL_FIRST[name] for name in LAYERS[:6]}, CNN_A_ORDER.removesuffix(" fc7 relu fc8")),
        (_order(conv1=("relu", "pool"), conv2=("relu", "pool")), CNN_A_ORDER.replace(" norm", "")),
        (_order(conv2=("relu", "lrn", "pool")), CNN_A_ORDER.replace("conv2 relu pool norm", "conv2 relu norm pool")),
        (_order(conv3=("relu", "pool")), CNN_A_ORDER.replace("conv3 relu", "conv3 relu pool")),
        (_order(conv4=()), CNN_A_ORDER.replace("conv4 relu", "conv4")),
        (_order(conv1=("sigmoid", "pool", "lrn")), CNN_A_ORDER.replace("relu", "sigmoid", 1)),
        ({name: POOL_FIRST[name] for name in ("conv2", "conv1", *LAYERS[2:])}, "conv2 relu pool norm conv1 relu"),
    ],
)
def test_mat_of_other_layers_names_both_sequences(tmp_path, order, given):
    params = random_params(TINY)
    params |= {name: params["fc8"] for name in order if name not in params}
    scipy.io.savemat(tmp_path / "a.mat", mat_contents(params, layout="new", order=order))
    with pytest.raises(ValueError) as error:
        weights.load_params(tmp_path / "a.mat")
    assert f"a.mat has the layers {given}" in str(error.value)
    assert f"; CNN-A has {CNN_A_ORDER}: give imagenet-caffe-ref.mat" in str(error.value)


def test_mat_with_one_output_keeps_four_axes(tmp_path):
    # MATLAB drops a trailing axis of length 1.
    params = random_params(TINY)
    params["fc8"] = {"kernel": np.ones((1, 1, 6, 1), "float32"), "bias": np.ones(1, "float32")}
    contents = mat_contents(params, layout="old")
    contents["layers"][0, -2]["filters"] = np.ones((1, 1, 6), "float32")
    scipy.io.savemat(tmp_path / "a.mat", contents)
    assert_same(weights.load_params(tmp_path / "a.mat"), params)


def test_mat_of_another_network(tmp_path):
    def refuses(contents, sentence):
        scipy.io.savemat(tmp_path / "a.mat", contents)
        with pytest.raises(ValueError, match=rf"a\.mat.*{sentence}.*give imagenet-caffe-ref\.mat"):
            weights.load_params(tmp_path / "a.mat")

    good = mat_contents(random_params(TINY), layout="new")
    refuses({"x": np.ones(3)}, "no cell array `layers`")
    refuses(good | {"layers": np.ones(3)}, "no cell array `layers`")
    refuses(mat_contents(random_params(TINY), layout="new", mean=np.zeros((1, 2))), r"averageImage of shape \(1, 2\)")
    refuses({"layers": good["layers"]}, "no numeric averageImage")
    good["layers"][0, 0]["weights"][0, 0] = "text"
    refuses(good, "layer conv1 has no numeric filters")


def test_mat_that_is_cut_short_or_hdf5(tmp_path):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, mat_contents(random_params(TINY), layout="new"), do_compression=True)
    whole = path.read_bytes()
    for length in (0, 60, 130, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"a\.mat (is not a MATLAB file|has no cell array)"):
            weights.load_params(path)
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(ValueError, match=r"v7\.3 \(HDF5\) file.*save\('a\.mat', '-struct', 'net', '-v7'\)"):
        weights.load_params(path)
