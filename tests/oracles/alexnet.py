"""Caffe's reference network (bvlc_reference_caffenet, deploy.prototxt) in float64 NumPy, one image at a time."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

GEOMETRY = (
    # name, kind, side, stride, padding, groups
    ("conv1", "conv", 11, 4, 0, 1),
    ("relu1", "relu", 1, 1, 0, 1),
    ("pool1", "pool", 3, 2, 0, 1),
    ("norm1", "norm", 1, 1, 0, 1),
    ("conv2", "conv", 5, 1, 2, 2),
    ("relu2", "relu", 1, 1, 0, 1),
    ("pool2", "pool", 3, 2, 0, 1),
    ("norm2", "norm", 1, 1, 0, 1),
    ("conv3", "conv", 3, 1, 1, 1),
    ("relu3", "relu", 1, 1, 0, 1),
    ("conv4", "conv", 3, 1, 1, 2),
    ("relu4", "relu", 1, 1, 0, 1),
    ("conv5", "conv", 3, 1, 1, 2),
    ("relu5", "relu", 1, 1, 0, 1),
    ("pool5", "pool", 3, 2, 0, 1),
    ("fc6", "conv", 6, 1, 0, 1),
    ("relu6", "relu", 1, 1, 0, 1),
    ("fc7", "conv", 1, 1, 0, 1),
    ("relu7", "relu", 1, 1, 0, 1),
    ("fc8", "conv", 1, 1, 0, 1),
)


def features(params, image, *, until="fc8") -> dict[str, np.ndarray]:
    """Output `[h, w, c]` of every layer up to `until` for an RGB image `[H, W, 3]`, 0..255; kernels HWIO, mean BGR."""
    blue_first = np.stack([image[..., 2], image[..., 1], image[..., 0]], axis=-1)
    x = np.asarray(blue_first, np.float64) - np.asarray(params["mean"], np.float64)
    taps = {}
    for name, kind, side, stride, padding, groups in GEOMETRY:
        if kind == "conv":
            weights = params[name]
            x = convolve(x, weights["kernel"], weights["bias"], stride=stride, padding=padding, groups=groups)
        elif kind == "relu":
            x = np.maximum(x, 0)
        elif kind == "pool":
            x = sliding_window_view(x, (side, side), axis=(0, 1))[::stride, ::stride].max((-2, -1))
        else:
            x = normalize(x)
        taps[name] = x
        if name == until:
            break
    return taps


def convolve(x, kernel, bias, *, stride, padding, groups) -> np.ndarray:
    """Cross-correlation of `[H, W, I]` with `[h, w, I / groups, O]`, the patches written out as rows."""
    kernel = np.asarray(kernel, np.float64)
    height, width, inputs, outputs = kernel.shape
    x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    patches = sliding_window_view(x, (height, width), axis=(0, 1))[::stride, ::stride]  # [h', w', I, h, w]
    blocks = []
    for group in range(groups):
        seen = patches[:, :, group * inputs : (group + 1) * inputs]
        filters = kernel[..., group * outputs // groups : (group + 1) * outputs // groups]
        rows = seen.reshape(seen.shape[0] * seen.shape[1], -1)
        columns = filters.transpose(2, 0, 1, 3).reshape(rows.shape[1], -1)
        blocks.append((rows @ columns).reshape(*seen.shape[:2], -1))
    return np.concatenate(blocks, axis=-1) + np.asarray(bias, np.float64)


def normalize(x, *, size=5, k=1.0, alpha=1e-4, beta=0.75) -> np.ndarray:
    """Local response normalization across the last axis, channel by channel."""
    x = np.asarray(x, np.float64)
    y = np.empty_like(x)
    for c in range(x.shape[-1]):
        window = x[..., max(c - size // 2, 0) : c + size // 2 + 1]
        y[..., c] = x[..., c] / (k + alpha / size * (window**2).sum(-1)) ** beta
    return y
