"""Resizing, graying and writing images, and the samples: against Pillow, scikit-image and small cases by hand."""

import os
import socket

import numpy as np
import pytest
from PIL import Image

from invert_jax import images

# --- resizing and graying ---


@pytest.mark.parametrize("size", [0, -3, 2.5, (3,), (3, 4, 5), (3, 0), "8", True, (4, 2.0)])
def test_bad_sizes(size):
    with pytest.raises(ValueError, match="size is"):
        images.resize(np.zeros((4, 4, 1)), size)


@pytest.mark.parametrize("size", [(40, 31), (9, 14), (100, 77), (33, 130)])
def test_resize_is_pillows_bicubic_away_from_the_border(rng, size):
    image = rng.uniform(60, 190, (63, 81, 1))
    expected = np.asarray(
        Image.fromarray(image[..., 0].astype(np.float32)).resize(size[::-1], Image.Resampling.BICUBIC)
    )
    got = images.resize(image, size)[..., 0]
    inside = tuple(slice(int(np.ceil(3 * max(1, n / m))), -int(np.ceil(3 * max(1, n / m)))) for n, m in
                   zip(size, image.shape[:2], strict=True))  # fmt: skip
    assert got[inside].size > 0
    np.testing.assert_allclose(got[inside], expected[inside], atol=2e-3)


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


