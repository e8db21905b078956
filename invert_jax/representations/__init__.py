"""Representations to invert: factories that return a `Representation`."""

from invert_jax.representations.adapters import from_flax, from_function
from invert_jax.representations.alexnet import alexnet, random_alexnet_params
from invert_jax.representations.dsift import dsift
from invert_jax.representations.hog import hog
from invert_jax.representations.patch_sift import patch_sift

__all__ = ["alexnet", "dsift", "from_flax", "from_function", "hog", "patch_sift", "random_alexnet_params"]
