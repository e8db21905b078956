"""Image and weight files that cannot be read or written: each told in one sentence, and no file touched."""

import zipfile

import numpy as np
import pytest
from networks import FOURS, random_params
from refusals import refused

import invert_jax as ij

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture(scope="module")
def narrow():
    return random_params(FOURS)


# --- image files ---


def test_missing_file():
    with refused("nothing.png", "no file", error=FileNotFoundError):
        ij.load_image("nothing.png")


def test_not_an_image(folder):
    (folder / "notes.png").write_text("Dear diary")
    with refused("notes.png", "not an image", "PNG"):
        ij.load_image("notes.png")


def test_empty_image_file(folder):
    (folder / "a.jpg").touch()
    with refused("a.jpg", "empty", "0 bytes"):
        ij.load_image("a.jpg")


def test_truncated_image(folder):
    ij.save_image("a.png", np.random.default_rng(0).uniform(0, 255, (40, 40, 3)))
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:500])
    with refused("a.png", "damaged"):
        ij.load_image("a.png")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full((4, 4, 3), np.nan), ("non-finite", "48")),
        (np.zeros((4, 4)), ("(4, 4)", "[H, W, C]")),
        (np.zeros((4, 4, 2)), ("(4, 4, 2)", "1 or 3 channels")),
    ],
)
def test_a_bad_picture_is_not_written(image, words):
    ij.save_image("old.png", np.zeros((2, 2, 1)))
    for name in ("new.png", "old.png"):
        with refused(*words):
            ij.save_image(name, image)


def test_unknown_picture_extension_and_folder():
    with refused(".bmp", ".png"):
        ij.save_image("a.bmp", np.zeros((2, 2, 1)))
    with refused("nowhere", "does not exist", error=FileNotFoundError):
        ij.save_image("nowhere/a.png", np.zeros((2, 2, 1)))


# --- weight files ---


def test_missing_weight_file():
    with refused("nothing.npz", "no weight file", error=FileNotFoundError):
        ij.load_params("nothing.npz")


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.999])
def test_truncated_weight_file(folder, narrow, kept):
    ij.save_params("a.npz", narrow)
    data = (folder / "a.npz").read_bytes()
    (folder / "a.npz").write_bytes(data[: int(kept if kept >= 1 else kept * len(data))])
    with refused("a.npz", "download or save it again"):
        ij.load_params("a.npz")


def test_weight_file_that_is_no_archive(folder):
    (folder / "a.npz").write_text("These are not the weights you are looking for." * 100)
    with refused("a.npz", "not an .npz archive"):
        ij.load_params("a.npz")
    with zipfile.ZipFile(folder / "b.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with refused("b.npz", "readme.txt"):
        ij.load_params("b.npz")


def test_weight_file_with_python_objects_is_not_unpickled(folder):
    np.savez(folder / "a.npz", mean=np.array([print], dtype=object))
    with refused("a.npz", "plain arrays"):
        ij.load_params("a.npz")


def test_weight_file_of_another_kind(folder):
    (folder / "a.pickle").touch()
    with refused("a.pickle", ".npz", ".mat"):
        ij.load_params("a.pickle")
    with refused("directory"):
        ij.load_params(".")


def test_damaged_weights_do_not_replace_good_ones(narrow):
    ij.save_params("a.npz", narrow)
    with refused("not an array of real numbers"):
        ij.save_params("a.npz", {"mean": np.array(["red"])})
