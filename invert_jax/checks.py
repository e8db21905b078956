"""Checks at the seams: one clear sentence for a user's mistake, nothing at all inside a trace."""

import numpy as np
from jax.core import Tracer


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
        bad = int(np.sum(~np.isfinite(np.asarray(array))))
        if bad:
            raise ValueError(f"The {what} has {bad} non-finite value(s) (NaN or infinity); give finite numbers.")


def require_positive(value, what: str) -> None:
    """Raises ValueError unless a concrete scalar is finite and greater than zero."""
    if is_concrete(value) and not (np.isfinite(value) and value > 0):
        raise ValueError(f"{what} is {value}; it must be a finite number greater than 0.")


def require_non_negative(value, what: str) -> None:
    """Raises ValueError unless a concrete scalar is finite and at least zero."""
    if is_concrete(value) and not (np.isfinite(value) and value >= 0):
        raise ValueError(f"{what} is {value}; it must be a finite number, 0 or greater.")


def require_choice(value: str, choices, what: str) -> None:
    """Raises ValueError, listing the choices, unless `value` is one of them."""
    if value not in choices:
        raise ValueError(f"Unknown {what} {value!r}; choose one of: {', '.join(choices)}.")


def require_count(value, what: str) -> None:
    """Raises ValueError unless `value` is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{what} is {value!r}; it must be an integer, 1 or greater.")
