"""Random transforms of the image before the representation, drawn anew at every step: a recipe's `transform`.

Each is `transform(key, image [H, W, C]) -> image [H, W, C]`, equal by value to another one made alike, so that nothing
compiles anew. What enters beyond the border is the image's mirror image.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from invert_jax._util import checks
from invert_jax.types import Image

Transform = Callable[[jax.Array, Image], Image]
"""`transform(key, image [H, W, C]) -> image`."""


def jitter(*, max_shift: int = 8) -> Transform:
    """Shifts the image by up to `max_shift` whole pixels along both axes, uniformly.

    Args:
      max_shift: pixels, less than a side of the image.

    Returns:
      A transform.

    Raises:
      ValueError: `max_shift` is not a positive integer.

    Source: Mordvintsev et al., "Inceptionism", 2015.

    >>> jitter(max_shift=1)(jax.random.key(1), jnp.arange(4.0).reshape(2, 2, 1))[..., 0].tolist()
    [[1.0, 0.0], [3.0, 2.0]]
    """
    checks.require_count(max_shift, "max_shift")
    return _Jitter(int(max_shift))


def scale(*, low: float = 0.9, high: float = 1.1) -> Transform:
    """Scales the image about its middle by a factor drawn uniformly from `low..high`; its shape stays.

    Args:
      low: least factor; less than 1 shrinks what is seen.
      high: greatest factor.

    Returns:
      A transform.

    Raises:
      ValueError: a factor that is not positive, or `low` above `high`.

    Source: Olah et al., "Feature visualization", 2017.

    >>> scale()(jax.random.key(0), jnp.full((8, 8, 1), 5.0)).mean().item()
    5.0
    """
    checks.require_positive(low, "low")
    checks.require_positive(high, "high")
    if low > high:
        raise ValueError(f"low is {low} and high is {high}; low must not be above high.")
    return _Affine(float(low), float(high), 0.0)


def rotate(*, max_degrees: float = 10.0) -> Transform:
    """Turns the image about its middle by an angle drawn uniformly from `-max_degrees..max_degrees`.

    Args:
      max_degrees: the greatest angle.

    Returns:
      A transform.

    Raises:
      ValueError: `max_degrees` is not positive.

    Source: Olah et al., "Feature visualization", 2017.

    >>> rotate()(jax.random.key(0), jnp.full((8, 8, 1), 5.0)).mean().item()
    5.0
    """
    checks.require_positive(max_degrees, "max_degrees")
    return _Affine(1.0, 1.0, float(max_degrees))


def compose(transforms: Sequence[Transform]) -> Transform:
    """Several transforms, the first one first, each with a key of its own.

    Args:
      transforms: one or more.

    Returns:
      A transform.

    Raises:
      ValueError: there are none.
      TypeError: one is not callable.

    >>> both = compose([scale(), jitter()])
    >>> both(jax.random.key(0), jnp.full((16, 16, 1), 5.0)).mean().item()
    5.0
    """
    if not transforms:
        raise ValueError("There are no transforms to compose; give one or more.")
    for transform in transforms:
        if not callable(transform):
            raise TypeError(f"A transform is {transform!r}; give functions (key, image) -> image.")
    return _Composed(tuple(transforms))


@dataclasses.dataclass(frozen=True)
class _Jitter:
    max_shift: int

    def __call__(self, key, image):
        n = self.max_shift
        if n >= min(image.shape[:2]):
            raise ValueError(f"max_shift is {n}, but the image has only {min(image.shape[:2])} pixels; shift by less.")
        padded = jnp.pad(image, ((n, n), (n, n), (0, 0)), mode="reflect")
        row, column = jax.random.randint(key, (2,), 0, 2 * n + 1)
        return jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)


@dataclasses.dataclass(frozen=True)
class _Affine:
    """Scaling and rotation about the middle, by linear interpolation."""

    low: float
    high: float
    max_degrees: float

    def __call__(self, key, image):
        for_scale, for_angle = jax.random.split(key)
        factor = jax.random.uniform(for_scale, (), jnp.float32, self.low, self.high)
        radians = jnp.deg2rad(self.max_degrees) * jax.random.uniform(for_angle, (), jnp.float32, -1.0, 1.0)
        cos, sin = jnp.cos(radians) / factor, jnp.sin(radians) / factor
        middle = [(side - 1) / 2 for side in image.shape[:2]]
        y, x = jnp.meshgrid(*(jnp.arange(2 * m + 1, dtype=jnp.float32) - m for m in middle), indexing="ij")
        where = [middle[0] + cos * y - sin * x, middle[1] + sin * y + cos * x]

        def resampled(channel):
            return jax.scipy.ndimage.map_coordinates(channel, where, order=1, mode="mirror")

        return jnp.stack([resampled(image[..., channel]) for channel in range(image.shape[2])], axis=-1)


@dataclasses.dataclass(frozen=True)
class _Composed:
    transforms: tuple[Transform, ...]

    def __call__(self, key, image):
        for i, transform in enumerate(self.transforms):
            image = transform(jax.random.fold_in(key, i), image)
        return image
