"""Architectures as data: the table of CNN-A, which the network and the receptive-field arithmetic both read."""

from typing import NamedTuple


class Layer(NamedTuple):
    """One row of Table 2.

    Attributes:
      name: the tap's name, `conv1` ... `fc8`.
      kind: `conv`, `relu`, `pool` or `norm`; a fully connected layer is a convolution of full size.
      size: side of the filter or window, pixels of the layer's input.
      stride: step of the filter or window.
      padding: zeros on every side.
      groups: channel groups of the convolution.
      width: output channels of the paper's network; 0 where they equal the input's.
    """

    name: str
    kind: str
    size: int = 1
    stride: int = 1
    padding: int = 0
    groups: int = 1
    width: int = 0


CNN_A = (
    Layer("conv1", "conv", size=11, stride=4, width=96),
    Layer("relu1", "relu"),
    Layer("pool1", "pool", size=3, stride=2),
    Layer("norm1", "norm"),
    Layer("conv2", "conv", size=5, padding=2, groups=2, width=256),
    Layer("relu2", "relu"),
    Layer("pool2", "pool", size=3, stride=2),
    Layer("norm2", "norm"),
    Layer("conv3", "conv", size=3, padding=1, width=384),
    Layer("relu3", "relu"),
    Layer("conv4", "conv", size=3, padding=1, groups=2, width=384),
    Layer("relu4", "relu"),
    Layer("conv5", "conv", size=3, padding=1, groups=2, width=256),
    Layer("relu5", "relu"),
    Layer("pool5", "pool", size=3, stride=2),
    Layer("fc6", "conv", size=6, width=4096),
    Layer("relu6", "relu"),
    Layer("fc7", "conv", size=1, width=4096),
    Layer("relu7", "relu"),
    Layer("fc8", "conv", size=1, width=1000),
)
"""AlexNet as Caffe's reference network orders it (pooling, then normalization): Mahendran & Vedaldi, Table 2."""

LAYER_NAMES = tuple(layer.name for layer in CNN_A)
"""The 20 tap names, from `conv1` to `fc8`."""


def layers_up_to(name: str) -> tuple[Layer, ...]:
    """The rows of `CNN_A` from the first up to and including `name`.

    >>> [layer.name for layer in layers_up_to("pool1")]
    ['conv1', 'relu1', 'pool1']
    """
    return CNN_A[: LAYER_NAMES.index(name) + 1]


def output_size(table: tuple[Layer, ...], size: int) -> int:
    """Output side of a stack of layers on an input of side `size`; below 1 when the input is too small.

    >>> output_size(CNN_A, 227), output_size(CNN_A[:3], 227)
    (1, 27)
    """
    for layer in table:
        size = (size + 2 * layer.padding - layer.size) // layer.stride + 1
        if size < 1:
            return size
    return size


def smallest_input(table: tuple[Layer, ...]) -> int:
    """The smallest input side that gives a stack of layers at least one output.

    >>> smallest_input(CNN_A[:1]), smallest_input(CNN_A)
    (11, 227)
    """
    size = 1  # one output neuron, traced back to the pixels it needs
    for layer in reversed(table):
        size = max((size - 1) * layer.stride + layer.size - 2 * layer.padding, 1)
    return size
