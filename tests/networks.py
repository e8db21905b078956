"""Random weights of AlexNet and VGG-16, of any width."""

import jax
import numpy as np
from oracles import alexnet as oracle

LAYERS = tuple(row[0] for row in oracle.GEOMETRY if row[1] == "conv")  # those that have weights
MEAN = np.array([104.0, 117.0, 123.0], np.float32)  # blue, green, red

# Output channels of each of LAYERS.
FULL = (96, 256, 384, 384, 256, 4096, 4096, 1000)
NARROW = (4, 8, 6, 10, 8, 12, 14, 7)
FOURS = (4,) * 8


def random_params(widths, *, seed=0, network="caffenet"):
    """Kernels that keep the scale of their input, and biases that matter beside them."""
    rng = np.random.default_rng(seed)
    params, inputs = {"mean": MEAN.copy()} if network in oracle.CAFFE else {}, 3
    rows = [row for row in oracle.NETWORKS[network] if row[1] == "conv"]
    for (name, _, side, _, _, groups), width in zip(rows, widths, strict=True):
        shape = (side, side, inputs // groups, width)
        kernel = rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[:3])))
        params[name] = {
            "kernel": kernel,
            "bias": (10 if network in oracle.CAFFE else 0.1) * rng.standard_normal(width, np.float32),
        }
        inputs = width
    return params


def assert_same(params, expected):
    """The same tree of the same float32 arrays."""
    assert jax.tree.structure(params) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True):
        assert a.dtype == np.float32 and a.shape == b.shape
        np.testing.assert_array_equal(a, b)
