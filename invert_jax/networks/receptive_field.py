"""Receptive fields from layer geometry, in exact integers (Mahendran & Vedaldi, Table 2), and what is in them."""

from typing import NamedTuple

import numpy as np

from invert_jax.networks import architectures


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


def of(table: tuple[architectures.Layer, ...]) -> tuple[ReceptiveField, ...]:
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
    return of(architectures.CNN_A)


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


def mask_box(field: ReceptiveField, mask) -> tuple[int, int, int, int]:
    """Pixels that the neurons of a mask see together.

    Args:
      field: the layer's receptive field.
      mask: boolean `[h, w, c]`, such as `masks.central` makes.

    Returns:
      `(top, left, bottom, right)`, as `box` returns.

    Raises:
      ValueError: not a map, or no neuron.

    >>> mask_box(alexnet()[0], np.pad(np.ones((5, 5, 1), bool), ((25, 25), (25, 25), (0, 0))))
    (100, 100, 127, 127)
    """
    mask = np.asarray(mask)
    if mask.ndim != 3 or not mask.any():
        raise ValueError(f"A mask of a feature map is [h, w, c] with one neuron or more; got shape {mask.shape}.")
    rows, columns = (np.flatnonzero(mask.any(axis=(1 - axis, 2))) for axis in (0, 1))
    return box(field, (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1))


class Concentration(NamedTuple):
    """How much of a map lies inside a box, and how close to its center.

    Attributes:
      inside: share of the map in the box.
      area: share of the map's area in the box.
      side: of the square about the box's center that holds a stated share of the map, pixels: its effective side.
    """

    inside: float
    area: float
    side: int


def concentration(values, box: tuple[int, int, int, int], *, share: float = 0.9) -> Concentration:
    """How a map, such as the variance over restarts, lies in the box that neurons see: their effective field.

    Args:
      values: `[H, W]` or `[H, W, C]`, none negative.
      box: `(top, left, bottom, right)`, as `box` returns.
      share: of the map that the square is to hold.

    Returns:
      A `Concentration`; of a map that is zero everywhere NaN, and a side of 0.

    Raises:
      ValueError: another shape, or values that are negative or not finite.

    >>> found = concentration(np.pad(np.ones((4, 4)), 3), (2, 2, 8, 8))
    >>> found.inside, found.area, found.side
    (1.0, 0.36, 4)
    """
    values = np.asarray(values, np.float64)
    if values.ndim not in (2, 3) or not np.isfinite(values).all() or np.any(values < 0):
        raise ValueError(f"A map is [H, W] or [H, W, C], finite and not negative; got shape {values.shape}.")
    values = values.reshape(*values.shape[:2], -1).sum(axis=2)
    top, left, bottom, right = box
    part = values[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    total, area = values.sum(), part.size / values.size
    if total == 0:
        return Concentration(np.nan, area, 0)
    rows, columns = np.indices(values.shape) + 0.5
    distance = np.maximum(np.abs(rows - (top + bottom) / 2), np.abs(columns - (left + right) / 2))
    order = np.argsort(distance, axis=None, kind="stable")
    reached = np.searchsorted(np.cumsum(values.ravel()[order]), share * total)
    side = round(2 * distance.ravel()[order[min(reached, values.size - 1)]]) + 1  # from pixel centers to their edges
    return Concentration(float(part.sum() / total), area, side)
