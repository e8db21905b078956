"""How an image is spelled by the variable that is optimized: `(init, encode, decode)` of pure functions."""

import jax
import jax.numpy as jnp

from invert_jax import numerics
from invert_jax.types import Parameterization


def _random_start(key, image_shape):
    noise = jax.random.normal(key, image_shape, jnp.float32)
    return noise / numerics.norm(noise)


def _identity(x):
    return x


pixels = Parameterization(_random_start, _identity, _identity)
"""The image itself; starts from normal noise of unit Euclidean norm (Mahendran & Vedaldi 2015, section 2)."""
