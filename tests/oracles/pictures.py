"""Drawn test pictures, gray [H, W] float32 in 0..255."""

import numpy as np


def textured(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Waves of many directions and scales plus weak noise: contrast and every orientation everywhere."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    out = np.zeros((height, width))
    for _ in range(12):
        angle, period, phase = (
            random.uniform(0, 2 * np.pi),
            random.uniform(6, 40),
            random.uniform(0, 2 * np.pi),
        )
        wave = 2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period + phase
        out += random.uniform(5, 15) * np.sin(wave)
    out += random.normal(0, 2, out.shape)
    return np.clip(127 + out, 0, 255).astype(np.float32)


def step_edge(height: int, width: int) -> np.ndarray:
    """Black on the left, white on the right: flat but for one column, and gy = 0 exactly."""
    return np.where(np.arange(width) < width // 2, 0, 255)[None].repeat(height, axis=0).astype(np.float32)
