"""Factories of representations to invert, and what is wrong with one."""

from invert_jax.representations.diagnosis import check
from invert_jax.representations.dsift import dsift
from invert_jax.representations.function import from_function
from invert_jax.representations.hog import hog
from invert_jax.representations.models import from_model, layers_of
from invert_jax.representations.patch_sift import patch_sift

__all__ = ["check", "dsift", "from_function", "from_model", "hog", "layers_of", "patch_sift"]
