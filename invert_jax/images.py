"""Reading, writing, graying and resizing photographs: float32 NumPy arrays `[H, W, C]`, intensity 0..255.

Nothing here changes the range of an image silently, and nothing is downloaded.
"""

import importlib.resources
import io
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from invert_jax._util import atomic_io, checks

_GRAY_WEIGHTS = np.array([0.298936021293775, 0.587043074451121, 0.114020904255103])  # MATLAB's rgb2gray

_JPEG = {"quality": 95, "subsampling": 0}  # 4:4:4: colors as sharp as the luminance
_WRITABLE: dict[str, dict[str, Any]] = {".png": {}, ".jpg": _JPEG, ".jpeg": _JPEG}

_EXAMPLE_FILES = {
    "astronaut": "astronaut.png",  # public domain (NASA)
    "brick": "brick.png",  # CC0 (CC0Textures)
    "camera": "camera.png",  # CC0 (Lav Varshney)
    "chelsea": "chelsea.png",  # CC0 (Stefan van der Walt)
    "clock": "clock_motion.png",  # public domain (Stefan van der Walt)
    "coffee": "coffee.png",  # CC0 (Rachel Michetti)
    "grass": "grass.png",  # CC0 (linolafett)
    "gravel": "gravel.png",  # CC0 (CC0Textures)
    "hubble_deep_field": "hubble_deep_field.jpg",  # public domain (NASA)
    "rocket": "rocket.jpg",  # public domain (SpaceX)
}

EXAMPLES = tuple(_EXAMPLE_FILES)
"""Names that `example_image` takes; brick, camera, clock, grass and gravel are gray."""


def load_image(path: str | os.PathLike, *, size: int | tuple[int, int] | None = None, gray: bool = False) -> np.ndarray:
    """Reads a photograph: PNG, JPEG, BMP, TIFF, GIF or WebP (the first frame).

    8-bit files keep their values; 16-bit files are divided by 257, so that 65535 is 255, and not rounded.
    The orientation that a camera noted (EXIF) is applied. What is transparent is laid over white. Color
    profiles are ignored. Floating-point and 32-bit files have no agreed range and are refused.

    Args:
      path: the file.
      size: side of a square, or (height, width), to resize to as `resize` does; None keeps the file's.
      gray: whether to return one gray channel, as `to_gray` makes it; graying comes before resizing.

    Returns:
      float32 `[H, W, 3]`, or `[H, W, 1]` if gray, 0..255. A gray file gives three equal channels.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a folder, an empty or damaged file, not an image, too many pixels, or a bad size.

    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "red.png")
    >>> save_image(path, np.full((2, 2, 3), (255.0, 0.0, 0.0)))
    >>> load_image(path).shape, load_image(path, gray=True)[0, 0].tolist()
    ((2, 2, 3), [76.22868347167969])
    """
    if size is not None:
        _height_width(size)  # a bad size is told before a large file is read
    image = _read(path)
    if gray:
        image = to_gray(image)
    if size is not None:
        image = resize(image, size)
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 and not gray else image


def example_image(
    name: str = "chelsea", *, size: int | tuple[int, int] | None = None, gray: bool = False
) -> np.ndarray:
    """A public-domain or CC0 photograph that comes inside scikit-image; nothing is downloaded.

    Args:
      name: one of `EXAMPLES`.
      size: as in `load_image`.
      gray: as in `load_image`.

    Returns:
      float32 `[H, W, 3]`, or `[H, W, 1]` if gray, 0..255.

    Raises:
      ValueError: an unknown name.
      FileNotFoundError: the installed scikit-image does not carry the file.

    >>> example_image("chelsea", size=64).shape
    (64, 64, 3)
    """
    checks.require_choice(name, EXAMPLES, "sample image")
    resource = importlib.resources.files("skimage").joinpath("data", _EXAMPLE_FILES[name])
    if not resource.is_file():
        raise FileNotFoundError(
            f"The installed scikit-image does not carry {_EXAMPLE_FILES[name]}, the sample image {name!r}: "
            f"install scikit-image 0.25 or 0.26, or read a photograph of your own with load_image."
        )
    with importlib.resources.as_file(resource) as path:
        return load_image(path, size=size, gray=gray)


