"""From image files to arrays: 16 bits, orientation, transparency, and what is refused."""

import io
import os
import sys
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

_READABLE = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP")


def read(path: str | os.PathLike) -> np.ndarray:
    """The pixels of a photograph: upright, opaque, of 8 or 16 bits.

    8-bit values are kept; 16-bit values are divided by 257 and not rounded. The camera's orientation (EXIF)
    is applied, what is transparent is laid over white, color profiles are ignored.

    Args:
      path: a PNG, JPEG, BMP, TIFF, GIF or WebP file (the first frame).

    Returns:
      float32 `[H, W, 1]` if the file is gray, else `[H, W, 3]`; 0..255.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a folder, an empty or damaged file, not an image, too many pixels, or pixels that have no
        faithful reading as 0..255 (floating-point, 32 bits, rare 16-bit layouts).

    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "half.png")
    >>> Image.new("RGBA", (1, 1), (0, 0, 0, 51)).save(path)  # a fifth opaque
    >>> read(path).tolist()
    [[[204.0, 204.0, 204.0]]]
    """
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
    """16-bit RGB(A), of which Pillow keeps the high byte: a second reading, bytes swapped, gives the low."""
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
