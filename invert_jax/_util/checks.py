"""Checks at the seams: one clear sentence for a user's mistake, nothing at all inside a trace."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

_LARGEST, _LEAST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)


def is_concrete(array) -> bool:
    """Whether the values of `array` can be looked at (false while JAX traces)."""
    return not isinstance(array, Tracer)


def require_image(image, *, channels: int | None = None, min_side: int = 1, what: str = "representation") -> None:
    """Raises ValueError unless `image` is `[H, W, C]` with the channels and the size that `what` needs."""
    shape = np.shape(image)
    if len(shape) != 3:
        hint = " (a gray image has a trailing axis of 1: image[..., None])" if len(shape) == 2 else ""
        raise ValueError(f"The {what} takes one image [H, W, C]; got shape {shape}{hint}.")
    if channels is not None and shape[2] != channels:
        hint = "load_image(path, gray=True)" if channels == 1 else "load_image(path), which gives three"
        raise ValueError(f"The {what} takes {channels} channel(s); the image {shape} has {shape[2]}: use {hint}.")
    if min(shape[0], shape[1]) < min_side:
        raise ValueError(
            f"The {what} needs an image of at least {min_side} x {min_side} pixels; "
            f"got {shape[0]} x {shape[1]}: give a larger image."
        )


def require_finite(array, what: str) -> None:
    """Raises ValueError when a concrete `array` holds NaN or infinity."""
    if is_concrete(array):
        with np.errstate(over="ignore"):
            bad = int(np.sum(~np.isfinite(np.asarray(array).astype(np.float32))))
        if bad:
            raise ValueError(
                f"The {what} has {bad} non-finite value(s) (NaN or infinity, in float32); give finite numbers."
            )


def require_positive(value, what: str) -> None:
    """Raises ValueError unless a concrete scalar is finite, in float32, and greater than zero."""
    if is_concrete(value) and not _real(value) > 0:
        raise ValueError(f"{what} is {value!r}; it must be a finite number greater than 0.")


def require_non_negative(value, what: str) -> None:
    """Raises ValueError unless a concrete scalar is finite, in float32, and at least zero."""
    if is_concrete(value) and not _real(value) >= 0:
        raise ValueError(f"{what} is {value!r}; it must be a finite number, 0 or greater.")


def _real(value) -> float:
    """A scalar as a float; NaN, which passes no comparison, for anything that float32 cannot hold."""
    try:
        number = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        return math.nan
    return number if number == 0 or _LEAST <= abs(number) <= _LARGEST else math.nan


def require_key(key) -> None:
    """Raises TypeError unless `key` is one random key."""
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    raw = not typed and np.shape(key) == (2,) and getattr(key, "dtype", None) == np.uint32
    if not (raw or (typed and np.shape(key) == ())):
        shape = f" of shape {np.shape(key)}" if np.shape(key) else ""
        raise TypeError(f"The key is {type(key).__name__}{shape}; give one random key, such as jax.random.key(0).")


def require_choice(value: str, choices, what: str) -> None:
    """Raises ValueError, listing the choices, unless `value` is one of them."""
    if value not in choices:
        raise ValueError(f"Unknown {what} {value!r}; choose one of: {', '.join(choices)}.")


def require_count(value, what: str) -> None:
    """Raises ValueError unless `value` is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{what} is {value!r}; it must be an integer, 1 or greater.")
