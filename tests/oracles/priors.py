"""The alpha-norm, total variation and eq. 3 of Mahendran & Vedaldi 2015, section 2, in plain loops."""

import numpy as np


def alpha_norm(x, alpha) -> float:
    """Sum of `|x|^alpha`."""
    return float(sum(abs(float(value)) ** alpha for value in np.asarray(x, np.float64).ravel()))


def total_variation(x, beta) -> float:
    """TV^beta by loops over pixels; a difference that would leave the image is zero; channels are summed."""
    x = np.asarray(x, np.float64)
    height, width, channels = x.shape
    total = 0.0
    for i in range(height):
        for j in range(width):
            for c in range(channels):
                right = x[i, j + 1, c] - x[i, j, c] if j + 1 < width else 0.0
                down = x[i + 1, j, c] - x[i, j, c] if i + 1 < height else 0.0
                total += (right**2 + down**2) ** (beta / 2)
    return float(total)


def energy(phi, target, x, *, center, sigma, lambda_alpha, lambda_tv, alpha, beta, mask=None) -> np.ndarray:
    """Eq. 3 at `x`: total, loss, alpha-norm term, TV term. `phi` maps an image 0..255 to features."""
    x = np.asarray(x, np.float64)
    keep = np.ones(np.shape(target), bool) if mask is None else np.asarray(mask)
    difference = (phi(center + sigma * x) - target)[keep]
    loss = (difference**2).sum() / (np.asarray(target, np.float64)[keep] ** 2).sum()
    terms = [loss, lambda_alpha * alpha_norm(x, alpha), lambda_tv * total_variation(x, beta)]
    return np.array([sum(terms), *terms])
