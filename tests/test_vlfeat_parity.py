"""The library's HOG, HOGb and DSIFT against outputs of the VLFeat 0.9.21 C library, borders included.

Run with -s to see the measured numbers.
"""

import golden_data
import numpy as np
import pytest

import invert_jax as ij

# By the name of the recorded features: the representation, the largest error and the relative L2 error allowed.
CASES = {
    "hog_c8_r255": (ij.hog(), 1e-5, 1e-5),
    "hogb_c8_r255": (ij.hog(binning="bilinear"), 3e-4, 5e-5),
    "dsift_b5_s5": (ij.dsift(), 1e-4, 1e-4),
    "dsift_b4_s8": (ij.dsift(bin_size=4, step=8), 1e-4, 1e-4),
}
# Of intensities 0..1. Only at this low contrast does the epsilon of the block norm show: another is off by up to 0.1.
FAINT = {"hog_c8_r1": (ij.hog(), 1e-5, 1e-5), "hogb_c8_r1": (ij.hog(binning="bilinear"), 3e-4, 5e-5)}
PICTURES = ("coffee_101x131", "camera_128x160", "synthetic_96x144")
ALL = [(picture, name) for picture in PICTURES for name in CASES] + [("synthetic_96x144", name) for name in FAINT]


@pytest.mark.parametrize(
    ("picture", "name"), [pytest.param(*case, marks=[pytest.mark.slow] * (case[0] != PICTURES[0])) for case in ALL]
)
def test_features_are_vlfeats(picture, name):
    golden = golden_data.load(f"vlfeat_{picture}")
    representation, largest, relative = (CASES | FAINT)[name]
    image = golden["image"] / np.float32(255 if name in FAINT else 1)
    found, expected = np.asarray(representation(image[..., None]), np.float64), golden[name].astype(np.float64)
    if name.startswith("dsift"):
        assert found.shape == (*golden[f"{name}_grid"], 128)
        # Below this contrast VLFeat's own float32 running sums decide the descriptor.
        textured = (golden[f"{name}_mass"] > 0.5).reshape(found.shape[:2])
        assert textured.mean() > 0.8
        found, expected = found[textured], expected.reshape(found.shape)[textured]
    else:
        expected = expected[..., :27]  # without the texture channels
    assert found.shape == expected.shape
    errors = np.max(np.abs(found - expected)), np.linalg.norm(found - expected) / np.linalg.norm(expected)
    print(f"{picture:18s} {name:14s} max abs {errors[0]:.2e}   relative L2 {errors[1]:.2e}")
    assert errors[0] < largest and errors[1] < relative
