"""How different the images of one code are: in pixels, in structure, by scale and by place."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from invert_jax import pyramid
from invert_jax._util import checks
from invert_jax._util.reprs import short_repr
from invert_jax.analysis import metrics


class Diversity(NamedTuple):
    """How different R images are from each other."""

    distance: np.ndarray  #: [R, R], root mean square differences, in gray levels
    ssim: np.ndarray  #: [R, R], structural similarities; 1 on the diagonal
    bands: np.ndarray  #: [K, R, R], distances of the Laplacian bands, the finest first, in gray levels
    effective_number: float  #: of distinct images, 1 to R

    __repr__ = short_repr


class PixelStd(NamedTuple):
    """Mean and standard deviation (divisor R - 1) over R images, pixel by pixel, in gray levels."""

    mean: np.ndarray  #: [H, W, C]
    std: np.ndarray  #: [H, W, C]
    bands: np.ndarray  #: [K, H, W, C], the standard deviation of each Laplacian band, the finest first

    __repr__ = short_repr


class Concentration(NamedTuple):
    """How much of a map lies inside a box, and how close to the box's center."""

    inside: float  #: fraction of the map in the box
    area: float  #: fraction of the map's area in the box
    side: int  #: of the square about the box's center that holds a given fraction of the map, in pixels


def diversity(images, *, num_levels: int = 6, resolution: float = 0.5) -> Diversity:
    """Pairwise differences of the images of one code, and the effective number of distinct images among them.

    The effective number is a participation ratio,

        1 + (sum_i l_i)^2 / sum_i (l_i + e)^2,    e = H W C resolution^2,

    with `l_i` the R - 1 eigenvalues of the Gram matrix of the centered images. It is 1 if all images are equal and R
    if all are equally far from each other. R random images in d dimensions give about `1 + d (R - 1) / (d + R)`, so
    the number grows with R until R is much larger than d, and is a lower bound where d is large.

    Args:
      images: `[R, H, W, C]`, two or more finite restarts, 0..255.
      num_levels: K, bands of the Laplacian pyramid, the coarsest being the low-pass residual.
      resolution: root mean square difference that is not counted, in gray levels. Two images 2.2 times as far apart
        count half, two images ten times as far apart count in full.

    Returns:
      A `Diversity`.

    Raises:
      ValueError: not R images, fewer than two, or images that are not finite.

    Source: Gao et al., "A theory of multineuronal dimensionality, dynamics and measurement", 2017, with restarts in
    place of neurons.

    >>> black, white = np.zeros((16, 16, 1)), np.full((16, 16, 1), 255.0)
    >>> result = diversity(np.stack([black, white, white]))
    >>> result.distance[0].tolist(), round(result.effective_number, 3)
    ([0.0, 255.0, 255.0], 2.0)
    """
    images = _require_restarts(images)
    centered = (images - images.mean(0)).reshape(len(images), -1)
    # Centering makes one eigenvalue zero; eigvalsh sorts it first, and rounding may leave others just below zero.
    eigenvalues = np.maximum(np.linalg.eigvalsh(centered @ centered.T)[1:], 0).astype(np.float64)
    denominator = np.sum((eigenvalues + resolution**2 * images[0].size) ** 2)
    pairs, ssim = np.triu_indices(len(images), 1), np.eye(len(images))
    ssim[pairs] = ssim[pairs[::-1]] = _ssim_of_pairs(images, np.stack(pairs, axis=1))
    return Diversity(
        distance=pairwise_rms(images),
        ssim=ssim,
        bands=np.stack([pairwise_rms(band) for band in _laplacian_bands(images, num_levels)]),
        effective_number=float(1 + eigenvalues.sum() ** 2 / denominator) if denominator else 1.0,
    )


def pairwise_rms(arrays) -> np.ndarray:
    """Root mean square differences between R arrays: images in gray levels, codes in the features' unit.

    Args:
      arrays: `[R, ...]`.

    Returns:
      `[R, R]`, zero on the diagonal.

    >>> pairwise_rms(np.array([[0.0, 0.0], [3.0, 3.0]])).tolist()
    [[0.0, 3.0], [3.0, 0.0]]
    """
    if not len(arrays):
        return np.zeros((0, 0))
    flat = np.asarray(arrays, np.float32).reshape(len(arrays), -1)
    return np.stack([np.sqrt(np.mean((flat - row) ** 2, axis=1, dtype=np.float64)) for row in flat])


