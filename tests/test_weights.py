"""Weight files: what is read is what was written, MatConvNet's layouts, and every bad file is one sentence."""

import hashlib
import importlib.resources
import io
import os
import pickle
import zipfile

import jax
import numpy as np
import pytest
import scipy.io
from networks import FOURS, LAYERS, assert_same, random_params
from refusals import refused

from invert_jax import weights
from invert_jax.weights import registry

BUNDLED = importlib.resources.files("invert_jax") / "data" / "cnn_a_small_int8.npz"
PARAMS = random_params(FOURS)


@pytest.fixture
def path(tmp_path):
    """A weight file, not yet written."""
    return tmp_path / "a.npz"


class Trap:
    """An object whose unpickling would be noticed."""

    sprung = False

    def __reduce__(self):
        return (setattr, (Trap, "sprung", True))


# --- the library's own file ---


@pytest.mark.parametrize("mean", [PARAMS["mean"], np.random.default_rng(1).uniform(0, 255, (227, 227, 3))])
def test_round_trip(path, mean):
    params = PARAMS | {"mean": mean.astype("float32")}
    weights.save_params(path, jax.tree.map(jax.numpy.asarray, params))
    assert_same(weights.load_params(str(path)), params)
    first = path.read_bytes()
    weights.save_params(path, dict(reversed(params.items())))
    assert path.read_bytes() == first and os.listdir(path.parent) == ["a.npz"]
    with np.load(path, allow_pickle=False) as file:  # plain NumPy
        assert set(file.files) == {f"{n}/{p}" for n in LAYERS for p in ("kernel", "bias")} | {"mean"}
        np.testing.assert_array_equal(file["conv3/kernel"], params["conv3"]["kernel"])


@pytest.mark.parametrize(
    ("name", "params", "noun", "error"),
    [
        ("a.mat", PARAMS, "a.mat", ValueError),
        ("nowhere/a.npz", PARAMS, "folder", FileNotFoundError),
        ("a.npz", {"fc8": {"weight": np.ones(2)}}, "fc8/weight", ValueError),
        ("a.npz", {"fc8": {"kernel": np.ones(2), "bias": np.array([np.nan])}}, "fc8/bias", ValueError),
        ("a.npz", {"mean": np.array([1j])}, "mean", ValueError),
        ("a.npz", {"mean": np.array(["red"])}, "mean", ValueError),
        ("a.npz", {}, "no arrays", ValueError),
    ],
)
def test_bad_weights_are_not_written(tmp_path, name, params, noun, error):
    with refused(noun, error):
        weights.save_params(tmp_path / name, params)
    assert os.listdir(tmp_path) == []


def int8_arrays():
    rng = np.random.default_rng(2)
    q = rng.integers(-127, 128, (3, 3, 2, 4)).astype("int8")
    scale = rng.uniform(0.001, 0.01, 4).astype("float32")
    return {"conv4/q": q, "conv4/s": scale, "conv4/b": np.ones(4, "float32")}


@pytest.mark.parametrize("mean", [None, [1.0, 2.0, 3.0]])
def test_int8_is_quantized_value_times_scale_of_its_output_channel(path, mean):
    arrays = int8_arrays()
    np.savez(path, **arrays, **({} if mean is None else {"mean": np.array(mean)}))
    expected = np.zeros((3, 3, 2, 4), "float32")
    for out in range(4):
        expected[..., out] = arrays["conv4/q"][..., out].astype("float32") * arrays["conv4/s"][out]
    layer = {"kernel": expected, "bias": np.ones(4)}
    assert_same(weights.load_params(path), {"conv4": layer, "mean": np.array(mean or [104.0, 117.0, 123.0])})


@pytest.mark.parametrize(
    "change",
    [
        {"conv4/q": np.ones((3, 3, 2, 4), "float32")},
        {"conv4/s": np.ones(3, "float32")},
        {"conv4/extra": np.ones(1)},
        {"stray": np.ones(1)},
        {"mean": np.array([print], dtype=object)},
    ],
)
def test_other_arrays_are_refused(path, change):
    np.savez(path, **int8_arrays() | change)
    with refused("NAME/kernel"):
        weights.load_params(path)


