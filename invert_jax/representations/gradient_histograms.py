"""Gradients, orientation gating and triangle pooling, which HOG and the SIFT descriptors share.

Images are gray, `[H, W]`, with y down and x to the right; angles run from +x towards +y.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from invert_jax._util import safe_math
from invert_jax.types import Features, Image, Params

GATINGS = ("hard", "bilinear", "approximate")
GRADIENTS = ("exact", "straight_through")
LARGEST = 1e15
"""The largest intensity of an image; differences below `safe_math.FLOOR` count as zero."""

_EXACT = jax.lax.Precision.HIGHEST
_BORDER = 0.25  # of the angle between bins; at 1, 0.5 and 0.1 inversions of HOG by 400 steps end at higher errors


@dataclasses.dataclass(frozen=True)
class Histograms:
    """What `Representation.apply` is for a Flax module without weights; as blocks are normalized, any range will do."""

    module: nn.Module
    any_range = True

    def __call__(self, params: Params, image: Image) -> Features:
        """Returns the features of the module; intensities count as at most `LARGEST`, so that squares are finite."""
        features: Any = self.module.apply(params, jnp.clip(image, -LARGEST, LARGEST))
        return features


def differences(image: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Central differences without the factor 1/2, on the interior: `(gx, gy)`, both `[H - 2, W - 2]`.

    >>> gx, gy = differences(jnp.arange(12.0).reshape(3, 4))
    >>> gx.tolist(), gy.tolist()
    ([[2.0, 2.0]], [[8.0, 8.0]])
    """
    return image[1:-1, 2:] - image[1:-1, :-2], image[2:, 1:-1] - image[:-2, 1:-1]