def test_resize_to_the_same_size_changes_nothing(rng):
    image = rng.uniform(0, 255, (5, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(images.resize(image, (5, 8)), image, rtol=1e-6)


def test_resize_keeps_flat_images_and_clips_the_overshoot():
    np.testing.assert_allclose(images.resize(np.full((9, 13, 3), 255.0), (31, 4)), 255.0)
    step = np.repeat([0.0, 255.0], 8)[None, :, None]
    wide = images.resize(step, (1, 64))
    assert wide.min() == 0 and wide.max() == 255


def test_resize_of_what_lies_beyond_0_255_is_clipped_to_its_own_range(rng):
    step = np.repeat([-40.0, 300.0], 8)[None, :, None]
    wide = images.resize(step, (1, 64))
    assert wide.min() == -40 and wide.max() == 300
    image = rng.uniform(-90, 380, (9, 12, 3)).astype(np.float32)
    np.testing.assert_allclose(images.resize(image, (9, 12)), image, rtol=1e-6)
    one_sided = images.resize(np.repeat([0.0, 300.0], 8)[None, :, None], (1, 64))
    assert one_sided.min() == 0 and one_sided.max() == 300


def test_resize_is_antialiased(rng):
    checkerboard = 255.0 * (np.indices((64, 64)).sum(0) % 2)[..., None]
    small = images.resize(checkerboard, 16)
    assert np.abs(small[2:-2, 2:-2] - 127.5).max() < 1


def test_gray_weights():
    unit = np.eye(3)[None] * 100
    np.testing.assert_allclose(images.to_gray(unit)[0, :, 0], [29.8936021, 58.7043074, 11.4020904], rtol=1e-6)
    gray = np.full((2, 2, 1), 3.25)
    np.testing.assert_array_equal(images.to_gray(gray), gray)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        images.to_gray(np.zeros((2, 2, 4)))


# --- writing ---


def test_png_round_trip_clips_and_rounds(tmp_path):
    image = np.array([[[-20.0, 0.4, 0.6], [254.6, 255.0, 999.0]]])
    images.save_image(tmp_path / "a.png", image)
    assert images.load_image(tmp_path / "a.png").tolist() == [[[0.0, 0.0, 1.0], [255.0, 255.0, 255.0]]]


@pytest.mark.parametrize("channels", [1, 3])
def test_uint8_round_trip(tmp_path, rng, channels):
    pixels = rng.integers(0, 256, (6, 4, channels), dtype=np.uint8)
    images.save_image(tmp_path / "a.PNG", pixels)
    np.testing.assert_array_equal(images.load_image(tmp_path / "a.PNG", gray=channels == 1), pixels)


def test_jpeg_is_written_by_its_extension(tmp_path):
    images.save_image(tmp_path / "a.jpeg", np.full((16, 16, 3), (200.0, 30.0, 60.0)))
    assert (tmp_path / "a.jpeg").read_bytes()[:2] == b"\xff\xd8"
    np.testing.assert_allclose(images.load_image(tmp_path / "a.jpeg")[8, 8], (200, 30, 60), atol=3)


@pytest.mark.parametrize(
    ("name", "image", "error", "message"),
    [
        ("a.png", np.full((2, 2, 3), np.nan), ValueError, "non-finite"),
        ("a.png", np.full((2, 2, 3), np.inf), ValueError, "non-finite"),
        ("a.png", np.zeros((2, 2)), ValueError, r"image\[\.\.\., None\]"),
        ("a.png", np.zeros((2, 2, 2)), ValueError, "1 or 3 channels"),
        ("a.png", np.zeros((0, 2, 3)), ValueError, "at least 1 x 1"),
        ("a.txt", np.zeros((2, 2, 3)), ValueError, "image extension '.txt'"),
        ("no/a.png", np.zeros((2, 2, 3)), FileNotFoundError, "folder .*no.* does not exist"),
    ],
)
def test_what_is_not_written(tmp_path, name, image, error, message):
    with pytest.raises(error, match=message):
        images.save_image(tmp_path / name, image)
    assert os.listdir(tmp_path) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    images.save_image(tmp_path / "a.png", np.zeros((2, 2, 1)))
    before = (tmp_path / "a.png").read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        images.save_image(tmp_path / "a.png", np.full((2, 2, 1), 255.0))
    assert (tmp_path / "a.png").read_bytes() == before
    assert os.listdir(tmp_path) == ["a.png"]


def test_jpeg_keeps_the_sharpness_of_colors_and_quality_95(tmp_path):
    images.save_image(tmp_path / "a.jpg", np.zeros((16, 16, 3)))
    with Image.open(tmp_path / "a.jpg") as written:
        assert [layer[1:3] for layer in written.layer] == [(1, 1)] * 3  # 4:4:4
        assert written.quantization[0][0] == 2  # 16 in the standard table, at 95 a tenth of it

    images.save_image(tmp_path / "b.jpg", np.zeros((16, 16, 1)))
    with Image.open(tmp_path / "b.jpg") as written:
        assert written.mode == "L" and written.quantization[0][0] == 2


@pytest.mark.parametrize("shape", [(5, 3, 1), (5, 4, 1), (1, 1, 1), (1, 3, 3), (3, 4, 3)])
def test_narrow_images_are_not_mistaken(tmp_path, rng, shape):
    frames = rng.integers(0, 256, (3, *shape), dtype=np.uint8)
    images.save_image(tmp_path / "a.png", frames[0])
    np.testing.assert_array_equal(images.load_image(tmp_path / "a.png", gray=shape[2] == 1), frames[0])
    images.save_animation(tmp_path / "a.gif", frames, seconds_per_frame=0.1)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 3 and gif.size == shape[1::-1]
        for index, frame in enumerate(frames):
            gif.seek(index)
            shown = np.asarray(gif.convert("RGB"), float)
            np.testing.assert_allclose(shown, np.broadcast_to(frame, shown.shape), atol=0 if shape[2] == 1 else 8)


def test_animation(tmp_path):
    frames = np.stack([np.full((4, 6, 1), value) for value in (0.0, 100.2, 300.0)])
    images.save_animation(tmp_path / "a.gif", frames, seconds_per_frame=0.25)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 3
        assert gif.info["loop"] == 0
        for index, value in enumerate((0, 100, 255)):
            gif.seek(index)
            assert gif.info["duration"] == 250
            assert np.unique(np.asarray(gif.convert("L"))).tolist() == [value]
    assert os.listdir(tmp_path) == ["a.gif"]


def test_color_animation_keeps_a_palette_for_every_frame(tmp_path):
    colors = [(255, 0, 0), (0, 130, 250)]
    frames = [np.full((4, 4, 3), color) for color in colors]
    images.save_animation(tmp_path / "a.gif", frames, seconds_per_frame=1)
    with Image.open(tmp_path / "a.gif") as gif:
        for index, color in enumerate(colors):
            gif.seek(index)
            np.testing.assert_allclose(np.asarray(gif.convert("RGB"))[2, 2], color, atol=2)


@pytest.mark.parametrize(
    ("frames", "seconds", "message"),
    [
        ([], 0.1, "one or more frames"),
        ([np.zeros((2, 2, 1)), np.zeros((2, 3, 1))], 0.1, r"one shape; got the shapes \[\(2, 2, 1\), \(2, 3, 1\)\]"),
        ([np.full((2, 2, 1), np.nan)], 0.1, "non-finite"),
        ([np.zeros((2, 2, 1))], 0.001, "0.02 or more"),
        ([np.zeros((2, 2, 1))], -1, "greater than 0"),
    ],
)
def test_bad_animations(tmp_path, frames, seconds, message):
    with pytest.raises(ValueError, match=message):
        images.save_animation(tmp_path / "a.gif", frames, seconds_per_frame=seconds)
    assert os.listdir(tmp_path) == []


# --- samples ---


@pytest.mark.parametrize("name", images.EXAMPLES)
def test_samples_come_with_scikit_image(name, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("no network")

    monkeypatch.setattr(socket, "socket", refuse)
    image = images.example_image(name, size=32)
    assert image.shape == (32, 32, 3) and image.dtype == np.float32
    assert 0 <= image.min() < image.max() <= 255 and image.std() > 5


def test_sample_is_scikit_images_own():
    import skimage.data

    np.testing.assert_array_equal(images.example_image("coffee"), skimage.data.coffee())
    np.testing.assert_array_equal(images.example_image("camera", gray=True)[..., 0], skimage.data.camera())


def test_unknown_sample_lists_the_names():
    with pytest.raises(ValueError, match="'lena'; choose one of: astronaut, brick"):
        images.example_image("lena")


def test_a_scikit_image_without_the_file(monkeypatch):
    monkeypatch.setitem(images._EXAMPLE_FILES, "chelsea", "moved.png")
    with pytest.raises(FileNotFoundError, match=r"does not carry moved\.png"):
        images.example_image("chelsea")
