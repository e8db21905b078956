"""Stacks of layers in float64 NumPy, one image at a time: Caffe's reference network, and three others."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

GEOMETRY = (  # bvlc_reference_caffenet, deploy.prototxt
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
# bvlc_alexnet, deploy.prototxt: norm1 and norm2 before pool1 and pool2.
_BVLC = (*GEOMETRY[:2], GEOMETRY[3], GEOMETRY[2], *GEOMETRY[4:6], GEOMETRY[7], GEOMETRY[6], *GEOMETRY[8:])
# torchvision.models.alexnet: features.0, .1, ... and classifier.1, ...
_TORCHVISION = (
    ("conv1", "conv", 11, 4, 2, 1),
    ("relu1", "relu", 1, 1, 0, 1),
    ("pool1", "pool", 3, 2, 0, 1),
    ("conv2", "conv", 5, 1, 2, 1),
    ("relu2", "relu", 1, 1, 0, 1),
    ("pool2", "pool", 3, 2, 0, 1),
    ("conv3", "conv", 3, 1, 1, 1),
    ("relu3", "relu", 1, 1, 0, 1),
    ("conv4", "conv", 3, 1, 1, 1),
    ("relu4", "relu", 1, 1, 0, 1),
    ("conv5", "conv", 3, 1, 1, 1),
    ("relu5", "relu", 1, 1, 0, 1),
    *GEOMETRY[14:],
)


def _vgg16():
    """Simonyan & Zisserman 2015, Table 1, column D."""
    for block, depth in enumerate((2, 2, 3, 3, 3), start=1):
        for i in range(1, depth + 1):
            yield f"conv{block}_{i}", "conv", 3, 1, 1, 1
            yield f"relu{block}_{i}", "relu", 1, 1, 0, 1
        yield f"pool{block}", "pool", 2, 2, 0, 1
    yield "fc6", "conv", 7, 1, 0, 1
    yield from GEOMETRY[16:]


NETWORKS = {"caffenet": GEOMETRY, "bvlc_alexnet": _BVLC, "torchvision": _TORCHVISION, "vgg16": tuple(_vgg16())}
CAFFE = ("caffenet", "bvlc_alexnet")


def features(params, image, *, until="fc8", network="caffenet") -> dict[str, np.ndarray]:
    """Output `[h, w, c]` of every layer up to `until` for an RGB image `[H, W, 3]`, 0..255; kernels HWIO.

    Caffe's networks take BGR less the mean and round pooled sizes up; the others take RGB in 0..1, normalized.
    """
    if network in CAFFE:
        blue_first = np.stack([image[..., 2], image[..., 1], image[..., 0]], axis=-1)
        x = np.asarray(blue_first, np.float64) - np.asarray(params["mean"], np.float64)
    else:
        x = (np.asarray(image, np.float64) / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    taps = {}
    for name, kind, side, stride, padding, groups in NETWORKS[network]:
        if kind == "conv":
            weights = params[name]
            x = convolve(x, weights["kernel"], weights["bias"], stride=stride, padding=padding, groups=groups)
        elif kind == "relu":
            x = np.maximum(x, 0)
        elif kind == "pool":
            x = pool(x, side, stride, round_up=network in CAFFE)
        else:
            x = normalize(x)
        taps[name] = x
        if name == until:
            break
    return taps


def pool(x, side, stride, *, round_up) -> np.ndarray:
    """Maximum of each window of `[H, W, C]`, as PoolingLayer of Caffe computes it: windows are clipped to the image."""
    rounded = np.ceil if round_up else np.floor
    rows, columns = (int(rounded((n - side) / stride)) + 1 for n in x.shape[:2])
    y = np.empty((rows, columns, x.shape[2]))
    for i, j in np.ndindex(rows, columns):
        y[i, j] = x[i * stride : i * stride + side, j * stride : j * stride + side].max((0, 1))
    return y


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
