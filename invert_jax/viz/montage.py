"""Pictures about pictures: contact sheets and boxes. Arrays in, uint8 `[H, W, 3]` out.

What is not finite is marked, never drawn as if it were a picture.
"""

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from invert_jax._util import checks

GAP = 16
"""Pixels of white around a contact sheet and between its pictures."""

_MODES = ("clip", "stretch")
_NOT_FINITE = (255, 0, 255)
_SMALL = 128  # a picture lower than this is enlarged, so that one can see it
_CAPTION_GAP = 6
_FRAME = (205, 205, 205)
_INK = (20, 20, 20)
_WARNING = (176, 0, 32)


def display(image, *, mode: str = "clip") -> np.ndarray:
    """The 8-bit picture of an image; pixels that are not finite become magenta.

    Args:
      image: `[H, W, 3]` or `[H, W, 1]`, 0..255, not necessarily inside that range.
      mode: "clip" cuts to 0..255; "stretch" maps the least value to 0 and the greatest to 255 (as the
        figures saved by the authors' code; it hides how strong the contrast was). A flat image stretches
        to 128.

    Returns:
      uint8 `[H, W, 3]`.

    Raises:
      ValueError: another shape or mode.

    >>> display(np.array([[[-10.0], [99.6], [300.0]]]))[0, :, 0].tolist()
    [0, 100, 255]
    >>> display(np.array([[[1.0], [2.0], [3.0]]]), mode="stretch")[0, :, 0].tolist()
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
    """A labelled contact sheet on white, row by row.

    Every picture is shown pixel for pixel, or enlarged by a whole factor without interpolation where it is
    small; only one taller than `height` is reduced. Pictures of several sizes are centered in equal cells.
    An image with a value that is not finite is a marked tile. Labels stand below and are wrapped to fit.

    Args:
      images: `[N, H, W, C]`, or N images `[H, W, 3 or 1]`, 0..255, of any sizes.
      labels: N texts (None or "" for none).
      columns: pictures in a row; None chooses.
      title: a heading.
      mode: as in `display`, one for all or one for each.
      height: greatest height of a picture in pixels; None is that of the tallest image, at least 128.

    Returns:
      uint8 `[H, W, 3]`. Without a title the first cell begins at row and column `GAP`.

    Raises:
      ValueError: no images, labels or modes of another number, columns or height below 1, a bad image.

    >>> sheet = montage([np.zeros((128, 128, 1)), np.full((128, 128, 3), 255.0)], columns=2)
    >>> sheet.shape
    (160, 304, 3)
    """
    images = list(images)
    if not images:
        raise ValueError("A montage needs one image or more; got none.")
    labels = ["" if label is None else str(label) for label in _one_each(labels, len(images), "labels", None)]
    modes = [mode] * len(images) if isinstance(mode, str) else _one_each(mode, len(images), "modes", "clip")
    if columns is None:
        columns = len(images) if len(images) <= 6 else round(np.sqrt(1.5 * len(images)))
    checks.require_positive(columns, "columns")
    if height is not None:
        checks.require_positive(height, "height")
    columns = min(int(columns), len(images))

    pictures = [display(image, mode=m) for image, m in zip(images, modes, strict=True)]
    target = int(height) if height else max(_SMALL, *(len(picture) for picture in pictures))
    tiles = [_fit(picture, target) for picture in pictures]
    for i, image in enumerate(images):
        if not np.isfinite(np.asarray(image, np.float64)).all():
            tiles[i] = _marked(*tiles[i].shape[:2])
    cell_height, cell_width = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    font = _font(int(np.clip(target / 12, 13, 28)))
    cell_width = max(cell_width, 6 * int(font.size) if any(labels) else 0)  # room for a word under a slim picture
    texts = [_wrap(label, font, cell_width) for label in labels]
    rows = [range(start, min(start + columns, len(tiles))) for start in range(0, len(tiles), columns)]

    width = GAP + columns * (cell_width + GAP)
    heading_font = _font(int(font.size * 1.25), bold=True)
    heading = _wrap(title or "", heading_font, width - 2 * GAP)
    top = GAP + (_text_height(heading, heading_font) + GAP if heading else 0)
    tops = []
    for row in rows:
        tops.append(top)
        caption = max(_text_height(texts[i], font) for i in row)
        top += cell_height + (_CAPTION_GAP + caption if caption else 0) + GAP

    sheet = Image.new("RGB", (width, top), "white")
    draw = ImageDraw.Draw(sheet)
    _write_lines(draw, heading, heading_font, width // 2, GAP)
    for row, row_top in zip(rows, tops, strict=True):
        for column, i in enumerate(row):
            tile, left = tiles[i], GAP + column * (cell_width + GAP)
            x, y = left + (cell_width - tile.shape[1]) // 2, row_top + (cell_height - tile.shape[0]) // 2
            # The frame lies outside the picture: a white picture still has an edge, and no pixel is covered.
            draw.rectangle((x - 1, y - 1, x + tile.shape[1], y + tile.shape[0]), outline=_FRAME)
            sheet.paste(Image.fromarray(tile), (x, y))
            caption_top = row_top + cell_height + _CAPTION_GAP
            _write_lines(draw, texts[i], font, left + cell_width // 2, caption_top)
    return np.array(sheet)


def draw_box(
    image,
    box: tuple[int, int, int, int],
    *,
    color: tuple[int, int, int] = (255, 0, 0),
    width: int = 2,
) -> np.ndarray:
    """Outlines a box, such as a receptive field; what lies beyond the image is cut off before outlining.

    Args:
      image: `[H, W, 3]` or `[H, W, 1]`, 0..255.
      box: (top, left, bottom, right) in pixels, bottom and right exclusive, as `receptive_field.box` gives.
      color: of the line, 0..255.
      width: of the line in pixels; it lies inside the box.

    Returns:
      uint8 `[H, W, 3]`.

    Raises:
      ValueError: a box without area or wholly outside the image, a bad image, a width below 1.

    >>> draw_box(np.zeros((3, 3, 1)), (0, 0, 3, 3), width=1)[..., 0].tolist()
    [[255, 255, 255], [255, 0, 255], [255, 255, 255]]
    """
    checks.require_positive(width, "width")
    pixels = display(image)
    top, left, bottom, right = (int(side) for side in box)
    if top >= bottom or left >= right:
        raise ValueError(f"The box {tuple(box)} has no area; give (top, left, bottom, right).")
    top, left = max(top, 0), max(left, 0)
    bottom, right = min(bottom, pixels.shape[0]), min(right, pixels.shape[1])
    if top >= bottom or left >= right:
        raise ValueError(f"The box {tuple(box)} lies outside the image of {pixels.shape[0]} x {pixels.shape[1]}.")
    inside = pixels[top + width : bottom - width, left + width : right - width].copy()
    hollow = min(bottom - top, right - left) > 2 * width
    pixels[top:bottom, left:right] = color
    if hollow:
        pixels[top + width : bottom - width, left + width : right - width] = inside
    return pixels


def _fit(pixels: np.ndarray, target: int) -> np.ndarray:
    """The picture at the size in which it is shown: a whole factor up, or reduced to the target height."""
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
    draw.line((0, 0, columns - 1, rows - 1), fill=(226, 190, 190), width=2)
    draw.line((0, rows - 1, columns - 1, 0), fill=(226, 190, 190), width=2)
    font = _font(int(np.clip(columns / 9, 8, 22)), bold=True)
    lines = _wrap("not finite", font, columns - 4)
    height = _text_height(lines, font)
    if height <= rows:
        _write_lines(draw, lines, font, columns // 2, (rows - height) // 2, _WARNING)
    return np.array(tile)


def _one_each(values: Sequence | None, number: int, what: str, default) -> list:
    values = [default] * number if values is None else list(values)
    if len(values) != number:
        raise ValueError(f"There are {number} images but {len(values)} {what}; give one for each image.")
    return values


def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(os.path.join(matplotlib.get_data_path(), "fonts", "ttf", name), size)


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
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


def _line_height(font: ImageFont.FreeTypeFont) -> int:
    return sum(font.getmetrics())


def _text_height(lines: list[str], font: ImageFont.FreeTypeFont) -> int:
    return len(lines) * _line_height(font)


def _write_lines(draw, lines: list[str], font: ImageFont.FreeTypeFont, center: int, top: int, color=_INK) -> None:
    for number, line in enumerate(lines):
        left = center - font.getlength(line) / 2
        draw.text((round(left), top + number * _line_height(font)), line, font=font, fill=color)
