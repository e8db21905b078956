"""Labeled montages of images, and boxes. Arrays go in, uint8 `[H, W, 3]` comes out.

Images that are not finite are marked, never drawn as if they were pictures.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from invert_jax._util import checks, reprs

_GAP = 16  # white pixels around a montage and between its pictures
_MODES = ("clip", "stretch")
_NOT_FINITE = (255, 0, 255)
_MIN_HEIGHT = 128  # smaller pictures are enlarged
_CAPTION_GAP = 6
_FRAME = (205, 205, 205)
_INK = (20, 20, 20)
_WARNING = (176, 0, 32)


def to_uint8(image, *, mode: str = "clip") -> np.ndarray:
    """The 8-bit picture of an image; pixels that are not finite become magenta.

    Args:
      image: `[H, W, 3]` or `[H, W, 1]`, 0..255, not necessarily inside that range.
      mode: "clip" clips to 0..255; "stretch" maps the smallest value to 0 and the largest to 255, as the figures of the
        authors' code do, which conceals contrast. A constant image is stretched to 128.

    Returns:
      uint8 `[H, W, 3]`.

    Raises:
      ValueError: another shape or mode.

    >>> to_uint8(np.array([[[-10.0], [99.6], [300.0]]]))[0, :, 0].tolist()
    [0, 100, 255]
    >>> to_uint8(np.array([[[1.0], [2.0], [3.0]]]), mode="stretch")[0, :, 0].tolist()
    [0, 128, 255]
    """
    checks.require_choice(mode, _MODES, "display mode")
    checks.require_image(image, what="display")
    image = np.asarray(image, np.float64)
    if image.shape[2] not in (1, 3):
        raise ValueError(f"A displayed image has 1 or 3 channels; got shape {image.shape}: choose channels.")
    finite = np.isfinite(image)
    if mode == "stretch" and finite.any():
        low, high = image[finite].min(), image[finite].max()
        image = 255 * ((image - low) / (high - low)) if high > low else np.where(finite, 128.0, np.nan)
    pixels = np.clip(np.rint(np.where(finite, image, 0)), 0, 255).astype(np.uint8)
    pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3)).copy()
    pixels[~finite.all(axis=2)] = _NOT_FINITE
    return pixels


def montage(
    images: Sequence,
    *,
    labels: Sequence | None = None,
    columns: int | None = None,
    title: str | None = None,
    mode: str | Sequence[str] = "clip",
    height: int | None = None,
) -> np.ndarray:
    """A grid of labeled pictures on white, row by row.

    Small pictures are enlarged by a whole factor without interpolation, those taller than `height` are reduced, and all
    are centered in equal cells. An image with a value that is not finite is replaced by a crossed-out tile.

    Args:
      images: `[N, H, W, C]`, or N images `[H, W, 3 or 1]`, 0..255, of any sizes.
      labels: N texts (None or "" for none).
      columns: pictures in a row; None chooses.
      title: heading above the pictures.
      mode: "clip" clips to 0..255; "stretch" maps each image's own range to 0..255. One for all, or one for each.
      height: largest height of a picture in pixels; None is that of the tallest image, at least 128.

    Returns:
      uint8 `[H, W, 3]`. Without a title the first cell starts at row and column 16.

    Raises:
      ValueError: no images, another number of labels or modes, columns or height below 1, or an invalid image.

    >>> sheet = montage([np.zeros((128, 128, 1)), np.full((128, 128, 3), 255.0)], columns=2)
    >>> sheet.shape
    (160, 304, 3)
    """
    images = list(images)
    if not images:
        raise ValueError("A montage needs one image or more; got none.")
    labels = [
        "" if label is None else reprs.label_text(label)
        for label in ([None] * len(images) if labels is None else labels)
    ]
    modes = [mode] * len(images) if isinstance(mode, str) else list(mode)
    if not len(images) == len(labels) == len(modes):
        raise ValueError(
            f"There are {len(images)} images, {len(labels)} labels, {len(modes)} modes; give one for each."
        )
    if columns is None:
        columns = len(images) if len(images) <= 6 else round(np.sqrt(1.5 * len(images)))
    checks.require_positive(columns, "columns")
    checks.require_positive(1 if height is None else height, "height")
    columns = min(int(columns), len(images))

    pictures = [to_uint8(image, mode=m) for image, m in zip(images, modes, strict=True)]
    target = int(height) if height else max(_MIN_HEIGHT, *(len(picture) for picture in pictures))
    tiles = [_fit(picture, target) for picture in pictures]
    for i, image in enumerate(images):
        if not np.isfinite(image).all():
            tiles[i] = _marked(*tiles[i].shape[:2])
    cell_height, cell_width = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    font = _font(int(np.clip(target / 12, 13, 28)))
    cell_width = max(cell_width, 6 * int(font.size) if any(labels) else 0)  # space for a word
    texts = [_wrap(label, font, cell_width) for label in labels]
    rows = [range(start, min(start + columns, len(tiles))) for start in range(0, len(tiles), columns)]

    width = _GAP + columns * (cell_width + _GAP)
    heading_font = _font(int(font.size * 1.25), bold=True)
    heading = _wrap(reprs.label_text(title or ""), heading_font, width - 2 * _GAP)
    top = _GAP + (_text_height(heading, heading_font) + _GAP if heading else 0)
    captions = [max(_text_height(texts[i], font) for i in row) for row in rows]
    heights = [cell_height + (_CAPTION_GAP + caption if caption else 0) + _GAP for caption in captions]

    sheet = Image.new("RGB", (width, top + sum(heights)), "white")
    draw = ImageDraw.Draw(sheet)
    _write_lines(draw, heading, heading_font, width // 2, _GAP)
    for row, row_height in zip(rows, heights, strict=True):
        for column, i in enumerate(row):
            tile, left = tiles[i], _GAP + column * (cell_width + _GAP)
            x, y = left + (cell_width - tile.shape[1]) // 2, top + (cell_height - tile.shape[0]) // 2
            # The frame lies outside the picture: a white picture still has an edge, and no pixel is covered.
            draw.rectangle((x - 1, y - 1, x + tile.shape[1], y + tile.shape[0]), outline=_FRAME)
            sheet.paste(Image.fromarray(tile), (x, y))
            _write_lines(draw, texts[i], font, left + cell_width // 2, top + cell_height + _CAPTION_GAP)
        top += row_height
    return np.array(sheet)


def draw_box(
    image,
    box: tuple[int, int, int, int],
    *,
    color: tuple[int, int, int] = (255, 0, 0),
    width: int = 2,
) -> np.ndarray:
    """Draws the outline of a box, such as a receptive field, clipped to the image.

    Args:
      image: `[H, W, 3]` or `[H, W, 1]`, 0..255.
      box: (top, left, bottom, right) in pixels, bottom and right exclusive, as `receptive_field.pixel_box` gives.
      color: of the line, RGB, 0..255.
      width: of the line in pixels; the line lies inside the box.

    Returns:
      uint8 `[H, W, 3]`.

    Raises:
      ValueError: a box without area or outside the image, an invalid image, or a width below 1.

    >>> draw_box(np.zeros((3, 3, 1)), (0, 0, 3, 3), width=1)[..., 0].tolist()
    [[255, 255, 255], [255, 0, 255], [255, 255, 255]]
    """
    checks.require_positive(width, "width")
    pixels = to_uint8(image)
    top, left = max(int(box[0]), 0), max(int(box[1]), 0)
    bottom, right = min(int(box[2]), pixels.shape[0]), min(int(box[3]), pixels.shape[1])
    if top >= bottom or left >= right:
        raise ValueError(f"The box {tuple(box)} has no area in the image; give (top, left, bottom, right).")
    inside = np.s_[top + width : max(bottom - width, 0), left + width : max(right - width, 0)]
    before = pixels[inside].copy()
    pixels[top:bottom, left:right] = color
    pixels[inside] = before
    return pixels


def _fit(pixels: np.ndarray, target: int) -> np.ndarray:
    """The picture enlarged by a whole factor, or reduced to the target height."""
    rows, columns = pixels.shape[:2]
    if rows > target:
        size = (max(1, round(columns * target / rows)), target)
        return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    factor = max(1, min(target // rows, 3 * target // (2 * columns)))
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def _marked(rows: int, columns: int) -> np.ndarray:
    """A crossed-out tile in place of an image that is not finite."""
    tile = Image.new("RGB", (columns, rows), (246, 240, 240))
    draw = ImageDraw.Draw(tile)
    for line in ((0, 0, columns - 1, rows - 1), (0, rows - 1, columns - 1, 0)):
        draw.line(line, fill=(226, 190, 190), width=2)
    font = _font(int(np.clip(columns / 9, 8, 22)), bold=True)
    lines = _wrap("not finite", font, columns - 4)
    height = _text_height(lines, font)
    if height <= rows:
        _write_lines(draw, lines, font, columns // 2, (rows - height) // 2, _WARNING)
    return np.array(tile)


def _font(size: int, *, bold: bool = False) -> Any:
    try:
        import matplotlib
    except ImportError:
        return ImageFont.load_default(size)  # of Pillow; Latin letters only, no bold
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(os.path.join(matplotlib.get_data_path(), "fonts", "ttf", name), size)


def _wrap(text: str, font, width: int) -> list[str]:
    """Lines that fit into `width`; a word too long for a line is broken."""
    lines = []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split():
            joined = f"{line} {word}" if line else word
            if font.getlength(joined) <= width:
                line = joined
                continue
            if line:
                lines.append(line)
            line = word
            while len(line) > 1 and font.getlength(line) > width:
                end = next((n for n in range(len(line) - 1, 1, -1) if font.getlength(line[:n]) <= width), 1)
                lines.append(line[:end])
                line = line[end:]
        lines.append(line)
    return lines


def _text_height(lines: list[str], font) -> int:
    return len(lines) * sum(font.getmetrics())


def _write_lines(draw, lines: list[str], font, center: int, top: int, color=_INK) -> None:
    for i, line in enumerate(lines):
        place = round(center - font.getlength(line) / 2), top + _text_height(lines[:i], font)
        draw.text(place, line, font=font, fill=color)
