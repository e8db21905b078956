"""Central differences in float64: gradients without derivatives."""

import numpy as np


def gradient(function, x, *, step: float = 1e-4) -> np.ndarray:
    """Gradient of a scalar NumPy function at `x`, one entry at a time."""
    x = np.asarray(x, np.float64)
    result = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        above, below = x.copy(), x.copy()
        above[index] += step
        below[index] -= step
        result[index] = (function(above) - function(below)) / (2 * step)
    return result


def slope(function, x, direction, *, step: float = 1e-4) -> float:
    """Derivative of a scalar NumPy function at `x` along `direction`."""
    x, direction = np.asarray(x, np.float64), np.asarray(direction, np.float64)
    return (function(x + step * direction) - function(x - step * direction)) / (2 * step)
