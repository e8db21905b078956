"""Dense SIFT in plain NumPy: VLFeat 0.9.21's (flat window), and the one of the paper's released program."""

import numpy as np

TINY = 2.0**-23


def _split(length: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Energies [H, W, 8]: each gradient shared linearly by its two neighboring orientations."""
    step = np.pi / 4
    out = np.zeros((*length.shape, 8))
    for t in range(8):
        distance = np.abs((angle - t * step + np.pi) % (2 * np.pi) - np.pi)
        out[..., t] = length * np.maximum(0, 1 - distance / step)
    return out


def _cubic_angle(gx: np.ndarray, gy: np.ndarray) -> np.ndarray:
    """VLFeat's approximation of atan2: a cubic in the first quadrant, reflected into the others."""
    ax, ay = np.abs(gx), np.abs(gy) + TINY
    r = (ax - ay) / (ax + ay)
    angle = np.pi / 4 + (0.1821 * r**2 - 0.9675) * r
    angle = np.where(gx < 0, np.pi - angle, angle)
    return np.where(gy < 0, -angle, angle)


def _vlfeat_gradient(image: np.ndarray, axis: int) -> np.ndarray:
    """Halved central differences; one-sided, not halved, at the two ends."""
    image = np.moveaxis(image, axis, 0)
    out = np.empty_like(image)
    out[1:-1] = (image[2:] - image[:-2]) / 2
    out[0] = image[1] - image[0]
    out[-1] = image[-1] - image[-2]
    return np.moveaxis(out, 0, axis)


def _vlfeat_window(b: int) -> np.ndarray:
    """w_i [4]: mean over the 2b - 1 pixels of bin i of a Gaussian of std 2b centered on the descriptor."""
    z = np.arange(-b + 1, b)
    return np.array([np.mean(np.exp(-0.5 * ((z - b * (i - 1.5)) / (2 * b)) ** 2)) for i in range(4)])


def dsift(image: np.ndarray, bin_size: int = 5, step: int = 5) -> np.ndarray:
    """VLFeat's dense SIFT ("fast") of a gray image [H, W]: [ny, nx, 128]."""
    b = bin_size
    image = image.astype(np.float64)
    gx, gy = _vlfeat_gradient(image, 1), _vlfeat_gradient(image, 0)
    energies = _split(np.sqrt(gx**2 + gy**2), _cubic_angle(gx, gy))

    height, width = image.shape
    padded = np.pad(energies, ((b - 1, b - 1), (b - 1, b - 1), (0, 0)), mode="edge")
    bins = np.zeros_like(energies)
    for i in range(-b + 1, b):
        for j in range(-b + 1, b):
            weight = (1 - abs(i) / b) * (1 - abs(j) / b)
            bins += weight * padded[b - 1 + i : b - 1 + i + height, b - 1 + j : b - 1 + j + width]

    ny, nx = (height - 1 - 3 * b) // step + 1, (width - 1 - 3 * b) // step + 1
    window = _vlfeat_window(b)
    out = np.zeros((ny, nx, 128))
    for p in range(ny):
        for q in range(nx):
            v = np.zeros((4, 4, 8))
            for i in range(4):
                for j in range(4):
                    v[i, j] = window[i] * window[j] * bins[p * step + i * b, q * step + j * b]
            v = v.ravel() / (np.linalg.norm(v) + TINY)
            v = np.minimum(v, 0.2)
            out[p, q] = v / (np.linalg.norm(v) + TINY)
    return out


def dsift_released(image: np.ndarray, bin_size: int = 5) -> np.ndarray:
    """The released program's dense SIFT of a gray image [H, W], every 3 bins: [ny, nx, 128].

    Halved central differences of the inner pixels; exact angle; bins between pixels (2b taps), every b
    pixels, no padding; Gaussian window of std 1.5 bins at the bins' centers; v / sqrt(1e-6 + |v|^2),
    clamp 0.2, no second normalization.
    """
    b = bin_size
    image = image.astype(np.float64)
    gx = (image[1:-1, 2:] - image[1:-1, :-2]) / 2
    gy = (image[2:, 1:-1] - image[:-2, 1:-1]) / 2
    energies = _split(np.sqrt(gx**2 + gy**2), np.arctan2(gy, gx))

    taps = 1 - np.abs(np.arange(2 * b) - (b - 0.5)) / b
    rows, columns = ((n - 2 * b) // b + 1 for n in energies.shape[:2])
    bins = np.zeros((rows, columns, 8))
    for i in range(rows):
        for j in range(columns):
            patch = energies[i * b : (i + 2) * b, j * b : (j + 2) * b]
            bins[i, j] = np.einsum("y,x,yxt->t", taps, taps, patch)

    window = np.exp(-0.5 * ((np.arange(4) - 1.5) / 1.5) ** 2)
    ny, nx = (rows - 4) // 3 + 1, (columns - 4) // 3 + 1
    out = np.zeros((ny, nx, 128))
    for p in range(ny):
        for q in range(nx):
            v = bins[3 * p : 3 * p + 4, 3 * q : 3 * q + 4] * window[:, None, None] * window[None, :, None]
            out[p, q] = np.minimum(0.2, v.ravel() / np.sqrt(1e-6 + np.sum(v**2)))
    return out
