"""SIFT of patches in float64, patch by patch and pixel by pixel, with angles and scipy's convolution."""

import numpy as np
from scipy import signal


def filters(sigma=0.8):
    reach = 2 * int(np.ceil(sigma))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    bell = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    down, right = np.gradient(bell / bell.sum())
    return 2 * down / np.abs(down).sum(), 2 * right / np.abs(right).sum()


def descriptor(responses, size):
    """`[size, size, 8]` -> 128 numbers, not normalized."""
    width = size / 4
    result = np.zeros((8, 4, 4))
    for y in range(size):
        for x in range(size):
            for row in range(4):
                for column in range(4):
                    dy, dx = abs(y - (row * width + width / 2 - 0.5)), abs(x - (column * width + width / 2 - 0.5))
                    if dy <= width and dx <= width:
                        result[:, row, column] += (1 - dy / width) * (1 - dx / width) * responses[y, x]
    return result.ravel()


def gray(image, size=16, stride=8):
    down, right = filters()
    gy, gx = (signal.convolve2d(image.astype(float), kernel, mode="same") for kernel in (down, right))
    angle, magnitude = np.arctan2(gy, gx), np.hypot(gx, gy)
    steps = np.cos(angle[..., None] - np.arange(8) * np.pi / 4)
    responses = magnitude[..., None] * np.maximum(steps, 0) ** 9
    starts = [range((side - size) % stride // 2, side - size + 1, stride) for side in image.shape]
    result = np.zeros((len(starts[0]), len(starts[1]), 128))
    for i, y in enumerate(starts[0]):
        for j, x in enumerate(starts[1]):
            v = descriptor(responses[y : y + size, x : x + size], size)
            length = np.linalg.norm(v)
            v = np.minimum(v / max(length, 1.0), 0.2)
            result[i, j] = v / np.linalg.norm(v) if length >= 1 else v
    return result
