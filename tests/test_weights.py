"""Weight files: what is read is what was written, and every bad file is one clear sentence."""

import hashlib
import importlib.resources
import os
import pickle
import sys
import zipfile

import jax
import numpy as np
import pytest
import scipy.io

from invert_jax import weights
from invert_jax.weights import pinned

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
BUNDLED = importlib.resources.files("invert_jax") / "data" / "cnn_a_small_int8.npz"
# CNN-A with very few channels: kernel side, input channels per group, output channels.
SIZES = ((11, 3, 4), (5, 2, 4), (3, 4, 4), (3, 2, 4), (3, 2, 4), (6, 4, 5), (1, 5, 6), (1, 6, 3))


def tiny_params(seed=0):
    rng = np.random.default_rng(seed)
    params = {
        name: {
            "kernel": rng.normal(size=(side, side, inputs, outputs)).astype("float32"),
            "bias": rng.normal(size=outputs).astype("float32"),
        }
        for name, (side, inputs, outputs) in zip(LAYERS, SIZES, strict=True)
    }
    return params | {"mean": np.array([104, 117, 123], "float32")}


def assert_same(params, expected):
    assert jax.tree.structure(params) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True):
        assert a.dtype == np.float32 and a.shape == b.shape
        np.testing.assert_array_equal(a, b)


# --- the library's own file ---


def test_round_trip(tmp_path):
    params = tiny_params()
    weights.save_params(tmp_path / "a.npz", params)
    assert_same(weights.load_params(tmp_path / "a.npz"), params)
    assert_same(weights.load_params(str(tmp_path / "a.npz")), params)
    assert os.listdir(tmp_path) == ["a.npz"]


def test_round_trip_keeps_a_mean_image_and_takes_jax_arrays(tmp_path):
    params = tiny_params() | {"mean": np.random.default_rng(1).uniform(0, 255, (227, 227, 3)).astype("float32")}
    weights.save_params(tmp_path / "a.npz", jax.tree.map(jax.numpy.asarray, params))
    assert_same(weights.load_params(tmp_path / "a.npz"), params)


def test_saved_bytes_do_not_depend_on_the_order_of_the_dict(tmp_path):
    params = tiny_params()
    weights.save_params(tmp_path / "a.npz", params)
    weights.save_params(tmp_path / "b.npz", dict(reversed(params.items())))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_saved_file_is_plain_numpy(tmp_path):
    params = tiny_params()
    weights.save_params(tmp_path / "a.npz", params)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert set(file.files) == {f"{n}/{p}" for n in LAYERS for p in ("kernel", "bias")} | {"mean"}
        np.testing.assert_array_equal(file["conv3/kernel"], params["conv3"]["kernel"])


def test_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    weights.save_params(path, tiny_params())
    before = path.read_bytes()

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        weights.save_params(path, tiny_params(seed=1))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.npz"]


def test_save_refuses_what_it_could_not_read_back(tmp_path):
    with pytest.raises(ValueError, match=r"a\.mat: give a name that ends in \.npz"):
        weights.save_params(tmp_path / "a.mat", tiny_params())
    with pytest.raises(FileNotFoundError, match=r"folder .*nowhere of a\.npz does not exist; create it"):
        weights.save_params(tmp_path / "nowhere" / "a.npz", tiny_params())
    with pytest.raises(ValueError, match=r"fc8/weight float64\[2\]; expected NAME/kernel"):
        weights.save_params(tmp_path / "a.npz", {"fc8": {"weight": np.ones(2)}})
    with pytest.raises(ValueError, match=r"fc8/bias .* non-finite"):
        weights.save_params(tmp_path / "a.npz", {"fc8": {"kernel": np.ones(2), "bias": np.array([np.nan])}})
    with pytest.raises(ValueError, match="mean is not an array of real numbers"):
        weights.save_params(tmp_path / "a.npz", {"mean": np.array([1j])})
    with pytest.raises(ValueError, match="holds no arrays"):
        weights.save_params(tmp_path / "a.npz", {})
    assert os.listdir(tmp_path) == []


def int8_arrays():
    rng = np.random.default_rng(2)
    q = rng.integers(-127, 128, (3, 3, 2, 4)).astype("int8")
    return {
        "conv4/q": q,
        "conv4/s": rng.uniform(0.001, 0.01, 4).astype("float32"),
        "conv4/b": np.ones(4, "float32"),
    }


def test_int8_is_quantized_value_times_scale_of_its_output_channel(tmp_path):
    arrays = int8_arrays()
    np.savez(tmp_path / "a.npz", **arrays)
    params = weights.load_params(tmp_path / "a.npz")
    expected = np.zeros((3, 3, 2, 4), "float32")
    for out in range(4):
        expected[..., out] = arrays["conv4/q"][..., out].astype("float32") * arrays["conv4/s"][out]
    assert_same(params, {"conv4": {"kernel": expected, "bias": np.ones(4)}, "mean": np.array([104.0, 117.0, 123.0])})


