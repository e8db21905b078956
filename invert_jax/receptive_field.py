"""Receptive fields from layer geometry, in exact integers (Mahendran & Vedaldi, Table 2)."""

from typing import NamedTuple

from invert_jax import layers


class ReceptiveField(NamedTuple):
    """Which input pixels one neuron of a layer sees.

    Attributes:
      name: the layer.
      size: side of the field, pixels.
      stride: input pixels between the fields of neighboring neurons.
      offset: first pixel of neuron 0's field; negative where padding reaches beyond the image.
    """

    name: str
    size: int
    stride: int
    offset: int


def of(table: tuple[layers.Layer, ...]) -> tuple[ReceptiveField, ...]:
    """Receptive field of every layer of a stack, by composing sizes and strides.

    With `size_0 = stride_0 = 1` and `offset_0 = 0`: `size += (k - 1) stride`, `offset -= p stride`,
    `stride *= s`, for a layer of filter side `k`, padding `p` and stride `s`.

    Args:
      table: rows of `Layer`, first layer first.

    Returns:
      One row for each layer.
    """
    size, stride, offset, rows = 1, 1, 0, []
    for layer in table:
        size += (layer.size - 1) * stride
        offset -= layer.padding * stride
        stride *= layer.stride
        rows.append(ReceptiveField(layer.name, size, stride, offset))
    return tuple(rows)


def alexnet() -> tuple[ReceptiveField, ...]:
    """The 20 rows of Table 2.

    >>> [row.size for row in alexnet()][:12]
    [11, 11, 19, 19, 51, 51, 67, 67, 99, 99, 131, 131]
    """
    return of(layers.CNN_A)


def box(field: ReceptiveField, rows: tuple[int, int], columns: tuple[int, int]) -> tuple[int, int, int, int]:
    """Pixels that a block of neurons sees together.

    Args:
      field: the layer's receptive field.
      rows: first neuron and one past the last, down the feature map.
      columns: the same, across.

    Returns:
      `(top, left, bottom, right)`, bottom and right exclusive; may reach beyond the image.

    >>> box(alexnet()[0], (25, 30), (25, 30))
    (100, 100, 127, 127)
    """
    top, left = (field.offset + field.stride * first for first, _ in (rows, columns))
    bottom, right = (field.offset + field.stride * (end - 1) + field.size for _, end in (rows, columns))
    return top, left, bottom, right