# --- bad files ---


def archive_of(name, data):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr(name, data)
    return stream.getvalue()


GARBLED = b"{'descr': ((((\n"
BAD_ARCHIVES = {  # each made from a good one
    "empty": lambda good: b"",
    "text": lambda good: b"not a zip",
    "pickle": lambda good: pickle.dumps({"conv1": 1}),
    "half": lambda good: good[: len(good) // 2],
    "almost": lambda good: good[:-20],
    "damaged": lambda good: good[:9000] + bytes(b ^ 255 for b in good[9000:9064]) + good[9064:],
    "no array": lambda good: archive_of("readme.txt", "hello"),
    "header": lambda good: archive_of("mean.npy", b"\x93NUMPY\x01\x00" + bytes([len(GARBLED), 0]) + GARBLED),
}


@pytest.mark.parametrize("name", BAD_ARCHIVES)
def test_bad_archives(path, name):
    weights.save_params(path, PARAMS)
    path.write_bytes(BAD_ARCHIVES[name](path.read_bytes()))
    with refused("a.npz"):
        weights.load_params(path)


def test_missing_file_directory_and_extension(tmp_path):
    with refused("a.npz", FileNotFoundError):
        weights.load_params(tmp_path / "a.npz")
    with refused("directory"):
        weights.load_params(tmp_path)
    (tmp_path / "a.h5").write_bytes(b"anything")
    with refused("extension"):
        weights.load_params(tmp_path / "a.h5")


def test_no_pickle_is_ever_run(tmp_path):
    np.savez(tmp_path / "a.npz", **{"conv1/kernel": np.array([Trap()], object)}, allow_pickle=True)
    (tmp_path / "a.mat").write_bytes(pickle.dumps(Trap()))
    for name, noun in (("a.npz", "plain arrays"), ("a.mat", "MATLAB")):
        with refused(noun):
            weights.load_params(tmp_path / name)
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
    "fc8": ("softmaxloss",),
}
NORM_FIRST = POOL_FIRST | {"conv1": ("relu", "lrn", "pool"), "conv2": ("relu", "lrn", "pool")}


def mat_contents(params, *, layout="new", mean=None, order=POOL_FIRST):
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
    return net | ({"normalization": normalization} if layout == "old" else {"meta": {"normalization": normalization}})


@pytest.fixture
def mat(tmp_path):
    """Writes what it is given to a .mat file, and reads that."""

    def load(contents, **options):
        scipy.io.savemat(tmp_path / "a.mat", contents, **options)
        return weights.load_params(tmp_path / "a.mat")

    return load


@pytest.mark.parametrize("layout", ["old", "new"])
@pytest.mark.parametrize("wrap", [False, True])
def test_mat_is_read_with_conv1_and_mean_turned_from_rgb_to_bgr(mat, layout, wrap):
    contents = mat_contents(PARAMS, layout=layout)
    assert_same(mat({"cnn": contents, "x": np.ones(3)} if wrap else contents, do_compression=True), PARAMS)
    assert_same(mat(contents, do_compression=False), PARAMS)


def test_mat_conv1_gives_the_same_response_in_either_channel_order(mat):
    # Independent of the test's own writer: an RGB filter on an RGB patch = the BGR filter on the BGR patch.
    contents = mat_contents(PARAMS)
    loaded = mat(contents)
    rgb_filter = contents["layers"][0, 0]["weights"][0, 0]
    rgb_mean = contents["meta"]["normalization"]["averageImage"]
    patch = np.random.default_rng(3).uniform(0, 255, (11, 11, 3))
    response = np.einsum("hwc,hwco->o", patch - rgb_mean, rgb_filter)
    found = np.einsum("hwc,hwco->o", patch[:, :, ::-1] - loaded["mean"], loaded["conv1"]["kernel"])
    np.testing.assert_allclose(found, response, rtol=1e-6)


