"""Reads, writes, grays and resizes photographs: float32 NumPy arrays `[H, W, C]`, 0..255, never rescaled.

A photograph is decoded to bytes and converted to numbers in bands of rows, so that to read and resize a large one takes
what its decoder does: up to 8 bytes for each pixel, 10 for 16-bit colors, 16 for WebP.
"""

import importlib.resources
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import imageio.v3 as iio
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from invert_jax._util import atomic_io, checks, paths, reprs

_GRAY_WEIGHTS = np.array([0.298936021293775, 0.587043074451121, 0.114020904255103])  # MATLAB's rgb2gray

_READABLE = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP")
_JPEG = {"quality": 95, "subsampling": 0}  # 4:4:4: colors as sharp as the luminance
_WRITABLE: dict[str, dict[str, Any]] = {".png": {}, ".jpg": _JPEG, ".jpeg": _JPEG}

_WEBP = ("astronaut", "brick", "camera", "chelsea", "clock", "coffee", "grass", "gravel")
EXAMPLES = (*_WEBP, "hubble_deep_field", "rocket")
"""Names that `example_image` takes; brick, camera, clock, grass and gravel are gray."""


MAX_PIXELS_UNRESIZED = 2**25
"""The most pixels of a photograph that is read without a size, as it takes 12 bytes for each."""

_BAND = 2**22  # numbers that are converted at a time


