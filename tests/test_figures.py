"""Figures by their pixels: where they stand, what color they are, and what is marked."""

import numpy as np
import pytest

from invert_jax import viz
from invert_jax.networks import receptive_field

GAP = 16
MAGENTA = (255, 0, 255)


def _picture(rng, height=128, width=128, channels=3):
    return rng.integers(0, 256, (height, width, channels)).astype(np.float32)


def _count(picture, color):
    return int(np.sum(np.all(picture == np.array(color, np.uint8), axis=-1)))


def _has_white_border(picture, pixels=5):
    return all(np.all(edge == 255) for edge in (picture[:pixels], picture[-pixels:], picture[:, :pixels],
                                                picture[:, -pixels:]))  # fmt: skip


# --- display ---


def test_display_clips_and_rounds():
    image = np.array([[[-5.0, 0.4, 0.6], [254.4, 254.6, 400.0]]])
    shown = viz.display(image)
    assert shown.dtype == np.uint8
    assert shown.tolist() == [[[0, 0, 1], [254, 255, 255]]]


def test_display_stretches_over_all_channels():
    image = np.array([[[-100.0, 0.0, 100.0]]])
    assert viz.display(image, mode="stretch").tolist() == [[[0, 128, 255]]]
    assert np.unique(viz.display(np.full((2, 2, 1), 7.0), mode="stretch")).tolist() == [128]


