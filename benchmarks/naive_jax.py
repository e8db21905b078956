"""HOG, HOGb and dense SIFT as one writes them first: dense gating, pooling as grouped convolution.

The benchmark compares the library with these. They compute VLFeat's values, to the rounding of the angle.
"""

import jax
import jax.numpy as jnp
import numpy as np

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def _pool(energies, size, stride, padding, mode):
    """Triangle pooling `[H, W, K] -> [h, w, K]`, a convolution of each channel."""
    channels = energies.shape[-1]
    reach = np.arange(-size + 1, size) if mode == "edge" else np.arange(-size + 0.5, size)
    taps = 1 - np.abs(reach) / size
    kernel = jnp.asarray(np.outer(taps, taps)[..., None, None], jnp.float32)
    padded = jnp.pad(energies, (*padding, (0, 0)), mode=mode)[None]
    kernel = jnp.tile(kernel, (1, 1, 1, channels))
    options = {"dimension_numbers": _LAYOUT, "feature_group_count": channels}
    return jax.lax.conv_general_dilated(padded, kernel, (stride, stride), "VALID", **options)[0]


def _length(gx, gy):
    square = gx**2 + gy**2
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0), positive


def _linear_gate(gx, gy, count):
    length, positive = _length(gx, gy)
    angle = jnp.where(positive, jnp.arctan2(jnp.where(positive, gy, 0), jnp.where(positive, gx, 1)), 0)
    position = angle * count / (2 * np.pi)
    distance = jnp.mod(position[..., None] - jnp.arange(count) + count / 2, count) - count / 2
    return length[..., None] * jax.nn.relu(1 - jnp.abs(distance))


def hog(image, *, binning, size=8):
    """HOG or HOGb with an even cell size: `[H, W, 1] -> [Hc, Wc, 27]`."""
    gray = image[..., 0]
    gx, gy = gray[1:-1, 2:] - gray[1:-1, :-2], gray[2:, 1:-1] - gray[:-2, 1:-1]
    if binning == "hard":
        angles = np.arange(9) * np.pi / 9
        half = np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
        scores = jnp.stack([gx, gy], -1) @ np.concatenate([half, -half], 1)
        energies = jax.nn.one_hot(scores.argmax(-1), 18) * _length(gx, gy)[0][..., None]
    else:
        energies = _linear_gate(gx, gy, 18)
    cells = [(side + size // 2) // size for side in gray.shape]
    ends = [(cell + 1) * size - size // 2 - side for cell, side in zip(cells, gray.shape, strict=True)]
    energies = jnp.pad(energies, ((1, 1), (1, 1), (0, 0)))
    energies = energies[: gray.shape[0] + min(ends[0], 0), : gray.shape[1] + min(ends[1], 0)]
    padding = tuple((size // 2, max(end, 0)) for end in ends)
    histograms = _pool(energies, size, size, padding, "constant")
    undirected = histograms[..., :9] + histograms[..., 9:]
    square = jnp.pad((undirected**2).sum(-1), 1, mode="edge")
    blocks = square[:-1, :-1] + square[:-1, 1:] + square[1:, :-1] + square[1:, 1:]
    factors = 1 / jnp.sqrt(blocks + 1e-4)
    corners = jnp.stack([factors[:-1, :-1], factors[:-1, 1:], factors[1:, :-1], factors[1:, 1:]], -1)[..., None]
    both = jnp.concatenate([histograms, undirected], -1)
    return jnp.minimum(0.2, both[..., None, :] * corners).sum(-2) / 2


def dsift(image, *, size=5, step=5):
    """Dense SIFT with the exact angle: `[H, W, 1] -> [ny, nx, 128]`."""
    gray = image[..., 0]
    gy, gx = jnp.gradient(gray)
    energies = _linear_gate(gx, gy, 8)
    pooled = _pool(energies, size, 1, ((size - 1, size - 1), (size - 1, size - 1)), "edge")
    reach = np.arange(1 - size, size) - size * (np.arange(4)[:, None] - 1.5)
    window = np.exp(-0.5 * (reach / (2 * size)) ** 2).mean(1)
    ny, nx = ((side - 1 - 3 * size) // step + 1 for side in gray.shape)
    starts = [(i, j) for i in range(4) for j in range(4)]
    bins = [pooled[i * size :: step, j * size :: step][:ny, :nx] * (window[i] * window[j]) for i, j in starts]
    v = jnp.concatenate(bins, -1)

    def normalize(v):
        square = jnp.sum(v**2, -1, keepdims=True)
        return v / (jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0) + 2.0**-23)

    return normalize(jnp.minimum(normalize(v), 0.2))
