"""VGG-16 at its named layers."""

from invert_jax.networks import sequential
from invert_jax.networks.architectures import VGG16
from invert_jax.types import Params, Representation


def vgg16(params: Params, *, layer: str = "fc8", precision: str = "float32") -> Representation:
    """VGG-16 at one of its 36 layers.

    Args:
      params: `{"conv1_1": {"kernel", "bias"}, ..., "fc8": ...}`, kernels `[height, width, in, out]`; what comes after
        the layer may be missing. `mean` and `std` `[3]`, RGB, gray levels, are torchvision's if missing.
      layer: conv1_1, relu1_1, conv1_2, relu1_2, pool1, ..., conv5_3, relu5_3, pool5, fc6, relu6, fc7, relu7 or fc8.
      precision: `float32`, or `bfloat16` to compute the network in bfloat16, which is faster on accelerators.

    Returns:
      A representation of RGB images `[H, W, 3]`, 0..255, 224x224 for the published network; features `[h, w, c]`. Its
      center is the network's mean.

    Raises:
      ValueError: an unknown layer or precision, weights that end before the layer, or weights with a missing,
        unexpected, misshapen or non-finite array.

    Source: Simonyan & Zisserman 2015, configuration D, with torchvision's preprocessing.

    >>> import numpy as np
    >>> params = {"conv1_1": {"kernel": np.ones((3, 3, 3, 64)), "bias": np.zeros(64)}}
    >>> vgg16(params, layer="relu1_1")(np.zeros((8, 8, 3))).shape
    (8, 8, 64)
    """
    return sequential.tap(VGG16, params, layer=layer, precision=precision)
