"""Networks: their layers as data, the Flax module that runs them, and their receptive fields."""

from invert_jax.networks.alexnet import alexnet, random_alexnet_params
from invert_jax.networks.architectures import (
    ARCHITECTURES,
    BVLC_ALEXNET,
    CAFFENET,
    TORCHVISION_ALEXNET,
    VGG16,
    Architecture,
    Layer,
)
from invert_jax.networks.pretrained import PRETRAINED, included_layers, pretrained
from invert_jax.networks.sequential import architecture_of, available_layers, layer_of
from invert_jax.networks.vgg import vgg16

__all__ = [
    "ARCHITECTURES",
    "BVLC_ALEXNET",
    "CAFFENET",
    "PRETRAINED",
    "TORCHVISION_ALEXNET",
    "VGG16",
    "Architecture",
    "Layer",
    "alexnet",
    "architecture_of",
    "available_layers",
    "included_layers",
    "layer_of",
    "pretrained",
    "random_alexnet_params",
    "vgg16",
]
