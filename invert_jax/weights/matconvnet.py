"""MatConvNet's .mat networks: SimpleNN, in the layout before and after its beta 17."""

import os
import pathlib
import warnings
from typing import TypeGuard

import numpy as np

from invert_jax.networks.architectures import CNN_A
from invert_jax.types import Params

_KINDS = {"normalize": "norm", "lrn": "norm"}  # older and newer versions of MatConvNet
_IGNORED = ("dropout", "softmax")  # without effect on CNN-A's taps
_ORDER = [(layer.kind, layer.name if layer.kind == "conv" else "") for layer in CNN_A]
# imagenet-caffe-alex.mat: norm and pool swapped, twice
_NORM_FIRST = [_ORDER[i] for i in (0, 1, 3, 2, 4, 5, 7, 6, *range(8, len(_ORDER)))]
_FILES = "imagenet-caffe-ref.mat, imagenet-caffe-alex.mat or places-caffe-ref-upgraded.mat"


def read_mat(path: str | os.PathLike) -> Params:
    """Reads CNN-A from a MatConvNet SimpleNN file, in Caffe's channel order.

    Layers are found by name, conv1 ... fc8. Their filters are [H, W, in, out] in MATLAB, which is HWIO (fc6 is
    [6, 6, 256, out]: fully connected layers are convolutions in MatConvNet too). Before beta 17 a layer has `filters`
    and `biases`, and the mean is `normalization.averageImage`; since then `weights = {filters, biases}` and
    `meta.normalization.averageImage`. MatConvNet's importer reordered conv1's input channels and the mean image from
    Caffe's BGR to RGB; this function restores BGR.

    The layers must be CNN-A's, in its order; dropout and softmax are ignored. One other order is read, with a warning,
    because params do not record it: `imagenet-caffe-alex.mat` has the same shapes but was trained with normalization
    *before* pooling. Run as CNN-A, its conv1 and relu1 are the published network's and every later layer is not (on
    photographs, norm1 of the bundled weights changes by 16 to 30 % when the two are swapped).
    `imagenet-caffe-ref.mat` and `places-caffe-ref-upgraded.mat` are Caffe's reference network, which pools first: use
    those to compare with published numbers.

    scipy may crash on an uncompressed file with flipped bits (a truncated file is refused): call `verify` first where a
    hash is known.

    Args:
      path: the .mat file.

    Returns:
      Params: nested dict of float32 NumPy arrays; "mean" is [3] or [H, W, 3].

    Raises:
      ValueError: not a MATLAB file of version 4 to 7, damaged, or not CNN-A.

    Warns:
      UserWarning: the network normalizes before it pools.
    """
    from scipy import io

    path = pathlib.Path(path)
    with open(path, "rb") as file:
        header = file.read(128)
    if header.startswith((b"MATLAB 7.3", b"\x89HDF")):
        raise ValueError(
            f"{path} is a MATLAB v7.3 (HDF5) file; only v4 to v7 can be read: in MATLAB, "
            f"net = load('{path.name}'); save('{path.name}', '-struct', 'net', '-v7')."
        )
    try:
        contents = io.loadmat(path, variable_names=["layers", "normalization", "meta", "net"])
    except Exception as error:  # scipy raises a dozen types, depending on the damage
        raise ValueError(
            f"{path} is not a MATLAB file of version 4 to 7, or is damaged ({error}); download it again."
        ) from error
    net = contents.get("net", contents)  # `save net` or `save -struct net`
    layers = _get(net, "layers")
    if layers is None or layers.dtype != object:
        raise ValueError(f"{path} has no cell array `layers` (MatConvNet SimpleNN); give {_FILES}.")
    order = [row for row in map(_row, layers.ravel()) if row[0] not in _IGNORED]
    if order not in (_ORDER, _NORM_FIRST):
        raise ValueError(f"{path} has the layers {_listed(order)}; CNN-A has {_listed(_ORDER)}: give {_FILES}.")
    by_name = {_text(_get(layer, "name")): layer for layer in layers.ravel()}
    convolutions = [layer.name for layer in CNN_A if layer.kind == "conv"]
    params: dict = {name: _weights(by_name[name], f"{path}: layer {name}") for name in convolutions}
    params["conv1"]["kernel"] = np.ascontiguousarray(params["conv1"]["kernel"][:, :, ::-1])
    params["mean"] = _mean(net, path)
    if order == _NORM_FIRST:
        warnings.warn(
            f"{path} was trained with normalization before pooling, but CNN-A pools first, so features differ from the "
            "published network's from pool1 on; use imagenet-caffe-ref.mat for the paper's network.",
            stacklevel=3,  # the caller of load_params
        )
    return params


def _get(node, *names):
    """Follows field names down MATLAB structs as scipy reads them; None where one is absent."""
    for name in names:
        if isinstance(node, dict):
            node = node.get(name)
        elif isinstance(node, np.ndarray) and node.size == 1 and name in (node.dtype.names or ()):
            node = node[name].item()
        else:
            return None
    return node


def _row(layer) -> tuple[str, str]:
    """Kind and name of a layer; the name only of a convolution, because no other layer is found by name."""
    kind = _text(_get(layer, "type"))
    return _KINDS.get(kind, kind), _text(_get(layer, "name")) if kind == "conv" else ""


def _listed(order: list[tuple[str, str]]) -> str:
    return " ".join(name or kind or "unknown" for kind, name in order) or "none"


def _text(node) -> str:
    return str(node.item()) if isinstance(node, np.ndarray) and node.size == 1 and node.dtype.kind == "U" else ""


def _is_numeric(node) -> TypeGuard[np.ndarray]:
    return isinstance(node, np.ndarray) and node.dtype.kind in "fiu"


def _weights(layer, what: str) -> dict[str, np.ndarray]:
    cell = _get(layer, "weights")
    pair = [_get(layer, "filters"), _get(layer, "biases")] if cell is None else list(np.ravel(cell))
    if len(pair) != 2 or not all(map(_is_numeric, pair)):
        raise ValueError(f"{what} has no numeric filters and biases (or weights {{filters, biases}}); give {_FILES}.")
    filters, biases = (np.asarray(array, "float32") for array in pair)
    # MATLAB drops trailing axes of length 1.
    return {"kernel": filters.reshape(filters.shape + (1,) * (4 - filters.ndim)), "bias": biases.ravel()}


def _mean(net, path) -> np.ndarray:
    image = _get(net, "meta", "normalization", "averageImage")
    if image is None:
        image = _get(net, "normalization", "averageImage")
    if _is_numeric(image) and image.size == 3:
        image = image.reshape(3)
    elif not (_is_numeric(image) and image.ndim == 3 and image.shape[2] == 3):
        given = f"an averageImage of shape {image.shape}" if _is_numeric(image) else "no numeric averageImage"
        raise ValueError(
            f"{path} has {given} in its normalization; expected [3], [1, 1, 3] or [H, W, 3]; give {_FILES}."
        )
    return np.ascontiguousarray(image[..., ::-1], dtype="float32")
