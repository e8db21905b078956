"""HOG in plain NumPy: UoCTTI's as VLFeat 0.9.21 computes it, and the one of the paper's released program.

Directed energies e_k -> cells h_k (triangle pooling) -> four block factors per cell -> clamp at 0.2 -> sum.
"""

import numpy as np

NUM_DIRECTIONS = 18


def _directions() -> np.ndarray:
    """Unit vectors [18, 2] rounded to float32, the second nine exactly minus the first nine."""
    angles = np.arange(9) * np.pi / 9
    half = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    return np.concatenate([half, -half])


def _energies(gx: np.ndarray, gy: np.ndarray, binning: str) -> np.ndarray:
    """Orientation energies [H, W, 18] of a gradient field."""
    u = _directions()
    length = np.sqrt(gx.astype(np.float64) ** 2 + gy.astype(np.float64) ** 2)
    energies = np.zeros((*gx.shape, NUM_DIRECTIONS))
    if binning == "hard":
        # Scores in float32: exact ties (gx = 0) must stay ties, and the first maximum wins.
        gx, gy = gx.astype(np.float32), gy.astype(np.float32)
        scores = np.stack([gx * u[k, 0] + gy * u[k, 1] for k in range(NUM_DIRECTIONS)], axis=-1)
        np.put_along_axis(energies, np.argmax(scores, axis=-1)[..., None], length[..., None], axis=-1)
    elif binning == "bilinear":
        step = 2 * np.pi / NUM_DIRECTIONS
        angle = np.arctan2(gy.astype(np.float64), gx.astype(np.float64))
        for k in range(NUM_DIRECTIONS):
            distance = np.abs(np.angle(np.exp(1j * (angle - k * step))))
            energies[..., k] = length * np.maximum(0, 1 - distance / step)
    elif binning == "approximate":
        threshold = np.cos(2 * np.pi / NUM_DIRECTIONS)
        for k in range(NUM_DIRECTIONS):
            energies[..., k] = np.maximum(0, gx * np.float64(u[k, 0]) + gy * np.float64(u[k, 1]) - threshold * length)
    else:
        raise ValueError(binning)
    return energies


def _pool(energies: np.ndarray, cells: tuple[int, int], b: int) -> np.ndarray:
    """h[cy, cx] = sum_yx e[y, x] t((y - m_cy)/b) t((x - m_cx)/b), zero outside the image."""
    weights = []
    for size, count in zip(energies.shape[:2], cells, strict=True):
        centers = np.arange(count) * b + (b - 1) / 2
        weights.append(np.maximum(0, 1 - np.abs(np.arange(size)[None] - centers[:, None]) / b))
    return np.einsum("iy,jx,yxk->ijk", *weights, energies, optimize=True)


def hog(image: np.ndarray, cell_size: int = 8, binning: str = "hard") -> np.ndarray:
    """VLFeat's HOG of a gray image [H, W], without the four texture channels: [Hc, Wc, 27]."""
    height, width = image.shape
    cells = (height + cell_size // 2) // cell_size, (width + cell_size // 2) // cell_size
    gx, gy = np.zeros((2, height, width), image.dtype)
    gx[1:-1, 1:-1] = image[1:-1, 2:] - image[1:-1, :-2]
    gy[1:-1, 1:-1] = image[2:, 1:-1] - image[:-2, 1:-1]
    h = _pool(_energies(gx, gy, binning), cells, cell_size)
    q = h[..., :9] + h[..., 9:]
    squares = np.pad(np.sum(q**2, axis=-1), 1, mode="edge")
    out = np.zeros((*cells, 27))
    for i in range(cells[0]):
        for j in range(cells[1]):
            for di in (0, 1):
                for dj in (0, 1):
                    f = 1 / np.sqrt(squares[i + di : i + di + 2, j + dj : j + dj + 2].sum() + 1e-4)
                    out[i, j, :18] += 0.5 * np.minimum(0.2, f * h[i, j])
                    out[i, j, 18:] += 0.5 * np.minimum(0.2, f * q[i, j])
    return out


def hog_released(image: np.ndarray, cell_size: int = 8, binning: str = "hard") -> np.ndarray:
    """The released program's HOG of a gray image [H, W], 0..255 (even cell size): [H // b, W // b, 27].

    Halved differences of image - 128 continued by zeros; whole cells only; whole 2x2 blocks only, so that
    border cells have two of them and corner cells one; the block norm is floored at 1e-6.
    """
    height, width = image.shape
    padded = np.pad(image - image.dtype.type(128), 1)
    half = image.dtype.type(0.5)
    gx = half * (padded[1:-1, 2:] - padded[1:-1, :-2])
    gy = half * (padded[2:, 1:-1] - padded[:-2, 1:-1])
    cells = height // cell_size, width // cell_size
    h = _pool(_energies(gx, gy, binning), cells, cell_size)
    q = h[..., :9] + h[..., 9:]
    out = np.zeros((*cells, 27))
    for i in range(cells[0] - 1):
        for j in range(cells[1] - 1):
            block = np.s_[i : i + 2, j : j + 2]
            norm = max(np.sqrt(np.sum(q[block] ** 2)), 1e-6)
            out[block] += 0.5 * np.minimum(0.2, np.concatenate([h[block], q[block]], axis=-1) / norm)
    return out
