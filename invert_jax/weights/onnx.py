"""ONNX files of AlexNet and VGG-16, such as the model zoo's caffenet and bvlcalexnet, in float or 8 bits (QDQ)."""

import os

import numpy as np

from invert_jax._util import paths
from invert_jax.weights import protobuf
from invert_jax.weights.layout import Step, WeightFile, from_steps, refuse_damage

_TYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 10: "<f2", 11: "<f8"}  # of TensorProto.DataType
_KINDS = {"MaxPool": "pool", "LRN": "norm"}


def read_onnx(path: str | os.PathLike) -> WeightFile:
    """Reads the weights of Conv, Gemm and MatMul nodes, in the order of the graph, and the order of LRN and MaxPool.

    Weights are initializers, or initializers behind DequantizeLinear, Transpose, Reshape and Identity. Nothing is
    executed. Mean and standard deviation are the architecture's, since the files have none.

    Args:
      path: the .onnx file.

    Returns:
      A `WeightFile`.

    Raises:
      ValueError: not an ONNX file, damaged, or another network.
    """
    path = paths.require_file(path, "weight file")
    with refuse_damage(path, "an ONNX file"):
        graph = protobuf.collect(protobuf.read(path)[7][-1])
        nodes = [_node(node) for node in graph.get(1, [])]
        return from_steps(_Graph(path, nodes, dict(map(_named, graph.get(5, [])))).steps(), path)


def _node(message):
    fields = protobuf.collect(message)
    attributes = {}
    for attribute in map(protobuf.collect, fields.get(5, [])):
        attributes[protobuf.text(attribute.get(1, []))] = attribute
    names = [[protobuf.text([name]) for name in fields.get(number, [])] for number in (1, 2)]
    return protobuf.text(fields.get(4, [])), names[0], names[1], attributes


def _named(message):
    fields = protobuf.collect(message)
    return protobuf.text(fields.get(8, [])), fields


class _Graph:
    """The nodes of a graph and the tensors that they take."""

    def __init__(self, path, nodes, tensors):
        self.path, self.nodes, self.tensors = path, nodes, tensors
        self.makers = {name: node for node in nodes for name in node[2]}

    def steps(self):
        for op, inputs, outputs, attributes in self.nodes:
            if op in _KINDS:
                yield Step(_KINDS[op])
            elif op == "Conv":
                yield Step("conv", self.array(inputs[1]), self.array(inputs[2]) if len(inputs) > 2 else None)
            elif op == "Gemm":
                kernel = self.array(inputs[1])
                transposed = protobuf.integers(attributes.get("transB", {}).get(3, [])) == [1]
                yield Step(
                    "conv", kernel if transposed else kernel.T, self.array(inputs[2]) if len(inputs) > 2 else None
                )
            elif op == "MatMul":
                yield Step("conv", self.array(inputs[1]).T, self._bias_after(outputs[0]))
            elif op.startswith("QLinear") or op.endswith("Integer"):
                raise ValueError(f"{self.path} has {op} nodes; give the float file, or that with QuantizeLinear (QDQ).")

    def array(self, name, depth=0):
        """The array of this name, through the operations that files put between it and its use."""
        if name in self.tensors:
            return _tensor(self.tensors[name], name, self.path)
        if name not in self.makers or depth > 8:
            raise ValueError(
                f"{self.path} has weights ({name}) that are computed, not stored; save it with constants folded."
            )
        op, inputs, _, attributes = self.makers[name]
        if op == "DequantizeLinear":
            return self._dequantized(inputs, attributes, depth)
        if op == "Constant":
            return _tensor(protobuf.collect(attributes["value"][5][-1]), name, self.path)
        array = self.array(inputs[0], depth + 1)
        if op in ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"):  # `from_steps` brings it into shape
            return array
        if op == "Transpose":
            return array.transpose(protobuf.integers(attributes.get("perm", {}).get(8, [])) or None)
        raise ValueError(f"{self.path} has weights ({name}) behind a {op} node; save it with constants folded.")

    def _dequantized(self, inputs, attributes, depth):
        value, scale = self.array(inputs[0], depth + 1), self.array(inputs[1], depth + 1)
        zero = self.array(inputs[2], depth + 1) if len(inputs) > 2 and inputs[2] else np.zeros((), np.float32)
        axis = (protobuf.integers(attributes.get("axis", {}).get(3, [])) or [1])[0] % max(value.ndim, 1)
        if scale.size > 1:  # one for each slice along the axis
            shape = [-1 if i == axis else 1 for i in range(value.ndim)]
            scale, zero = scale.reshape(shape), zero.reshape(shape) if zero.size > 1 else zero
        return (value.astype(np.float32) - zero.astype(np.float32)) * scale.astype(np.float32)

    def _bias_after(self, name):
        for op, inputs, _, _ in self.nodes:
            if op == "Add" and name in inputs:
                return self.array(next(other for other in inputs if other != name))
        return None


def _tensor(fields, name, path):
    """A TensorProto as an array."""
    kind, shape = protobuf.integers(fields.get(2, []))[-1:], protobuf.integers(fields.get(1, []))
    if protobuf.integers(fields.get(14, []))[-1:] == [1]:
        raise ValueError(f"{path} keeps {name} in another file; save it with all weights inside.")
    if not kind or kind[0] not in _TYPES:
        raise ValueError(f"{path} holds {name} as type {kind}; save it as float32 or 8-bit integers.")
    dtype = np.dtype(_TYPES[kind[0]])
    if 9 in fields:
        array = np.frombuffer(fields[9][-1], dtype)
    elif dtype.kind == "f" and dtype.itemsize > 2:
        array = protobuf.floats(fields.get(4 if dtype.itemsize == 4 else 10, []), dtype.str)
    else:
        array = np.array(protobuf.integers(fields.get(7 if dtype.itemsize == 8 else 5, [])), np.int64)
    if min(shape, default=0) < 0 or array.size != int(np.prod(shape, dtype=object)):
        raise ValueError(f"{name} has {array.size} numbers for the shape {shape}")
    return array.reshape(shape)
