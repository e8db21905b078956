"""safetensors files: a JSON header and plain bytes."""

import json
import math
import os

import ml_dtypes
import numpy as np

from invert_jax._util import paths
from invert_jax.weights.layout import WeightFile, from_state_dict, refuse_damage

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"}
_LARGEST_HEADER = 100_000_000  # bytes, the format's own limit


def read_safetensors(path: str | os.PathLike) -> WeightFile:
    """Reads a file of named arrays; `layout.from_state_dict` has the names.

    Args:
      path: the .safetensors file.

    Returns:
      A `WeightFile`.

    Raises:
      ValueError: not such a file, damaged, or arrays of another network.
    """
    path = paths.require_file(path, "weight file")
    with refuse_damage(path, "a safetensors file"):
        return from_state_dict(_arrays(np.memmap(path, np.uint8, "r")), path)


def _arrays(data):
    size = int.from_bytes(data[:8].tobytes(), "little")
    if len(data) < 8 or size > min(len(data) - 8, _LARGEST_HEADER):
        raise ValueError(f"a header of {size} bytes in a file of {len(data)}")
    header, body = json.loads(data[8 : 8 + size].tobytes()), data[8 + size :]
    header.pop("__metadata__", None)
    arrays, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        (start, stop), shape = entry["data_offsets"], entry["shape"]
        dtype = np.dtype(ml_dtypes.bfloat16 if entry["dtype"] == "BF16" else _TYPES[entry["dtype"]])
        whole = all(type(side) is int and side >= 0 for side in (*shape, start, stop))
        if not whole or start != end or stop > len(body) or stop - start != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name} {shape} has bytes {start} to {stop}")
        arrays[name], end = body[start:stop].view(dtype).reshape(shape), stop
    if end != len(body):
        raise ValueError(f"{len(body) - end} bytes belong to no array")
    return arrays
