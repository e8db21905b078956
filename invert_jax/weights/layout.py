"""Weights as other programs lay them out, as the params of an architecture."""

import contextlib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from invert_jax._util import reprs
from invert_jax._util.reprs import short_repr
from invert_jax.networks.architectures import ARCHITECTURES, BVLC_ALEXNET, CAFFENET, TORCHVISION_ALEXNET, VGG16
from invert_jax.types import Params


class WeightFile(NamedTuple):
    """What a file holds.

    Attributes:
      params: nested dict of float32 NumPy arrays.
      architecture: a name of `networks.ARCHITECTURES`; None where the file does not tell.
    """

    params: Params
    architecture: str | None

    __repr__ = short_repr


@contextlib.contextmanager
def refuse_damage(path, what: str):
    """Makes one sentence of whatever a reader of damaged bytes raises, unless it is one about this file."""
    try:
        yield
    except Exception as error:  # zipfile, zlib, pickle, json and NumPy raise many types
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        reason = reprs.reason(error if isinstance(error, ValueError) else ValueError(repr(error)))
        raise ValueError(f"{path} is not {what}, or is damaged ({reason}); download or save it again.") from None


class Step(NamedTuple):
    """A layer as a file lists it: kind, and of a `conv` the kernel `[out, in, h, w]` or `[out, in]`, and the bias."""

    kind: str
    kernel: np.ndarray | None = None
    bias: np.ndarray | None = None

    __repr__ = short_repr


def from_steps(steps: Iterable[Step], path) -> WeightFile:
    """The params of the network whose convolutions, pools and normalizations come in this order; others are ignored.

    A network may end early. ValueError for one that is neither AlexNet nor VGG-16.
    """
    steps = [step for step in steps if step.kind in ("conv", "pool", "norm")]
    kinds, kernels = [step.kind for step in steps], [step.kernel for step in steps if step.kernel is not None]
    for network in (CAFFENET, BVLC_ALEXNET, TORCHVISION_ALEXNET, VGG16):
        order = [layer.kind for layer in network.layers if layer.kind != "relu"]
        # Normalization tells AlexNets apart, from conv2 on; the first kernel does what a file of one layer leaves open.
        if kinds == order[: len(kinds)] and kernels and np.shape(kernels[0])[-1] == network.layers[0].size:
            names = (row.name for row in network.convolutions)
            pairs = ((step.kernel, step.bias) for step in steps if step.kind == "conv")
            params = _params(network, zip(names, pairs, strict=False), path)
            return WeightFile(_constants(network) | params, network.name)
    raise ValueError(
        f"{path} holds a network of {len(kernels)} layers with weights ({' '.join(kinds[:12])} ...), which is neither "
        "AlexNet nor VGG-16; load it in its own framework, and see ij.from_model."
    )


def from_state_dict(arrays: Mapping[str, np.ndarray], path) -> WeightFile:
    """The params of flat names: torchvision's (`features.0.weight`), PyTorch's or Flax's with names of layers.

    `weight` is `[out, in, h, w]` or `[out, in]`, as PyTorch has it, and `kernel` is `[h, w, in, out]`.
    """
    arrays = {re.sub(r"^(module|params|state_dict)[./]", "", name): array for name, array in arrays.items()}
    if "features.0.weight" in arrays:
        return _from_torchvision(arrays, path)
    constants = {name: _float32(arrays.pop(name), name, path) for name in ("mean", "std") if name in arrays}
    layers: dict = {}
    for name, array in arrays.items():
        layer, _, part = name.replace("/", ".").rpartition(".")
        layers.setdefault(layer, {})[part] = array
    network = next((n for n in ARCHITECTURES.values() if {row.name for row in n.convolutions} >= set(layers)), None)
    known = all(set(parts) in ({"weight", "bias"}, {"kernel", "bias"}) for parts in layers.values())
    if network is None or not layers or not known:
        raise ValueError(
            f"{path} has arrays called {', '.join(list(arrays)[:6]) or 'nothing'}...; expected those of torchvision's "
            "alexnet or vgg16, or LAYER.weight and LAYER.bias of conv1 to fc8: rename them, or see ij.from_model."
        )
    params: dict = {}
    for name, parts in layers.items():
        if "weight" in parts:
            params |= _params(network, [(name, (parts["weight"], parts["bias"]))], path)
        else:
            params[name] = {part: _float32(array, f"{name}/{part}", path) for part, array in parts.items()}
    first, second = (params[name]["kernel"].shape if name in params else None for name in ("conv1", "conv2"))
    if first and second and first[-1:] == second[2:3]:  # without groups
        network = TORCHVISION_ALEXNET
    # CaffeNet and BVLC AlexNet differ in the order of layers alone, which such a file does not have.
    return WeightFile(_constants(network) | params | constants, None if network is CAFFENET else network.name)