@pytest.mark.parametrize("shape", [(3,), (1, 1, 3), (227, 227, 3)])
@pytest.mark.parametrize("dtype", ["float64", "uint8"])
def test_mat_mean_shapes(mat, shape, dtype):
    rgb = np.random.default_rng(4).uniform(0, 255, shape).astype(dtype)
    mean = mat(mat_contents(PARAMS, layout="old", mean=rgb))["mean"]
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(mean, np.squeeze(rgb)[..., ::-1].astype("float32"))


def test_mat_with_norm_before_pool_is_read_with_a_warning(mat):
    with pytest.warns(UserWarning, match="bvlc_alexnet") as caught:
        loaded = mat(mat_contents(PARAMS, order=NORM_FIRST))
    assert len(caught) == 1 and caught[0].filename == __file__
    assert_same(loaded, PARAMS)


@pytest.mark.parametrize(
    "order",
    [
        POOL_FIRST | {"fc9": ()},
        {"conv0": ()} | POOL_FIRST,
        POOL_FIRST | {"dropout": ()},  # a convolution of that name
        POOL_FIRST | {"conv1": ("relu", "pool"), "conv2": ("relu", "pool")},
        POOL_FIRST | {"conv2": ("relu", "lrn", "pool")},
        POOL_FIRST | {"conv3": ("relu", "pool")},
        POOL_FIRST | {"conv4": ()},
        POOL_FIRST | {"conv1": ("sigmoid", "pool", "lrn")},
        {name: POOL_FIRST[name] for name in ("conv2", "conv1", *LAYERS[2:])},
    ],
)
def test_mat_of_other_layers(mat, order):
    params = PARAMS | {name: PARAMS["fc8"] for name in order if name not in PARAMS}
    with refused("layers"):
        mat(mat_contents(params, order=order))


def test_mat_with_one_output_has_four_axes(mat):
    # MATLAB drops a trailing axis of length 1.
    params = PARAMS | {"fc8": {"kernel": np.ones((1, 1, 6, 1), "float32"), "bias": np.ones(1, "float32")}}
    contents = mat_contents(params, layout="old")
    contents["layers"][0, -2]["filters"] = np.ones((1, 1, 6), "float32")
    assert_same(mat(contents), params)


def test_mat_may_end_early_and_be_a_dagnn(mat):
    five = {name: PARAMS[name] for name in (*LAYERS[:5], "mean")}
    assert_same(mat(mat_contents(five, order={name: POOL_FIRST[name] for name in LAYERS[:5]})), five)
    layers = np.array([{"name": "conv1", "block": {"size": np.ones(4)}, "params": "conv1f"}] * 2, object)
    with refused("DagNN"):
        mat({"net": {"layers": layers, "params": {"name": "conv1f", "value": np.ones((2, 2))}}})


def test_a_published_name_with_another_hash_is_announced(mat, tmp_path):
    mat(mat_contents(PARAMS))
    path = (tmp_path / "a.mat").rename(tmp_path / "imagenet-caffe-ref.mat")
    with pytest.warns(UserWarning, match="md5") as caught:
        assert_same(weights.load_params(path), PARAMS)
    assert caught[0].filename == __file__


def test_sizes_are_looked_at_before_memory_is_taken(mat, path):
    huge = np.zeros((10_000, 4_000), "float32")  # 160 MB that compress to 0.16
    np.savez_compressed(path, **{"fc8/kernel": huge})
    with refused("larger"):
        weights.load_params(path)
    with refused("inflates"):
        mat(mat_contents(PARAMS, mean=huge), do_compression=True)
    with refused("averageImage"):
        mat(mat_contents(PARAMS, mean=np.zeros((5000, 5, 3), "uint8")))


def test_mat_of_another_network(mat):
    good = mat_contents(PARAMS)
    without_filters = mat_contents(PARAMS)
    without_filters["layers"][0, 0]["weights"][0, 0] = "text"
    bad_mean = mat_contents(PARAMS, mean=np.zeros((1, 2)))
    for contents in ({"x": np.ones(3)}, good | {"layers": np.ones(3)}, {"layers": good["layers"]}, without_filters):
        with refused("imagenet-caffe-ref.mat"):
            mat(contents)
    with refused("averageImage"):
        mat(bad_mean)


