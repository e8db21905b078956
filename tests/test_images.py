"""Image files against Pillow, tifffile and files made byte by byte; resizing against Pillow and by hand."""

import io
import os
import struct
import subprocess
import sys
import zlib
from functools import partial

import numpy as np
import pytest
import skimage.data
import tifffile
from PIL import Image
from processes import environment
from refusals import refused

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


def _saved(file_format, picture, **options):
    stream = io.BytesIO()
    picture.save(stream, file_format, **options)
    return stream.getvalue()


def _tiff(array, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


@pytest.fixture
def load(tmp_path):
    """Loads an image from the bytes of a file."""

    def load(data, **options):
        (tmp_path / "image").write_bytes(data)
        return images.load_image(tmp_path / "image", **options)

    return load


NOISE = np.random.default_rng(1).integers(0, 256, (7, 5, 3), dtype=np.uint8)
RGBA = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 51]]], np.uint8)
RNG_PICTURE = Image.fromarray(np.random.default_rng(2).integers(0, 256, (31, 17, 4), dtype=np.uint8))
PALETTE = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
PALETTE.putpalette([10, 20, 30, 40, 50, 60])
FIRST_FRAME, SECOND_FRAME = (Image.new("L", (6, 4), value) for value in (10, 200))
BMP_565 = struct.pack("<2sIHHI", b"BM", 70, 0, 0, 66) + struct.pack(
    "<IiiHHIIiiIIIIIHH", 40, 2, 1, 1, 16, 3, 4, 0, 0, 0, 0, 0xF800, 0x07E0, 0x001F, 0xF800, 0x001F
)  # a red pixel and a blue one, in 5, 6 and 5 bits


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (_saved("PNG", Image.fromarray(NOISE)), NOISE),
        (_saved("BMP", Image.fromarray(NOISE)), NOISE),
        (_saved("TIFF", Image.fromarray(NOISE)), NOISE),
        (_saved("WEBP", Image.fromarray(NOISE), lossless=True), NOISE),
        (_saved("PNG", Image.fromarray(NOISE[..., 0])), np.stack([NOISE[..., 0]] * 3, -1)),
        (_saved("PNG", Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")), [[[0] * 3, [255] * 3]]),
        (_saved("GIF", FIRST_FRAME, save_all=True, append_images=[SECOND_FRAME]), np.full((4, 6, 3), 10)),
        (BMP_565, [[[255, 0, 0], [0, 0, 255]]]),
        (_saved("PNG", Image.fromarray(RGBA)), [[[200, 100, 0], [255, 255, 255], [244, 224, 204]]]),
        (_saved("PNG", Image.fromarray(np.array([[[100, 51]]], np.uint8))), [[[224, 224, 224]]]),
        (_saved("PNG", PALETTE, transparency=1), [[[10, 20, 30], [255, 255, 255]]]),
        (_saved("GIF", PALETTE, transparency=1), [[[10, 20, 30], [255, 255, 255]]]),
    ],
    ids=range(12),
)
def test_8_bit_files_are_opaque_rgb(load, data, expected):
    image = load(data)
    assert isinstance(image, np.ndarray) and image.dtype == np.float32
    np.testing.assert_allclose(image, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("color_type", "channels"), [(0, 1), (2, 3), (6, 4)])
