"""PyTorch's state dicts (.pth, .pt), read without PyTorch and without running code from them."""

import collections
import io
import math
import os
import pickle
import pickletools
import zipfile
from typing import NamedTuple

import ml_dtypes
import numpy as np

from invert_jax._util import paths
from invert_jax.weights.layout import WeightFile, from_state_dict, refuse_damage

_TYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
# What torch.save writes for a dict of tensors. Others can take much memory for few bytes, or call more.
_OPCODES = """
PROTO FRAME STOP MARK EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 SETITEM SETITEMS APPEND APPENDS NONE
NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINSTRING SHORT_BINSTRING BINUNICODE SHORT_BINUNICODE GLOBAL
STACK_GLOBAL REDUCE BUILD BINPERSID BINGET LONG_BINGET BINPUT LONG_BINPUT MEMOIZE
"""
_LARGEST_PICKLE = 1 << 24  # bytes; names and shapes alone


def read_torch(path: str | os.PathLike) -> WeightFile:
    """Reads a state dict that torch.save wrote (PyTorch 1.6 or newer); `layout.from_state_dict` has the names.

    The pickle in the file is read by a reader that knows tensors and dicts, and calls nothing else.

    Args:
      path: the .pth or .pt file.

    Returns:
      A `WeightFile`.

    Raises:
      ValueError: not such a file, damaged, holding anything but tensors, or another network.
    """
    path = paths.require_file(path, "weight file")
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is not a zip archive, as torch.save writes since PyTorch 1.6; it is damaged, or older: load it in "
            "PyTorch and save its state_dict() again."
        )
    with refuse_damage(path, "a file of torch.save(model.state_dict(), path)"), zipfile.ZipFile(path) as archive:
        return from_state_dict(_flat(_load(archive)), path)


def _load(archive):
    infos = {info.filename: info for info in archive.infolist()}
    folder = next(name.removesuffix("data.pkl") for name in infos if name.endswith("data.pkl"))
    if infos[f"{folder}data.pkl"].file_size > _LARGEST_PICKLE:
        raise ValueError("its pickle is too large for one of names and shapes")
    data = archive.read(f"{folder}data.pkl")
    opcodes = _OPCODES.split()
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name not in opcodes or (opcode.name == "LONG_BINPUT" and int(argument or 0) > len(data)):
            raise ValueError(f"its pickle has the operation {opcode.name}")
    # Stored, not compressed: what a member takes in memory is what it takes in the file.
    stored = {name for name, info in infos.items() if info.compress_type == zipfile.ZIP_STORED}

    def storage(identifier):
        kind, storage_type, key, _, count = identifier
        name = f"{folder}data/{key}"
        if kind != "storage" or name not in stored or infos[name].file_size != count * storage_type.dtype.itemsize:
            raise ValueError(f"{name} does not hold the {count} numbers of its tensor")
        return np.frombuffer(archive.read(name), storage_type.dtype)

    return _Unpickler(io.BytesIO(data), storage).load()


class _StorageType(NamedTuple):
    dtype: np.dtype


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream, storage):
        super().__init__(stream)
        self.persistent_load = storage

    def find_class(self, module_name, global_name):
        name = f"{module_name}.{global_name}"
        if module_name == "torch" and global_name in _TYPES:
            return _StorageType(_TYPES[global_name])
        known = {
            "collections.OrderedDict": collections.OrderedDict,
            "torch._utils._rebuild_tensor_v2": _tensor,
            "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
        }
        if name not in known:
            raise ValueError(f"it holds {name}, which is no tensor")
        return known[name]


def _tensor(storage, offset, shape, strides, *_):
    """A view of a storage, checked to lie inside."""
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError(f"a tensor of shape {shape} with strides {strides}")
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if math.prod(shape) > storage.size or (math.prod(shape) and last >= storage.size):
        raise ValueError(f"a tensor of shape {shape} reaches beyond its {storage.size} numbers")
    steps = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps)


def _flat(tree):
    """The arrays of a state dict; a checkpoint may have it under `state_dict` or `model`."""
    for wrapper in ("state_dict", "model", "model_state_dict"):
        if isinstance(tree, dict) and isinstance(tree.get(wrapper), dict):
            tree = tree[wrapper]
    if not isinstance(tree, dict):
        raise ValueError(f"it holds a {type(tree).__name__}")
    return {str(name): value for name, value in tree.items() if isinstance(value, np.ndarray)}
