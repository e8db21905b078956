"""Montages and boxes by their pixels."""

import sys

import numpy as np
import pytest

from invert_jax import viz
from invert_jax.viz.montage import to_uint8

GAP = 16
MAGENTA = [255, 0, 255]


def _picture(rng, height=128, width=128, channels=3):
    return rng.integers(0, 256, (height, width, channels)).astype(np.float32)


def test_8_bit_pictures():
    image = np.array([[[-5.0, 0.4, 0.6], [254.4, 254.6, 400.0]]])
    assert to_uint8(image).dtype == np.uint8 and to_uint8(image).tolist() == [[[0, 0, 1], [254, 255, 255]]]
    assert to_uint8(np.array([[[-100.0, 0.0, 100.0]]]), mode="stretch").tolist() == [[[0, 128, 255]]]
    assert np.unique(to_uint8(np.full((2, 2, 1), 7.0), mode="stretch")).tolist() == [128]
    for mode in ("clip", "stretch"):
        image = np.array([[[0.0], [np.nan], [255.0], [-np.inf]]])
        assert to_uint8(image, mode=mode).tolist() == [[[0, 0, 0], MAGENTA, [255, 255, 255], MAGENTA]]


def test_montage_has_every_pixel(rng):
    pictures = [_picture(rng) for _ in range(5)]
    sheet = viz.montage(pictures, columns=3)
    assert sheet.shape == (GAP + 2 * (128 + GAP), GAP + 3 * (128 + GAP), 3)
    covered = np.zeros(sheet.shape[:2], bool)
    for i, picture in enumerate(pictures):
        top, left = (GAP + k * (128 + GAP) for k in divmod(i, 3))
        np.testing.assert_array_equal(sheet[top : top + 128, left : left + 128], picture)
        covered[top - 1 : top + 129, left - 1 : left + 129] = True  # with its one-pixel frame
    assert np.all(sheet[~covered] == 255)


def test_montage_enlarges_stretches_and_reduces(rng):
    small, gray = _picture(rng, 40, 50), _picture(rng, 64, 64, 1)
    sheet = viz.montage([small, gray])
    enlarged = small.repeat(3, 0).repeat(3, 1)  # 120 x 150, in a cell of 128 x 150
    np.testing.assert_array_equal(sheet[GAP + 4 : GAP + 124, GAP : GAP + 150], enlarged)
    gray = np.broadcast_to(gray.repeat(2, 0).repeat(2, 1), (128, 128, 3))
    left = GAP + 150 + GAP + 11
    np.testing.assert_array_equal(sheet[GAP : GAP + 128, left : left + 128], gray)
    ramp = np.linspace(100, 110, 128 * 128).reshape(128, 128, 1)
    stretched = viz.montage([ramp, ramp], mode=["clip", "stretch"])[GAP:-GAP, 2 * GAP + 128 : -GAP]
    assert (stretched.min(), stretched.max()) == (0, 255)
    reduced = viz.montage([np.full((100, 200, 3), 90.0)], height=50)
    assert reduced.shape == (50 + 2 * GAP, 100 + 2 * GAP, 3) and np.all(reduced[GAP:-GAP, GAP:-GAP] == 90)


@pytest.mark.parametrize("label", ["conv1", "W" * 60, "λ_V = 5 $ and $\nsecond line"])
def test_labels_and_titles_move_no_picture(rng, label):
    picture = _picture(rng)
    plain, labeled = viz.montage([picture, picture]), viz.montage([picture, picture], labels=[label, None])
    np.testing.assert_array_equal(labeled[: GAP + 129], plain[: GAP + 129])
    below, middle = labeled[GAP + 129 :], GAP + 128 + GAP // 2
    assert np.any(below[:, :middle] < 100) and np.all(below[:, middle - 4 :] == 255)
    titled = viz.montage([picture, picture], title=label)
    top = len(titled) - len(plain)
    assert top >= 13 and np.any(titled[:top] < 100)
    np.testing.assert_array_equal(titled[top + GAP - 1 :], plain[GAP - 1 :])


def test_image_that_is_not_finite_and_labels_without_matplotlib(rng, monkeypatch):
    good = _picture(rng)
    broken = good.copy()
    broken[3, 4, 0] = np.nan
    sheet = viz.montage([good, broken, np.full((128, 128, 3), np.inf)])
    np.testing.assert_array_equal(sheet[GAP:-GAP, GAP : GAP + 128], good)
    tiles = [sheet[GAP:-GAP, GAP + i * (128 + GAP) :][:, :128] for i in (1, 2)]
    np.testing.assert_array_equal(*tiles)
    assert np.median(tiles[0]) == 240
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # whose font is used if it is installed
    assert np.any(viz.montage([good], labels=["conv1"])[GAP + 129 :] < 100)


INVALID = {"labels": ["a", "b"], "mode": ["clip"], "columns": 0, "height": -1}


@pytest.mark.parametrize("option", INVALID)
def test_invalid_montages_are_refused(option):
    with pytest.raises(ValueError, match=option):
        viz.montage(np.zeros((3, 2, 2, 1)), **{option: INVALID[option]})
    for shape in ((0, 2, 2, 1), (3, 2, 2), (3, 2, 2, 2)):
        with pytest.raises(ValueError, match="image"):
            viz.montage(np.zeros(shape))


def test_box_pixels():
    image = np.full((10, 12, 3), 50.0)
    expected = np.full((10, 12, 3), 50, np.uint8)
    expected[2:8, 3:10] = (1, 2, 3)
    expected[4:6, 5:8] = 50
    np.testing.assert_array_equal(viz.draw_box(image, (2, 3, 8, 10), color=(1, 2, 3), width=2), expected)
    assert np.all(image == 50)
    image = np.zeros((6, 6, 1))
    clipped = viz.draw_box(image, (-3, 2, 99, 50), width=1)
    np.testing.assert_array_equal(clipped, viz.draw_box(image, (0, 2, 6, 6), width=1))
    filled = viz.draw_box(image, (1, 1, 4, 5), width=2)  # thinner than two lines
    assert np.all(filled[1:4, 1:5] == (255, 0, 0)) and np.sum(filled[..., 0]) == 12 * 255


@pytest.mark.parametrize("invalid", [{"box": (3, 3, 3, 5)}, {"box": (20, 20, 30, 30)}, {"width": 0}])
def test_invalid_boxes_are_refused(invalid):
    with pytest.raises(ValueError, match=next(iter(invalid))):
        viz.draw_box(np.zeros((6, 6, 1)), **{"box": (0, 0, 3, 3), **invalid})