def test_16_bit_png_is_not_quantized(load, rng, color_type, channels):
    array = rng.integers(0, 65536, (4, 6, channels))
    array[0, 0], array[0, 1] = 65535, 257
    if channels == 4:
        array[..., 3] = 65535
        array[1, 1] = 65535, 0, 257, 13107  # a fifth opaque
    expected = np.broadcast_to(array[..., :3] / 257, (4, 6, 3)).copy()
    if channels == 4:
        expected[1, 1] = 255.0, 204.0, 204.2
    image = load(_png(array, depth=16, color_type=color_type))
    np.testing.assert_allclose(image, expected, rtol=1e-6)
    assert image.max() == 255.0


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_tiff_is_not_quantized(load, rng, byteorder, compression, channels):
    array = rng.integers(0, 65536, (40, 30, channels)).astype(np.uint16)
    photometric = "rgb" if channels == 3 else "minisblack"
    pixels = array if channels == 3 else array[..., 0]
    data = _tiff(pixels, byteorder=byteorder, compression=compression, photometric=photometric, rowsperstrip=7)
    np.testing.assert_allclose(load(data), np.broadcast_to(array / 257, (40, 30, 3)), rtol=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(load, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = NOISE if orientation < 5 else NOISE.swapaxes(0, 1)
    upright = turned[:: -1 if orientation in (3, 4, 7, 8) else 1, :: -1 if orientation in (2, 3, 6, 7) else 1]
    for file_format in ("PNG", "TIFF"):
        np.testing.assert_array_equal(load(_saved(file_format, Image.fromarray(NOISE), exif=exif)), upright)
    deep = _tiff(NOISE.astype(np.uint16) * 257, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
    np.testing.assert_array_equal(load(deep), upright)


def test_size_and_gray_together(load):
    image = load(_saved("PNG", Image.fromarray(NOISE)), size=(8, 9), gray=True)
    np.testing.assert_array_equal(image, images.resize(images.to_gray(NOISE), (8, 9)))


@pytest.mark.parametrize(
    ("data", "noun"),
    [
        (b"", "empty"),
        (b"hello, world\n" * 10, "not an image"),
        (_saved("PNG", Image.fromarray(np.indices((50, 50)).sum(0).astype(np.uint8)))[:60], "damaged"),
        (_tiff(np.zeros((2, 3), np.float32)), "floating-point"),
        (_tiff(np.zeros((2, 3), np.int32)), "32-bit"),
        (_tiff(np.zeros((2, 3), np.uint16), photometric="miniswhite"), "white"),
        (_png(np.zeros((2, 3, 2)), depth=16, color_type=4), "layout"),
    ],
    ids=["empty", "text", "truncated", "float", "int32", "miniswhite", "16-bit gray alpha"],
)
def test_unreadable_files(load, data, noun):
    with pytest.raises(ValueError, match=noun) as caught:
        load(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", [12_000, 60_000])  # Pillow warns about the first and refuses the second
def test_decompression_bomb(load, side):
    data = bytearray(_png(np.zeros((1, 1, 1)), depth=8, color_type=0))
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    with pytest.raises(ValueError, match="pixels"):
        load(bytes(data))


@pytest.mark.parametrize("name", images.EXAMPLES)
def test_example_images_equal_scikit_images(name):
    pixels = np.atleast_3d(getattr(skimage.data, name)())
    image = images.example_image(name)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
    if pixels.shape[2] == 1:
        np.testing.assert_array_equal(images.example_image(name, gray=True), pixels)


def test_whatever_holds_a_photograph_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    picture = Image.fromarray(NOISE)
    images.save_image("~/noise.png", NOISE)
    data = (tmp_path / "noise.png").read_bytes()
    with open(tmp_path / "noise.png", "rb") as file:
        for source in ("~/noise.png", tmp_path / "noise.png", data, io.BytesIO(data), file, picture, NOISE):
            np.testing.assert_array_equal(images.load_image(source), NOISE)
            if not hasattr(source, "read"):  # which has been read to its end
                assert images.image_shape(source) == (7, 5)
    gray = NOISE[..., 0]
    for source in (gray, gray[..., None], Image.fromarray(gray), gray.astype(np.uint16) * 257, gray.astype(np.float32)):
        np.testing.assert_allclose(images.load_image(source), np.repeat(gray[..., None], 3, 2), rtol=1e-6)
        assert images.load_image(source, gray=True, size=3).shape == (3, 3, 1)
    np.testing.assert_allclose(images.load_image(RGBA), images.load_image(Image.fromarray(RGBA)))


@pytest.mark.parametrize(
    ("source", "error", "noun"),
    [
        ("https://example.org/a.png", ValueError, "https://example.org/a.png is an address"),
        ("/dev/zero", ValueError, "device"),
        ("~nobody-of-this-name/a.png", ValueError, "home folder"),
        (b"", ValueError, "empty"),
        (3, TypeError, "int"),
        (io.StringIO("text"), TypeError, "binary"),
        (np.zeros((3, 5, 6)), ValueError, "channels"),
        (np.full((4, 4, 3), np.nan), ValueError, "finite"),
        (np.zeros((4, 4, 3), complex), TypeError, "real"),
    ],
    ids=["address", "device", "no user", "empty", "number", "text", "channels first", "nan", "complex"],
)
def test_what_holds_none_is_refused(source, error, noun):
    with refused(noun, error):
        images.load_image(source)


LARGE = """
import resource, sys, invert_jax as ij
def peak(): return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ij.load_image(ij.example_image(size=9), size=3)
before = peak()
assert ij.load_image(sys.argv[1], size=227).shape == (227, 227, 3)
print(peak() - before)
"""


@pytest.mark.slow
def test_a_large_photograph_takes_few_bytes_for_each_pixel(tmp_path):
    path, side = tmp_path / "large.png", 6000
    Image.new("RGBA", (side, side)).save(path)
    command = [sys.executable, "-c", LARGE, str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    assert int(run.stdout) < 8 * side**2  # 52 as an array of float32 and its composition over white


def test_bands_are_the_whole(monkeypatch):
    whole = [images.load_image(RNG_PICTURE, size=size, gray=gray) for size in (None, 9) for gray in (False, True)]
    monkeypatch.setattr(images, "_BAND", 100)
    bands = [images.load_image(RNG_PICTURE, size=size, gray=gray) for size in (None, 9) for gray in (False, True)]
    for one, other in zip(bands, whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_photograph_too_large_to_be_read_whole(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS_UNRESIZED", 34)
    with refused("7 x 5"):
        images.load_image(NOISE)
    assert images.load_image(NOISE, size=3).shape == (3, 3, 3)


def test_bad_paths_names_and_sizes(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.png"):
        images.load_image(tmp_path / "nothing.png")
    with pytest.raises(ValueError, match="folder"):
        images.load_image(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    with refused("pipe"):
        images.load_image(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match="astronaut"):
        images.example_image("lena")
    for size in (0, -3, 2.5, (3,), (3, 4, 5), (3, 0), "8", True, (4, 2.0)):
        with pytest.raises(ValueError, match="size"):
            images.resize(np.zeros((4, 4, 1)), size)


@pytest.mark.parametrize("size", [(40, 31), (9, 14), (100, 77), (33, 130)])
def test_resize_is_pillows_bicubic_away_from_the_border(rng, size):
    image = rng.uniform(60, 190, (63, 81, 1)).astype(np.float32)
    expected = np.asarray(Image.fromarray(image[..., 0]).resize(size[::-1], Image.Resampling.BICUBIC))
    rows, columns = (int(np.ceil(3 * max(1, n / m))) for n, m in zip(size, image.shape[:2], strict=True))
    inside = (slice(rows, -rows), slice(columns, -columns))
    assert expected[inside].size > 0
    np.testing.assert_allclose(images.resize(image, size)[..., 0][inside], expected[inside], atol=2e-3)


def test_resize_mirrors_the_border():
    # Halving [a, b, ...] by hand: Keys' cubic (a = -0.5) at distances 0.25, 0.75, 1.25, 1.75 of the widened
    # kernel, the taps before the first pixel being pixels 2, 1, 0 again.
    def keys(x):
        x = abs(x)
        return 1.5 * x**3 - 2.5 * x**2 + 1 if x <= 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2

    row = np.array([10.0, 90.0, 40.0, 200.0, 120.0, 60.0, 30.0, 80.0])
    weights = np.array([keys((0.5 - k) / 2) for k in range(-3, 5)])
    first = weights @ row[[2, 1, 0, 0, 1, 2, 3, 4]] / weights.sum()
    assert images.resize(row[None, :, None], (1, 4))[0, 0, 0] == pytest.approx(first, rel=1e-6)


def test_resize_preserves_flat_images_and_images_of_that_size(rng):
    np.testing.assert_allclose(images.resize(np.full((9, 13, 3), 255.0), (31, 4)), 255.0)
    np.testing.assert_allclose(images.resize(np.full((1, 1, 3), 7.0), 4), np.full((4, 4, 3), 7.0))
    image = rng.uniform(-90, 380, (5, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(images.resize(image, (5, 8)), image, rtol=1e-6)


@pytest.mark.parametrize(("low", "high"), [(0, 255), (-40, 300), (0, 300)])
def test_resize_clips_the_overshoot(low, high):
    wide = images.resize(np.repeat([float(low), float(high)], 8)[None, :, None], (1, 64))
    assert wide.min() == low and wide.max() == high


def test_resize_is_antialiased():
    checkerboard = 255.0 * (np.indices((64, 64)).sum(0) % 2)[..., None]
    assert np.abs(images.resize(checkerboard, 16)[2:-2, 2:-2] - 127.5).max() < 1


def test_gray_weights():
    np.testing.assert_allclose(images.to_gray(np.eye(3)[None] * 100)[0, :, 0], [29.8936021, 58.7043074, 11.4020904])
    gray = np.full((2, 2, 1), 3.25)
    np.testing.assert_array_equal(images.to_gray(gray), gray)
    with pytest.raises(ValueError, match="channels"):
        images.to_gray(np.zeros((2, 2, 4)))


def test_png_clips_and_rounds(tmp_path):
    images.save_image(tmp_path / "a.PNG", np.array([[[-20.0, 0.4, 0.6], [254.6, 255.0, 999.0]]]))
    assert images.load_image(tmp_path / "a.PNG").tolist() == [[[0.0, 0.0, 1.0], [255.0, 255.0, 255.0]]]


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_has_quality_95_and_sharp_colors(tmp_path, channels):
    smooth = np.add.outer(np.arange(64.0), np.arange(48.0))[..., None] + 40.0 * np.arange(channels)
    images.save_image(tmp_path / "a.jpeg", smooth)
    assert np.abs(images.load_image(tmp_path / "a.jpeg", gray=channels == 1) - smooth).max() < 6
    with Image.open(tmp_path / "a.jpeg") as written:
        assert written.format == "JPEG" and [layer[1:3] for layer in written.layer] == [(1, 1)] * channels  # 4:4:4
        assert written.quantization[0][0] == 2  # 16 in the standard table, at 95 a tenth of it


def test_a_failed_write_leaves_the_old_file_only(tmp_path, monkeypatch):
    images.save_image(tmp_path / "a.png", np.zeros((2, 2, 1)))
    before = (tmp_path / "a.png").read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        images.save_image(tmp_path / "a.png", np.full((2, 2, 1), 255.0))
    assert (tmp_path / "a.png").read_bytes() == before and os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("shape", [(5, 3, 1), (5, 4, 1), (1, 1, 1), (1, 3, 3), (3, 4, 3)])
def test_frames_of_an_animation(tmp_path, rng, shape):
    frames = rng.integers(0, 256, (3, *shape), dtype=np.uint8)
    images.save_image(tmp_path / "a.png", frames[0])
    np.testing.assert_array_equal(images.load_image(tmp_path / "a.png", gray=shape[2] == 1), frames[0])
    images.save_animation(tmp_path / "a.gif", frames, seconds_per_frame=0.25)
    with Image.open(tmp_path / "a.gif") as gif:
        assert (gif.n_frames, gif.size, gif.info["loop"]) == (3, shape[1::-1], 0)
        for index, frame in enumerate(frames):
            gif.seek(index)
            assert gif.info["duration"] == 250
            pixels = np.asarray(gif.convert("RGB"), float)
            np.testing.assert_allclose(pixels, np.broadcast_to(frame, pixels.shape), atol=0 if shape[2] == 1 else 8)


BLACK = np.zeros((2, 2, 1))


@pytest.mark.parametrize(
    ("write", "name", "pixels", "noun"),
    [
        (images.save_image, "a.png", np.full((2, 2, 3), np.nan), "non-finite"),
        (images.save_image, "a.png", np.full((2, 2, 3), np.inf), "non-finite"),
        (images.save_image, "a.png", np.zeros((2, 2)), "shape"),
        (images.save_image, "a.png", np.zeros((2, 2, 2)), "channels"),
        (images.save_image, "a.png", np.zeros((0, 2, 3)), "pixels"),
        (images.save_image, "a.txt", BLACK, "extension"),
        (images.save_image, "no/a.png", BLACK, "folder"),
        (partial(images.save_animation, seconds_per_frame=0.1), "a.gif", [], "frames"),
        (partial(images.save_animation, seconds_per_frame=0.1), "a.gif", [BLACK, np.zeros((2, 3, 1))], "shape"),
        (partial(images.save_animation, seconds_per_frame=0.1), "a.gif", [BLACK * np.nan], "non-finite"),
        (partial(images.save_animation, seconds_per_frame=0.001), "a.gif", [BLACK], "seconds_per_frame"),
        (partial(images.save_animation, seconds_per_frame=-1), "a.gif", [BLACK], "seconds_per_frame"),
    ],
)
def test_bad_images_are_not_written(tmp_path, write, name, pixels, noun):
    with pytest.raises(FileNotFoundError if noun == "folder" else ValueError, match=noun):
        write(tmp_path / name, pixels)
    assert os.listdir(tmp_path) == []