def resize(image, size: int | tuple[int, int]) -> np.ndarray:
    """Resizes straight to `size`, bicubic and antialiased, as MATLAB's `imresize` does.

    The aspect ratio is not kept. The kernel is Keys' cubic (a = -0.5), widened by the factor of reduction;
    the border is mirrored. The overshoot of the cubic is clipped to 0..255, or, where the image itself goes
    beyond (a preimage may), to its own least and greatest value.

    Args:
      image: `[H, W, C]`, 0..255, not necessarily inside that range.
      size: side of a square, or (height, width), in pixels.

    Returns:
      float32 `[height, width, C]`, within 0..255 or, beyond that, within the range of `image`.

    Raises:
      ValueError: not `[H, W, C]`, non-finite values, or a bad size.

    >>> resize(np.full((5, 7, 1), 90.0), (2, 3)).shape
    (2, 3, 1)
    """
    checks.require_image(image, what="resizer")
    checks.require_finite(image, "image")
    height, width = _height_width(size)
    image = np.asarray(image, np.float64)
    rows, columns = _resize_matrix(image.shape[0], height), _resize_matrix(image.shape[1], width)
    resized = np.tensordot(rows, image, (1, 0))
    resized = np.tensordot(columns, resized, (1, 1)).swapaxes(0, 1)
    return np.clip(resized, min(0, image.min()), max(255, image.max())).astype(np.float32)


def to_gray(image) -> np.ndarray:
    """The luminance `0.2989 R + 0.5870 G + 0.1140 B` (MATLAB's `rgb2gray`), not rounded.

    Args:
      image: `[H, W, 3]`, or `[H, W, 1]`, which is returned as it is; 0..255.

    Returns:
      float32 `[H, W, 1]`.

    Raises:
      ValueError: another shape.

    >>> to_gray(np.full((1, 1, 3), 100.0)).tolist()
    [[[100.0]]]
    """
    image = _rgb_or_gray(image, "graying")
    if image.shape[2] == 1:
        return image.astype(np.float32)
    return (image.astype(np.float64) @ _GRAY_WEIGHTS[:, None]).astype(np.float32)


def save_image(path: str | os.PathLike, image) -> None:
    """Writes an image, clipped to 0..255 and rounded, as PNG or JPEG (quality 95) by the extension.

    The file appears whole or not at all: it is written under another name, then renamed.

    Args:
      path: ends in .png, .jpg or .jpeg; its folder must exist.
      image: `[H, W, 3]` or `[H, W, 1]`, 0..255.

    Raises:
      ValueError: another shape, NaN or infinity, or another extension.
      FileNotFoundError: the folder does not exist.

    >>> import tempfile
    >>> save_image(os.path.join(tempfile.mkdtemp(), "gray.png"), np.zeros((4, 4, 1)))
    """
    path = Path(path)
    checks.require_choice(path.suffix.lower(), tuple(_WRITABLE), "image extension")
    extension = path.suffix.lower()
    atomic_io.write_bytes(path, _encode(_to_8_bit(image), extension, **_WRITABLE[extension]))


