"""Factories of representations to invert."""

from invert_jax.representations.dsift import dsift
from invert_jax.representations.function import from_function
from invert_jax.representations.hog import hog
from invert_jax.representations.models import from_flax
from invert_jax.representations.patch_sift import patch_sift

__all__ = ["dsift", "from_flax", "from_function", "hog", "patch_sift"]
