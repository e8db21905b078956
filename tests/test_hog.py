"""HOG, HOGb and the approximate form: values against a NumPy oracle (derivatives: test_gray_representations)."""

import jax
import numpy as np
import pytest
from oracles import hog as oracle
from oracles import pictures

import invert_jax as ij

BINNINGS = ("hard", "bilinear", "approximate")


def _apply(representation, image):
    return np.asarray(jax.jit(representation.apply)(representation.params, image[..., None]))


@pytest.mark.parametrize("binning", BINNINGS)
@pytest.mark.parametrize(
    ("height", "width", "cell_size"),
    [(37, 53, 8), (44, 29, 8), (36, 43, 8), (41, 30, 4), (33, 38, 5), (37, 46, 6), (9, 17, 8), (8, 8, 8)],
)
def test_agrees_with_oracle(height, width, cell_size, binning):
    image = pictures.textured(height, width, seed=height)
    found = _apply(ij.hog(cell_size=cell_size, binning=binning), image)
    expected = oracle.hog(image, cell_size, binning)
    half = cell_size // 2
    assert found.shape == ((height + half) // cell_size, (width + half) // cell_size, 27)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("binning", BINNINGS)
def test_epsilon_of_the_block_norm_at_low_contrast(binning):
    image = pictures.textured(37, 53)
    faint = image / np.float32(25500)
    found, expected = _apply(ij.hog(binning=binning), faint), oracle.hog(faint, 8, binning)
    assert np.max(np.abs(expected - oracle.hog(image, 8, binning))) > 0.05, "the epsilon should matter here"
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("binning", BINNINGS)
@pytest.mark.parametrize(
    ("height", "width", "cell_size"), [(37, 53, 8), (44, 29, 8), (41, 30, 4), (37, 46, 6), (16, 23, 8)]
)
def test_released_agrees_with_oracle(height, width, cell_size, binning):
    image = pictures.textured(height, width, seed=height)
    found = _apply(ij.hog(cell_size=cell_size, binning=binning, variant="released"), image)
    expected = oracle.hog_released(image, cell_size, binning)
    assert found.shape == (height // cell_size, width // cell_size, 27)
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


def test_exact_ties_go_to_the_first_bin():
    # gx = 0 lies exactly between bins 4 and 5 (downwards) or 13 and 14 (upwards).
    ramp = np.repeat(np.arange(32, dtype=np.float32)[:, None] * 3, 40, axis=1)
    down, up = _apply(ij.hog(), ramp), _apply(ij.hog(), ramp[::-1])
    assert set(np.flatnonzero(down[..., :18].sum((0, 1)))) == {4}
    assert set(np.flatnonzero(up[..., :18].sum((0, 1)))) == {13}


@pytest.mark.parametrize("binning", BINNINGS)
def test_flat_picture_gives_zeros(binning):
    features = _apply(ij.hog(binning=binning), np.full((24, 32), 255, np.float32))
    np.testing.assert_array_equal(features, np.zeros((3, 4, 27), np.float32))


@pytest.mark.parametrize("binning", BINNINGS)
def test_adding_a_constant_changes_nothing(binning):
    # Whole numbers: the differences are exact, so hard decisions cannot move.
    image = np.round(pictures.textured(40, 48, seed=3))
    representation = ij.hog(binning=binning)
    np.testing.assert_array_equal(_apply(representation, image), _apply(representation, image + np.float32(64)))


def test_left_right_flip_permutes_orientations():
    image = pictures.textured(40, 48, seed=4)
    representation = ij.hog(binning="bilinear")
    features, flipped = _apply(representation, image), _apply(representation, image[:, ::-1])
    permutation = np.concatenate([(9 - np.arange(18)) % 18, 18 + (9 - np.arange(9)) % 9])
    np.testing.assert_allclose(flipped, features[:, ::-1, permutation], atol=1e-5, rtol=0)


def test_representation_is_centered_on_128_and_hashable_by_value():
    assert float(ij.hog().center) == 128
    assert hash(ij.hog().apply) == hash(ij.hog().apply)
    assert ij.hog().apply == ij.hog().apply
    assert ij.hog().apply != ij.hog(binning="bilinear").apply


@pytest.mark.parametrize(("variant", "side"), [("vlfeat", 4), ("released", 16)])
def test_too_small_an_image_is_refused(variant, side):
    # Half a cell is a cell to VLFeat; the released network needs one whole block, 2 x 2 cells.
    representation = ij.hog(cell_size=8, variant=variant)
    smallest = jax.eval_shape(representation, np.zeros((side, side, 1), np.float32))
    assert smallest.shape == ((1, 1, 27) if variant == "vlfeat" else (2, 2, 27))
    for shape in ((side - 1, 40, 1), (40, side - 1, 1)):
        with pytest.raises(ValueError, match=f"at least {side}"):
            representation(np.zeros(shape, np.float32))


@pytest.mark.parametrize("shape", [(32, 32, 3), (32, 32), (2, 32, 32, 1)])
def test_anything_but_one_gray_image_is_refused(shape):
    with pytest.raises(ValueError, match=r"channel|\[H, W, C\]"):
        ij.hog()(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("tunables", "message"),
    [
        ({"binning": "soft"}, "soft.*hard.*bilinear.*approximate"),
        ({"variant": "matlab"}, "matlab.*vlfeat.*released"),
        ({"cell_size": 0}, "cell_size.*0"),
        ({"num_orientations": 0}, "num_orientations.*0"),
    ],
)
def test_bad_tunables_are_refused(tunables, message):
    with pytest.raises(ValueError, match=message):
        ij.hog(**tunables)
