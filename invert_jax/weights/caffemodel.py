"""Caffe's .caffemodel files of AlexNet and VGG-16."""

import os

import numpy as np

from invert_jax._util import paths
from invert_jax.networks.architectures import VGG16
from invert_jax.weights import protobuf
from invert_jax.weights.layout import Step, WeightFile, from_steps, refuse_damage

# LayerParameter.type, and the numbers of V1LayerParameter.LayerType.
_KINDS = {"Convolution": "conv", "InnerProduct": "conv", "Pooling": "pool", "LRN": "norm"}
_KINDS_V1 = {4: "conv", 14: "conv", 17: "pool", 15: "norm"}


def read_caffemodel(path: str | os.PathLike) -> WeightFile:
    """Reads the weights of a NetParameter, of either version of its layers; the mean is Caffe's mean color.

    Args:
      path: the .caffemodel file.

    Returns:
      A `WeightFile`; a VGG-16 has Caffe's BGR conv1_1 turned to RGB and scaled to torchvision's input.

    Raises:
      ValueError: not such a file, damaged, or another network.
    """
    path = paths.require_file(path, "weight file")
    with refuse_damage(path, "a Caffe model"):
        net = protobuf.read(path)
        steps = [_step(protobuf.collect(layer)) for layer in net.get(100, [])]
        steps = steps or [_step_v1(protobuf.collect(layer)) for layer in net.get(2, [])]
        file = from_steps((step for step in steps if step is not None), path)
    return _as_torchvision(file) if file.architecture == VGG16.name else file


def _step(layer):
    kind = _KINDS.get(protobuf.text(layer.get(2, [])))
    return None if kind is None else Step(kind, *map(_blob, layer.get(7, [])[:2]))


def _step_v1(layer):
    kind = _KINDS_V1.get((protobuf.integers(layer.get(5, [])) or [0])[-1])
    return None if kind is None else Step(kind, *map(_blob, layer.get(6, [])[:2]))


def _blob(message):
    """A BlobProto, `[out, in, h, w]`, `[out, in]` or `[out]`."""
    fields = protobuf.collect(message)
    shape = protobuf.integers(protobuf.collect(fields[7][-1]).get(1, [])) if 7 in fields else None
    if shape is None:  # num, channels, height, width, of which an inner product has the last two
        shape = [(protobuf.integers(fields.get(number, [])) or [1])[-1] for number in (1, 2, 3, 4)]
        shape = shape[2:] if shape[:2] == [1, 1] else shape
        shape = shape[1:] if len(shape) == 2 and shape[0] == 1 else shape
    array = protobuf.floats(fields[8], "<f8") if 8 in fields else protobuf.floats(fields.get(5, []), "<f4")
    if min(shape, default=0) < 0 or array.size != int(np.prod(shape, dtype=object)):
        raise ValueError(f"a blob has {array.size} numbers for the shape {shape}")
    return array.reshape(shape)


def _as_torchvision(file):
    """Caffe's VGG-16 takes BGR less a mean color; the same function of RGB over torchvision's standard deviation."""
    params, std = dict(file.params), np.array(VGG16.std, np.float32)
    kernel = params["conv1_1"]["kernel"][:, :, ::-1] * std[:, None]
    params["conv1_1"] = {"kernel": kernel, "bias": params["conv1_1"]["bias"]}
    return WeightFile({**params, "mean": np.array([123.68, 116.779, 103.939], np.float32)}, file.architecture)
