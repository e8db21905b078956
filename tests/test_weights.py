"""Weight files: what is read is what was written, and every bad file is one clear sentence."""

import hashlib
import importlib.resources
import os
import pickle
import zipfile

import jax
import numpy as np
import pytest
from networks import LAYERS, TINY, assert_same, random_params

from invert_jax import weights
from invert_jax.weights import registry

BUNDLED = importlib.resources.files("invert_jax") / "data" / "cnn_a_small_int8.npz"


# --- the library's own file ---


def test_round_trip(tmp_path):
    params = random_params(TINY)
    weights.save_params(tmp_path / "a.npz", params)
    assert_same(weights.load_params(tmp_path / "a.npz"), params)
    assert_same(weights.load_params(str(tmp_path / "a.npz")), params)
    assert os.listdir(tmp_path) == ["a.npz"]


def test_round_trip_keeps_a_mean_image_and_takes_jax_arrays(tmp_path):
    params = random_params(TINY) | {"mean": np.random.default_rng(1).uniform(0, 255, (227, 227, 3)).astype("float32")}
    weights.save_params(tmp_path / "a.npz", jax.tree.map(jax.numpy.asarray, params))
    assert_same(weights.load_params(tmp_path / "a.npz"), params)


def test_saved_bytes_do_not_depend_on_the_order_of_the_dict(tmp_path):
    params = random_params(TINY)
    weights.save_params(tmp_path / "a.npz", params)
    weights.save_params(tmp_path / "b.npz", dict(reversed(params.items())))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_saved_file_is_plain_numpy(tmp_path):
    params = random_params(TINY)
    weights.save_params(tmp_path / "a.npz", params)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert set(file.files) == {f"{n}/{p}" for n in LAYERS for p in ("kernel", "bias")} | {"mean"}
        np.testing.assert_array_equal(file["conv3/kernel"], params["conv3"]["kernel"])


def test_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    weights.save_params(path, random_params(TINY))
    before = path.read_bytes()

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        weights.save_params(path, random_params(TINY, seed=1))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.npz"]


def test_save_refuses_what_it_could_not_read_back(tmp_path):
    with pytest.raises(ValueError, match=r"a\.mat: give a name that ends in \.npz"):
        weights.save_params(tmp_path / "a.mat", random_params(TINY))
    with pytest.raises(FileNotFoundError, match=r"folder .*nowhere of a\.npz does not exist; create it"):
        weights.save_params(tmp_path / "nowhere" / "a.npz", random_params(TINY))
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
    weights.save_params(path, random_params(TINY))
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


# --- merge ---


def abstract(params):
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), params)


def test_merge_returns_float32_in_the_expected_tree():
    params = random_params(TINY)
    assert_same(weights.validate_params(params, abstract(params)), params)
    assert_same(weights.validate_params(jax.tree.map(lambda a: a.astype("float64"), params), params), params)
    as_integers = weights.validate_params({"mean": [1, 2]} | {"mean": np.array([1, 2])}, {"mean": np.zeros(2)})
    assert as_integers["mean"].dtype == np.float32


def test_merge_lists_everything_wrong_at_once_with_both_sides():
    params = random_params(TINY)
    expected = abstract(params)
    del params["fc6"]["bias"]
    params["fc9"] = {"kernel": np.ones(2)}
    params["conv2"]["kernel"] = np.ones((5, 5, 4, 4))
    params["fc7"]["bias"] = np.array(["text"] * 6)
    with pytest.raises(ValueError) as error:
        weights.validate_params(params, expected)
    sentence = str(error.value)
    assert "missing: fc6/bias;" in sentence
    assert "unexpected: fc9/kernel;" in sentence
    assert "wrong shape: conv2/kernel is (5, 5, 4, 4), expected (5, 5, 2, 4);" in sentence
    assert "not real numbers: fc7/bias)" in sentence


def test_merge_takes_a_dict_only():
    with pytest.raises(ValueError, match=r"nested dict of arrays; got str: give what load_params"):
        weights.validate_params("weights.npz", {})


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_merge_names_arrays_that_are_not_finite_as_float32(value):
    params = jax.tree.map(lambda a: a.astype("float64"), random_params(TINY))
    params["conv5"]["bias"][1] = value
    with pytest.raises(ValueError, match=r"NaN or infinite values as float32 \(in conv5/bias\)"):
        weights.validate_params(params, random_params(TINY))


def test_merge_inside_a_trace():
    params = random_params(TINY)
    merged = jax.jit(lambda p: weights.validate_params(p, abstract(params)))(params)
    assert_same(merged, params)
    gradient = jax.grad(lambda p: weights.validate_params(p, params)["mean"].sum())(params)
    assert gradient["mean"].tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="missing: mean"):
        jax.jit(lambda p: weights.validate_params(p, params))({name: params[name] for name in LAYERS})


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
    monkeypatch.setitem(registry._PUBLISHED_MD5, path.name, hashlib.md5(b"weights").hexdigest())
    weights.verify(path)
