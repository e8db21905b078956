"""Networks as data: the layers of CNN-A, the Flax module that runs them, and their receptive fields."""

from invert_jax.networks.alexnet import alexnet, random_alexnet_params
from invert_jax.networks.architectures import CNN_A, LAYER_NAMES

__all__ = ["CNN_A", "LAYER_NAMES", "alexnet", "random_alexnet_params"]
