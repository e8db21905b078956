"""Burt & Adelson's pyramid as matrices, in float64: every row of a matrix is written down tap by tap."""

import numpy as np

KERNEL = np.array([1, 4, 6, 4, 1]) / 16


def reduction(size):
    """`[ceil(size / 2), size]`: sample i is the kernel around place 2 i, places beyond the border being the border."""
    matrix = np.zeros((-(-size // 2), size))
    for i in range(len(matrix)):
        for m in range(-2, 3):
            matrix[i, min(max(2 * i + m, 0), size - 1)] += KERNEL[m + 2]
    return matrix


def expansion(size):
    """`[size, ceil(size / 2)]`: place i takes `2 w(m)` of old sample `(i - m) / 2` wherever that is whole."""
    old = -(-size // 2)
    matrix = np.zeros((size, old))
    for i in range(size):
        for m in range(-2, 3):
            if (i - m) % 2 == 0:
                matrix[i, min(max((i - m) // 2, 0), old - 1)] += 2 * KERNEL[m + 2]
    return matrix


def along_both(matrix, image):
    rows, columns = matrix(image.shape[0]), matrix(image.shape[1])
    return np.einsum("ih,jw,hwc->ijc", rows, columns, image, optimize=True)


def expand(image, shape):
    return np.einsum("ih,jw,hwc->ijc", expansion(shape[0]), expansion(shape[1]), image, optimize=True)


def decompose(image, num_levels):
    levels = []
    for _ in range(num_levels - 1):
        coarse = along_both(reduction, image)
        levels.append(image - expand(coarse, image.shape[:2]))
        image = coarse
    return [*levels, image]


def switched(image, switches):
    levels = [s * level for s, level in zip(switches, decompose(image, len(switches)), strict=True)]
    result = levels[-1]
    for level in levels[-2::-1]:
        result = level + expand(result, level.shape[:2])
    return result
