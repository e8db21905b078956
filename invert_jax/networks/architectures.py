"""Architectures as data: tables that the network, the weight readers and the receptive-field arithmetic all read."""

import dataclasses
from typing import NamedTuple


class Layer(NamedTuple):
    """One layer.

    Attributes:
      name: the tap's name, such as `conv1`.
      kind: `conv`, `relu`, `pool` or `norm`; a fully connected layer is a convolution of full size.
      size: side of the filter or window, pixels of the layer's input.
      stride: step of the filter or window.
      padding: zeros on every side.
      groups: channel groups of the convolution.
      width: output channels of the published network; 0 where they equal the input's.
      ceil: whether a pooled size is rounded up: the last window may reach beyond the image, and is clipped to it.
    """

    name: str
    kind: str
    size: int = 1
    stride: int = 1
    padding: int = 0
    groups: int = 1
    width: int = 0
    ceil: bool = False


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A network as data; its input is `(image - mean) / std`, in the order of channels that the weights expect.

    Attributes:
      name: its key in `ARCHITECTURES`.
      layers: first layer first.
      image_size: side of the images that the published network takes, pixels.
      mean: mean color, gray levels, in the network's order of channels.
      std: standard deviation of the colors, gray levels, in that order; None is 1.
      bgr: whether that order is blue, green, red, as in Caffe.
    """

    name: str
    layers: tuple[Layer, ...] = dataclasses.field(repr=False)
    image_size: int
    mean: tuple[float, ...] = dataclasses.field(repr=False)
    std: tuple[float, ...] | None = dataclasses.field(default=None, repr=False)
    bgr: bool = False

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The names of all taps, in order."""
        return tuple(layer.name for layer in self.layers)

    @property
    def convolutions(self) -> tuple[Layer, ...]:
        """The layers with weights."""
        return tuple(layer for layer in self.layers if layer.kind == "conv")

    def layers_up_to(self, name: str) -> tuple[Layer, ...]:
        """The layers from the first up to and including `name`.

        >>> [layer.name for layer in CAFFENET.layers_up_to("pool1")]
        ['conv1', 'relu1', 'pool1']
        """
        return self.layers[: self.layer_names.index(name) + 1]


def _classifier(size: int) -> tuple[Layer, ...]:
    return (
        Layer("fc6", "conv", size=size, width=4096),
        Layer("relu6", "relu"),
        Layer("fc7", "conv", size=1, width=4096),
        Layer("relu7", "relu"),
        Layer("fc8", "conv", size=1, width=1000),
    )


_CAFFENET = (
    Layer("conv1", "conv", size=11, stride=4, width=96),
    Layer("relu1", "relu"),
    Layer("pool1", "pool", size=3, stride=2, ceil=True),
    Layer("norm1", "norm"),
    Layer("conv2", "conv", size=5, padding=2, groups=2, width=256),
    Layer("relu2", "relu"),
    Layer("pool2", "pool", size=3, stride=2, ceil=True),
    Layer("norm2", "norm"),
    Layer("conv3", "conv", size=3, padding=1, width=384),
    Layer("relu3", "relu"),
    Layer("conv4", "conv", size=3, padding=1, groups=2, width=384),
    Layer("relu4", "relu"),
    Layer("conv5", "conv", size=3, padding=1, groups=2, width=256),
    Layer("relu5", "relu"),
    Layer("pool5", "pool", size=3, stride=2, ceil=True),
    *_classifier(6),
)
_TORCHVISION = (
    Layer("conv1", "conv", size=11, stride=4, padding=2, width=64),
    Layer("relu1", "relu"),
    Layer("pool1", "pool", size=3, stride=2),
    Layer("conv2", "conv", size=5, padding=2, width=192),
    Layer("relu2", "relu"),
    Layer("pool2", "pool", size=3, stride=2),
    Layer("conv3", "conv", size=3, padding=1, width=384),
    Layer("relu3", "relu"),
    Layer("conv4", "conv", size=3, padding=1, width=256),
    Layer("relu4", "relu"),
    Layer("conv5", "conv", size=3, padding=1, width=256),
    Layer("relu5", "relu"),
    Layer("pool5", "pool", size=3, stride=2),
    *_classifier(6),
)


def _vgg_block(block: int, count: int, width: int) -> tuple[Layer, ...]:
    rows = []
    for i in range(1, count + 1):
        rows += [Layer(f"conv{block}_{i}", "conv", size=3, padding=1, width=width), Layer(f"relu{block}_{i}", "relu")]
    return (*rows, Layer(f"pool{block}", "pool", size=2, stride=2))


_VGG16 = (
    *_vgg_block(1, 2, 64),
    *_vgg_block(2, 2, 128),
    *_vgg_block(3, 3, 256),
    *_vgg_block(4, 3, 512),
    *_vgg_block(5, 3, 512),
    *_classifier(7),
)

_CAFFE_MEAN = (104.0, 117.0, 123.0)
_IMAGENET = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # mean and std: 255 times torchvision's constants

CAFFENET = Architecture("caffenet", _CAFFENET, 227, _CAFFE_MEAN, bgr=True)
"""CNN-A of Mahendran & Vedaldi, Table 2: AlexNet as Caffe's reference network has it, pooling before it normalizes."""

# AlexNet of Krizhevsky et al. 2012, section 3.5, as Caffe's model zoo has it: norm1 and norm2 come before the pools.
BVLC_ALEXNET = Architecture(
    "bvlc_alexnet",
    tuple(_CAFFENET[i] for i in (0, 1, 3, 2, 4, 5, 7, 6, *range(8, len(_CAFFENET)))),
    227,
    _CAFFE_MEAN,
    bgr=True,
)
TORCHVISION_ALEXNET = Architecture("torchvision", _TORCHVISION, 224, *_IMAGENET)  # Krizhevsky 2014, one tower
VGG16 = Architecture("vgg16", _VGG16, 224, *_IMAGENET)  # Simonyan & Zisserman 2015, configuration D, as in torchvision

ARCHITECTURES = {network.name: network for network in (CAFFENET, BVLC_ALEXNET, TORCHVISION_ALEXNET, VGG16)}
"""Every architecture by name."""


def output_size(table: tuple[Layer, ...], size: int) -> int:
    """Output side of a stack of layers on an input of side `size`; below 1 when the input is too small.

    >>> output_size(CAFFENET.layers, 227), output_size(CAFFENET.layers_up_to("pool1"), 231)
    (1, 28)
    """
    for layer in table:
        span = size + 2 * layer.padding - layer.size
        size = (-(-span // layer.stride) if layer.ceil else span // layer.stride) + 1
        if size < 1:
            return size
    return size


def smallest_input(table: tuple[Layer, ...]) -> int:
    """The smallest input side that gives a stack of layers at least one output.

    >>> smallest_input(CAFFENET.layers_up_to("conv1")), smallest_input(VGG16.layers)
    (11, 224)
    """
    size = 1  # one output neuron, traced back to the pixels it needs
    for layer in reversed(table):
        clipped = layer.stride - 1 if layer.ceil else 0
        size = max((size - 1) * layer.stride + layer.size - clipped - 2 * layer.padding, 1)
    return size
