"""Files of other programs: what is read is what was written, and a damaged file is a sentence."""

import numpy as np
import pytest
import safetensors.numpy
import weight_writers as write
from networks import LAYERS, MEAN, NARROW, assert_same, random_params
from refusals import refused

import invert_jax as ij
from invert_jax import weights

PARAMS = random_params(NARROW)
CONVOLUTIONS = {name: PARAMS[name] for name in (*LAYERS[:5], "mean")}
IMAGENET = {
    "mean": np.array([0.485, 0.456, 0.406], np.float32) * 255,
    "std": np.array([0.229, 0.224, 0.225], np.float32) * 255,
}
WIDE = (64, *NARROW[1:])
TORCHVISION = random_params(WIDE, network="torchvision")
VGG = random_params((3, 4, 5) * 5 + (7,), network="vgg16")


def assert_reads(path, params, architecture):
    file = weights.read(path)
    assert file.architecture == architecture
    constants = {name: file.params[name] for name in file.params if name in ("mean", "std")}
    assert_same({**file.params, **constants}, {**params, **constants})
    wanted = IMAGENET if architecture in ("torchvision", "vgg16") else {"mean": MEAN}
    assert set(constants) == set(wanted)
    for name, value in constants.items():
        np.testing.assert_allclose(value, wanted[name], rtol=1e-6)
    return file


# --- round trips ---


@pytest.mark.parametrize("params", [PARAMS, CONVOLUTIONS], ids=["whole", "convolutions"])
@pytest.mark.parametrize("network", ["caffenet", "bvlc_alexnet"])
@pytest.mark.parametrize("gemm", [True, False])
def test_onnx(tmp_path, params, network, gemm):
    write.onnx(tmp_path / "a.onnx", params, network, gemm=gemm)
    assert_reads(tmp_path / "a.onnx", params, network)


def test_onnx_of_other_networks(tmp_path):
    write.onnx(tmp_path / "a.onnx", TORCHVISION, "torchvision")
    assert_reads(tmp_path / "a.onnx", TORCHVISION, "torchvision")
    write.onnx(tmp_path / "b.onnx", VGG, "vgg16")
    assert_reads(tmp_path / "b.onnx", VGG, "vgg16")


def test_onnx_in_8_bits_is_within_half_a_step(tmp_path):
    write.onnx(tmp_path / "a.onnx", PARAMS, quantized=True)
    file = weights.read(tmp_path / "a.onnx")
    assert file.architecture == "caffenet"
    for name in LAYERS:
        kernel, wanted = file.params[name]["kernel"], PARAMS[name]["kernel"]
        step = np.abs(wanted).max((0, 1, 2)) / 127  # of each output channel
        assert np.all(np.abs(kernel - wanted) <= 0.5001 * step) and np.any(kernel != wanted)
        assert np.abs(file.params[name]["bias"] - PARAMS[name]["bias"]).max() <= 0.0051


@pytest.mark.parametrize("wrap", [None, "state_dict"])
@pytest.mark.parametrize("network", ["torchvision", "vgg16"])
def test_torchvisions_state_dicts(tmp_path, network, wrap):
    params = TORCHVISION if network == "torchvision" else VGG
    arrays = write.state_dict(params, network, torchvision=True)
    write.torch_zip(tmp_path / "a.pth", arrays, wrap=wrap)
    assert_reads(tmp_path / "a.pth", params, network)
    safetensors.numpy.save_file({f"module.{name}": array for name, array in arrays.items()}, tmp_path / "a.safetensors")
    assert_reads(tmp_path / "a.safetensors", params, network)


@pytest.mark.parametrize("params", [PARAMS, CONVOLUTIONS], ids=["whole", "convolutions"])
def test_state_dicts_with_names_of_layers(tmp_path, params):
    arrays = write.state_dict(params)
    write.torch_zip(tmp_path / "a.pt", arrays)
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors")
    flat = {f"{name}.{part}": array for name in params if name != "mean" for part, array in params[name].items()}
    safetensors.numpy.save_file({**flat, "mean": params["mean"]}, tmp_path / "flax.safetensors")
    for name in ("a.pt", "a.safetensors", "flax.safetensors"):
        assert_reads(tmp_path / name, params, None)
    arrays = write.state_dict(TORCHVISION, "torchvision")
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors")
    assert_reads(tmp_path / "a.safetensors", TORCHVISION, "torchvision")


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_precisions_become_float32(tmp_path, dtype):
    arrays = {name: array.astype(dtype) for name, array in write.state_dict(PARAMS).items()}
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors")
    kernel = weights.load_params(tmp_path / "a.safetensors")["conv3"]["kernel"]
    np.testing.assert_array_equal(kernel, PARAMS["conv3"]["kernel"].astype(dtype).astype("float32"))