class _Pixels(NamedTuple):
    """A photograph of which bands of rows are made into numbers when they are needed."""

    shape: tuple[int, int, int]  # [H, W, C]
    rows: Callable[[int, int], np.ndarray]  # those from one to another: [rows, W, C], 0..255

    def bands(self) -> Iterator[tuple[slice, np.ndarray]]:
        """All rows, some at a time: which, and their pixels."""
        height, width, channels = self.shape
        step = max(_BAND // (width * channels), 1)
        for start in range(0, height, step):
            stop = min(start + step, height)
            yield slice(start, stop), self.rows(start, stop)


def load_image(
    source: str | os.PathLike | bytes | BinaryIO | Image.Image | np.ndarray,
    *,
    size: int | tuple[int, int] | None = None,
    gray: bool = False,
) -> np.ndarray:
    """Reads a photograph: PNG, JPEG, BMP, TIFF, GIF or WebP (the first frame).

    Values of 16-bit files are divided by 257, so that 65535 becomes 255, and not rounded. The EXIF orientation is
    applied. Transparent pixels are composited over white. Color profiles are ignored. Floating-point and 32-bit files
    are refused, as they have no agreed range.

    Args:
      source: the path of a file, where `~` is the home folder; its bytes, or a file opened in binary mode; a Pillow
        image; or an array `[H, W]` or `[H, W, 1, 3 or 4]`, 0..255 (16-bit integers 0..65535).
      size: side of a square, or (height, width), in pixels, to `resize` to; None is the size of the file.
      gray: whether to convert with `to_gray` to one channel, before resizing.

    Returns:
      float32 `[H, W, 3]`, or `[H, W, 1]` if gray, 0..255. A gray file gives three equal channels.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a folder, pipe or device, an empty or damaged file, not an image, more than 89 million pixels
        (Pillow's limit) or, without a size, more than `MAX_PIXELS_UNRESIZED`, or a bad size.
      TypeError: none of these sources.

    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "red.png")
    >>> save_image(path, np.full((2, 2, 3), (255.0, 0.0, 0.0)))
    >>> load_image(path).shape, load_image(path, gray=True)[0, 0].tolist()
    ((2, 2, 3), [76.22868347167969])
    """
    if size is not None:
        _height_width(size)  # checked before a large file is read
    pixels = _open(source)
    height, width, channels = pixels.shape
    if gray and channels == 3:
        color = pixels.rows
        pixels = _Pixels((height, width, 1), lambda start, stop: to_gray(color(start, stop)))
    if size is not None:
        image = _resize(pixels, size)
        return np.repeat(image, 3, axis=2) if image.shape[2] == 1 and not gray else image
    if height * width > MAX_PIXELS_UNRESIZED:
        raise ValueError(
            f"The image has {height} x {width} pixels, and at most {MAX_PIXELS_UNRESIZED} are read whole; give a size."
        )
    image = np.empty((height, width, 1 if gray else 3), np.float32)
    for which, band in pixels.bands():
        image[which] = band
    return image


def image_shape(source: str | os.PathLike | bytes | BinaryIO | Image.Image | np.ndarray) -> tuple[int, int]:
    """Height and width of a photograph that `load_image` would read, upright; what it raises too.

    >>> image_shape(np.zeros((4, 6, 3)))
    (4, 6)
    """
    return _open(source).shape[:2]


def example_image(
    name: str = "chelsea", *, size: int | tuple[int, int] | None = None, gray: bool = False
) -> np.ndarray:
    """A public-domain photograph that ships with the package.

    Args:
      name: one of `EXAMPLES`.
      size: as in `load_image`.
      gray: as in `load_image`.

    Returns:
      float32 `[H, W, 3]`, or `[H, W, 1]` if gray, 0..255.

    Raises:
      ValueError: an unknown name or a bad size.

    Source: `data/photographs/SOURCES.md` names the author and the license (public domain or CC0) of each.

    >>> example_image("chelsea", size=64).shape
    (64, 64, 3)
    """
    checks.require_choice(name, EXAMPLES, "example image")
    file = importlib.resources.files("invert_jax") / f"data/photographs/{name}.{'webp' if name in _WEBP else 'jpg'}"
    with importlib.resources.as_file(file) as path:  # a real file even when the package is a zip archive
        return load_image(path, size=size, gray=gray)


def resize(image, size: int | tuple[int, int]) -> np.ndarray:
    """Resizes to exactly `size`, bicubic and antialiased, as MATLAB's `imresize` does.

    The kernel is Keys' cubic (a = -0.5), widened by the factor of reduction; the border is mirrored. The overshoot of
    the cubic is clipped to 0..255, or to the range of `image` where that is wider (a preimage may leave 0..255).

    Args:
      image: `[H, W, C]`, gray levels; values outside 0..255 are allowed.
      size: side of a square, or (height, width), in pixels.

    Returns:
      float32 `[height, width, C]`.

    Raises:
      ValueError: not `[H, W, C]`, non-finite values, or a bad size.

    >>> resize(np.full((5, 7, 1), 90.0), (2, 3)).shape
    (2, 3, 1)
    """
    checks.require_image(image, what="resizer")
    checks.require_finite(image, "image")
    image = np.asarray(image)
    return _resize(_Pixels(image.shape, lambda start, stop: image[start:stop]), size)


def _resize(pixels, size):
    height, width = _height_width(size)
    rows, columns = _resize_matrix(pixels.shape[0], height), _resize_matrix(pixels.shape[1], width)
    low, high = 0.0, 255.0
    resized = np.zeros((height, *pixels.shape[1:]))
    for which, band in pixels.bands():
        low, high = min(low, band.min()), max(high, band.max())
        resized += np.tensordot(rows[:, which], np.asarray(band, np.float64), (1, 0))
    resized = np.tensordot(columns, resized, (1, 1)).swapaxes(0, 1)
    return np.clip(resized, low, high).astype(np.float32)


def to_gray(image) -> np.ndarray:
    """The luminance `0.2989 R + 0.5870 G + 0.1140 B` (MATLAB's `rgb2gray`), not rounded.

    Args:
      image: `[H, W, 3]`, or `[H, W, 1]`, which is returned unchanged; 0..255.

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
    """Writes an image, clipped to 0..255 and rounded, as PNG or JPEG (quality 95), whole or not at all.

    Args:
      path: ends in .png, .jpg or .jpeg; its folder must exist.
      image: `[H, W, 3]` or `[H, W, 1]`, 0..255.

    Raises:
      ValueError: another shape, NaN or infinity, or another extension.
      FileNotFoundError: the folder does not exist.

    >>> import tempfile
    >>> save_image(os.path.join(tempfile.mkdtemp(), "gray.png"), np.zeros((4, 4, 1)))
    """
    extension = paths.expand(path).suffix.lower()
    checks.require_choice(extension, tuple(_WRITABLE), "image extension")
    checks.warn_of_range(image, "image to write")
    atomic_io.write_bytes(path, _encode(_to_8_bit(image), extension, **_WRITABLE[extension]))


def save_animation(path: str | os.PathLike, frames: Sequence, *, seconds_per_frame: float) -> None:
    """Writes a looping GIF; each color frame has a palette of 256 colors, gray frames are exact.

    Args:
      path: ends in .gif; its folder must exist.
      frames: `[T, H, W, 3 or 1]` or a list of such images, 0..255, clipped and rounded.
      seconds_per_frame: rounded to hundredths of a second, at least 0.02 (viewers slow down faster animations).

    Raises:
      ValueError: no frames, frames of several shapes, NaN or infinity, another extension, or less than 0.02 s.
      FileNotFoundError: the folder does not exist.

    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "fade.gif")
    >>> save_animation(path, [np.full((4, 4, 1), v) for v in (0.0, 128.0, 255.0)], seconds_per_frame=0.1)
    """
    checks.require_choice(paths.expand(path).suffix.lower(), (".gif",), "animation extension")
    checks.require_positive(seconds_per_frame, "seconds_per_frame")
    if seconds_per_frame < 0.02:
        raise ValueError(f"seconds_per_frame is {seconds_per_frame}; give 0.02 or more, as viewers slow down less.")
    pixels = [_to_8_bit(frame) for frame in frames]
    if len(shapes := {frame.shape for frame in pixels}) != 1:
        raise ValueError(f"frames have the shapes {sorted(shapes)}; give one or more frames of one shape.")
    # is_batch is explicit because imageio would take gray frames 3 pixels wide for one color image.
    options = {"is_batch": True, "duration": 10 * round(100 * seconds_per_frame), "loop": 0, "disposal": 1}
    atomic_io.write_bytes(path, _encode(np.stack(pixels), ".gif", **options))


def _encode(pixels: np.ndarray, extension: str, **options) -> bytes:
    data = iio.imwrite("<bytes>", pixels, extension=extension, plugin="pillow", **options)
    assert data is not None  # imwrite returns None only when it writes to a file
    return data


def _height_width(size) -> tuple[int, int]:
    """`size` as (height, width), checked."""
    pair = size if isinstance(size, tuple | list) else (size, size)
    whole = all(isinstance(side, int | np.integer) and not isinstance(side, bool) and side >= 1 for side in pair)
    if len(pair) != 2 or not whole:
        raise ValueError(f"size is {size!r}; give the side of a square, or (height, width), in whole pixels >= 1.")
    return int(pair[0]), int(pair[1])


def _resize_matrix(size_in: int, size_out: int) -> np.ndarray:
    """Weights `[size_out, size_in]` of MATLAB's `imresize`, "bicubic", along one axis."""
    scale = size_out / size_in
    shrink = min(scale, 1.0)  # the kernel widens when the image shrinks (antialiasing), never the reverse
    centers = (np.arange(size_out) + 0.5) / scale - 0.5  # of the output pixels, in input pixels
    first = np.floor(centers - 2 / shrink).astype(int)
    taps = first[:, None] + np.arange(int(np.ceil(4 / shrink)) + 2)
    distance = np.abs(centers[:, None] - taps) * shrink
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = np.where(distance <= 1, near, np.where(distance <= 2, far, 0))
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = taps % (2 * size_in)  # a mirrored signal has period 2 n; several taps may fall on one pixel
    mirrored = np.minimum(mirrored, 2 * size_in - 1 - mirrored)
    matrix = np.zeros((size_out, size_in))
    np.add.at(matrix, (np.arange(size_out)[:, None], mirrored), weights)
    return matrix


