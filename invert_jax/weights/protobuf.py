"""The wire format of Protocol Buffers, which ONNX and Caffe files are: fields by number, without copies.

Readers need a dozen fields of messages that hundreds describe; generated code, or the onnx package, would be more to
install than this is to read.
"""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

Value = int | memoryview
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    r"""`(number, value)` of every field of a message, in order: an int, or a view of its bytes.

    ValueError for bytes that are no message.

    >>> list(fields(memoryview(b"\x08\x96\x01")))
    [(1, 150)]
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32, _BYTES):
            size, at = _varint(message, at) if kind == _BYTES else (8 if kind == _FIXED64 else 4, at)
            if size > len(message) - at:
                raise ValueError(f"a field of {size} bytes ends beyond the file")
            value, at = message[at : at + size], at + size
        else:
            raise ValueError(f"a field of unknown kind {kind}")
        if not number:
            raise ValueError("a field without a number")
        yield number, value


def read(path: str | os.PathLike) -> dict[int, list[Value]]:
    """The fields of the message that a file is, as `collect` returns them, without copying it to memory."""
    data: Any = np.memmap(path, np.uint8, "r")
    return collect(memoryview(data).toreadonly())


def _varint(message, at):
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise ValueError("a number that does not end")
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def collect(message: Value) -> dict[int, list[Value]]:
    r"""All fields of a message by number; ValueError if the value is a plain number.

    >>> collect(memoryview(b"\x08\x01\x08\x02"))
    {1: [1, 2]}
    """
    if isinstance(message, int):
        raise ValueError("a number where a message should be")
    found: dict[int, list[Value]] = {}
    for number, value in fields(message):
        found.setdefault(number, []).append(value)
    return found


def text(values: list[Value]) -> str:
    """The last of a field's values as text; "" if there is none."""
    return bytes(values[-1]).decode("utf-8", "replace") if values and not isinstance(values[-1], int) else ""


def integers(values: list[Value]) -> list[int]:
    """A repeated integer field, packed or not, as signed 64-bit numbers."""
    found = []
    for value in values:
        if isinstance(value, int):
            found.append(value)
        else:
            at = 0
            while at < len(value):
                number, at = _varint(value, at)
                found.append(number)
    return [number - (1 << 64) if number >> 63 else number for number in found]


def floats(values: list[Value], dtype: str) -> np.ndarray:
    """A repeated field of floating-point numbers, packed or not; one block is not copied."""
    blocks = [value for value in values if not isinstance(value, int)]
    return np.frombuffer(blocks[0] if len(blocks) == 1 else b"".join(blocks), dtype)