def test_files_of_torch_itself(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed, so its own files are not read")
    arrays = write.state_dict(TORCHVISION, "torchvision", torchvision=True)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    torch.save(tensors, tmp_path / "a.pth")
    assert_reads(tmp_path / "a.pth", TORCHVISION, "torchvision")
    both = torch.cat([tensors["features.0.bias"], tensors["features.3.bias"]])  # views of one storage
    tensors |= {"features.0.bias": both[:64], "features.3.bias": both[64:]}
    channels_last = tensors["features.0.weight"].contiguous(memory_format=torch.channels_last)
    tensors["features.0.weight"] = torch.nn.Parameter(channels_last)
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "a.pth")
    assert_reads(tmp_path / "a.pth", TORCHVISION, "torchvision")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pth")
    with refused("state_dict()"):
        weights.read(tmp_path / "a.pth")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("network", ["caffenet", "bvlc_alexnet"])
def test_caffemodel(tmp_path, version, network):
    for params in (PARAMS, CONVOLUTIONS):
        write.caffemodel(tmp_path / "a.caffemodel", params, network, version=version)
        assert_reads(tmp_path / "a.caffemodel", params, network)


def test_caffes_vgg16_takes_bgr_less_a_mean_color(tmp_path):
    write.caffemodel(tmp_path / "a.caffemodel", VGG, "vgg16")
    file, image = weights.read(tmp_path / "a.caffemodel"), ij.example_image(size=20)
    x = image[..., ::-1] - np.array([103.939, 116.779, 123.68])
    kernel = VGG["conv1_1"]["kernel"]
    expected = np.einsum("hwc,hwco->o", x[4:7, 5:8], kernel) + VGG["conv1_1"]["bias"]
    found = ij.networks.vgg16(file.params, layer="conv1_1")(image)[5, 6]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_bvlc_alexnet_is_loaded_with_a_warning(tmp_path):
    write.caffemodel(tmp_path / "a.caffemodel", PARAMS, "bvlc_alexnet")
    with pytest.warns(UserWarning, match="architecture='bvlc_alexnet'") as caught:
        assert_same(ij.load_params(tmp_path / "a.caffemodel"), PARAMS)
    assert caught[0].filename == __file__


# --- what is refused ---


def other_networks(folder):
    """Valid files that hold no AlexNet and no VGG-16."""
    arrays = write.state_dict(PARAMS)
    safetensors.numpy.save_file({"encoder.weight": arrays["conv1.weight"]}, folder / "a.safetensors")
    yield folder / "a.safetensors", "encoder"
    safetensors.numpy.save_file({**arrays, "conv3.bias": np.ones(3, np.float32)}, folder / "b.safetensors")
    yield folder / "b.safetensors", "conv3"
    safetensors.numpy.save_file({**arrays, "conv3.bias": np.full(6, np.nan, np.float32)}, folder / "c.safetensors")
    yield folder / "c.safetensors", "NaN"
    write.torch_zip(folder / "a.pth", {"features.0.weight": np.ones((64, 3, 11, 11), np.float32)})
    yield folder / "a.pth", "features.0"
    params = {name: PARAMS[name] for name in ("conv1", "conv2")}
    params["conv1"] = {"kernel": np.ones((7, 7, 3, 4), np.float32), "bias": np.ones(4, np.float32)}
    write.onnx(folder / "a.onnx", params)
    yield folder / "a.onnx", "neither"
    (folder / "legacy.pth").write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
    yield folder / "legacy.pth", "1.6"


def test_other_networks(tmp_path):
    for path, noun in other_networks(tmp_path):
        with refused(noun):
            weights.read(path)


class Trap:
    """An object whose unpickling would be noticed."""

    sprung = False

    def __reduce__(self):
        return setattr, (Trap, "sprung", True)


def test_no_code_in_a_state_dict_is_run(tmp_path):
    import pickle
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"conv1.weight": Trap()}, protocol=2))
    with refused("setattr"):
        weights.read(tmp_path / "a.pth")
    assert not Trap.sprung
