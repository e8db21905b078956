"""Receptive fields: from layer geometry, in exact integers (Mahendran & Vedaldi, Table 2), or from gradients."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from invert_jax._util import checks
from invert_jax.networks import architectures
from invert_jax.types import Representation


class ReceptiveField(NamedTuple):
    """The input pixels that a neuron of a layer depends on.

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


def receptive_fields(table: tuple[architectures.Layer, ...]) -> tuple[ReceptiveField, ...]:
    """The receptive field of every layer of a stack, by composing sizes and strides.

    With `size_0 = stride_0 = 1` and `offset_0 = 0`: `size += (k - 1) stride`, `offset -= p stride`,
    `stride *= s`, for a layer of filter side `k`, padding `p` and stride `s`.

    Args:
      table: rows of `Layer`, first layer first.

    Returns:
      One row for each layer.

    >>> receptive_fields(architectures.CAFFENET.layers_up_to("conv1"))
    (ReceptiveField(name='conv1', size=11, stride=4, offset=0),)
    """
    size, stride, offset, rows = 1, 1, 0, []
    for layer in table:
        size += (layer.size - 1) * stride
        offset -= layer.padding * stride
        stride *= layer.stride
        rows.append(ReceptiveField(layer.name, size, stride, offset))
    return tuple(rows)


def alexnet() -> tuple[ReceptiveField, ...]:
    """The receptive fields of CaffeNet's 20 layers, the paper's CNN-A: Mahendran & Vedaldi, Table 2.

    >>> [row.size for row in alexnet()][:12]
    [11, 11, 19, 19, 51, 51, 67, 67, 99, 99, 131, 131]
    """
    return receptive_fields(architectures.CAFFENET.layers)


def by_gradient(
    representation: Representation, image_shape: tuple[int, int, int], *, neuron: tuple[int, int] | None = None
) -> tuple[int, int, int, int]:
    """The box of pixels that a neuron of any representation depends on, from gradients at four noise images.

    Args:
      representation: features `[h, w, c]`, or of another shape, which count as one neuron.
      image_shape: `(H, W, C)` of an image.
      neuron: row and column in the map; None is the central one.

    Returns:
      `(top, left, bottom, right)`, bottom and right exclusive; all 0 if no pixel has a gradient.

    Raises:
      ValueError: features that are several arrays.

    >>> from invert_jax.networks import alexnet as network
    >>> top, left, bottom, right = by_gradient(network(layer="conv1"), (63, 63, 3))
    >>> bottom - top, right - left
    (11, 11)
    """
    shape = representation.feature_shape(image_shape)
    checks.require_one_array(shape)
    at = () if len(shape) != 3 else (shape[0] // 2, shape[1] // 2) if neuron is None else neuron
    moved = np.zeros(image_shape[:2], bool)
    for key in jax.random.split(jax.random.key(0), 4):
        image = jax.random.uniform(key, image_shape, maxval=255.0)
        moved |= np.any(np.asarray(_gradient(representation, image, at)) != 0, axis=2)
    if not moved.any():
        return 0, 0, 0, 0
    rows, columns = np.flatnonzero(moved.any(1)), np.flatnonzero(moved.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


@functools.partial(jax.jit, static_argnames="at")
def _gradient(representation, image, at):
    """Of a neuron's channels, with weights that do not cancel."""

    def response(image):
        features = representation.apply(representation.params, image)[at]
        return jnp.sum(jnp.ravel(features) * jnp.sqrt(1.0 + jnp.arange(features.size)))

    return jax.grad(response)(image)


def pixel_box(field: ReceptiveField, rows: tuple[int, int], columns: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box of pixels that a block of neurons depends on.

    Args:
      field: the layer's receptive field.
      rows: first neuron and one past the last, down the feature map.
      columns: first neuron and one past the last, across the feature map.

    Returns:
      `(top, left, bottom, right)`, bottom and right exclusive; may reach beyond the image.

    >>> pixel_box(alexnet()[0], (25, 30), (25, 30))
    (100, 100, 127, 127)
    """
    top, left = (field.offset + field.stride * first for first, _ in (rows, columns))
    bottom, right = (field.offset + field.stride * (end - 1) + field.size for _, end in (rows, columns))
    return top, left, bottom, right


def mask_box(field: ReceptiveField, mask) -> tuple[int, int, int, int]:
    """The box of pixels that the neurons of a mask depend on.

    Args:
      field: the layer's receptive field.
      mask: boolean `[h, w, c]`, such as `masks.central` makes.

    Returns:
      `(top, left, bottom, right)`, as `pixel_box` returns.

    Raises:
      ValueError: the mask is not `[h, w, c]`, or selects no neuron.

    >>> mask_box(alexnet()[0], np.pad(np.ones((5, 5, 1), bool), ((25, 25), (25, 25), (0, 0))))
    (100, 100, 127, 127)
    """
    mask = np.asarray(mask)
    if mask.ndim != 3 or not mask.any():
        raise ValueError(
            f"The mask has shape {mask.shape} and selects {int(mask.sum())} neuron(s); give a boolean mask [h, w, c] "
            "with at least one neuron."
        )
    rows, columns = (np.flatnonzero(mask.any(axis=(1 - axis, 2))) for axis in (0, 1))
    return pixel_box(field, (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1))
