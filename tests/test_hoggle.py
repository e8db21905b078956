"""Paired dictionaries: coding, decoding and averaging against closed forms; learning against what it must achieve."""

import sys

import jax
import numpy as np
import pytest
from refusals import refused

import invert_jax as ij
from invert_jax.baselines import hoggle

CELL, WINDOW, CHANNELS = 4, 3, 5
SIDE, SIZE = CELL * WINDOW, WINDOW * WINDOW * CHANNELS


def made_up(rng, *, num_atoms, sparsity=0.05, orthonormal=True):
    """Dictionaries of random atoms; the windows' have zero mean, as those of normalized windows do."""
    windows = rng.normal(size=(num_atoms, SIZE))
    windows -= windows.mean(axis=1, keepdims=True)
    windows /= np.linalg.norm(windows, axis=1, keepdims=True)
    if orthonormal:
        windows = np.linalg.qr(windows.T)[0].T
    return hoggle.Dictionaries(
        patches=rng.normal(size=(num_atoms, SIDE, SIDE)) * 9,
        windows=windows.reshape(num_atoms, WINDOW, WINDOW, CHANNELS),
        mean_patch=rng.normal(size=(SIDE, SIDE)),
        mean_window=np.zeros((WINDOW, WINDOW, CHANNELS)),
        intensity=110.0,
        sparsity=sparsity,
    )


def soft(values, threshold):
    return np.sign(values) * np.maximum(np.abs(values) - threshold, 0)


def normalized(window):
    centered = window - window.mean()
    return centered / np.linalg.norm(centered)


# --- inverting ---


def test_an_image_of_known_atoms_is_decoded_to_that(rng):
    pair = made_up(rng, num_atoms=6, sparsity=1e-7)
    code = np.array([0.6, 0.0, -0.8, 0.0, 0.0, 0.0])
    features = 0.7 + 3.0 * np.tensordot(code, pair.windows, 1)  # brightness and contrast of a window do not matter
    want = 110.0 + pair.mean_patch + 0.6 * pair.patches[0] - 0.8 * pair.patches[2]
    np.testing.assert_allclose(hoggle.invert(pair, features)[..., 0], want, atol=1e-3)


def test_the_mean_window_is_decoded_to_the_mean_patch(rng):
    window = normalized(rng.normal(size=(WINDOW, WINDOW, CHANNELS)))
    pair = made_up(rng, num_atoms=6)._replace(mean_window=window)
    image = hoggle.invert(pair, 5 * window + 1)
    np.testing.assert_allclose(image[..., 0], 110.0 + pair.mean_patch, atol=1e-4)


def test_codes_are_the_lasso_s(rng):
    # Atoms that overlap have no closed form, but the optimum is known by its correlations with the residual.
    sparsity = 0.08
    pair = made_up(rng, num_atoms=60, sparsity=sparsity, orthonormal=False)
    pair = pair._replace(
        patches=np.eye(SIDE * SIDE)[:60].reshape(60, SIDE, SIDE), mean_patch=np.zeros((SIDE, SIDE)), intensity=100.0
    )  # so that the pixels are the code
    features = rng.uniform(size=(WINDOW, WINDOW, CHANNELS))
    code = (hoggle.invert(pair, features).astype(float) - 100.0).ravel()
    assert np.all(code[60:] == 0)
    code, atoms = code[:60], pair.windows.reshape(60, -1)
    correlations = atoms @ (normalized(features).ravel() - code @ atoms)
    active = np.abs(code) > 1e-4
    assert 3 < active.sum() < 60
    np.testing.assert_allclose(correlations[active], sparsity * np.sign(code[active]), atol=2e-3)
    assert np.max(np.abs(correlations)) < sparsity + 2e-3


def test_overlapping_patches_are_averaged_as_in_plain_numpy(rng):
    pair = made_up(rng, num_atoms=8)
    features = rng.uniform(size=(4, 6, CHANNELS))
    bell = np.sin(np.pi * (np.arange(SIDE) + 0.5) / SIDE) ** 4
    want = np.zeros((4 * CELL, 6 * CELL))
    for y in range(want.shape[0]):
        for x in range(want.shape[1]):
            values, weights = [], []
            for row in range(2):
                for column in range(4):
                    i, j = y - row * CELL, x - column * CELL
                    if not (0 <= i < SIDE and 0 <= j < SIDE):
                        continue
                    window = normalized(features[row : row + WINDOW, column : column + WINDOW])
                    code = soft(np.tensordot(pair.windows, window, 3), pair.sparsity)  # the atoms are orthonormal
                    values.append(code @ pair.patches[:, i, j] + pair.mean_patch[i, j])
                    weights.append(bell[i] * bell[j])
            want[y, x] = 110.0 + np.average(values, weights=weights)
    image = hoggle.invert(pair, features)
    assert image.shape == (16, 24, 1) and image.dtype == np.float32
    np.testing.assert_allclose(image[..., 0], want, atol=1e-3)


