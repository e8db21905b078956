"""Networks: the layers of CNN-A as data, the Flax module that runs them, and their receptive fields."""

from invert_jax.networks.alexnet import alexnet, layer_of, random_alexnet_params
from invert_jax.networks.architectures import CNN_A, LAYER_NAMES

__all__ = ["CNN_A", "LAYER_NAMES", "alexnet", "layer_of", "random_alexnet_params"]