def test_int8_file_with_a_mean_keeps_it(tmp_path):
    np.savez(tmp_path / "a.npz", **int8_arrays(), mean=np.array([1.0, 2.0, 3.0]))
    assert weights.load_params(tmp_path / "a.npz")["mean"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "change",
    [
        {"conv4/q": np.ones((3, 3, 2, 4), "float32")},
        {"conv4/s": np.ones(3, "float32")},
        {"conv4/extra": np.ones(1)},
        {"stray": np.ones(1)},
    ],
)
def test_other_arrays_are_named_beside_the_expected_ones(tmp_path, change):
    np.savez(tmp_path / "a.npz", **int8_arrays() | change)
    with pytest.raises(ValueError, match=rf"a\.npz has .*{next(iter(change))} .*expected NAME/kernel.*save again"):
        weights.load_params(tmp_path / "a.npz")


# --- bad files ---


def test_missing_file_directory_and_extension(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no weight file .*a\.npz; give the path of a \.npz or \.mat"):
        weights.load_params(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"is a directory; give the path of one \.npz or \.mat"):
        weights.load_params(tmp_path)
    (tmp_path / "a.caffemodel").write_bytes(b"anything")
    with pytest.raises(ValueError, match=r"extension '\.caffemodel'; weights are read from \.npz or \.mat"):
        weights.load_params(tmp_path / "a.caffemodel")


@pytest.mark.parametrize("content", [b"", b"not a zip", pickle.dumps({"conv1": 1})])
def test_npz_that_is_no_archive(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz is not an \.npz archive, or is cut short; download"):
        weights.load_params(tmp_path / "a.npz")


def test_truncated_and_damaged_npz(tmp_path):
    path = tmp_path / "a.npz"
    weights.save_params(path, tiny_params())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is cut short; download or save it again"):
        weights.load_params(path)
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes(b ^ 255 for b in whole[middle : middle + 64]) + whole[middle + 64 :])
    with pytest.raises(ValueError, match=r"is damaged .*; download or save it again"):
        weights.load_params(path)


def test_npz_with_a_garbled_array_header(tmp_path):
    header = b"{'descr': ((((\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("mean.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ValueError, match=r"a\.npz (is damaged|holds something other than plain arrays)"):
        weights.load_params(tmp_path / "a.npz")


class Trap:
    sprung = False

    def __reduce__(self):
        return (setattr, (Trap, "sprung", True))


def test_pickle_inside_an_npz_is_never_run(tmp_path):
    np.savez(tmp_path / "a.npz", **{"conv1/kernel": np.array([Trap()], object)}, allow_pickle=True)
    with pytest.raises(ValueError, match=r"other than plain arrays .*save it with save_params"):
        weights.load_params(tmp_path / "a.npz")
    assert not Trap.sprung


def test_pickle_called_mat_is_never_run(tmp_path):
    (tmp_path / "a.mat").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match=r"a\.mat is not a MATLAB file"):
        weights.load_params(tmp_path / "a.mat")
    assert not Trap.sprung


# --- MatConvNet ---


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
    params = tiny_params()
    scipy.io.savemat(tmp_path / "a.mat", mat_contents(params, layout=layout, wrap=wrap), do_compression=True)
    assert_same(weights.load_params(tmp_path / "a.mat"), params)


def test_mat_conv1_sees_the_same_image_in_either_channel_order(tmp_path):
    # Independent of the test's own writer: an RGB filter on an RGB patch = the BGR filter on the BGR patch.
    params = tiny_params()
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
    scipy.io.savemat(tmp_path / "a.mat", mat_contents(tiny_params(), layout="old", mean=rgb))
    mean = weights.load_params(tmp_path / "a.mat")["mean"]
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(mean, np.squeeze(rgb)[..., ::-1].astype("float32"))


@pytest.mark.parametrize("layout", ["old", "new"])
def test_mat_with_norm_before_pool_is_read_with_a_warning(tmp_path, layout):
    params = tiny_params()
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
    params = tiny_params()
    params |= {name: params["fc8"] for name in order if name not in params}
    scipy.io.savemat(tmp_path / "a.mat", mat_contents(params, layout="new", order=order))
    with pytest.raises(ValueError) as error:
        weights.load_params(tmp_path / "a.mat")
    assert f"a.mat has the layers {given}" in str(error.value)
    assert f"; CNN-A has {CNN_A_ORDER}: give imagenet-caffe-ref.mat" in str(error.value)


def test_mat_with_one_output_keeps_four_axes(tmp_path):
    # MATLAB drops a trailing axis of length 1.
    params = tiny_params()
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

    good = mat_contents(tiny_params(), layout="new")
    refuses({"x": np.ones(3)}, "no cell array `layers`")
    refuses(good | {"layers": np.ones(3)}, "no cell array `layers`")
    refuses(mat_contents(tiny_params(), layout="new", mean=np.zeros((1, 2))), r"averageImage of shape \(1, 2\)")
    refuses({"layers": good["layers"]}, "no numeric averageImage")
    good["layers"][0, 0]["weights"][0, 0] = "text"
    refuses(good, "layer conv1 has no numeric filters")