def _rgb_or_gray(image, what: str) -> np.ndarray:
    """`image` as an array, checked to be `[H, W, 3]` or `[H, W, 1]`."""
    image = np.asarray(image)
    checks.require_image(image, what=what)
    if image.shape[2] not in (1, 3):
        raise ValueError(f"The {what} takes an image of 1 or 3 channels; got shape {image.shape}: drop the rest.")
    return image


def _to_8_bit(image) -> np.ndarray:
    """`image` clipped and rounded: uint8 `[H, W]` if gray, else `[H, W, 3]`."""
    image = _rgb_or_gray(image, "image writer")
    checks.require_finite(image, "image to write")
    pixels = np.clip(np.rint(image.astype(np.float64)), 0, 255).astype(np.uint8)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def _open(source) -> _Pixels:
    """A photograph, from whatever `load_image` takes; an error names the file."""
    if isinstance(source, Image.Image):
        return _decoded("The picture", lambda: source.copy())
    if isinstance(source, np.ndarray) or hasattr(source, "__array__"):
        return _of_array(np.asarray(source))
    if isinstance(source, bytes | bytearray | memoryview):
        name, data = "The file", bytes(source)
    elif isinstance(source, str) and re.match(r"\w[\w+.-]+://", source):
        raise ValueError(f"{source} is an address, and files are read; download it, or give its bytes.")
    elif isinstance(source, str | os.PathLike):
        path = paths.require_file(source, "image file")
        name, data = str(path), path.read_bytes()
    elif hasattr(source, "read"):
        name, data = str(getattr(source, "name", "The file")), source.read()
        if not isinstance(data, bytes):
            raise TypeError(f"{name} is opened as text; open it in binary mode, 'rb'.")
    else:
        kind = type(source).__name__
        raise TypeError(f"load_image got {kind}; give a path, bytes, a binary file, a Pillow image or an array.")
    if not data:
        raise ValueError(f"{name} is empty; {_FORMATS}.")
    return _decoded(name, lambda: Image.open(io.BytesIO(data), formats=_READABLE), data)


_FORMATS = "give a PNG, JPEG, BMP, TIFF, GIF or WebP file with 8 or 16 bits per channel"