@pytest.mark.parametrize("mode", ["clip", "stretch"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_display_marks_what_is_not_finite(mode, bad):
    image = np.array([[[0.0], [bad], [255.0]]])
    assert viz.display(image, mode=mode).tolist() == [[[0, 0, 0], list(MAGENTA), [255, 255, 255]]]
    assert _count(viz.display(np.full((2, 3, 3), bad), mode=mode), MAGENTA) == 6


def test_display_errors():
    with pytest.raises(ValueError, match="'gamma'; choose one of: clip, stretch"):
        viz.display(np.zeros((2, 2, 1)), mode="gamma")
    with pytest.raises(ValueError, match="1 or 3 channels"):
        viz.display(np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match=r"\[H, W, C\]"):
        viz.display(np.zeros((2, 2)))


# --- montage ---


def test_montage_places_every_pixel(rng):
    pictures = [_picture(rng) for _ in range(5)]
    sheet = viz.montage(pictures, columns=3)
    assert sheet.shape == (GAP + 2 * (128 + GAP), GAP + 3 * (128 + GAP), 3)
    covered = np.zeros(sheet.shape[:2], bool)
    for i, picture in enumerate(pictures):
        top, left = (GAP + k * (128 + GAP) for k in divmod(i, 3))
        np.testing.assert_array_equal(sheet[top : top + 128, left : left + 128], picture)
        covered[top - 1 : top + 129, left - 1 : left + 129] = True  # with its one-pixel frame
    assert np.all(sheet[~covered] == 255)


def test_montage_enlarges_small_pictures_by_whole_factors(rng):
    small, gray = _picture(rng, 40, 50), _picture(rng, 64, 64, 1)
    sheet = viz.montage([small, gray])
    enlarged = small.repeat(3, 0).repeat(3, 1)  # 120 x 150, in a cell of 128 x 150
    np.testing.assert_array_equal(sheet[GAP + 4 : GAP + 124, GAP : GAP + 150], enlarged)
    left = GAP + 150 + GAP + 11
    np.testing.assert_array_equal(
        sheet[GAP : GAP + 128, left : left + 128], np.broadcast_to(gray.repeat(2, 0).repeat(2, 1), (128, 128, 3))
    )


def test_montage_height_enlarges_and_reduces(rng):
    picture = _picture(rng, 30, 30)
    sheet = viz.montage([picture], height=60)
    np.testing.assert_array_equal(sheet[GAP:-GAP, GAP:-GAP], picture.repeat(2, 0).repeat(2, 1))
    flat = np.full((100, 200, 3), 90.0)
    reduced = viz.montage([flat], height=50)
    assert reduced.shape == (50 + 2 * GAP, 100 + 2 * GAP, 3)
    assert np.all(reduced[GAP:-GAP, GAP:-GAP] == 90)


def test_montage_modes_one_for_each():
    image = np.linspace(100, 110, 128 * 128).reshape(128, 128, 1)
    sheet = viz.montage([image, image], mode=["clip", "stretch"])
    clipped, stretched = sheet[GAP:-GAP, GAP : GAP + 128], sheet[GAP:-GAP, 2 * GAP + 128 : -GAP]
    assert (clipped.min(), clipped.max()) == (100, 110)
    assert (stretched.min(), stretched.max()) == (0, 255)


def test_labels_stand_below_and_move_no_picture(rng):
    pictures = [_picture(rng) for _ in range(2)]
    plain, labelled = viz.montage(pictures), viz.montage(pictures, labels=["conv1", None])
    np.testing.assert_array_equal(labelled[: GAP + 129], plain[: GAP + 129])
    caption = labelled[GAP + 129 :]
    middle = GAP + 128 + GAP // 2
    assert np.any(caption[:, :middle] < 100)
    assert np.all(caption[:, middle:] == 255)
    assert np.any(labelled != viz.montage(pictures, labels=["conv2", None]))


@pytest.mark.parametrize(
    "label", ["W" * 60, "relative error 11.1 % after 400 steps of descent", "λ_V = 5\nsecond line"]
)
def test_long_labels_stay_in_their_cell(rng, label):
    sheet = viz.montage([_picture(rng), _picture(rng)], labels=[label, label])
    below = sheet[GAP + 129 :]
    assert np.any(below < 100)
    gutter = slice(GAP + 128 + 4, GAP + 128 + GAP - 4)
    assert np.all(below[:, gutter] == 255)
    assert _has_white_border(below[1:])


def test_title_stands_above(rng):
    picture = _picture(rng)
    plain, titled = viz.montage([picture]), viz.montage([picture], title="A title that needs several lines")
    shift = len(titled) - len(plain)
    assert shift > 2 * 13
    np.testing.assert_array_equal(titled[shift + GAP - 1 :], plain[GAP - 1 :])
    assert np.any(titled[:shift] < 100)
    assert _has_white_border(titled)


def test_a_restart_that_is_not_finite_is_a_marked_tile(rng):
    good = _picture(rng)
    broken = good.copy()
    broken[3, 4, 0] = np.nan
    sheet = viz.montage([good, broken, np.full((128, 128, 3), np.inf)])
    np.testing.assert_array_equal(sheet[GAP:-GAP, GAP : GAP + 128], good)
    tiles = [sheet[GAP:-GAP, GAP + i * (128 + GAP) :][:, :128] for i in (1, 2)]
    np.testing.assert_array_equal(*tiles)
    red = (tiles[0][..., 0] > 150) & (tiles[0][..., 1] < 60)
    assert red.sum() > 30  # the words
    assert _count(tiles[0], (246, 240, 240)) > 128 * 128 / 2


@pytest.mark.parametrize("side", [1, 2, 3])
def test_tiny_pictures(side):
    sheet = viz.montage([np.zeros((side, side, 1)), np.full((side, side, 3), np.nan)], labels=["a", "b"])
    assert _count(sheet[:, : GAP + 128], (0, 0, 0)) >= (128 // side * side) ** 2


def test_montage_takes_arrays_and_many_images(rng):
    batch = rng.uniform(0, 255, (14, 130, 130, 3))
    sheet = viz.montage(batch)
    rows, columns = ((length - GAP) / (130 + GAP) for length in sheet.shape[:2])
    assert rows == int(rows) and columns == int(columns) and rows <= columns and rows * columns >= 14


@pytest.mark.parametrize(
    ("images", "kwargs", "message"),
    [
        ([], {}, "one image or more"),
        ([np.zeros((2, 2, 1))], {"labels": ["a", "b"]}, "1 images but 2 labels"),
        ([np.zeros((2, 2, 1))] * 3, {"mode": ["clip"]}, "3 images but 1 modes"),
        ([np.zeros((2, 2, 1))], {"mode": "x"}, "display mode 'x'"),
        ([np.zeros((2, 2, 1))], {"columns": 0}, "columns is 0"),
        ([np.zeros((2, 2, 1))], {"height": -1}, "height is -1"),
        ([np.zeros((2, 2))], {}, r"\[H, W, C\]"),
        ([np.zeros(())], {}, r"\[H, W, C\]"),
    ],
)
def test_montage_errors(images, kwargs, message):
    with pytest.raises(ValueError, match=message):
        viz.montage(images, **kwargs)


# --- boxes ---


def test_box_pixels():
    image = np.full((10, 12, 3), 50.0)
    boxed = viz.draw_box(image, (2, 3, 8, 10), color=(1, 2, 3), width=2)
    expected = np.full((10, 12, 3), 50, np.uint8)
    expected[2:8, 3:10] = (1, 2, 3)
    expected[4:6, 5:8] = 50
    np.testing.assert_array_equal(boxed, expected)
    assert np.all(image == 50)


def test_box_beyond_the_image_is_cut_off():
    image = np.zeros((6, 6, 1))
    np.testing.assert_array_equal(
        viz.draw_box(image, (-3, 2, 99, 50), width=1), viz.draw_box(image, (0, 2, 6, 6), width=1)
    )


def test_box_thinner_than_its_line_is_filled():
    boxed = viz.draw_box(np.zeros((6, 6, 1)), (1, 1, 4, 5), width=2)
    assert np.all(boxed[1:4, 1:5] == (255, 0, 0)) and _count(boxed, (255, 0, 0)) == 12


def test_box_of_a_receptive_field(rng):
    image = _picture(rng, 227, 227)
    top, left, bottom, right = box = receptive_field.box(receptive_field.alexnet()[0], (25, 30), (25, 30))
    boxed = viz.draw_box(image, box, width=1)
    np.testing.assert_array_equal(boxed[top + 1 : bottom - 1, left + 1 : right - 1],
                                  image[top + 1 : bottom - 1, left + 1 : right - 1])  # fmt: skip
    assert _count(boxed, (255, 0, 0)) == 4 * 27 - 4


@pytest.mark.parametrize(
    ("box", "width", "message"),
    [
        ((3, 3, 3, 5), 1, "no area"),
        ((20, 20, 30, 30), 1, "outside the image of 6 x 6"),
        ((0, 0, 3, 3), 0, "width is 0"),
    ],
)
def test_box_errors(box, width, message):
    with pytest.raises(ValueError, match=message):
        viz.draw_box(np.zeros((6, 6, 1)), box, width=width)
