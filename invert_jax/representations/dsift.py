"""Dense SIFT, as VLFeat 0.9.21 (flat window) and as the paper's released network compute it."""

import math

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from invert_jax._util import checks, safe_math
from invert_jax.representations import gradient_histograms
from invert_jax.types import Features, Image, Representation

VARIANTS = ("vlfeat", "released")
_BINS, _ORIENTATIONS, _CLAMP = 4, 8, 0.2
_EPSILON = 2.0**-23  # VLFeat's VL_EPSILON_F, which it adds to norms
_VLFEAT_STEP = 5


class Dsift(nn.Module):
    """Dense SIFT of one gray image: a Flax module without parameters.

    Attributes:
      bin_size: side of a spatial bin, pixels.
      step: pixels between descriptors.
      variant: `vlfeat` or `released`.
      gradient: `exact` or `straight_through`.
    """

    bin_size: int
    step: int
    variant: str
    gradient: str = "exact"

    def __call__(self, image: Image) -> Features:
        """`image [H, W, 1]`, 0..255 -> `[ny, nx, 128]`."""
        released = self.variant == "released"
        min_side = 5 * self.bin_size + 2 if released else 3 * self.bin_size + 1
        checks.require_image(image, channels=1, min_side=min_side, what=f"DSIFT of bin size {self.bin_size}")
        describe = _released if released else _vlfeat
        return describe(image[..., 0], self.bin_size, self.step, self.gradient)


def _vlfeat(image, size, step, gradient):
    gx, gy = gradient_histograms.one_sided_differences(image)
    energies = gradient_histograms.split_linearly(safe_math.safe_hypot(gx, gy), _cubic_angle(gx, gy), _ORIENTATIONS)
    bins = [_bin_positions(length, size, step) for length in image.shape]
    # Descriptors overlap and share bins: pool every bin once, then gather.
    positions = [np.unique(b) for b in bins]
    pooled = gradient_histograms.pool(
        energies,
        *(
            gradient_histograms.triangles(centers, size, length, replicate=True)
            for centers, length in zip(positions, image.shape, strict=True)
        ),
    )
    # The flat window: the mean over a bin's pixels of a Gaussian of standard deviation 2 bins about the descriptor.
    pixels = np.arange(1 - size, size)
    distance = pixels - size * (np.arange(_BINS)[:, None] - 1.5)
    window = np.exp(-0.5 * (distance / (2 * size)) ** 2).mean(1)
    rows, columns = (np.searchsorted(centers, b) for centers, b in zip(positions, bins, strict=True))
    v = _gather(pooled, rows, columns, window)
    v = v / (safe_math.safe_norm(v, -1)[..., None] + _EPSILON)
    v = gradient_histograms.clamp(v, _CLAMP, gradient=gradient)
    return v / (safe_math.safe_norm(v, -1)[..., None] + _EPSILON)


def _released(image, size, step, gradient):
    gx, gy = (g / 2 for g in gradient_histograms.differences(image))
    energies = gradient_histograms.split_linearly(
        safe_math.safe_hypot(gx, gy), safe_math.safe_angle(gx, gy), _ORIENTATIONS
    )
    counts = [(length - 2 * size) // size + 1 for length in gx.shape]
    pooled = gradient_histograms.pool(
        energies,
        *(
            gradient_histograms.triangles(np.arange(count) * size + size - 0.5, size, length)
            for count, length in zip(counts, gx.shape, strict=True)
        ),
    )
    rows, columns = (np.arange(0, count - _BINS + 1, step // size)[:, None] + np.arange(_BINS) for count in counts)
    window = np.exp(-0.5 * ((np.arange(_BINS) - 1.5) / 1.5) ** 2)
    v = _gather(pooled, rows, columns, window)
    v = v / jnp.sqrt(1e-6 + jnp.sum(v * v, axis=-1, keepdims=True))
    return gradient_histograms.clamp(v, _CLAMP, gradient=gradient)


def _bin_positions(length, size, step):
    """Bin centers `[n, 4]` of the descriptors along one axis, pixels."""
    first = np.arange(0, length - 3 * size, step)
    return first[:, None] + size * np.arange(_BINS)


def _gather(pooled, rows, columns, window):
    """The weighted 4x4 bins of every descriptor: `[., ., 8]`, `[ny, 4]`, `[nx, 4]` -> `[ny, nx, 128]`."""
    bins = pooled[rows[:, None, :, None], columns[None, :, None, :]]
    weights = jnp.asarray(window[:, None] * window, jnp.float32)
    return (bins * weights[None, None, :, :, None]).reshape(len(rows), len(columns), -1)


def _cubic_angle(gx, gy):
    """VLFeat's approximation of atan2, a cubic in `(|gx| - |gy|) / (|gx| + |gy|)`; its error is at most 0.006 rad."""
    # Signs as factors instead of `abs`, so that the derivative at 0 is one-sided rather than 0.
    sign_x, sign_y = jnp.where(gx >= 0, 1.0, -1.0), jnp.where(gy >= 0, 1.0, -1.0)
    across, along = gx * sign_x, gy * sign_y + _EPSILON
    r = (across - along) / (across + along)
    quadrant = math.pi / 4 + (0.1821 * r * r - 0.9675) * r
    return sign_y * jnp.where(gx >= 0, quadrant, math.pi - quadrant)


def dsift(
    *, bin_size: int = 5, step: int | None = None, variant: str = "vlfeat", gradient: str = "exact"
) -> Representation:
    """Dense SIFT: 4x4 spatial bins of 8 gradient orientations at every `step` pixels.

    A descriptor is weighted by a Gaussian window, normalized, clamped at 0.2 and, in VLFeat, normalized again.

    Args:
      bin_size: side of a spatial bin, pixels.
      step: pixels between descriptors; None is 5 for `vlfeat` and `3 bin_size`, the only step it has, for `released`.
      variant: `vlfeat` is VLFeat 0.9.21 in its "fast" form with a flat window; `released` is the network of the
        paper's released code (no padding, another window, no second normalization).
      gradient: `exact`, or `straight_through`: the same features, bit for bit, whose derivative passes the clamp.

    Returns:
      A representation of gray images `[H, W, 1]`, 0..255; features `[ny, nx, 128]`, index
      `orientation + 8 (column + 4 row)`, with `ny = (H - 1 - 3 bin_size) // step + 1`, or
      `((H - 2) // bin_size - 5) // 3 + 1` for `released`.

    Raises:
      ValueError: an unknown variant or gradient, a size or step that is not positive, or another step for `released`.

    Source: Lowe 2004; VLFeat 0.9.21; Mahendran & Vedaldi 2015, section 3.

    >>> dsift()(jnp.zeros((64, 77, 1))).shape
    (10, 13, 128)
    """
    checks.require_choice(variant, VARIANTS, "DSIFT variant")
    checks.require_choice(gradient, gradient_histograms.GRADIENTS, "DSIFT gradient")
    checks.require_count(bin_size, "bin_size")
    if step is None:
        step = 3 * bin_size if variant == "released" else _VLFEAT_STEP
    checks.require_count(step, "step")
    if variant == "released" and step != 3 * bin_size:
        raise ValueError(
            f"step is {step}, but the released DSIFT network has a step of 3 bins, here {3 * bin_size} pixels; leave "
            "step out, or use variant='vlfeat'."
        )
    return Representation(
        gradient_histograms.Histograms(Dsift(int(bin_size), int(step), variant, gradient)), {}, jnp.float32(128)
    )