def test_images_are_clipped_and_features_without_gradients_are_flat(rng):
    pair = made_up(rng, num_atoms=6)._replace(mean_patch=np.zeros((SIDE, SIDE)))
    assert np.all(hoggle.invert(pair, np.zeros((5, 4, CHANNELS))) == 110.0)
    strong = pair._replace(patches=1e4 * pair.patches)
    image = hoggle.invert(strong, rng.uniform(size=(5, 4, CHANNELS)))
    assert image.min() == 0 and image.max() == 255


def test_features_of_another_shape_or_not_finite_are_refused(rng):
    pair = made_up(rng, num_atoms=2)
    for shape in ((4, 4), (4, 4, 6), (2, 4, CHANNELS), (4, 2, CHANNELS), (2, 4, 4, CHANNELS)):
        with refused(str(shape)):
            hoggle.invert(pair, np.zeros(shape))
    with refused("features"):
        hoggle.invert(pair, np.full((3, 3, CHANNELS), np.nan))


# --- learning ---


def _cells_of_pixels(params, image):
    """A representation from which the image is known: the pixels of every 4 x 4 cell."""
    height, width, _ = image.shape
    cells = image[: height // 4 * 4, : width // 4 * 4].reshape(height // 4, 4, width // 4, 4)
    return cells.transpose(0, 2, 1, 3).reshape(height // 4, width // 4, 16)


PIXELS = ij.from_function(_cells_of_pixels)
SMALL = {"cell_size": 4, "window": 3, "num_passes": 1}
HOG = {name: ij.hog(cell_size=4, variant=name) for name in ("vlfeat", "released")}


def _photographs(*names, size=(96, 110)):
    return [ij.example_image(name, size=size, gray=True) for name in names]


@pytest.fixture(scope="module", params=HOG)
def learned(request):
    """A representation, and a small pair for it."""
    hog = HOG[request.param]
    pair = hoggle.learn(
        jax.random.key(0), _photographs("chelsea", "camera", "rocket"), hog, num_windows=1200, num_atoms=64, **SMALL
    )
    return hog, pair


@pytest.mark.slow
def test_learning_beats_the_mean_patch_on_another_photograph(learned):
    hog, pair = learned
    assert pair.patches.shape == (64, 12, 12) and pair.windows.shape == (64, 3, 3, 27)
    photograph = ij.example_image("astronaut", size=128, gray=True)
    target = hog(photograph)
    image = hoggle.invert(pair, target)
    mean = hoggle.invert(pair._replace(patches=np.zeros_like(pair.patches)), target)
    assert image.shape == mean.shape == photograph.shape

    def error(image):
        return float(ij.metrics.relative_error(hog(image), target))

    assert error(image) < 0.85 * error(mean)
    detail = photograph - ij.images.resize(ij.images.resize(photograph, 10), 128)
    assert np.corrcoef(image.ravel(), detail.ravel())[0, 1] > 0.45
    assert abs(np.corrcoef(mean.ravel(), detail.ravel())[0, 1]) < 0.1
    other = hog(ij.example_image("coffee", size=(50, 71), gray=True))  # any size gives an image with as many cells
    assert hog.feature_shape(hoggle.invert(pair, other).shape) == other.shape


@pytest.mark.slow
def test_patches_and_windows_are_of_the_same_place():
    # Where the features are the pixels, either half of an atom is the other, but for a scale.
    photographs = _photographs("coffee", "brick")
    pair = hoggle.learn(jax.random.key(1), photographs, PIXELS, num_windows=300, num_atoms=20, **SMALL)
    as_pixels = pair.windows.reshape(20, 3, 3, 4, 4).transpose(0, 1, 3, 2, 4).reshape(20, -1)
    patches = pair.patches.reshape(20, -1)
    cosines = np.sum(as_pixels * patches, axis=1)
    cosines /= np.linalg.norm(as_pixels, axis=1) * np.linalg.norm(patches, axis=1)
    assert np.median(cosines) > 0.97 and cosines.min() > 0.8


@pytest.mark.slow
def test_gray_levels_are_those_of_the_photographs():
    # Coded in a complete basis with next to no penalty, pixels are restored with their contrast.
    rng = np.random.default_rng(0)
    photographs = [np.float32(90 + 30 * rng.choice([-1.0, 1.0], size=(40, 40, 1)))]
    pair = hoggle.learn(
        jax.random.key(0), photographs, PIXELS, num_windows=64, num_atoms=64, sparsity=1e-3, cell_size=4, window=3
    )
    assert pair.intensity == pytest.approx(90, abs=2)
    image = hoggle.invert(pair, PIXELS(photographs[0][:12, :12]))
    assert np.corrcoef(image.ravel(), photographs[0][:12, :12].ravel())[0, 1] > 0.99
    assert image.std() == pytest.approx(30, rel=0.05)


@pytest.mark.slow
def test_a_key_decides_everything():
    photographs = _photographs("coffee")

    def learn(seed):
        return hoggle.learn(jax.random.key(seed), photographs, PIXELS, num_windows=300, num_atoms=20, **SMALL)

    first, again, other = learn(3), learn(3), learn(4)
    for name, array in first._asdict().items():
        np.testing.assert_array_equal(array, getattr(again, name))
    assert not np.allclose(first.patches, other.patches)


@pytest.mark.slow
def test_flat_photographs_do_no_harm():
    photographs = [np.full((96, 110, 1), 77.0), *_photographs("coffee")]
    pair = hoggle.learn(jax.random.key(0), photographs, HOG["vlfeat"], num_windows=120, num_atoms=4, **SMALL)
    assert all(np.isfinite(array).all() for array in pair[:-2])


GRAY = np.zeros((16, 16, 1))


@pytest.mark.parametrize(
    ("noun", "photographs", "settings"),
    [
        ("photographs", [], {}),
        ("(16, 16, 3)", [np.zeros((16, 16, 3))], {}),
        ("16 x 11", [np.zeros((16, 11, 1))], {}),
        ("non-finite", [np.full((16, 16, 1), np.inf)], {}),
        ("num_windows", [GRAY], {"num_windows": 5}),
        ("num_atoms", [GRAY], {"num_atoms": 5}),
        ("(20, 24, 16)", [GRAY], {"cell_size": 8, "window": 2}),
        *(
            (name, [GRAY], {name: 0})
            for name in ("sparsity", "cell_size", "window", "num_windows", "num_atoms", "num_components", "num_passes")
        ),
    ],
)
def test_learning_from_the_wrong_photographs_or_with_the_wrong_settings_is_refused(noun, photographs, settings):
    with refused(noun):
        hoggle.learn(jax.random.key(0), photographs, PIXELS, **{"num_windows": 4, "num_atoms": 2, **SMALL, **settings})


def test_a_bad_key_or_a_missing_scikit_learn_is_named(rng, monkeypatch):
    with refused("key", TypeError):
        hoggle.learn(0, [GRAY], PIXELS, num_windows=4, num_atoms=2, **SMALL)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with refused("invert_jax[hoggle]", ImportError):
        hoggle.invert(made_up(rng, num_atoms=2), np.zeros((3, 3, CHANNELS)))
    with refused("invert_jax[hoggle]", ImportError):
        hoggle.learn(jax.random.key(0), [GRAY], PIXELS)


# --- files ---


def test_what_is_saved_is_loaded(folder, rng):
    pair = made_up(rng, num_atoms=3)._replace(digest="0123456789abcdef")
    hoggle.save("pair.npz", pair)
    found = hoggle.load(folder / "pair.npz")
    assert type(found) is hoggle.Dictionaries and found.digest == "0123456789abcdef"
    assert (found.intensity, found.sparsity) == (110.0, 0.05)
    for name in ("patches", "windows", "mean_patch", "mean_window"):
        np.testing.assert_array_equal(getattr(found, name), getattr(pair, name))
    assert [path.name for path in folder.iterdir()] == ["pair.npz"]


def test_other_files_are_refused(folder, rng):
    pair = made_up(rng, num_atoms=3)
    with refused("nothing.npz", FileNotFoundError):
        hoggle.load("nothing.npz")
    with refused("pair.txt"):
        hoggle.save("pair.txt", pair)
    with refused("nowhere", FileNotFoundError):
        hoggle.save("nowhere/pair.npz", pair)
    hoggle.save("good.npz", pair)
    good = (folder / "good.npz").read_bytes()
    arrays = {name: np.asarray(value) for name, value in pair._asdict().items()}
    for data in (b"Dear diary", good[: len(good) // 2]):
        (folder / "bad.npz").write_bytes(data)
        with refused("bad.npz"):
            hoggle.load("bad.npz")
    spoiled = {
        "patches": {"patches": arrays["patches"]},
        "Object arrays": {**arrays, "windows": np.array([None])},
        "mean_patch": {**arrays, "mean_patch": np.full((SIDE, SIDE), np.nan)},
        "digest": {**arrays, "digest": np.zeros(2)},
        "windows": {**arrays, "windows": arrays["windows"][:2]},
    }
    for noun, content in spoiled.items():
        np.savez(folder / "bad.npz", **content)
        with refused(noun):
            hoggle.load("bad.npz")
