"""Reading image files: against Pillow, tifffile, and files made by hand byte by byte."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from invert_jax import images


def _png(array, *, depth, color_type):
    """A PNG of unfiltered rows, written from the format's definition."""
    height, width = array.shape[:2]

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = array.astype(">u2" if depth == 16 else "u1")
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


# --- reading ---


@pytest.mark.parametrize("extension", ["png", "bmp", "tiff", "webp"])
def test_lossless_formats_return_the_pixels(tmp_path, rng, extension):
    pixels = rng.integers(0, 256, (7, 5, 3), dtype=np.uint8)
    path = tmp_path / f"a.{extension}"
    Image.fromarray(pixels).save(path, **({"lossless": True} if extension == "webp" else {}))
    image = images.load_image(path)
    assert image.dtype == np.float32
    assert isinstance(image, np.ndarray)
    np.testing.assert_array_equal(image, pixels)


def test_jpeg_is_within_its_compression(tmp_path):
    gradient = np.add.outer(np.arange(64.0), np.arange(48.0)).astype(np.uint8)
    pixels = np.stack([gradient, gradient + 50, 200 - gradient], axis=-1)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=98, subsampling=0)
    assert np.abs(images.load_image(tmp_path / "a.jpg") - pixels).max() < 6


def test_gif_gives_its_first_frame(tmp_path):
    frames = [Image.new("L", (6, 4), value) for value in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(images.load_image(tmp_path / "a.gif"), np.full((4, 6, 3), 10.0))


def test_gray_file_gives_three_equal_channels_or_one(tmp_path, rng):
    pixels = rng.integers(0, 256, (5, 6), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(images.load_image(tmp_path / "a.png"), np.stack([pixels] * 3, -1))
    np.testing.assert_array_equal(images.load_image(tmp_path / "a.png", gray=True), pixels[..., None])


def test_one_bit_file_is_black_and_white(tmp_path):
    Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(tmp_path / "a.png")
    assert images.load_image(tmp_path / "a.png", gray=True).tolist() == [[[0.0], [255.0]]]


def test_transparency_is_laid_over_white(tmp_path):
    rgba = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 51]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    expected = [[[200, 100, 0], [255, 255, 255], [244, 224, 204]]]
    np.testing.assert_allclose(images.load_image(tmp_path / "a.png"), expected, atol=1e-4)


def test_gray_with_alpha_is_laid_over_white(tmp_path):
    Image.merge("LA", [Image.new("L", (1, 1), 100), Image.new("L", (1, 1), 51)]).save(tmp_path / "a.png")
    np.testing.assert_allclose(images.load_image(tmp_path / "a.png"), np.full((1, 1, 3), 224.0), atol=1e-4)


def test_palette_with_a_transparent_color(tmp_path):
    picture = Image.fromarray(np.array([[0, 1]], np.uint8), mode=None).convert("P")
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.save(tmp_path / "a.png", transparency=1)
    picture.save(tmp_path / "a.gif", transparency=1)
    for name in ("a.png", "a.gif"):
        assert images.load_image(tmp_path / name).tolist() == [[[10.0, 20.0, 30.0], [255.0, 255.0, 255.0]]]


@pytest.mark.parametrize(("color_type", "channels"), [(0, 1), (2, 3), (6, 4)])
def test_16_bit_png_is_not_quantized(tmp_path, rng, color_type, channels):
    array = rng.integers(0, 65536, (4, 6, channels))
    array[0, 0], array[0, 1] = 65535, 257
    if channels == 4:
        array[..., 3] = 65535
    (tmp_path / "a.png").write_bytes(_png(array, depth=16, color_type=color_type))
    expected = np.broadcast_to(array[..., :3] / 257, (4, 6, 3))
    image = images.load_image(tmp_path / "a.png")
    np.testing.assert_allclose(image, expected, rtol=1e-6)
    assert image.max() == 255.0


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_tiff_is_not_quantized(tmp_path, rng, byteorder, compression, channels):
    array = rng.integers(0, 65536, (40, 30, channels)).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif",
        array if channels == 3 else array[..., 0],
        byteorder=byteorder,
        compression=compression,
        photometric="rgb" if channels == 3 else "minisblack",
        rowsperstrip=7,
    )
    expected = np.broadcast_to(array / 257, (40, 30, 3))
    np.testing.assert_allclose(images.load_image(tmp_path / "a.tif"), expected, rtol=1e-6)


