"""SIFT of square patches on a grid, as in Jia et al. 2012: the shallow features of Singh & Namboodiri."""

import functools
import math

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from invert_jax._util import checks, safe_math
from invert_jax.representations import gradient_histograms
from invert_jax.types import Features, Image, Representation

_BINS, _ORIENTATIONS, _SHARPNESS, _CLAMP = 4, 8, 9, 0.2
_SIGMA = 0.8  # pixels, of the Gaussian whose derivatives are the gradient filters
_LOW_CONTRAST = 1.0  # gray levels: shorter descriptors are not normalized, which would amplify noise


class PatchSift(nn.Module):
    """SIFT of patches of a gray or color image: a Flax module without parameters.

    Attributes:
      patch_size: side of a patch, pixels.
      stride: pixels between patches.
      color: whether the image has three channels, described one after the other.
    """

    patch_size: int
    stride: int
    color: bool

    def __call__(self, image: Image) -> Features:
        """`image [H, W, 1 or 3]`, 0..255 -> `[ny, nx, 128 or 384]`."""
        checks.require_image(
            image,
            channels=3 if self.color else 1,
            min_side=self.patch_size,
            what=f"SIFT of {self.patch_size}-pixel patches",
        )
        channels = [self._describe(image[..., c]) for c in range(image.shape[2])]
        return jnp.concatenate(channels, axis=-1)

    def _describe(self, image):
        gy, gx = (_convolve(image, kernel) for kernel in _derivatives_of_gaussian())
        rows, columns = (_bin_weights(length, self.patch_size, self.stride) for length in image.shape)
        pooled = gradient_histograms.pool(_gate(gx, gy), rows, columns)
        ny, nx = len(rows) // _BINS, len(columns) // _BINS
        v = pooled.reshape(ny, _BINS, nx, _BINS, _ORIENTATIONS).transpose(0, 2, 4, 1, 3).reshape(ny, nx, -1)
        norm = safe_math.safe_norm(v, -1)[..., None]
        v = jnp.minimum(v / jnp.maximum(norm, _LOW_CONTRAST), _CLAMP)
        clamped_norm = safe_math.safe_norm(v, -1)[..., None]
        # The inner `where` gives the branch that is not taken a finite value: 0 / 0 would make the gradient NaN.
        return jnp.where(norm >= _LOW_CONTRAST, v / jnp.where(clamped_norm > 0, clamped_norm, 1), v)


def _gate(gx, gy):
    """`|g| max(0, cos(angle - 2 pi k / 8))^9` for every orientation k: `[H, W, 8]`."""
    # With `<g, u_k> = |g| cos(angle - 2 pi k / 8)` this is `<g, u_k> (<g, u_k> / |g|)^8`: no angle is computed.
    magnitude = safe_math.safe_hypot(gx, gy)
    inverse = 1 / jnp.where(magnitude > 0, magnitude, 1)
    angles = np.arange(_ORIENTATIONS) * (2 * np.pi / _ORIENTATIONS)
    along = jnp.stack([gx * float(np.cos(a)) + gy * float(np.sin(a)) for a in angles], axis=-1)
    along = jnp.maximum(along, 0)
    return along * (along * inverse[..., None]) ** (_SHARPNESS - 1)


@functools.cache
def _derivatives_of_gaussian():
    """Filters for the derivatives downward and to the right: differences of a Gaussian, with absolute sum 2."""
    radius = 2 * math.ceil(_SIGMA)
    square = np.arange(-radius, radius + 1) ** 2
    gaussian = np.exp(-(square[:, None] + square) / (2 * _SIGMA**2))
    return tuple(2 * slope / np.abs(slope).sum() for slope in np.gradient(gaussian))


def _convolve(image, kernel):
    """Convolution of the size of the image, with zeros beyond its border."""
    height, width = image.shape
    radius = len(kernel) // 2
    image = jnp.pad(image, radius)
    taps = (
        float(weight) * image[i : i + height, j : j + width]
        for (i, j), weight in np.ndenumerate(kernel[::-1, ::-1])
        if weight
    )
    return sum(taps, jnp.zeros((), jnp.float32))


def _bin_weights(length, patch_size, stride):
    """Linear interpolation between the 4 bins of every patch along one axis, clipped at the patch: `[4 n, length]`."""
    starts = np.arange((length - patch_size) % stride // 2, length - patch_size + 1, stride)
    width = patch_size / _BINS
    pixels = np.arange(patch_size)
    bins = np.maximum(0, 1 - np.abs(pixels - (np.arange(_BINS)[:, None] + 0.5) * width + 0.5) / width)
    weights = np.zeros((len(starts), _BINS, length), np.float32)
    for patch, start in enumerate(starts):
        weights[patch, :, start : start + patch_size] = bins
    return weights.reshape(-1, length)


def patch_sift(*, patch_size: int = 16, stride: int = 8, color: bool = False) -> Representation:
    """SIFT of square patches on a grid: 4x4 spatial bins of 8 gradient orientations per patch.

    Gradients are derivatives of a Gaussian of 0.8 pixels. A gradient contributes
    `|g| max(0, cos(angle - 2 pi k / 8))^9` to orientation k, shared linearly between neighboring bins of its patch. A
    descriptor of norm 1 or more is normalized, clamped at 0.2 and normalized again; a shorter one is only clamped. As
    in the original code, the image is continued by zeros, so the outermost patches see its brightness as an edge.

    Args:
      patch_size: side of a patch, pixels.
      stride: pixels between patches; the pixels left over are split between the two borders.
      color: whether images have three channels, which are described one by one and concatenated, R first.

    Returns:
      A representation of images `[H, W, 1]` (`[H, W, 3]` if color), 0..255; features `[ny, nx, 128]` (384), index
      `column + 4 row + 16 orientation` (`+ 128 channel`), `ny = (H - patch_size) // stride + 1`.

    Raises:
      ValueError: a size or stride that is not a positive integer.

    Source: Jia, Huang & Darrell 2012; Singh & Namboodiri 2015, section 5.

    >>> patch_sift(color=True)(jnp.zeros((128, 128, 3))).shape
    (15, 15, 384)
    """
    checks.require_count(patch_size, "patch_size")
    checks.require_count(stride, "stride")
    return Representation(
        gradient_histograms.Histograms(PatchSift(int(patch_size), int(stride), bool(color))), {}, jnp.float32(128)
    )