def test_mat_that_is_cut_short_or_hdf5(tmp_path):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, mat_contents(tiny_params(), layout="new"), do_compression=True)
    whole = path.read_bytes()
    for length in (0, 60, 130, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"a\.mat (is not a MATLAB file|has no cell array)"):
            weights.load_params(path)
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(ValueError, match=r"v7\.3 \(HDF5\) file.*save\('a\.mat', '-struct', 'net', '-v7'\)"):
        weights.load_params(path)


def test_mat_without_scipy_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0")
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"pip install 'invert_jax\[mat\]'"):
        weights.load_params(tmp_path / "a.mat")


# --- merge ---


def abstract(params):
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), params)


def test_merge_returns_float32_in_the_expected_tree():
    params = tiny_params()
    assert_same(weights.merge(params, abstract(params)), params)
    assert_same(weights.merge(jax.tree.map(lambda a: a.astype("float64"), params), params), params)
    as_integers = weights.merge({"mean": [1, 2]} | {"mean": np.array([1, 2])}, {"mean": np.zeros(2)})
    assert as_integers["mean"].dtype == np.float32


def test_merge_lists_everything_wrong_at_once_with_both_sides():
    params = tiny_params()
    expected = abstract(params)
    del params["fc6"]["bias"]
    params["fc9"] = {"kernel": np.ones(2)}
    params["conv2"]["kernel"] = np.ones((5, 5, 4, 4))
    params["fc7"]["bias"] = np.array(["text"] * 6)
    with pytest.raises(ValueError) as error:
        weights.merge(params, expected)
    sentence = str(error.value)
    assert "missing: fc6/bias;" in sentence
    assert "unexpected: fc9/kernel;" in sentence
    assert "wrong shape: conv2/kernel is (5, 5, 4, 4), expected (5, 5, 2, 4);" in sentence
    assert "not real numbers: fc7/bias)" in sentence


def test_merge_takes_a_dict_only():
    with pytest.raises(ValueError, match=r"nested dict of arrays; got str: give what load_params"):
        weights.merge("weights.npz", {})


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_merge_names_arrays_that_are_not_finite_as_float32(value):
    params = jax.tree.map(lambda a: a.astype("float64"), tiny_params())
    params["conv5"]["bias"][1] = value
    with pytest.raises(ValueError, match=r"NaN or infinite values as float32 \(in conv5/bias\)"):
        weights.merge(params, tiny_params())


def test_merge_inside_a_trace():
    params = tiny_params()
    merged = jax.jit(lambda p: weights.merge(p, abstract(params)))(params)
    assert_same(merged, params)
    gradient = jax.grad(lambda p: weights.merge(p, params)["mean"].sum())(params)
    assert gradient["mean"].tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="missing: mean"):
        jax.jit(lambda p: weights.merge(p, params))({name: params[name] for name in LAYERS})


# --- files known by their hash ---


def test_bundled_is_the_file_dequantized():
    params = weights.bundled()
    with np.load(BUNDLED) as file:
        for name in LAYERS:
            q, scales = file[f"{name}/q"], file[f"{name}/s"]
            for out in (0, 1, len(scales) - 1):
                np.testing.assert_array_equal(params[name]["kernel"][..., out], q[..., out] * scales[out])
            np.testing.assert_array_equal(params[name]["bias"], file[f"{name}/b"])
    assert params["mean"].tolist() == [104, 117, 123]
    assert params["conv1"]["kernel"].shape == (11, 11, 3, 96)
    assert params["fc8"]["kernel"].shape == (1, 1, 512, 1000)
    assert set(params) == {*LAYERS, "mean"}


def test_bundled_cannot_be_changed_by_one_caller_for_another():
    first = weights.bundled()
    del first["conv1"]["bias"], first["mean"]
    with pytest.raises(ValueError, match="read-only"):
        first["conv2"]["kernel"][0] = 0
    assert set(weights.bundled()["conv1"]) == {"kernel", "bias"} and "mean" in weights.bundled()


def test_verify(tmp_path, monkeypatch):
    path = tmp_path / "imagenet-caffe-ref.mat"
    path.write_bytes(b"weights")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    weights.verify(path, sha256)
    weights.verify(path, sha256.upper())
    with pytest.raises(ValueError, match=f"sha256 {sha256}; expected {'0' * 64}: get the file again"):
        weights.verify(path, "0" * 64)
    with pytest.raises(ValueError, match="64 hexadecimal digits; got 'abc'"):
        weights.verify(path, "abc")
    with pytest.raises(FileNotFoundError, match=r"no file .*b\.npz to verify"):
        weights.verify(tmp_path / "b.npz", sha256)
    with pytest.raises(ValueError, match=r"No hash is known for b\.npz .*give its sha256"):
        weights.verify(tmp_path / "b.npz")
    with pytest.raises(ValueError, match=r"md5 .*; expected 6d69dfa6e549012c94546658737c5885"):
        weights.verify(path)
    monkeypatch.setitem(pinned._PUBLISHED_MD5, path.name, hashlib.md5(b"weights").hexdigest())
    weights.verify(path)
