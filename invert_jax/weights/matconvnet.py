"""MatConvNet's .mat networks: SimpleNN, in the layout before and after its beta 17."""

import os
import warnings

import numpy as np

from invert_jax._util import paths, reprs
from invert_jax.networks.architectures import BVLC_ALEXNET, CAFFENET
from invert_jax.weights import mat5, registry
from invert_jax.weights.layout import WeightFile

_KINDS = {"normalize": "norm", "lrn": "norm"}  # older and newer versions of MatConvNet
_IGNORED = ("dropout", "softmax", "softmaxloss")  # without effect on the taps
_FILES = "imagenet-caffe-ref.mat, imagenet-caffe-alex.mat or places-caffe-ref-upgraded.mat"
_LARGEST_MEAN = 4096  # pixels, the side of a mean image


def read_mat(path: str | os.PathLike) -> WeightFile:
    """Reads CaffeNet or BVLC AlexNet from a MatConvNet SimpleNN file, in Caffe's channel order.

    The network is any variable with `layers`, or the file itself. Layers are found by name, conv1 ... fc8, and may end
    early. Their filters are [H, W, in, out] in MATLAB, which is HWIO (fc6 is [6, 6, 256, out]: fully connected layers
    are convolutions in MatConvNet too). Before beta 17 a layer has `filters` and `biases`, and the mean is
    `normalization.averageImage`; since then `weights = {filters, biases}` and `meta.normalization.averageImage`.
    MatConvNet's importer reordered conv1's input channels and the mean image from Caffe's BGR to RGB; this function
    restores BGR.

    `imagenet-caffe-ref.mat` and `places-caffe-ref-upgraded.mat` are CaffeNet. `imagenet-caffe-alex.mat` normalizes
    before it pools and so is BVLC AlexNet; params do not record that, the returned architecture does.

    Args:
      path: the .mat file.

    Returns:
      A `WeightFile`; "mean" is [3] or [H, W, 3].

    Raises:
      ValueError: not a MATLAB file of version 5 to 7, damaged, or another network.

    Warns:
      UserWarning: the file has the name of one that MatConvNet published, and another hash.
    """
    path = paths.require_file(path, "weight file")
    _verify_published(path)
    with open(path, "rb") as file:
        header = file.read(10)
    if header.startswith((b"MATLAB 7.3", b"\x89HDF")):
        raise ValueError(
            f"{path} is a MATLAB v7.3 (HDF5) file; only v5 to v7 can be read: in MATLAB, "
            f"net = load('{path.name}'); save('{path.name}', '-struct', 'net', '-v7')."
        )
    try:
        contents = mat5.read(path)
    except (ValueError, MemoryError, OverflowError) as error:
        raise ValueError(
            f"{path} is not a MATLAB file of version 5 to 7, or is damaged ({reprs.reason(error)}); download it again."
        ) from None
    net = next((value for value in (contents, *contents.values()) if isinstance(value, dict) and "layers" in value), {})
    layers = net.get("layers")
    if isinstance(layers, list) and any("block" in layer for layer in layers if isinstance(layer, dict)):
        raise ValueError(f"{path} is a DagNN of MatConvNet; only SimpleNN networks can be read: give {_FILES}.")
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        raise ValueError(f"{path} has no cell array `layers` (MatConvNet SimpleNN); give {_FILES}.")
    rows = [(*_row(layer), layer) for layer in layers]
    order = [(kind, name) for kind, name, _ in rows if kind not in _IGNORED]
    network = next((network for network in (CAFFENET, BVLC_ALEXNET) if order == _order(network)[: len(order)]), None)
    if network is None or not order:
        listed = " ".join(name or kind or "unknown" for kind, name in order) or "none"
        wanted = " ".join(name or kind for kind, name in _order(CAFFENET))
        raise ValueError(f"{path} has the layers {listed}; AlexNet has {wanted}: give {_FILES}.")
    params: dict = {name: _weights(layer, f"{path}: layer {name}") for kind, name, layer in rows if kind == "conv"}
    params["conv1"]["kernel"] = np.ascontiguousarray(params["conv1"]["kernel"][:, :, ::-1])
    params["mean"] = _mean(net, path)
    return WeightFile(params, network.name)


def _verify_published(path):
    if path.name in registry.PUBLISHED_MD5:
        try:
            registry.verify(path)
        except ValueError as error:
            warnings.warn(f"This is not the file that MatConvNet published: {error}", stacklevel=5)


def _order(network):
    return [(layer.kind, layer.name if layer.kind == "conv" else "") for layer in network.layers]


def _row(layer):
    """Kind and name of a layer; the name only of a convolution, because no other layer is found by name."""
    kind, name = (value if isinstance(value := layer.get(key), str) else "" for key in ("type", "name"))
    return _KINDS.get(kind, kind), name if kind == "conv" else ""


def _weights(layer, what):
    pair = layer.get("weights", [layer.get("filters"), layer.get("biases")])
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(array, np.ndarray) for array in pair):
        raise ValueError(f"{what} has no numeric filters and biases (or weights {{filters, biases}}); give {_FILES}.")
    filters, biases = (np.asarray(array, "float32") for array in pair)
    # MATLAB drops trailing axes of length 1.
    return {"kernel": filters.reshape(filters.shape + (1,) * (4 - filters.ndim)), "bias": biases.ravel()}


def _mean(net, path):
    meta = net.get("meta")
    normalization = (meta if isinstance(meta, dict) and "normalization" in meta else net).get("normalization")
    image = normalization.get("averageImage") if isinstance(normalization, dict) else None
    if isinstance(image, np.ndarray) and image.size == 3:
        image = image.reshape(3)
    elif not (isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3):
        given = (
            f"an averageImage of shape {image.shape}" if isinstance(image, np.ndarray) else "no numeric averageImage"
        )
        raise ValueError(
            f"{path} has {given} in its normalization; expected [3], [1, 1, 3] or [H, W, 3]; give {_FILES}."
        )
    if max(image.shape) > _LARGEST_MEAN:
        raise ValueError(f"{path} has an averageImage of shape {image.shape}, too large for a network; give {_FILES}.")
    return np.ascontiguousarray(image[..., ::-1], dtype="float32")
