"""Dense SIFT: values against a NumPy oracle (derivatives: test_gray_representations)."""

import jax
import numpy as np
import pytest
from oracles import dsift as oracle
from oracles import pictures

import invert_jax as ij

VARIANTS = ("vlfeat", "released")


def _apply(representation, image):
    return np.asarray(jax.jit(representation.apply)(representation.params, image[..., None]))


@pytest.mark.parametrize(
    ("height", "width", "bin_size", "step"),
    [(47, 61, 5, 5), (61, 47, 6, 10), (33, 45, 3, 4), (38, 51, 4, 8), (16, 16, 5, 5), (16, 31, 5, 3)],
)
def test_agrees_with_oracle(height, width, bin_size, step):
    image = pictures.textured(height, width, seed=height)
    found = _apply(ij.dsift(bin_size=bin_size, step=step), image)
    expected = oracle.dsift(image, bin_size, step)
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("height", "width", "bin_size"), [(47, 61, 5), (61, 47, 6), (33, 45, 3), (27, 27, 5)])
def test_released_agrees_with_oracle(height, width, bin_size):
    image = pictures.textured(height, width, seed=height)
    found = _apply(ij.dsift(bin_size=bin_size, variant="released"), image)
    expected = oracle.dsift_released(image, bin_size)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_flat_picture_gives_zeros(variant):
    features = _apply(ij.dsift(variant=variant), np.full((30, 34), 255, np.float32))
    assert features.size > 0
    np.testing.assert_array_equal(features, np.zeros_like(features))


def test_descriptors_have_unit_norm():
    features = _apply(ij.dsift(), pictures.textured(47, 61))
    np.testing.assert_allclose(np.linalg.norm(features, axis=-1), np.ones(features.shape[:2]), atol=1e-5, rtol=0)


def test_adding_a_constant_changes_nothing():
    image = np.round(pictures.textured(40, 48, seed=3))
    np.testing.assert_array_equal(_apply(ij.dsift(), image), _apply(ij.dsift(), image + np.float32(64)))


def test_representation_is_centered_on_128_and_hashable_by_value():
    assert float(ij.dsift().center) == 128
    assert hash(ij.dsift().apply) == hash(ij.dsift().apply)
    assert ij.dsift().apply == ij.dsift().apply
    assert ij.dsift().apply != ij.dsift(step=4).apply


@pytest.mark.parametrize(("variant", "side"), [("vlfeat", 16), ("released", 27)])
def test_too_small_an_image_is_refused(variant, side):
    # One descriptor needs 3 b + 1 pixels (VLFeat) or 5 b + 2 (released).
    representation = ij.dsift(bin_size=5, variant=variant)
    smallest = jax.eval_shape(representation, np.zeros((side, side, 1), np.float32))
    assert smallest.shape == (1, 1, 128)
    for shape in ((side - 1, 40, 1), (40, side - 1, 1)):
        with pytest.raises(ValueError, match=f"at least {side}"):
            representation(np.zeros(shape, np.float32))


@pytest.mark.parametrize("shape", [(32, 32, 3), (32, 32), (2, 32, 32, 1)])
def test_anything_but_one_gray_image_is_refused(shape):
    with pytest.raises(ValueError, match=r"channel|\[H, W, C\]"):
        ij.dsift()(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("tunables", "message"),
    [
        ({"variant": "matlab"}, "matlab.*vlfeat.*released"),
        ({"bin_size": 0}, "bin_size.*0"),
        ({"step": 0}, "step.*0"),
    ],
)
def test_bad_tunables_are_refused(tunables, message):
    with pytest.raises(ValueError, match=message):
        ij.dsift(**tunables)