def test_mat_that_is_truncated_or_hdf5(mat, tmp_path):
    mat(mat_contents(PARAMS), do_compression=True)
    file = tmp_path / "a.mat"
    whole = file.read_bytes()
    hdf5 = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + b"\x89HDF\r\n\x1a\n"
    for data in (*(whole[:length] for length in (0, 60, 130, len(whole) // 2)), hdf5):
        file.write_bytes(data)
        with refused("a.mat"):
            weights.load_params(file)


# --- validation ---


def abstract(params):
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), params)


def test_validated_params_are_float32_in_the_expected_tree():
    assert_same(weights.validate_params(PARAMS, abstract(PARAMS)), PARAMS)
    assert_same(weights.validate_params(jax.tree.map(lambda a: a.astype("float64"), PARAMS), PARAMS), PARAMS)
    assert weights.validate_params({"mean": np.array([1, 2])}, {"mean": np.zeros(2)})["mean"].dtype == np.float32


def test_everything_wrong_is_listed_at_once():
    wrong = {name: dict(PARAMS[name]) for name in LAYERS} | {"mean": PARAMS["mean"], "fc9": {"kernel": np.ones(2)}}
    del wrong["fc6"]["bias"]
    wrong["conv2"]["kernel"] = np.ones((5, 5, 4, 4))
    wrong["fc7"]["bias"] = np.array(["text"] * 4)
    with pytest.raises(ValueError) as error:
        weights.validate_params(wrong, abstract(PARAMS))
    for name in ("fc6/bias", "fc9/kernel", "conv2/kernel", "(5, 5, 4, 4)", "(5, 5, 2, 4)", "fc7/bias"):
        assert name in str(error.value)
    with refused("dict"):
        weights.validate_params("weights.npz", {})


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_must_be_finite_as_float32(value):
    params = jax.tree.map(lambda a: a.astype("float64"), PARAMS)
    params["conv5"]["bias"][1] = value
    with refused("conv5/bias"):
        weights.validate_params(params, PARAMS)


def test_validation_inside_a_trace():
    assert_same(jax.jit(lambda p: weights.validate_params(p, abstract(PARAMS)))(PARAMS), PARAMS)
    gradient = jax.grad(lambda p: weights.validate_params(p, PARAMS)["mean"].sum())(PARAMS)
    assert gradient["mean"].tolist() == [1, 1, 1]
    with refused("mean"):
        jax.jit(lambda p: weights.validate_params(p, PARAMS))({name: PARAMS[name] for name in LAYERS})


# --- files with a known hash ---


def test_bundled_is_the_file_dequantized():
    params = weights.bundled()
    with np.load(BUNDLED) as file:
        for name in LAYERS:
            q, scales = file[f"{name}/q"], file[f"{name}/s"]
            for out in (0, 1, len(scales) - 1):
                np.testing.assert_array_equal(params[name]["kernel"][..., out], q[..., out] * scales[out])
            np.testing.assert_array_equal(params[name]["bias"], file[f"{name}/b"])
    assert params["mean"].tolist() == [104, 117, 123] and set(params) == {*LAYERS, "mean"}
    assert params["fc8"]["kernel"].shape == (1, 1, 512, 1000)


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
    weights.verify(path, sha256.upper())
    for digest, noun in (("0" * 64, sha256), ("abc", "hexadecimal"), (None, "md5")):
        with refused(noun):
            weights.verify(path, digest)
    with refused("b.npz", FileNotFoundError):
        weights.verify(tmp_path / "b.npz", sha256)
    with refused("b.npz"):
        weights.verify(tmp_path / "b.npz")
    monkeypatch.setitem(registry.PUBLISHED_MD5, path.name, hashlib.md5(b"weights").hexdigest())
    weights.verify(path)
