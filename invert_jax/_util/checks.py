"""Checks of user input: a one-sentence error for a mistake, and no effect inside a trace."""

import math
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

_CHANNELS = (1, 3, 4)
_LARGEST, _SMALLEST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)


def is_concrete(array) -> bool:
    """Whether `array` has values (false inside a trace)."""
    return not isinstance(array, Tracer)


def require_no_trace(inputs: Any, what: str) -> None:
    """Raises TypeError inside of `jit`, `vmap` or `grad`, for a function `what` that loops in Python."""
    # An array that is made while jit traces is a tracer too, though no input is one.
    if not all(map(is_concrete, (*jax.tree.leaves(inputs), jnp.zeros(())))):
        raise TypeError(
            f"{what} runs a loop of its own and cannot be traced by jit, vmap or grad; call it outside of them, or "
            f"call invert, which they can trace."
        )


def require_image(image, *, channels: int | None = None, min_side: int = 1, what: str = "representation") -> None:
    """Raises ValueError unless `image` is `[H, W, C]` of real numbers, with the channels and size that `what` needs."""
    require_real(image, f"image for the {what}")
    shape = np.shape(image)
    if len(shape) != 3:
        hint = {2: "give a gray image a trailing axis of 1: image[..., None]"}.get(len(shape), "")
        if len(shape) == 4:
            hint = "give image[0]" if shape[0] == 1 else "give one image of the batch at a time"
        raise ValueError(f"The {what} takes one image [H, W, C]; got shape {shape}{hint and f' ({hint})'}.")
    if channels is not None and shape[0] == channels and shape[2] not in _CHANNELS:
        refuse_channels_first(shape, what)
    if channels is not None and shape[2] != channels:
        hint = "load_image(path, gray=True)" if channels == 1 else "load_image(path), which returns three"
        hint = "image[..., :3]" if (shape[2], channels) == (4, 3) else hint
        raise ValueError(f"The {what} takes {channels} channel(s); the image {shape} has {shape[2]}: use {hint}.")
    if min(shape[0], shape[1]) < min_side:
        raise ValueError(
            f"The {what} needs an image of at least {min_side} x {min_side} pixels; "
            f"got {shape[0]} x {shape[1]}: give a larger image."
        )


def refuse_channels_first(shape: tuple[int, ...], what: str = "representation") -> None:
    """Raises ValueError for the shape of a photograph `[C, H, W]`."""
    if len(shape) == 3 and shape[0] in _CHANNELS and min(shape[1:]) > max(_CHANNELS):
        raise ValueError(
            f"The {what} takes an image [H, W, C]; got shape {shape}, channels first: give image.transpose(1, 2, 0)."
        )


def require_real(array, what: str) -> None:
    """Raises TypeError unless an array holds real numbers: floating-point ones or integers."""
    dtype = array.dtype if hasattr(array, "dtype") else np.asarray(array).dtype
    # NumPy counts differences of dates among the integers.
    if not (jnp.issubdtype(dtype, jnp.floating) or np.dtype(dtype).kind in "iu"):
        raise TypeError(f"The {what} is an array of {dtype}; give real numbers, such as float32.")


def warn_of_range(image, what: str, *, stacklevel: int = 3) -> None:
    """Warns the caller's caller if a concrete image is a photograph in 0..1 or -1..1, where 0..255 is meant."""
    if not is_concrete(image) or not jnp.issubdtype(np.asarray(image).dtype, jnp.floating):
        return
    image = np.asarray(image, np.float32)
    low, high = (float(image.min()), float(image.max())) if image.size else (0.0, 0.0)
    # A nearly flat image, and one of zeros and ones, may be what it says.
    if low >= -1 and high <= 1 and high - low > 0.1 and np.any(image != np.rint(image)):
        cure = "255 * image" if low >= 0 else "127.5 * (image + 1)"
        message = f"The {what} lies in {low:.2f}..{high:.2f}, but intensities are 0..255; give {cure}."
        warnings.warn(message, stacklevel=stacklevel)


def require_finite(array, what: str) -> None:
    """Raises ValueError when a concrete `array` holds NaN or infinity."""
    if is_concrete(array):
        with np.errstate(over="ignore"):  # a float64 too large for float32 counts as infinite
            bad = int(np.sum(~np.isfinite(np.asarray(array).astype(np.float32))))
        if bad:
            raise ValueError(
                f"The {what} has {bad} non-finite value(s) (NaN or infinity, in float32); give finite numbers."
            )


