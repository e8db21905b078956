"""Weights of AlexNet and VGG-16: files of every format, published ones by name, and the check that they fit a network.

Params are a nested dict, `{"conv1": {"kernel": [11, 11, 3, 96], "bias": [96]}, ..., "mean": [3]}`: float32 kernels in
HWIO (input channels per group), with conv1's input channels and the mean in BGR order for Caffe's networks. Pickles are
read by readers that know arrays and call nothing else.
"""

from invert_jax.weights.download import fetch_params
from invert_jax.weights.files import load_params, read
from invert_jax.weights.layout import WeightFile
from invert_jax.weights.npz import save_params
from invert_jax.weights.registry import bundled, verify
from invert_jax.weights.validation import validate_params

__all__ = ["WeightFile", "bundled", "fetch_params", "load_params", "read", "save_params", "validate_params", "verify"]