def pixel_std(images, *, num_levels: int = 6) -> PixelStd:
    """Mean and standard deviation over restarts, pixel by pixel, whole and by Laplacian band.

    Args:
      images: `[R, H, W, C]`, two or more finite restarts, 0..255.
      num_levels: K, bands of the Laplacian pyramid, the coarsest being the low-pass residual.

    Returns:
      A `PixelStd`.

    Raises:
      ValueError: not R images, fewer than two, or images that are not finite.

    >>> pixel_std(np.stack([np.zeros((8, 8, 1)), np.full((8, 8, 1), 2.0)])).std[0, 0].tolist()
    [1.4142135381698608]
    """
    images = _require_restarts(images)
    bands = _laplacian_bands(images, num_levels).std(1, ddof=1)
    return PixelStd(images.mean(0), images.std(0, ddof=1), bands)


def std_map(images) -> np.ndarray:
    """Standard deviation over restarts as one map: the root of the variance (divisor R - 1), averaged over channels.

    Args:
      images: `[R, H, W, C]`, two or more finite restarts; clip them to 0..255 for the deviation of what is displayed.

    Returns:
      `[H, W]`, in the unit of the images.

    Raises:
      ValueError: not R images, fewer than two, or images that are not finite.

    >>> std_map(np.stack([np.zeros((1, 2, 3)), np.full((1, 2, 3), 2.0)])).round(4)
    array([[1.4142, 1.4142]], dtype=float32)
    """
    return np.sqrt(np.mean(_require_restarts(images).std(0, ddof=1) ** 2, axis=2))


def concentration(values, box: tuple[int, int, int, int], *, fraction: float = 0.9) -> Concentration:
    """Concentration of a map in a box: of the variance over restarts, say, in the receptive field of some neurons.

    Args:
      values: `[H, W]` or `[H, W, C]`, not negative.
      box: `(top, left, bottom, right)`, as `receptive_field.pixel_box` returns; may reach beyond the map.
      fraction: fraction of the map that the square holds.

    Returns:
      A `Concentration`; for a map of zeros `inside` is NaN and `side` 0.

    Raises:
      ValueError: another shape, or values that are negative or not finite.

    >>> result = concentration(np.pad(np.ones((4, 4)), 3), (2, 2, 8, 8))
    >>> result.inside, result.area, result.side
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
    # The squares about the center are the level sets of the maximum norm; the map is summed outward over them.
    distance = np.maximum(np.abs(rows - (top + bottom) / 2), np.abs(columns - (left + right) / 2))
    order = np.argsort(distance, axis=None, kind="stable")
    last = np.searchsorted(np.cumsum(values.ravel()[order]), fraction * total)
    side = round(2 * distance.ravel()[order[min(last, values.size - 1)]]) + 1  # from pixel centers to pixel edges
    return Concentration(float(part.sum() / total), area, side)


def _require_restarts(images):
    """The images as float32 `[R, H, W, C]`, checked."""
    images = np.asarray(images, np.float32)
    if images.ndim != 4 or len(images) < 2:
        raise ValueError(f"Restarts are images [R, H, W, C], two or more; got shape {images.shape}.")
    if not np.isfinite(images).all():
        count = int(np.sum(~np.isfinite(images).all(axis=(1, 2, 3))))
        raise ValueError(f"{count} of {len(images)} restarts are not finite; select images[preimage.finite] first.")
    return images


def _laplacian_bands(images, num_levels):
    """`[K, R, H, W, C]`: the bands at the images' size, the finest first; they add up to the images."""
    checks.require_count(num_levels, "num_levels")
    # Stage k of the switched pyramid is the image without its finest bands; differences of stages are the bands.
    stages = np.stack([_pyramid_stages(image, num_levels=num_levels) for image in images], axis=1)
    return np.diff(stages, axis=0, prepend=np.float32(0))[::-1]


@functools.partial(jax.jit, static_argnames="num_levels")
def _pyramid_stages(image, *, num_levels):
    """The image at every stage of the switched pyramid, the coarsest first, `[K, H, W, C]`."""
    stages = jnp.arange(num_levels)
    return jax.lax.map(lambda stage: pyramid.switched_at_stage(image, stage, num_levels=num_levels), stages)


@jax.jit
def _ssim_of_pairs(images, pairs):
    # One pair at a time: memory stays that of one SSIM whatever R is.
    return jax.lax.map(lambda pair: metrics.ssim(images[pair[0]], images[pair[1]]), pairs)
