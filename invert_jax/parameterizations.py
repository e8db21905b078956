"""How the variable that is optimized describes an image: `(init, encode, decode, residual)` of pure functions."""

import dataclasses

import jax
import jax.numpy as jnp

from invert_jax import pyramid
from invert_jax._util import checks, safe_math
from invert_jax.types import Parameterization


def _unit_noise(key, image_shape):
    noise = jax.random.normal(key, image_shape, jnp.float32)
    return noise / safe_math.safe_norm(noise)


def _to_unit(image, center, sigma):
    return (image - center) / sigma


def _from_unit(z, center, sigma, stage):
    del stage
    return center + sigma * z


def _no_residual(z, stage):
    del z, stage
    return jnp.zeros((), jnp.float32)


pixels = Parameterization(_unit_noise, _to_unit, _from_unit, _no_residual)
"""`z = (image - center) / sigma`, the x of eq. 3; starts from normal noise of unit Euclidean norm.

Source: Mahendran & Vedaldi 2015, section 2.
"""


BOUND = 127.5
"""B of eq. 1, gray levels about the middle of 0..255: exactly the pictures that can be shown."""

_START = 0.01  # standard deviation of I_pre at the start, 0.6 gray levels; from 6, a relu5 stopped at 26 %, not 16
_NEAREST = 1e-3  # gray levels from an end of the range, where `encode` stops: at the end itself I_pre is infinite


def scaled_sigmoid(z: jax.Array) -> jax.Array:
    """Eq. 1: `I_r = 2 B sigmoid(I_pre) - B`, written as `B tanh(I_pre / 2)`, which has no overflow.

    Args:
      z: I_pre, any shape.

    Returns:
      I_r, gray levels about the middle of the range, in -B..B.

    Source: Singh & Namboodiri 2015, eq. 1.

    >>> scaled_sigmoid(jnp.array([-1e4, 0.0, 1e4])).tolist()
    [-127.5, 0.0, 127.5]
    """
    return BOUND * jnp.tanh(z / 2)


def switched_pyramid(*, num_levels: int = 6) -> Parameterization:
    """The range-constrained image seen through a switched Laplacian pyramid, coarse to fine (eqs. 1-3).

    The variable is I_pre, `[H, W, C]`. Stage 0 shows the coarsest level of I_r alone, each stage one more; from stage
    K - 1 on, all of it. `residual` is D of eq. 6, `|I_r - I_in|_2`.

    Args:
      num_levels: K; the paper's is 6. With 1 there is the range constraint alone.

    Returns:
      A `Parameterization`, equal to any other with the same K, so that nothing compiles anew.

    Raises:
      ValueError: `num_levels` is not a positive whole number.

    Source: Singh & Namboodiri 2015, sections 3.1-3.4.

    >>> pyramid_of_three = switched_pyramid(num_levels=3)
    >>> z = pyramid_of_three.init(jax.random.key(0), (8, 8, 1))
    >>> float(pyramid_of_three.residual(z, 0)) > 1, float(pyramid_of_three.residual(z, 2))
    (True, 0.0)
    """
    checks.require_count(num_levels, "num_levels")
    image, residual = _SwitchedImage(num_levels), _SwitchedResidual(num_levels)
    return Parameterization(_small_noise, _to_logits, image, residual, num_stages=num_levels)


def _small_noise(key, image_shape):
    return _START * jax.random.normal(key, image_shape, jnp.float32)


def _to_logits(image, center, sigma):
    del center, sigma
    largest = 1 - _NEAREST / BOUND
    return 2 * jnp.arctanh(jnp.clip(image / BOUND - 1, -largest, largest))


# Classes, not closures: jit compares static functions by value, and a new closure would compile anew.


@dataclasses.dataclass(frozen=True)
class _SwitchedImage:
    """Eqs. 2-3: `decode`."""

    num_levels: int

    def __call__(self, z, center, sigma, stage):
        del center, sigma
        return BOUND + pyramid.switched_at_stage(scaled_sigmoid(z), stage, num_levels=self.num_levels)


@dataclasses.dataclass(frozen=True)
class _SwitchedResidual:
    """Eq. 6: `residual`."""

    num_levels: int

    def __call__(self, z, stage):
        image = scaled_sigmoid(z)
        rest = image - pyramid.switched_at_stage(image, stage, num_levels=self.num_levels)
        # Exactly 0 once all levels are on, however the difference was rounded.
        return safe_math.safe_norm(jnp.where(stage < self.num_levels - 1, rest, 0))
