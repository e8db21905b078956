"""HOG (UoCTTI) and HOGb, as VLFeat 0.9.21 and as the paper's released network compute them."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from invert_jax._util import checks, safe_math
from invert_jax.representations import gradient_histograms
from invert_jax.types import Features, Image, Representation

VARIANTS = ("vlfeat", "released")
_CLAMP = 0.2


class Hog(nn.Module):
    """HOG of one gray image: a Flax module without parameters.

    Attributes:
      cell_size: side of a cell, pixels.
      num_orientations: undirected orientations, O.
      binning: `hard`, `bilinear` or `approximate`.
      variant: `vlfeat` or `released`.
      gradient: `exact` or `straight_through`.
    """

    cell_size: int
    num_orientations: int
    binning: str
    variant: str
    gradient: str = "exact"

    def __call__(self, image: Image) -> Features:
        """`image [H, W, 1]`, 0..255 -> `[Hc, Wc, 3 O]`."""
        released = self.variant == "released"
        # VLFeat needs more than 3 pixels and rounds half a cell up to one; the released network needs a whole block.
        min_side = 2 * self.cell_size if released else max(4, self.cell_size - self.cell_size // 2)
        checks.require_image(image, channels=1, min_side=min_side, what=f"HOG of cell size {self.cell_size}")
        height, width, _ = image.shape
        size = self.cell_size
        if released:
            gx, gy = (g / 2 for g in gradient_histograms.differences(jnp.pad(image[..., 0] - 128, 1)))
            num_rows, num_columns, first = height // size, width // size, 0
        else:
            gx, gy = gradient_histograms.differences(image[..., 0])
            num_rows, num_columns, first = (height + size // 2) // size, (width + size // 2) // size, 1
        # `first`: the pixel of the first difference, 1 because the border has none, or 0 where the image was padded.
        columns = gradient_histograms.triangles(_centers(num_columns, size) - first, size, gx.shape[1])
        if self.binning == "hard":  # gating is cheap enough to be recomputed within the pooling; an angle is not
            gx, gy = (gradient_histograms.fold_rows(g, size=size, count=num_rows, first=first) for g in (gx, gy))
            energies = gradient_histograms.gate(gx, gy, 2 * self.num_orientations, self.binning, gradient=self.gradient)
            cells = gradient_histograms.pool_cells(energies, columns)
        else:
            rows = gradient_histograms.triangles(_centers(num_rows, size) - first, size, gx.shape[0])
            energies = gradient_histograms.gate(gx, gy, 2 * self.num_orientations, self.binning)
            cells = gradient_histograms.pool(energies, rows, columns)
        return _normalize(cells, released, self.gradient)


def _centers(count, size):
    return np.arange(count) * size + (size - 1) / 2


def _normalize(cells, released, gradient):
    """Block normalization, clamping and summation: directed histograms `[n, m, 2 O]` -> `[n, m, 3 O]`."""
    half = cells.shape[-1] // 2
    undirected = cells[..., :half] + cells[..., half:]
    square = jnp.sum(undirected**2, axis=-1)
    if not released:  # VLFeat repeats the border cells, so that every cell has four blocks
        square = jnp.pad(square, 1, mode="edge")
    blocks = square[:-1, :-1] + square[:-1, 1:] + square[1:, :-1] + square[1:, 1:]
    if released:  # whole blocks only; the factor of a missing block is zero
        factors = jnp.pad(1 / jnp.maximum(safe_math.safe_power(blocks, 0.5), 1e-6), 1)
    else:
        factors = jax.lax.rsqrt(blocks + 1e-4)
    corners = factors[:-1, :-1], factors[:-1, 1:], factors[1:, :-1], factors[1:, 1:]

    def recombine(histogram):
        normalized = (histogram * factor[..., None] for factor in corners)
        return sum(gradient_histograms.clamp(values, _CLAMP, gradient=gradient) for values in normalized) / 2

    return jnp.concatenate([recombine(cells), recombine(undirected)], axis=-1)


def hog(
    *,
    cell_size: int = 8,
    num_orientations: int = 9,
    binning: str = "hard",
    variant: str = "vlfeat",
    gradient: str = "exact",
) -> Representation:
    """Histograms of oriented gradients: HOG, HOGb (`binning="bilinear"`), or the paper's ReLU form.

    Gradients are gated by orientation and pooled bilinearly into cells. A cell is normalized by each of the four 2x2
    blocks around it, `f = (sum q^2 + 1e-4)^(-1/2)`, clamped at 0.2, and the four results are summed and halved.

    Args:
      cell_size: side of a cell, pixels.
      num_orientations: undirected orientations, O.
      binning: `hard` (HOG), `bilinear` (HOGb), or `approximate`, `max(0, <g, u_k> - a |g|)`.
      variant: `vlfeat` is VLFeat 0.9.21, to float32 rounding; `released` is the network of the paper's released
        code, which drops partial cells and the blocks that reach beyond the image. Its floor of 1e-6 under the block
        norm makes gradients huge where an image is nearly flat: a descent that starts from a flat image instead of
        noise diverges.
      gradient: `exact`, or `straight_through`: the same features, bit for bit, with the derivative of a binning that
        passes continuously from bin to bin, and of no clamp. The exact derivative of `hard` binning does not know that
        turning an edge changes its bin, and the clamp's is 0 where it acts; descents by it stop far from the target.

    Returns:
      A representation of gray images `[H, W, 1]`, 0..255; features `[Hc, Wc, 3 O]`: 2 O directed, then O
      undirected orientations (without the 4 texture channels, as in the paper), with
      `Hc = (H + cell_size // 2) // cell_size`, or `H // cell_size` for `released`.

    Raises:
      ValueError: an unknown binning, variant or gradient, or a size that is not positive.

    Source: Felzenszwalb et al. 2010; Mahendran & Vedaldi 2015, section 3; VLFeat 0.9.21; straight-through gradients,
    Bengio et al. 2013.

    >>> hog()(jnp.zeros((64, 77, 1))).shape
    (8, 10, 27)
    """
    checks.require_choice(binning, gradient_histograms.GATINGS, "HOG binning")
    checks.require_choice(variant, VARIANTS, "HOG variant")
    checks.require_choice(gradient, gradient_histograms.GRADIENTS, "HOG gradient")
    checks.require_count(cell_size, "cell_size")
    checks.require_count(num_orientations, "num_orientations")
    module = Hog(int(cell_size), int(num_orientations), binning, variant, gradient)
    return Representation(gradient_histograms.Histograms(module), {}, jnp.float32(128))
