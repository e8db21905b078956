"""The library's HOG, HOGb and DSIFT against outputs of the VLFeat 0.9.21 C library, borders included.

Run with -s to see the measured numbers.
"""

import golden_data
import jax
import numpy as np
import pytest

import invert_jax as ij

PICTURES = ("camera_128x160", "coffee_101x131", "synthetic_96x144")


def _features(representation, golden) -> np.ndarray:
    apply = jax.jit(representation.apply)
    return np.asarray(apply(representation.params, golden["image"][..., None]), np.float64)


def _compare(what: str, found: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    difference = found - expected.astype(np.float64)
    largest = float(np.max(np.abs(difference)))
    relative = float(np.linalg.norm(difference) / np.linalg.norm(expected))
    print(f"{what:30s} max abs {largest:.2e}   relative L2 {relative:.2e}")
    return largest, relative


@pytest.mark.parametrize("picture", PICTURES)
def test_hog(picture):
    golden = golden_data.load(f"vlfeat_{picture}")
    expected = golden["hog_c8_r255"][..., :27]
    found = _features(ij.hog(), golden)
    assert found.shape == expected.shape
    largest, _ = _compare(f"{picture} HOG", found, expected)
    assert largest < 1e-5


@pytest.mark.parametrize("picture", PICTURES)
def test_hogb(picture):
    golden = golden_data.load(f"vlfeat_{picture}")
    expected = golden["hogb_c8_r255"][..., :27]
    found = _features(ij.hog(binning="bilinear"), golden)
    assert found.shape == expected.shape
    largest, relative = _compare(f"{picture} HOGb", found, expected)
    assert largest < 3e-4
    assert relative < 5e-5


@pytest.mark.parametrize(("binning", "name", "limit"), [("hard", "hog", 1e-5), ("bilinear", "hogb", 3e-4)])
def test_hog_of_intensities_0_to_1(binning, name, limit):
    # Only at this low contrast does the epsilon of the block norm show: another one is off by up to 0.1.
    golden = golden_data.load("vlfeat_synthetic_96x144")
    golden["image"] = golden["image"] / np.float32(255)
    found = _features(ij.hog(binning=binning), golden)
    largest, _ = _compare(f"synthetic_96x144 / 255 {name}", found, golden[f"{name}_c8_r1"][..., :27])
    assert largest < limit


@pytest.mark.parametrize(("bin_size", "step"), [(5, 5), (4, 8)])
@pytest.mark.parametrize("picture", PICTURES)
def test_dsift(picture, bin_size, step):
    golden = golden_data.load(f"vlfeat_{picture}")
    name = f"dsift_b{bin_size}_s{step}"
    expected = golden[name].reshape(*golden[f"{name}_grid"], 128)
    found = _features(ij.dsift(bin_size=bin_size, step=step), golden)
    assert found.shape == expected.shape
    # Below this contrast VLFeat's own float32 running sums decide the descriptor.
    textured = (golden[f"{name}_mass"] > 0.5).reshape(found.shape[:2])
    assert textured.mean() > 0.8
    largest, _ = _compare(f"{picture} DSIFT {bin_size}/{step}", found[textured], expected[textured])
    assert largest < 1e-4


def test_default_dsift_is_bin_5_step_5():
    golden = golden_data.load("vlfeat_coffee_101x131")
    np.testing.assert_array_equal(_features(ij.dsift(), golden), _features(ij.dsift(bin_size=5, step=5), golden))