def one_sided_differences(image: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Half central differences, one-sided at the border: `(gx, gy)`, both `[H, W]`.

    >>> gx, _ = one_sided_differences(jnp.asarray([[0.0, 1.0, 4.0]] * 2))
    >>> gx[0].tolist()
    [1.0, 2.0, 3.0]
    """

    def along(image):
        middle = (image[2:] - image[:-2]) / 2
        return jnp.concatenate([image[1:2] - image[:1], middle, image[-1:] - image[-2:-1]])

    return along(image.T).T, along(image)


def gate(gx: jax.Array, gy: jax.Array, count: int, gating: str, *, gradient: str = "exact") -> jax.Array:
    """Splits the magnitude of every gradient over directed orientation bins `u_k = (cos, sin)(2 pi k / count)`.

    hard: `|g|` in the bin of largest `<g, u_k>`, the first on ties. bilinear: linearly in the angle between the two
    neighboring bins, `|g| max(0, 1 - count / (2 pi) arccos(<g, u_k> / |g|))`. approximate: the paper's form, by
    rectified filters, `max(0, <g, u_k> - a |g|)` with `a = cos(2 pi / count)`.

    Args:
      gx: derivative to the right, any shape `[...]`.
      gy: derivative downward, the same shape.
      count: number of bins, even.
      gating: `hard`, `bilinear` or `approximate`.
      gradient: `exact`, or `straight_through`, which gives hard gating the derivative of a gating that passes from one
        bin to the next linearly in the angle, over the middle quarter of the angle between their centers.

    Returns:
      `[..., count]`.

    Source: Mahendran & Vedaldi 2015, section 3.

    >>> gate(jnp.array(0.0), jnp.array(-2.0), 8, "bilinear").tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0]
    """
    magnitude = safe_math.safe_hypot(gx, gy)
    if gating == "hard":
        winner = jax.lax.stop_gradient(_first_best(gx, gy, count))
        hard = jnp.where(winner[..., None] == _bins(count, winner.ndim), magnitude[..., None], 0)
        if gradient == "exact":
            return hard
        narrow = split_linearly(magnitude, safe_math.safe_angle(gx, gy), count, width=_BORDER)
        return safe_math.straight_through(hard, narrow)
    if gating == "bilinear":
        return split_linearly(magnitude, safe_math.safe_angle(gx, gy), count)
    # approximate: a convolution and a ReLU, without an angle or a decision
    scores = jnp.stack([gx * ux + gy * uy for ux, uy in _directions(count)], axis=-1)
    return jax.nn.relu(scores - math.cos(2 * math.pi / count) * magnitude[..., None])


def clamp(values: jax.Array, limit: float, *, gradient: str = "exact") -> jax.Array:
    """`min(values, limit)`; its derivative is 1 everywhere if `gradient` is `straight_through`.

    >>> jax.grad(lambda v: clamp(v, 0.2, gradient="straight_through"))(0.5).item()
    1.0
    """
    clamped = jnp.minimum(limit, values)
    return clamped if gradient == "exact" else safe_math.straight_through(clamped, values)


def split_linearly(magnitude: jax.Array, angle: jax.Array, count: int, *, width: float = 1.0) -> jax.Array:
    """Splits `magnitude` `[...]` between the two orientation bins nearest to `angle` (radians): `[..., count]`.

    With a `width` below 1 a bin has all of it but for that share of the angle to the next one, about the middle.

    >>> split_linearly(jnp.array(1.0), jnp.array(jnp.pi / 8), 8)[:3].tolist()
    [0.5, 0.5, 0.0]
    """
    position = angle * (count / (2 * math.pi))
    lower = jnp.floor(position)
    share = position - lower
    if width < 1:
        share = jnp.clip((share - 0.5) / width + 0.5, 0, 1)
    above = share * magnitude
    bins = _bins(count, position.ndim)
    first = jnp.mod(lower.astype(jnp.int32), count)[..., None]
    second = jnp.where(first == count - 1, 0, first + 1)
    below = magnitude - above
    return jnp.where(bins == first, below[..., None], 0) + jnp.where(bins == second, above[..., None], 0)


def _bins(count, ndim):
    return jnp.arange(count, dtype=jnp.int32).reshape((1,) * ndim + (count,))


def _directions(count) -> np.ndarray:
    """Unit vectors `[count, 2]`, float32, the second half exactly minus the first."""
    angles = np.arange(count // 2) * (2 * np.pi / count)
    half = np.stack([np.cos(angles), np.sin(angles)], axis=-1).astype(np.float32)
    return np.concatenate([half, -half])


def _first_best(gx, gy, count):
    # Scores from float32 directions, compared one after the other: an 8-bit image is full of exact ties (gx = 0), and
    # the first bin must win them. The second half of the directions is minus the first, so |score| covers both.
    winner, best = jnp.zeros(gx.shape, jnp.int32), jnp.full(gx.shape, -1.0, gx.dtype)
    for k, (ux, uy) in enumerate(_directions(count)[: count // 2]):
        score = gx * ux + gy * uy
        size = jnp.abs(score)
        winner = jnp.where(size > best, jnp.where(score < 0, k + count // 2, k), winner)
        best = jnp.maximum(best, size)
    return winner


def triangles(centers: np.ndarray, bin_size: int, length: int, *, replicate: bool = False) -> np.ndarray:
    """Weights of linear interpolation in space: `max(0, 1 - |y - center| / bin_size)`.

    Args:
      centers: `[n]`, pixels.
      bin_size: half the base of the triangle, pixels.
      length: number of pixels.
      replicate: whether energies beyond the border repeat those at the border, instead of being zero.

    Returns:
      `[n, length]`, float32.

    >>> triangles(np.array([0.5]), 2, 4).tolist()
    [[0.75, 0.75, 0.25, 0.0]]
    """
    margin = 2 * bin_size if replicate else 0
    pixels = np.arange(-margin, length + margin)
    wide = np.maximum(0, 1 - np.abs(pixels - np.asarray(centers)[:, None]) / bin_size)
    weights = wide[:, margin : margin + length]
    if replicate:
        weights[:, 0] += wide[:, :margin].sum(1)
        weights[:, -1] += wide[:, margin + length :].sum(1)
    return weights.astype(np.float32)


def pool(energies: jax.Array, rows: np.ndarray, columns: np.ndarray) -> jax.Array:
    """Weighted sums over space: `energies [H, W, K]`, `rows [n, H]`, `columns [m, W]` -> `[n, m, K]`.

    >>> pool(jnp.ones((4, 4, 2)), np.ones((1, 4)), np.ones((1, 4))).tolist()
    [[[16.0, 16.0]]]
    """
    tall = jnp.einsum("nh,hwk->nwk", jnp.asarray(rows, jnp.float32), energies, precision=_EXACT)
    return jnp.einsum("mw,nwk->nmk", jnp.asarray(columns, jnp.float32), tall, precision=_EXACT)


def fold_rows(field: jax.Array, *, size: int, count: int, first: int) -> jax.Array:
    """Groups rows by the pair of cells they contribute to, for `pool_cells`: `[H, W] -> [count + 1, size, W]`.

    Block `s` holds the rows between the centers of cells `s - 1` and `s`, where cell `c` has its center at
    `c size + (size - 1) / 2`.

    Args:
      field: `[H, W]`; zero beyond its border.
      size: side of a cell.
      count: cells in a column.
      first: pixel row of the field's row 0.

    Returns:
      `[count + 1, size, W]`.

    >>> fold_rows(jnp.ones((4, 3)), size=2, count=2, first=0)[..., 0].tolist()
    [[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]]
    """
    before = size // 2 + first
    after = (count + 1) * size - before - field.shape[0]
    padded = jnp.pad(field[: field.shape[0] + min(after, 0)], ((before, max(after, 0)), (0, 0)))
    return padded.reshape(count + 1, size, field.shape[1])


def pool_cells(energies: jax.Array, columns: np.ndarray) -> jax.Array:
    """Triangle pooling into cells that are as far apart as they are wide: `pool` without its products with zero.

    Args:
      energies: `[n + 1, size, W, K]`, rows grouped by `fold_rows`.
      columns: `[m, W]` weights, from `triangles`.

    Returns:
      `[n, m, K]`.

    >>> energies = fold_rows(jnp.ones((4, 4)), size=2, count=2, first=0)[..., None]
    >>> pool_cells(energies, triangles(np.array([0.5, 2.5]), 2, 4))[..., 0].tolist()
    [[3.0625, 3.0625], [3.0625, 3.0625]]
    """
    size = energies.shape[1]
    # A sum over terms rather than a product, so that XLA fuses the gating into it and never stores the gated energies
    # of every pixel. A row at `h` between two centers is shared linearly: `to_upper[h]` and `1 - to_upper[h]`.
    to_upper = ((size - 1) / 2 + size // 2 - np.arange(size)) / size
    upper = functools.reduce(jnp.add, [float(w) * energies[:, h] for h, w in enumerate(to_upper)])
    lower = functools.reduce(jnp.add, [float(1 - w) * energies[:, h] for h, w in enumerate(to_upper)])
    return jnp.einsum("mw,nwk->nmk", jnp.asarray(columns, jnp.float32), upper[1:] + lower[:-1], precision=_EXACT)
