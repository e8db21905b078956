"""Writes weights as other programs do: with their own library, or from the definition of the format."""

import io
import pickle
import struct
import sys
import types
import zipfile

import numpy as np
from oracles import alexnet as oracle

# Indices of torchvision's modules.
TORCHVISION = {
    "torchvision": ([0, 3, 6, 8, 10], [1, 4, 6]),
    "vgg16": ([0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28], [0, 3, 6]),
}


def in_order(params, network="caffenet"):
    """Name, kernel `[out, in, h, w]`, bias of each layer; of fully connected ones `[out, in]`, channels first."""
    for name, kind, *_ in oracle.NETWORKS[network]:
        if kind == "conv" and name in params:
            kernel = np.ascontiguousarray(params[name]["kernel"].transpose(3, 2, 0, 1))
            yield name, kernel.reshape(len(kernel), -1) if name.startswith("fc") else kernel, params[name]["bias"]


def state_dict(params, network="caffenet", *, torchvision=False):
    parts = zip(("features", "classifier"), TORCHVISION.get(network, ()), strict=False)
    names = [f"{part}.{number}" for part, numbers in parts for number in numbers]
    found = {}
    for i, (name, kernel, bias) in enumerate(in_order(params, network)):
        prefix = names[i] if torchvision else name
        found |= {f"{prefix}.weight": kernel, f"{prefix}.bias": bias}
    return found


def onnx(path, params, network="caffenet", *, quantized=False, gemm=True):
    """A graph as the model zoo has it, by the onnx package; quantized per output channel, as its QDQ files are."""
    from onnx import helper, numpy_helper, save

    layers = {name: (kernel, bias) for name, kernel, bias in in_order(params, network)}
    nodes, tensors, at = [], [], "data_0"

    def weight(array, name, axis=0):
        if not quantized:
            tensors.append(numpy_helper.from_array(array, name))
            return name
        scale = np.abs(array).reshape(array.shape[axis], -1).max(1) / 127 if array.ndim > 1 else np.float32(0.01)
        shape = [-1] + [1] * (array.ndim - 1)
        whole = np.rint(array / (scale.reshape(shape) if array.ndim > 1 else scale))
        dtype = np.int8 if array.ndim > 1 else np.int32
        zero = np.zeros(np.shape(scale), dtype)
        parts = {"quantized": whole.astype(dtype), "scale": np.asarray(scale, np.float32), "zero_point": zero}
        for part, value in parts.items():
            tensors.append(numpy_helper.from_array(np.asarray(value), f"{name}_{part}"))
        inputs = [f"{name}_{part}" for part in parts]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [name], axis=axis if array.ndim > 1 else 1))
        return name

    for name, kind, side, stride, padding, groups in oracle.NETWORKS[network]:
        out = f"{name}_1"
        if kind == "conv" and name not in layers:
            break
        if kind == "conv" and name.startswith("fc"):
            kernel, bias = layers[name]
            if gemm:
                inputs = [at, weight(kernel, f"{name}_w_0"), weight(bias, f"{name}_b_0")]
                nodes.append(helper.make_node("Gemm", inputs, [out], transB=1))
            else:
                nodes.append(
                    helper.make_node("MatMul", [at, weight(kernel.T.copy(), f"{name}_w_0")], [f"{out}_product"])
                )
                nodes.append(helper.make_node("Add", [f"{out}_product", weight(bias, f"{name}_b_0")], [out]))
        elif kind == "conv":
            inputs = [at, *(weight(array, f"{name}_{part}_0") for array, part in zip(layers[name], "wb", strict=True))]
            options = {"kernel_shape": [side] * 2, "strides": [stride] * 2, "pads": [padding] * 4, "group": groups}
            nodes.append(helper.make_node("Conv", inputs, [out], **options))
        else:
            op = {"relu": "Relu", "pool": "MaxPool", "norm": "LRN"}[kind]
            options = {"pool": {"kernel_shape": [side] * 2, "strides": [stride] * 2}, "norm": {"size": 5}}.get(kind, {})
            nodes.append(helper.make_node(op, [at], [out], **options))
        at = out
    graph = helper.make_graph(nodes, "net", [], [], tensors)
    save(helper.make_model(graph), path)


def torch_zip(path, arrays, *, wrap=None):
    """What torch.save writes for a dict of tensors, by a pickle of the same calls and a zip of the same members."""
    module = types.ModuleType("torch._utils")

    def _rebuild_tensor_v2(*_):
        raise AssertionError("the test writes tensors, it never reads them")

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    module._rebuild_tensor_v2 = _rebuild_tensor_v2
    storage_type = type("FloatStorage", (), {"__module__": "torch"})
    torch = types.ModuleType("torch")
    torch.FloatStorage = storage_type

    class Tensor:
        def __init__(self, key, array):
            self.key, self.array = key, array

        def __reduce__(self):
            strides = tuple(stride // 4 for stride in self.array.strides)
            return _rebuild_tensor_v2, (Storage(self.key, self.array.size), 0, self.array.shape, strides, False, {})

    class Storage:
        def __init__(self, key, count):
            self.identifier = "storage", storage_type, str(key), "cpu", count

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return value.identifier if isinstance(value, Storage) else None

    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules |= {"torch": torch, "torch._utils": module}
    try:
        stream = io.BytesIO()
        tree = {name: Tensor(key, array) for key, (name, array) in enumerate(arrays.items())}
        Pickler(stream, protocol=2).dump({wrap: tree} if wrap else tree)
    finally:
        for name, old in before.items():
            sys.modules.pop(name) if old is None else sys.modules.__setitem__(name, old)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", stream.getvalue())
        for key, array in enumerate(arrays.values()):
            archive.writestr(f"archive/data/{key}", array.astype("<f4").tobytes())


def _field(number, value):
    """One field of a protobuf message: bytes, text, or an int."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def caffemodel(path, params, network="caffenet", *, version=2):
    """NetParameter of caffe.proto: `layer` (100) of LayerParameter, or the older `layers` (2) of V1LayerParameter."""
    layers, data = {name: (kernel, bias) for name, kernel, bias in in_order(params, network)}, _field(1, "Net")
    for name, kind, *_ in oracle.NETWORKS[network]:
        if kind == "conv" and name not in layers:
            break
        blobs = []
        for array in layers.get(name, ()):
            numbers = _field(5, struct.pack(f"<{array.size}f", *array.ravel().tolist()))
            if version == 2:
                shape = _field(7, _field(1, b"".join(_varint(side) for side in array.shape)))
            else:  # num, channels, height, width
                shape = b"".join(_field(i + 1, s) for i, s in enumerate([1] * (4 - array.ndim) + list(array.shape)))
            blobs.append(shape + numbers)
        if version == 2:
            word = {"conv": "InnerProduct" if name.startswith("fc") else "Convolution", "relu": "ReLU"}
            word = {**word, "pool": "Pooling", "norm": "LRN"}[kind]
            data += _field(100, _field(1, name) + _field(2, word) + b"".join(_field(7, blob) for blob in blobs))
        else:
            number = {"conv": 14 if name.startswith("fc") else 4, "relu": 18, "pool": 17, "norm": 15}[kind]
            data += _field(2, _field(4, name) + _field(5, number) + b"".join(_field(6, blob) for blob in blobs))
    path.write_bytes(data)
