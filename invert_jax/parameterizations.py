"""How the variable that is optimized describes an image: `(init, encode, decode, residual)` of pure functions."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

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


def _small_noise(key, image_shape):
    return _START * jax.random.normal(key, image_shape, jnp.float32)


def _to_logits(image, center, sigma):
    del center, sigma
    largest = 1 - _NEAREST / BOUND
    return 2 * jnp.arctanh(jnp.clip(image / BOUND - 1, -largest, largest))


def _from_logits(z, center, sigma, stage):
    del center, sigma, stage
    return BOUND + scaled_sigmoid(z)


bounded_pixels = Parameterization(_small_noise, _to_logits, _from_logits, _no_residual)
"""`image = B + I_r`, with `I_r` of eq. 1: pixels that cannot leave 0..255; starts from faint noise about mid-gray.

Source: Singh & Namboodiri 2015, section 3.1.
"""


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


# Principal axes of the colors of ImageNet's pixels, one a column, each as long as its standard deviation.
_COLORS = np.array([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]], np.float32)


def fourier(*, decay: float = 1.0, corner: float = 1.0, decorrelate: bool = True) -> Parameterization:
    """The coefficients of a range-constrained image in a whitened Fourier basis with decorrelated colors.

    The variable is `[2, H, W // 2 + 1, C]`, the real and imaginary parts of a spectrum that is divided by `f^-decay`,
    as natural images' spectra fall off. With `F` the Fourier transform, and `M` the matrix of the colors' axes, each as
    long as its standard deviation to the power `decay`,

        image = 127.5 + 127.5 tanh(I_pre / 2),  I_pre = M F^-1(s max(f, corner)^-decay z),

    and `s` such that a `z` of unit variance gives an `I_pre` of unit variance, a standard deviation of 64 gray levels.
    A step of equal length then changes coarse structure more than fine one, and brightness more than color. Starts from
    faint noise of that spectrum.

    Args:
      decay: exponent; 1 is natural images', 0 a plain Fourier basis, and between them both count in part.
      corner: frequency below which all count alike, periods along the longer side of the image.
      decorrelate: whether the three channels of color images are along the axes of ImageNet's colors.

    Returns:
      A `Parameterization`, equal to any other made alike.

    Raises:
      ValueError: `decay` is negative, or `corner` is not positive.

    Source: Olah et al., "Feature visualization", 2017; Mordvintsev et al., "Differentiable image parameterizations",
    2018.

    >>> z = fourier().init(jax.random.key(0), (8, 9, 3))
    >>> z.shape, fourier().decode(z, jnp.zeros((8, 9, 3)), 1.0, 0).shape
    ((2, 8, 5, 3), (8, 9, 3))
    """
    checks.require_non_negative(decay, "decay")
    checks.require_positive(corner, "corner")
    basis = _Basis(float(decay), float(corner), bool(decorrelate))
    return Parameterization(_spectral_noise, _ToSpectrum(basis), _FromSpectrum(basis), _no_residual)


def _spectral_noise(key, image_shape):
    height, width, channels = image_shape
    return _START * jax.random.normal(key, (2, height, width // 2 + 1, channels), jnp.float32)


@dataclasses.dataclass(frozen=True)
class _Basis:
    decay: float
    corner: float
    decorrelate: bool

    def falloff(self, height, width):
        return _falloff(height, width, self.decay, self.corner)

    def colors(self, channels):
        """The matrix that rows of coefficients are multiplied by to be channels, whose mean variance is 1."""
        if not self.decorrelate or channels != 3:
            return np.eye(channels, dtype=np.float32)
        lengths = np.linalg.norm(_COLORS, axis=0)
        axes = _COLORS / lengths * lengths**self.decay
        return axes.T * np.float32(np.sqrt(3 / np.sum(axes**2)))


@dataclasses.dataclass(frozen=True)
class _ToSpectrum:
    basis: _Basis

    def __call__(self, image, center, sigma):
        logits = _to_logits(image, center, sigma) @ np.linalg.inv(self.basis.colors(image.shape[2]))
        spectrum = jnp.fft.rfft2(logits, axes=(0, 1)) / self.basis.falloff(*image.shape[:2])
        return jnp.stack([spectrum.real, spectrum.imag])


@dataclasses.dataclass(frozen=True)
class _FromSpectrum:
    basis: _Basis

    def __call__(self, z, center, sigma, stage):
        height, width, channels = center.shape
        real, imaginary = (part * self.basis.falloff(height, width) for part in z)
        logits = jnp.fft.irfft2(jax.lax.complex(real, imaginary), (height, width), axes=(0, 1))
        return _from_logits(logits @ self.basis.colors(channels), center, sigma, stage)


def fixed_magnitude(*, photographs: jax.Array | np.ndarray | None = None) -> Parameterization:
    """The phases of a range-constrained image whose Fourier magnitudes are fixed, as in MACO.

    The variable is `[H, W // 2 + 1, C]`, radians; the magnitudes of I_pre, see `fourier`, are the mean of photographs',
    or follow `f^-1`, along the axes of colors. So no descent makes the high-frequency patterns that networks respond to
    and photographs lack.
    Starts from uniform random phases; of an image, `encode` takes the phases alone.

    Args:
      photographs: `[N, H, W, C]` or `[H, W, C]`, 0..255, of the size of the images sought; None is the law.

    Returns:
      A `Parameterization`, equal to any other made alike.

    Raises:
      ValueError: not one or more images `[H, W, C]`.

    Source: Fel et al., "Unlocking feature visualization for deeper networks with magnitude constrained optimization",
    2023.

    >>> z = fixed_magnitude().init(jax.random.key(0), (8, 9, 3))
    >>> z.shape, fixed_magnitude().decode(z, jnp.zeros((8, 9, 3)), 1.0, 0).shape
    ((8, 5, 3), (8, 9, 3))
    """
    if photographs is None:
        basis = _Magnitudes()
    else:
        photographs = np.asarray(photographs, np.float32)
        photographs = photographs[None] if photographs.ndim == 3 else photographs
        if photographs.ndim != 4 or not photographs.size:
            raise ValueError(f"photographs have shape {photographs.shape}; give [N, H, W, C], or one [H, W, C].")
        waves = np.asarray(_to_logits(photographs, None, None), np.float64) @ _uncolored(photographs.shape[3])
        magnitudes = np.abs(np.fft.rfft2(waves, axes=(1, 2))).mean(0).astype(np.float32)
        basis = _Magnitudes(tuple(photographs.shape[1:]), magnitudes.tobytes())
    return Parameterization(_random_phases, _to_phases, _FromPhases(basis), _no_residual)


def _random_phases(key, image_shape):
    height, width, channels = image_shape
    return jax.random.uniform(key, (height, width // 2 + 1, channels), jnp.float32, -np.pi, np.pi)


def _to_phases(image, center, sigma):
    waves = _to_logits(image, center, sigma) @ _uncolored(image.shape[2])
    return jnp.angle(jnp.fft.rfft2(waves, axes=(0, 1)))


_WHITENED = _Basis(1.0, 1.0, True)


def _uncolored(channels):
    """The matrix that takes rows of channels to the axes of colors."""
    return np.linalg.inv(_WHITENED.colors(channels))


@dataclasses.dataclass(frozen=True)
class _Magnitudes:
    """Those of photographs of one shape, as bytes, which compare by value; without any, `f^-1`."""

    image_shape: tuple[int, ...] = ()
    data: bytes = dataclasses.field(default=b"", repr=False)

    def of(self, image_shape):
        """`[H, W // 2 + 1, C]`."""
        height, width, channels = image_shape
        if not self.data:
            return _falloff(height, width, 1.0, 1.0) * np.float32(np.sqrt(2))
        if self.image_shape != tuple(image_shape):
            raise ValueError(f"The photographs are {self.image_shape}, the image is {tuple(image_shape)}; resize them.")
        return np.frombuffer(self.data, np.float32).reshape(height, width // 2 + 1, channels)


@dataclasses.dataclass(frozen=True)
class _FromPhases:
    magnitudes: _Magnitudes

    def __call__(self, z, center, sigma, stage):
        magnitudes = self.magnitudes.of(center.shape)
        spectrum = jax.lax.complex(magnitudes * jnp.cos(z), magnitudes * jnp.sin(z))
        waves = jnp.fft.irfft2(spectrum, center.shape[:2], axes=(0, 1))
        return _from_logits(waves @ _WHITENED.colors(center.shape[2]), center, sigma, stage)


@functools.cache
def _falloff(height, width, decay, corner):
    """`s max(f, corner)^-decay` at the frequencies of a real transform, `[H, W // 2 + 1, 1]`."""

    def weights(columns):
        frequency = np.hypot(np.fft.fftfreq(height)[:, None], columns)
        return np.maximum(frequency, corner / max(height, width)) ** -decay

    everything = weights(np.fft.fftfreq(width))
    scale = height * width / np.sqrt(2 * np.sum(everything**2))
    return (scale * weights(np.fft.rfftfreq(width)))[..., None].astype(np.float32)