def test_16_bit_alpha_is_laid_over_white(tmp_path):
    array = np.array([[[65535, 0, 257, 13107]]])  # a fifth opaque
    (tmp_path / "a.png").write_bytes(_png(array, depth=16, color_type=6))
    np.testing.assert_allclose(images.load_image(tmp_path / "a.png"), [[[255.0, 204.0, 204.2]]], rtol=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", ["png", "tiff"])
def test_exif_orientation_is_honored(tmp_path, rng, orientation, extension):
    stored = rng.integers(0, 256, (3, 5, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / f"a.{extension}", exif=exif)
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.swapaxes(0, 1),
        6: np.rot90(stored, -1),
        7: stored[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(stored, 1),
    }[orientation]
    np.testing.assert_array_equal(images.load_image(tmp_path / f"a.{extension}"), upright)


def test_orientation_of_a_16_bit_file_is_honored(tmp_path, rng):
    stored = rng.integers(0, 65536, (3, 5, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    np.testing.assert_allclose(images.load_image(tmp_path / "a.tif"), np.rot90(stored, -1) / 257, rtol=1e-6)


def test_one_pixel(tmp_path):
    images.save_image(tmp_path / "a.png", np.full((1, 1, 3), 7.0))
    assert images.load_image(tmp_path / "a.png").tolist() == [[[7.0, 7.0, 7.0]]]
    np.testing.assert_allclose(images.load_image(tmp_path / "a.png", size=4), np.full((4, 4, 3), 7.0))


def test_size_and_gray_together(tmp_path, rng):
    pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = images.load_image(tmp_path / "a.png", size=(8, 9), gray=True)
    np.testing.assert_array_equal(image, images.resize(images.to_gray(pixels), (8, 9)))
    assert image.shape == (8, 9, 1)


def _bmp_565():
    pixels = struct.pack("<HH", 0xF800, 0x001F)  # red, blue
    header = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 16, 3, 4, 0, 0, 0, 0)
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    return b"BM" + struct.pack("<IHHI", 70, 0, 0, 66) + header + masks + pixels


def test_bmp_of_16_bits_per_pixel_is_an_8_bit_picture(tmp_path):
    (tmp_path / "a.bmp").write_bytes(_bmp_565())
    assert images.load_image(tmp_path / "a.bmp").tolist() == [[[255.0, 0.0, 0.0], [0.0, 0.0, 255.0]]]


# --- what cannot be read ---


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nothing\.png"):
        images.load_image(tmp_path / "nothing.png")


def test_folder(tmp_path):
    with pytest.raises(ValueError, match="is a folder"):
        images.load_image(tmp_path)


def _truncated_png():
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    return stream.getvalue()[:3000]


def _tiff(array, **kwargs):
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **kwargs)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"hello, world\n" * 10, "not an image that can be read"),
        (_truncated_png(), "damaged"),
        (_tiff(np.zeros((2, 3), np.float32)), "no agreed range"),
        (_tiff(np.zeros((2, 3), np.int32)), "no agreed range"),
        (_tiff(np.zeros((2, 3), np.uint16), photometric="miniswhite"), "0 is white"),
        (_png(np.zeros((2, 3, 2)), depth=16, color_type=4), "uncommon layout"),
    ],
    ids=["empty", "text", "truncated", "float", "int32", "miniswhite", "16-bit gray alpha"],
)
def test_unreadable_files_are_one_sentence(tmp_path, data, message):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        images.load_image(tmp_path / "a.png")
    assert "\n" not in str(caught.value)
    assert "a.png" in str(caught.value)


def test_decompression_bomb(tmp_path):
    (tmp_path / "a.png").write_bytes(_png(np.zeros((1, 1, 1)), depth=8, color_type=0))
    data = bytearray((tmp_path / "a.png").read_bytes())
    for side, message in ((12_000, "too many"), (60_000, "too many")):  # Pillow warns about one, refuses the other
        data[16:24] = struct.pack(">II", side, side)
        data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
        (tmp_path / "a.png").write_bytes(data)
        with pytest.raises(ValueError, match=message):
            images.load_image(tmp_path / "a.png")