def save_animation(path: str | os.PathLike, frames: Sequence, *, seconds_per_frame: float) -> None:
    """Writes an endless GIF; every color frame gets its own palette of 256 colors, gray frames are exact.

    Args:
      path: ends in .gif; its folder must exist.
      frames: `[T, H, W, 3 or 1]` or a list of such images, 0..255, clipped and rounded.
      seconds_per_frame: rounded to hundredths of a second, at least 0.02 (viewers slow down faster ones).

    Raises:
      ValueError: no frames, frames of several shapes, NaN or infinity, another extension, too short a time.
      FileNotFoundError: the folder does not exist.

    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "fade.gif")
    >>> save_animation(path, [np.full((4, 4, 1), v) for v in (0.0, 128.0, 255.0)], seconds_per_frame=0.1)
    """
    path = Path(path)
    checks.require_choice(path.suffix.lower(), (".gif",), "animation extension")
    checks.require_positive(seconds_per_frame, "seconds_per_frame")
    if seconds_per_frame < 0.02:
        raise ValueError(f"seconds_per_frame is {seconds_per_frame}; viewers need 0.02 or more.")
    frames = list(frames)
    shapes = sorted({np.shape(frame) for frame in frames})
    if len(shapes) != 1:
        raise ValueError(f"An animation needs one or more frames of one shape; got the shapes {shapes}.")
    milliseconds = 10 * round(100 * seconds_per_frame)
    pixels = np.stack([_to_8_bit(frame) for frame in frames])
    # Said to be a batch, as gray frames 3 pixels wide would pass for one color image.
    atomic_io.write_bytes(path, _encode(pixels, ".gif", is_batch=True, duration=milliseconds, loop=0, disposal=1))


def _encode(pixels: np.ndarray, extension: str, **options) -> bytes:
    data = iio.imwrite("<bytes>", pixels, extension=extension, plugin="pillow", **options)
    assert data is not None  # None is for files; "<bytes>" gives bytes
    return data


def _height_width(size) -> tuple[int, int]:
    pair = size if isinstance(size, tuple | list) else (size, size)
    whole = all(isinstance(side, int | np.integer) and not isinstance(side, bool) and side >= 1 for side in pair)
    if len(pair) != 2 or not whole:
        raise ValueError(f"size is {size!r}; give the side of a square, or (height, width), in whole pixels >= 1.")
    return int(pair[0]), int(pair[1])


def _resize_matrix(size_in: int, size_out: int) -> np.ndarray:
    """Weights `[size_out, size_in]` of MATLAB's `imresize`, "bicubic", along one axis."""
    scale = size_out / size_in
    shrink = min(scale, 1.0)
    centers = (np.arange(size_out) + 0.5) / scale - 0.5
    first = np.floor(centers - 2 / shrink).astype(int)
    taps = first[:, None] + np.arange(int(np.ceil(4 / shrink)) + 2)
    distance = np.abs(centers[:, None] - taps) * shrink
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = np.where(distance <= 1, near, np.where(distance <= 2, far, 0))
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = taps % (2 * size_in)
    mirrored = np.minimum(mirrored, 2 * size_in - 1 - mirrored)
    matrix = np.zeros((size_out, size_in))
    np.add.at(matrix, (np.arange(size_out)[:, None], mirrored), weights)
    return matrix


def _rgb_or_gray(image, what: str) -> np.ndarray:
    image = np.asarray(image)
    checks.require_image(image, what=what)
    if image.shape[2] not in (1, 3):
        raise ValueError(f"The {what} takes an image of 1 or 3 channels; got shape {image.shape}: drop the others.")
    return image


def _to_8_bit(image) -> np.ndarray:
    """What is written: uint8 `[H, W]` if gray, else `[H, W, 3]`."""
    image = _rgb_or_gray(image, "image writer")
    checks.require_finite(image, "image to write")
    pixels = np.clip(np.rint(image.astype(np.float64)), 0, 255).astype(np.uint8)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


_READABLE = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP")


