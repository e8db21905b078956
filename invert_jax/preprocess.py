"""What networks expect of an image: pure functions from intensities 0..255 to a network's input.

The conventions that published weights were trained with, for `from_model`. Any other function
`image [H, W, C] -> array` does as well.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from invert_jax.types import Image

_MEAN = np.array([[[0.485, 0.456, 0.406]]], np.float32)  # ImageNet's colors, RGB, 0..1
_STD = np.array([[[0.229, 0.224, 0.225]]], np.float32)
_CAFFE_MEAN = np.array([[[103.939, 116.779, 123.68]]], np.float32)  # blue, green, red
MID_GRAY = 127.5


def imagenet(image: Image) -> jax.Array:
    """`(image / 255 - mean) / std`, RGB: torchvision's networks, most of timm's, Flax's examples.

    >>> imagenet(jnp.full((1, 1, 3), 255.0)).shape
    (1, 1, 3)
    """
    return (image / 255 - _MEAN) / _STD


def caffe(image: Image) -> jax.Array:
    """BGR, less the mean color, not scaled: Caffe's networks, Keras's ResNet and VGG.

    >>> caffe(jnp.array([[[123.68, 116.779, 103.939]]])).tolist()
    [[[0.0, 0.0, 0.0]]]
    """
    return image[..., ::-1] - _CAFFE_MEAN


def tf(image: Image) -> jax.Array:
    """`image / 127.5 - 1`: TensorFlow's Inception and MobileNet, many vision transformers.

    >>> tf(jnp.array([[[0.0, 255.0]]])).tolist()
    [[[-1.0, 1.0]]]
    """
    return image / 127.5 - 1


def none(image: Image) -> jax.Array:
    """The image itself: networks that preprocess inside.

    >>> float(none(jnp.float32(9)))
    9.0
    """
    return image


def center_of(function: Callable[[Image], Any], channels: int = 3) -> np.ndarray:
    """The color that a preprocessing maps to zero, about which images are regularized.

    Args:
      function: `function(image [H, W, C]) -> array`, affine in each pixel.
      channels: C.

    Returns:
      `[C]`, intensity; mid-gray, 127.5, if no color between black and white is mapped to zero, or the function is not
      affine.

    >>> center_of(tf).tolist(), center_of(none).tolist()
    ([127.5, 127.5, 127.5], [127.5, 127.5, 127.5])
    """
    gray = np.full(channels, MID_GRAY, np.float32)

    def of_color(color):
        return jnp.ravel(jnp.asarray(function(color.reshape(1, 1, channels)), jnp.float32))

    try:
        slope, value = np.asarray(jax.jacobian(of_color)(jnp.asarray(gray))), np.asarray(of_color(jnp.asarray(gray)))
        center = gray - np.linalg.lstsq(slope, value)[0]
        at_center = np.asarray(of_color(jnp.asarray(center, jnp.float32)))
    except Exception:  # another shape, a fixed size, a matrix without inverse: whatever a user's function does
        return gray
    fits = np.all((center > 1) & (center < 254)) and np.abs(at_center).max() < 1e-3 * (1 + np.abs(value).max())
    return center.astype(np.float32) if fits else gray