def _of_array(array) -> _Pixels:
    """An array of pixels as a photograph."""
    array = array[..., None] if array.ndim == 2 else array
    checks.require_image(array, what="image reader")
    if array.shape[2] not in (1, 3, 4):
        raise ValueError(f"The image has shape {array.shape}; give 1, 3 or 4 channels, last.")
    checks.require_finite(array, "image")
    checks.warn_of_range(array, "image", stacklevel=5)
    unit = 257 if array.dtype == np.uint16 else 1
    shape = (*array.shape[:2], min(array.shape[2], 3))
    return _Pixels(shape, lambda start, stop: _over_white(array[start:stop].astype(np.float32) / unit))


def _decoded(name, start, data=b"") -> _Pixels:
    """The photograph that Pillow decodes; ValueError with the name if it cannot."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # broken metadata, which is not used
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _decode(start(), data)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        reason = f"has more than {Image.MAX_IMAGE_PIXELS} pixels, too many to read safely; shrink it first"
    except UnidentifiedImageError:
        reason = f"is not an image that can be read; {_FORMATS}"
    except _UnsupportedError as error:
        reason = f"has {error}; save it as 8- or 16-bit gray or RGB"
    except Exception as error:  # a decoder raises nearly any type of error on a damaged file
        reason = f"is damaged and cannot be decoded ({reprs.reason(error)}); replace the file"
    raise ValueError(f"{name} {reason}.")


class _UnsupportedError(Exception):
    """The file is valid, but its pixels have no faithful conversion to 0..255."""


def _decode(picture: Image.Image, data: bytes) -> _Pixels:
    """The pixels of a picture, which `data` holds if it is of a file, upright and opaque."""
    # Pillow opens 16-bit RGB files in 8-bit modes; only the raw mode of the first tile gives the depth of the file.
    tiles = getattr(picture, "tile", ())
    args = tiles[0].args if tiles else None
    raw_mode = str(args[0] if isinstance(args, tuple) and args else args)
    kind, _, byte_order = raw_mode.partition(";16")
    is_color_16 = byte_order in ("B", "L", "N")
    if "transparency" in picture.info and (is_color_16 or picture.mode.startswith("I;16")):
        raise _UnsupportedError("16-bit pixels with a transparent color")  # too rare to convert
    if picture.mode.startswith("I;16"):
        if tiles and "16" not in raw_mode:
            raise _UnsupportedError("12-bit pixels")
        if getattr(picture, "tag_v2", {}).get(262) == 0:  # TIFF's PhotometricInterpretation
            raise _UnsupportedError("16-bit pixels where 0 is white")
        return _in_bands(picture, lambda band: np.asarray(band).astype(np.float32) / 257, channels=1)
    if picture.mode in ("I", "F"):
        raise _UnsupportedError("32-bit or floating-point pixels, which have no agreed range")
    if is_color_16:
        if kind != picture.mode:
            raise _UnsupportedError(f"16-bit pixels in an uncommon layout ({kind})")
        # Pillow keeps the high byte of each value. A second decoding, with the byte order swapped, gives the low byte.
        high = _in_bands(picture, lambda band: np.asarray(band, np.float32))
        low = _in_bands(_low_bytes(data, picture, byte_order), lambda band: np.asarray(band, np.float32))
        return _Pixels(high.shape, lambda *rows: _over_white((256 * high.rows(*rows) + low.rows(*rows)) / 257))
    transparent = "transparency" in picture.info or {"A", "a"} & set(picture.getbands())
    mode = "RGBA" if transparent else "L" if picture.mode in ("1", "L") else "RGB"

    def to_array(band):
        return _over_white(np.asarray(band.convert(mode), np.float32))

    return _in_bands(picture, to_array, channels=1 if mode == "L" else 3)


def _in_bands(picture, to_array, *, channels=3) -> _Pixels:
    """The picture, decoded and with its EXIF orientation applied."""
    picture.load()  # metadata may follow the pixels
    ImageOps.exif_transpose(picture, in_place=True)

    def rows(start, stop):
        return np.atleast_3d(to_array(picture.crop((0, start, picture.width, stop))))

    return _Pixels((picture.height, picture.width, channels), rows)


def _low_bytes(data, picture, byte_order):
    """A picture of 16-bit values, opened again to decode the low bytes."""
    low = Image.open(io.BytesIO(data), formats=_READABLE)
    native = "L" if sys.byteorder == "little" else "B"
    swapped = f"{picture.mode};16{'B' if byte_order.replace('N', native) == 'L' else 'L'}"
    low.tile = [
        tile._replace(args=(swapped, *tile.args[1:]) if isinstance(tile.args, tuple) else swapped) for tile in low.tile
    ]
    return low


def _over_white(pixels: np.ndarray) -> np.ndarray:
    """Composites `[H, W, 4]` over white; returns other pixels unchanged."""
    if pixels.ndim != 3 or pixels.shape[2] != 4:
        return pixels
    opacity = pixels[..., 3:] / 255
    return pixels[..., :3] * opacity + 255 * (1 - opacity)