def require_arrays(params) -> None:
    """Raises TypeError unless all leaves of params are arrays or numbers."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not (hasattr(leaf, "dtype") or isinstance(leaf, int | float)):
            where = f" at {jax.tree_util.keystr(path)}" if path else ""
            raise TypeError(f"The params hold {leaf!r}{where}, which is no array; give arrays only.")


def require_positive(value, what: str) -> None:
    """Raises ValueError unless a concrete scalar is finite, in float32, and greater than zero."""
    if is_concrete(value) and not _real(value) > 0:
        raise ValueError(f"{what} is {value!r}; it must be a finite number greater than 0.")


def require_non_negative(value, what: str) -> None:
    """Raises ValueError unless a concrete scalar is finite, in float32, and at least zero."""
    if is_concrete(value) and not _real(value) >= 0:
        raise ValueError(f"{what} is {value!r}; it must be a finite number, 0 or greater.")


def _real(value) -> float:
    """A scalar as a float; NaN, which fails every comparison, for anything that float32 cannot hold."""
    try:
        number = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        return math.nan
    # XLA flushes denormal numbers to zero, so a rate or weight of 1e-40 would silently be none.
    return number if number == 0 or _SMALLEST <= abs(number) <= _LARGEST else math.nan


def require_key(key) -> None:
    """Raises TypeError unless `key` is one random key."""
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    # jax.random.PRNGKey(0) returns two plain numbers
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


def require_integer(value, what: str) -> None:
    """Raises ValueError unless `value` is an integer."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ValueError(f"{what} is {value!r}; it must be an integer.")


def require_index(value, what: str) -> None:
    """Raises ValueError unless `value` is an integer of at least 0."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ValueError(f"{what} is {value!r}; it must be an integer, 0 or greater.")


def require_image_shape(image_shape) -> tuple[int, int, int]:
    """Returns `(H, W, C)` as integers; raises ValueError unless it is three whole numbers, each 1 or more."""
    if np.shape(image_shape) != (3,) or any(side < 1 or side != int(side) for side in image_shape):
        raise ValueError(
            f"image_shape is {image_shape}; it must be whole numbers (height, width, channels), each >= 1."
        )
    height, width, channels = (int(side) for side in image_shape)
    return height, width, channels


def require_target(target, features: Any, image_shape: tuple[int, int, int]) -> Any:
    """Returns the target as float32; raises ValueError unless it is finite and is like the features of such an image.

    `features` is a pytree of `jax.ShapeDtypeStruct`.
    """
    if target is None:
        raise ValueError(
            "The target is None, but the recipe's loss measures the distance to one; give representation(image), or a "
            "recipe with an objective, such as recipes.activation_maximization()."
        )
    leaves, structure = jax.tree.flatten_with_path(features)
    parts = _like(target, structure, "target")
    for (path, leaf), part in zip(leaves, parts, strict=True):
        where = f" at {jax.tree_util.keystr(path)}" if path else ""
        if np.shape(part) != leaf.shape:
            is_image = np.shape(part) == image_shape
            image = ", the image's: give representation(image)" if is_image else ""
            raise ValueError(
                f"The target has shape {np.shape(part)}{where}{image}; the representation of an image {image_shape} "
                f"has shape {leaf.shape}: compute the target with this representation, or change image_shape."
            )
        require_real(part, f"target{where}")
        require_finite(part, f"target{where}")
    return jax.tree.unflatten(structure, [jnp.asarray(part, jnp.float32) for part in parts])


def _like(tree, structure, what):
    """The leaves of a tree that must have this structure, but for leaves that are None."""
    try:
        return structure.flatten_up_to(tree)
    except (ValueError, TypeError) as error:
        given = jax.tree.structure(tree)
        raise ValueError(f"The {what} is {given}; the features are {structure}: give the like of them.") from error


def require_one_array(shape) -> None:
    """Raises ValueError for the shapes of features that are a pytree, where one array is needed."""
    if not isinstance(shape, tuple) or not all(isinstance(side, int) for side in shape):
        raise ValueError(f"The features are several arrays, {shape}, and one is needed; choose one layer.")


def require_masks(mask, target) -> Any:
    """Returns the mask, a pytree like the target where a leaf may be None; ValueError as of `require_mask`."""
    leaves, structure = jax.tree.flatten(target)
    parts = zip(_like(mask, structure, "mask"), leaves, strict=True)
    return jax.tree.unflatten(structure, [None if part is None else require_mask(part, leaf) for part, leaf in parts])


def require_mask(mask, target) -> jax.Array:
    """Returns the mask; raises ValueError unless it is boolean, of the target's shape, and selects a neuron."""
    mask = mask if isinstance(mask, jax.Array) else np.asarray(mask)
    if mask.shape != np.shape(target) or mask.dtype != bool:
        raise ValueError(
            f"The mask is {mask.dtype} of shape {mask.shape}; it must be boolean, of the features' shape "
            f"{np.shape(target)}: see invert_jax.masks."
        )
    if is_concrete(mask) and not np.any(np.asarray(mask)):
        raise ValueError("The mask selects no neuron at all; set at least one to True.")
    return jnp.asarray(mask)


