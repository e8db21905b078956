"""Images that are not what a function takes: another range is announced, other axes and types are refused."""

import warnings

import numpy as np
import pytest
from refusals import refused

import invert_jax as ij

PHOTOGRAPH = ij.example_image(size=16)
RANGES = {"255 * image": PHOTOGRAPH / 255, "127.5 * (image + 1)": PHOTOGRAPH / 127.5 - 1}


def colors(params, image):
    return image.mean((0, 1))


@pytest.mark.parametrize("cure", RANGES)
@pytest.mark.parametrize("name", ["call", "invert", "save", "psnr"])
def test_a_photograph_in_another_range_is_announced(tmp_path, key, cure, name):
    image, phi = RANGES[cure], ij.from_function(colors)
    recipe = ij.recipes.mahendran_vedaldi(stages=((4e-3, 1),))
    calls = {
        "call": lambda: phi(image),
        "invert": lambda: ij.invert(key, phi, np.ones(3), recipe, image_shape=image.shape, initial_image=image),
        "save": lambda: ij.save_image(tmp_path / "a.png", image),
        "psnr": lambda: ij.metrics.psnr(image, PHOTOGRAPH),
    }
    with pytest.warns(UserWarning, match="0..255") as caught:
        calls[name]()
    assert [cure in str(warning.message) for warning in caught] == [True]
    assert caught[0].filename == __file__


def test_it_is_announced_once():
    phi, image = ij.from_function(colors), PHOTOGRAPH / 255
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            phi(image)
    assert len(caught) == 1


@pytest.mark.parametrize(
    "image", [PHOTOGRAPH, PHOTOGRAPH > 99, 0 * PHOTOGRAPH, 0 * PHOTOGRAPH + 0.5, 2e-4 * PHOTOGRAPH], ids=range(5)
)
def test_images_in_0_to_255_are_not_announced(image):
    ij.from_function(colors)(np.asarray(image, np.float32))
    ij.hog()(ij.images.to_gray(PHOTOGRAPH) / 255)  # whose blocks are normalized


@pytest.mark.parametrize("dtype", ["bool", "complex64", "datetime64[s]", "timedelta64[s]", "U3", "O"])
def test_images_of_other_than_real_numbers(dtype):
    image = np.zeros((12, 12, 3)).astype(dtype)
    for call in (ij.from_function(colors), ij.pretrained("bundled", layer="conv1"), lambda x: ij.viz.montage([x])):
        with refused("real numbers", TypeError):
            call(image)


CURES = {
    (1, 12, 12, 3): "image[0]",
    (5, 12, 12, 3): "one image",
    (3, 12, 12): "transpose(1, 2, 0)",
    (1, 12, 12): "transpose(1, 2, 0)",
    (12, 12): "image[..., None]",
    (12, 12, 4): "image[..., :3]",
}


@pytest.mark.parametrize("shape", CURES)
def test_images_of_other_axes_are_refused_with_the_cure(shape):
    with refused(CURES[shape]):
        ij.pretrained("bundled", layer="conv1")(np.full(shape, 90.0))