def _from_torchvision(arrays, path):
    steps = []
    for prefix in ("features", "classifier"):
        numbers = [re.fullmatch(rf"{prefix}\.(\d+)\.weight", name) for name in arrays]
        steps += [(prefix, number) for number in sorted(int(match[1]) for match in numbers if match)]
    network = VGG16 if ("features", 2) in steps else TORCHVISION_ALEXNET
    expected = {"torchvision": (0, 3, 6, 8, 10), "vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)}[
        network.name
    ]
    expected = [("features", n) for n in expected]
    expected += [("classifier", n) for n in ((0, 3, 6) if network is VGG16 else (1, 4, 6))]
    if steps != expected[: len(steps)] or any(f"{prefix}.{n}.bias" not in arrays for prefix, n in steps):
        raise ValueError(
            f"{path} has layers {', '.join(f'{prefix}.{n}' for prefix, n in steps[:20])}, which are not those of "
            "torchvision's alexnet or vgg16 (without batch normalization); see ij.from_model for other networks."
        )
    pairs = ((arrays[f"{prefix}.{n}.weight"], arrays[f"{prefix}.{n}.bias"]) for prefix, n in steps)
    names = (row.name for row in network.convolutions)
    return WeightFile(_constants(network) | _params(network, zip(names, pairs, strict=False), path), network.name)


def _params(network, layers, path):
    """Kernels as HWIO: a matrix `[out, in]` is a kernel that covers the whole of its input, channels first."""
    rows, params = {row.name: row for row in network.convolutions}, {}
    for name, (kernel, bias) in layers:
        kernel, size = _float32(kernel, f"{name}'s kernel", path), rows[name].size
        bias = np.zeros(len(kernel), np.float32) if bias is None else _float32(bias, f"{name}'s bias", path).ravel()
        fits = kernel.shape[2:] == (size, size) or (kernel.ndim == 2 and kernel.shape[1] % size**2 == 0)
        if not fits or bias.shape != kernel.shape[:1]:
            raise ValueError(
                f"{path} has a kernel {kernel.shape} and a bias {bias.shape} for {name}; expected [out, in, {size}, "
                f"{size}] or [out, in * {size * size}], and [out]: give the weights of {network.name}."
            )
        kernel = kernel.reshape(len(kernel), -1, size, size).transpose(2, 3, 1, 0)
        params[name] = {"kernel": np.ascontiguousarray(kernel), "bias": bias}
    return params


def _constants(network):
    """Mean and standard deviation, which these files do not have."""
    constants = {"mean": np.array(network.mean, np.float32)}
    return constants if network.std is None else {**constants, "std": np.array(network.std, np.float32)}


def _float32(array, what, path):
    array = np.asarray(array)
    if (array.dtype.kind not in "fiu" and array.dtype.name != "bfloat16") or array.ndim > 4:
        raise ValueError(
            f"{what} in {path} is {array.dtype} of shape {array.shape}; expected real numbers: save it again."
        )
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{what} in {path} holds NaN or infinity; the file is damaged: download or save it again.")
    return array