def zero_target(target, mask: Any = None) -> str | None:
    """A sentence if a concrete target, or an array of it, is zero at every neuron that counts."""
    leaves, structure = jax.tree.flatten(target)
    masks = [None] * len(leaves) if mask is None else _like(mask, structure, "mask")
    for leaf, part in zip(leaves, masks, strict=True):
        if is_concrete(leaf) and is_concrete(part) and not np.any(leaf if part is None else np.where(part, leaf, 0)):
            return "The target is zero at every neuron that counts, so errors are distances, relative to nothing."
    return None


def warn_of_zero_target(target, mask: Any = None) -> None:
    """Warns the caller's caller with the sentence of `zero_target`, if any."""
    sentence = zero_target(target, mask)
    if sentence:
        warnings.warn(sentence, RuntimeWarning, stacklevel=3)


def require_weights(weights, features) -> None:
    """Raises ValueError unless the weights are None or a number for each array of the features."""
    if weights is not None:
        parts = _like(weights, jax.tree.structure(features), "feature_weights")
        if any(np.shape(part) != () for part in parts) or all(is_concrete(part) and part == 0 for part in parts):
            raise ValueError(f"feature_weights is {weights!r}; give a number for each array, not all of them 0.")


def require_center(center, image_shape: tuple[int, int, int]) -> jax.Array:
    """Returns the center as `[H, W, C]`; raises ValueError unless it is a scalar, `[C]` or `[H, W, C]`."""
    center = jnp.asarray(center, jnp.float32)
    fits = all(size in (1, side) for size, side in zip(center.shape[::-1], image_shape[::-1], strict=False))
    if center.ndim not in (0, 1, 3) or not fits:
        raise ValueError(
            f"The representation's center has shape {center.shape}, which does not fit an image {image_shape}: "
            f"give a scalar, [C] or [H, W, C]."
        )
    return jnp.broadcast_to(center.reshape((1,) * (3 - center.ndim) + center.shape), image_shape)


def require_initial_image(images, image_shape: tuple[int, int, int], *, num_restarts: int | None = None):
    """Returns None, the image, or one for each restart; raises ValueError unless finite and of the image's shape."""
    if images is None:
        return None
    require_real(images, "initial_image")
    require_finite(images, "initial_image")
    warn_of_range(images, "initial_image", stacklevel=4)
    shapes = [tuple(image_shape)] if num_restarts is None else [tuple(image_shape), (num_restarts, *image_shape)]
    if np.shape(images) not in shapes:
        wanted = " or ".join(map(str, shapes))
        raise ValueError(f"initial_image has shape {np.shape(images)}; it must be {wanted}: resize it.")
    return images if num_restarts is None else np.broadcast_to(np.asarray(images, np.float32), shapes[1])


def require_transform(transform, key, image_shape: tuple[int, int, int]) -> None:
    """Raises ValueError unless a transform of images, if there is one, returns an image of the same shape."""
    if transform is not None:
        given = jax.eval_shape(transform, key, jax.ShapeDtypeStruct(image_shape, jnp.float32))
        if getattr(given, "shape", None) != image_shape or given.dtype != jnp.float32:
            raise ValueError(
                f"The transform returns {given} of an image {image_shape}; return a float32 image like it."
            )


def divergence(finite: np.ndarray, failed_at: np.ndarray, *, default: str = "recipes.default") -> str | None:
    """A sentence on the restarts `[R]` that are not finite: how many, from which step on, and what to do."""
    diverged = np.asarray(failed_at)[~np.asarray(finite)]
    if not diverged.size:
        return None
    return (
        f"{diverged.size} of {np.size(finite)} restarts diverged, the first at step {diverged.min()}; leave them out "
        f"by `finite`, and lower the first rate or use {default}."
    )


def warn_of_divergence(finite: np.ndarray, failed_at: np.ndarray) -> None:
    """Warns the caller's caller if restarts `[R]` are not finite, see `divergence`."""
    sentence = divergence(finite, failed_at)
    if sentence:
        warnings.warn(sentence, RuntimeWarning, stacklevel=3)
