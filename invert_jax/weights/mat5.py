"""MATLAB's MAT-files of version 5 to 7 as plain Python values, every size checked before it is used.

scipy reads these files too, but takes the memory that a damaged or compressed file asks for, and can crash.
"""

import math
import os
import zlib
from typing import Any

import numpy as np

from invert_jax._util import paths

_TYPES = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
    16: "u1",
    17: "u2",
}
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _OBJECT, _CHAR = 1, 2, 3, 4
_NUMERIC = range(6, 16)
_DEEPEST = 32  # cells in structs in cells ...
_COMPLEX = 0x800
LARGEST_INFLATION = 100  # times its size may a large file inflate; trained weights do not shrink to nine tenths
_ALWAYS_FINE = 1 << 26  # bytes


def read(path: str | os.PathLike) -> dict[str, Any]:
    """Every variable of a file: arrays, cells as lists, structs as dicts (several as a list of them), text as str.

    ValueError, the rest of a sentence, for anything that is no such file, or is damaged.
    """
    data = memoryview(paths.require_file(path).read_bytes())
    endian = {b"IM": "<", b"MI": ">"}.get(bytes(data[126:128]))
    if endian is None or bytes(data[:10]) == b"MATLAB 7.3":
        raise ValueError("it is not a MATLAB file of version 5 to 7")
    budget, at, found = inflation_limit(len(data)), 128, {}
    while at < len(data):
        kind, body, at = _element(data, at, endian, padded=False)
        if kind == _COMPRESSED:
            body = _inflate(body, budget)
            budget -= len(body)
            kind, body, _ = _element(body, 0, endian)
        if kind != _MATRIX:
            raise ValueError(f"an element of kind {kind} stands where an array should")
        name, value = _matrix(body, endian, 0)
        found[name] = value
    return found


def inflation_limit(size: int) -> int:
    """The bytes that a compressed file of this size may become."""
    return max(_ALWAYS_FINE, LARGEST_INFLATION * size)


def _inflate(body, budget):
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(body, budget + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(data) > budget:
        raise ValueError("it inflates to far more than the weights of a network")
    if not stream.eof:
        raise ValueError("a compressed array ends early")
    return memoryview(data)


def _element(data, at, endian, *, padded=True):
    """Kind and bytes of the element at an offset, and where the next one starts."""
    if at + 8 > len(data):
        raise ValueError("it ends within an element")
    first, size = np.frombuffer(data[at : at + 8], f"{endian}u4").tolist()
    if first >> 16:  # up to four bytes, in the second word
        kind, size, start, end = first & 0xFFFF, first >> 16, at + 4, at + 8
        if size > 4:
            raise ValueError("a small element is too large")
    else:
        kind, start = first, at + 8
        end = start + size + (-size % 8 if padded or kind != _COMPRESSED else 0)
    if start + size > len(data):
        raise ValueError(f"an element of {size} bytes ends beyond the file")
    return kind, data[start : start + size], end


def _numbers(data, at, endian):
    kind, body, at = _element(data, at, endian)
    if kind not in _TYPES or len(body) % np.dtype(_TYPES[kind]).itemsize:
        raise ValueError(f"{len(body)} bytes of kind {kind} are no numbers")
    return np.frombuffer(body, np.dtype(_TYPES[kind]).newbyteorder(endian)), at


def _matrix(data, endian, depth):
    """Name and value of an array."""
    if not len(data):
        return "", np.zeros((0, 0))
    if depth > _DEEPEST:
        raise ValueError("it is nested too deeply")
    flags, at = _numbers(data, 0, endian)
    shape, at = _numbers(data, at, endian)
    name, at = _numbers(data, at, endian)
    shape, kind, count = shape.tolist(), int(flags[0]) & 0xFF if flags.size else 0, math.prod(shape.tolist())
    if len(shape) < 2 or min(shape) < 0 or flags[0] & _COMPLEX:
        raise ValueError(f"an array has the shape {shape}")
    if kind in _NUMERIC or kind == _CHAR:
        numbers, at = _numbers(data, at, endian)
        if numbers.size != count and not (kind == _CHAR and numbers.dtype.itemsize == 1):  # UTF-8
            raise ValueError(f"an array of shape {shape} has {numbers.size} numbers")
        value = _text(numbers) if kind == _CHAR else numbers.reshape(shape, order="F")
    elif kind in (_CELL, _STRUCT, _OBJECT):
        fields = [""]
        if kind == _OBJECT:
            _, at = _numbers(data, at, endian)
        if kind != _CELL:
            length, at = _numbers(data, at, endian)
            text, at = _numbers(data, at, endian)
            if length.size != 1 or length[0] < 1 or text.size % length[0]:
                raise ValueError("the names of a struct's fields are damaged")
            fields = [_text(row) for row in text.reshape(-1, int(length[0]))]
        if count * len(fields) > len(data):  # each takes eight bytes or more
            raise ValueError(f"a cell or struct of shape {shape} does not fit")
        entries = []
        for _ in range(count):
            entry = {}
            for field in fields:
                inner, body, at = _element(data, at, endian)
                if inner != _MATRIX:
                    raise ValueError(f"an element of kind {inner} is in a cell or struct")
                entry[field] = _matrix(body, endian, depth + 1)[1]
            entries.append(entry[""] if kind == _CELL else entry)
        value = entries if kind == _CELL or count != 1 else entries[0]
    else:
        raise ValueError(f"it holds an array of class {kind}, which no network has")
    return _text(name), value


def _text(numbers):
    encoding = "utf-8" if numbers.dtype.itemsize == 1 else "utf-16"
    return numbers.astype(numbers.dtype.newbyteorder("=")).tobytes().decode(encoding, "replace").rstrip("\0")