def _read(path: str | os.PathLike) -> np.ndarray:
    """The pixels of a file, upright and opaque: float32 `[H, W, 1]` if it is gray, else `[H, W, 3]`, 0..255."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; load_image reads one image file: give the path of a file.")
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}; check the path of the image.")
    data = path.read_bytes()
    if not data:
        raise ValueError(f"{path} is empty (0 bytes); give a PNG, JPEG, BMP, TIFF, GIF or WebP file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about broken metadata, which is not used
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            pixels = _decode(data)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(
            f"{path} has more than {Image.MAX_IMAGE_PIXELS} pixels, too many to read safely; shrink it first."
        ) from None
    except UnidentifiedImageError:
        raise ValueError(
            f"{path} is not an image that can be read; give a PNG, JPEG, BMP, TIFF, GIF or WebP file "
            f"with 8 or 16 bits per channel."
        ) from None
    except _UnsupportedError as error:
        raise ValueError(f"{path} holds {error}; save it as 8- or 16-bit gray or RGB.") from None
    except Exception as error:  # a damaged file fails anywhere in a decoder, with nearly any error
        raise ValueError(f"{path} is damaged and cannot be decoded ({error}); get the file again.") from error
    return pixels


class _UnsupportedError(Exception):
    """The file is sound, but what it holds has no faithful reading as 0..255."""


def _decode(data: bytes) -> np.ndarray:
    picture = Image.open(io.BytesIO(data), formats=_READABLE)
    args = picture.tile[0].args if picture.tile else None
    raw_mode = str(args[0] if isinstance(args, tuple) and args else args)
    if picture.mode.startswith("I;16"):
        if "16" not in raw_mode:
            raise _UnsupportedError("12-bit pixels")
        if getattr(picture, "tag_v2", {}).get(262) == 0:
            raise _UnsupportedError("16-bit pixels where 0 is white")
        _refuse_color_key(picture)
        return np.asarray(_upright(picture)).astype(np.float32)[..., None] / 257
    if picture.mode in ("I", "F"):
        raise _UnsupportedError("32-bit or floating-point pixels, which have no agreed range")
    kind, _, byte_order = raw_mode.partition(";16")
    if byte_order in ("B", "L", "N"):
        if kind != picture.mode:
            raise _UnsupportedError(f"16-bit pixels in an uncommon layout ({kind})")
        _refuse_color_key(picture)
        return _over_white(_decode_16_bit(data, picture, byte_order) / 257)
    picture = _upright(picture)
    transparent = "A" in picture.getbands() or "a" in picture.getbands() or "transparency" in picture.info
    if transparent:
        picture = picture.convert("RGBA")
    elif picture.mode in ("1", "L"):
        picture = picture.convert("L")
    else:
        picture = picture.convert("RGB")
    pixels = np.asarray(picture, np.float32)
    return _over_white(pixels if pixels.ndim == 3 else pixels[..., None])


def _decode_16_bit(data: bytes, picture: Image.Image, byte_order: str) -> np.ndarray:
    """The pixels of a file, upright and opaque: float32 `[H, W, 1]` if it is gray, else `[H, W, 3]`, 0..255."""
    low = Image.open(io.BytesIO(data), formats=_READABLE)
    native = "L" if sys.byteorder == "little" else "B"
    order = native if byte_order == "N" else byte_order
    swapped = f"{picture.mode};16{'B' if order == 'L' else 'L'}"
    low.tile = [
        tile._replace(args=(swapped, *tile.args[1:]) if isinstance(tile.args, tuple) else swapped) for tile in low.tile
    ]
    high_byte, low_byte = (np.asarray(_upright(half), np.float32) for half in (picture, low))
    return 256 * high_byte + low_byte


def _refuse_color_key(picture: Image.Image) -> None:
    if "transparency" in picture.info:
        raise _UnsupportedError("16-bit pixels with a transparent color")


def _upright(picture: Image.Image) -> Image.Image:
    picture.load()
    return ImageOps.exif_transpose(picture)


def _over_white(pixels: np.ndarray) -> np.ndarray:
    """Composites `[H, W, 4]` over white; other pixels are returned as they are."""
    if pixels.shape[2] != 4:
        return pixels
    opacity = pixels[..., 3:] / 255
    return pixels[..., :3] * opacity + 255 * (1 - opacity)
