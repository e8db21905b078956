"""HOG in every form and dense SIFT against NumPy oracles: values, transforms, derivatives, degenerate pictures."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import dsift as dsift_oracle
from oracles import hog as hog_oracle
from oracles import pictures
from refusals import refused

import invert_jax as ij
from invert_jax.representations import gradient_histograms

BINNINGS = ("hard", "bilinear", "approximate")
VARIANTS = ("vlfeat", "released")
HOG_ORACLES = {"vlfeat": hog_oracle.hog, "released": hog_oracle.hog_released}
FACTORIES = {"hog": ij.hog, "dsift": ij.dsift}

# The representation, its oracle, and the size of a small picture.
CASES = {
    f"hog {binning} {variant}": (
        ij.hog(binning=binning, variant=variant),
        functools.partial(HOG_ORACLES[variant], cell_size=8, binning=binning),
        (24, 32),
    )
    for binning in BINNINGS
    for variant in VARIANTS
} | {
    "dsift vlfeat": (ij.dsift(), dsift_oracle.dsift, (30, 34)),
    "dsift released": (ij.dsift(variant="released"), dsift_oracle.dsift_released, (30, 34)),
}


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


QUICK = ("hog hard vlfeat", "dsift vlfeat")
every_case = pytest.mark.parametrize("case", [name if name in QUICK else slow(name) for name in CASES])


def features_of(representation, image):
    return np.asarray(representation(image[..., None]))


def assert_is_the_oracles(representation, oracle, height, width):
    image = pictures.textured(height, width, seed=height)
    found, expected = features_of(representation, image), oracle(image)
    assert found.shape == expected.shape and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    return found


# --- values ---


@pytest.mark.parametrize("binning", BINNINGS)
@pytest.mark.parametrize(
    ("height", "width", "cell_size"),
    [(37, 53, 8), slow(33, 38, 5), slow(44, 29, 8), slow(37, 46, 6), slow(9, 17, 8), slow(8, 8, 8)],
)
def test_hog_agrees_with_oracle(height, width, cell_size, binning):
    oracle = functools.partial(hog_oracle.hog, cell_size=cell_size, binning=binning)
    found = assert_is_the_oracles(ij.hog(cell_size=cell_size, binning=binning), oracle, height, width)
    assert found.shape == ((height + cell_size // 2) // cell_size, (width + cell_size // 2) // cell_size, 27)


@pytest.mark.parametrize("binning", BINNINGS)
@pytest.mark.parametrize(
    ("height", "width", "cell_size"), [(37, 53, 8), slow(41, 30, 4), slow(37, 46, 6), slow(16, 23, 8)]
)
def test_released_hog_agrees_with_oracle(height, width, cell_size, binning):
    oracle = functools.partial(hog_oracle.hog_released, cell_size=cell_size, binning=binning)
    phi = ij.hog(cell_size=cell_size, binning=binning, variant="released")
    assert assert_is_the_oracles(phi, oracle, height, width).shape == (height // cell_size, width // cell_size, 27)


@pytest.mark.parametrize(
    ("height", "width", "bin_size", "step"),
    [(47, 61, 5, 5), (16, 31, 5, 3), *(slow(*sizes) for sizes in [(61, 47, 6, 10), (33, 45, 3, 4), (16, 16, 5, 5)])],
)
def test_dsift_agrees_with_oracle(height, width, bin_size, step):
    oracle = functools.partial(dsift_oracle.dsift, bin_size=bin_size, step=step)
    found = assert_is_the_oracles(ij.dsift(bin_size=bin_size, step=step), oracle, height, width)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), np.ones(found.shape[:2]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("height", "width", "bin_size"), [(47, 61, 5), slow(61, 47, 6), slow(33, 45, 3)])
def test_released_dsift_agrees_with_oracle(height, width, bin_size):
    oracle = functools.partial(dsift_oracle.dsift_released, bin_size=bin_size)
    assert_is_the_oracles(ij.dsift(bin_size=bin_size, variant="released"), oracle, height, width)


def test_steps_of_dsift():
    assert ij.dsift().apply == ij.dsift(step=5).apply != ij.dsift(step=4).apply
    released = ij.dsift(bin_size=4, variant="released")
    assert released.apply == ij.dsift(bin_size=4, step=12, variant="released").apply
    with refused("step"):
        ij.dsift(bin_size=4, step=5, variant="released")


@pytest.mark.parametrize("binning", BINNINGS)
def test_epsilon_of_the_block_norm_at_low_contrast(binning):
    image = pictures.textured(37, 53)
    faint = image / np.float32(25500)
    found, expected = features_of(ij.hog(binning=binning), faint), hog_oracle.hog(faint, 8, binning)
    assert np.max(np.abs(expected - hog_oracle.hog(image, 8, binning))) > 0.05, "the epsilon should matter here"
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


def test_exact_ties_go_to_the_first_bin():
    # gx = 0 lies exactly between bins 4 and 5 (downward) or 13 and 14 (upward).
    ramp = np.repeat(np.arange(32, dtype=np.float32)[:, None] * 3, 40, axis=1)
    down, up = features_of(ij.hog(), ramp), features_of(ij.hog(), ramp[::-1])
    assert set(np.flatnonzero(down[..., :18].sum((0, 1)))) == {4}
    assert set(np.flatnonzero(up[..., :18].sum((0, 1)))) == {13}


@pytest.mark.parametrize("case", ["hog hard vlfeat", "dsift vlfeat", slow("hog bilinear vlfeat")])
def test_adding_a_constant_changes_nothing(case):
    # Whole numbers: the differences are exact, so that hard decisions cannot move.
    representation, _, size = CASES[case]
    image = np.round(pictures.textured(*size, seed=3))
    pair = (features_of(representation, picture) for picture in (image, image + np.float32(64)))
    np.testing.assert_array_equal(*pair)
    assert np.all(features_of(representation, np.full(size, 255, np.float32)) == 0)


# --- transforms and derivatives ---


@every_case
def test_batches_with_degenerate_pictures_have_the_oracles_values_and_finite_gradients(case):
    representation, oracle, size = CASES[case]
    flat = [np.full(size, level, np.float32) for level in (0, 128, 255)]
    images = np.stack([*flat, pictures.step_edge(*size), pictures.textured(*size)])

    @jax.jit
    @jax.vmap
    def both(x):
        features, pullback = jax.vjp(lambda x: representation.apply(representation.params, x), x)
        return features, *pullback(jnp.ones_like(features))

    features, gradients = both(images[..., None])
    np.testing.assert_allclose(features, [oracle(image) for image in images], atol=1e-5, rtol=0)
    np.testing.assert_allclose(features[-1], features_of(representation, images[-1]), atol=2e-6, rtol=0)
    assert np.all(np.isfinite(gradients)) and np.any(gradients[-1] != 0)


MAGNITUDES = (1e-45, 1e-40, 1e-19, 1e-12, 1e8, 1e19, 3e38)
EDGES = {
    "hog": lambda: ij.hog(),
    "hogb": lambda: ij.hog(binning="bilinear", variant="released"),
    "dsift": lambda: ij.dsift(gradient="straight_through"),
    "dsift, released": lambda: ij.dsift(variant="released"),
    "patch sift": lambda: ij.patch_sift(),
}


@pytest.mark.parametrize("name", EDGES)
def test_whatever_float32_holds_has_finite_features_and_gradients(name, rng):
    phi, rows = EDGES[name](), np.arange(32)
    noise, checks = rng.normal(size=(32, 32)), np.add.outer(rows, rows) % 2
    patterns = np.stack([np.ones((32, 32)), noise, checks, np.tile(rows == 9, (32, 1))])
    images = np.stack([np.clip(scale * patterns, -3e38, 3e38) for scale in MAGNITUDES]).astype(np.float32)
    images = images.reshape(-1, 32, 32, 1)
    weights = rng.normal(size=phi.feature_shape(images[0].shape)).astype(np.float32)
    apply = jax.jit(
        jax.vmap(lambda image: jax.value_and_grad(lambda x: jnp.sum(weights * phi.apply(phi.params, x)))(image))
    )
    totals, gradients = apply(images)
    assert np.isfinite(totals).all() and np.isfinite(gradients).all()
    if name in ("hog", "dsift"):  # the others see an edge at the border
        assert np.all(gradients[:8] == 0)  # below the floor


@pytest.mark.parametrize("variant", [VARIANTS[0], pytest.param(VARIANTS[1], marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["hog", "hogb", "dsift"])
def test_straight_through_has_the_bits_of_the_exact_features_and_another_gradient(name, variant):
    options = {"variant": variant, **({"binning": "bilinear"} if name == "hogb" else {})}
    exact, straight = (FACTORIES[name.strip("b")](**options, gradient=g) for g in ("exact", "straight_through"))
    image = pictures.textured(40, 48, seed=2)[..., None]
    np.testing.assert_array_equal(exact(image), straight(image))

    def gradient(representation):
        return jax.grad(lambda image: jnp.sum(representation.apply({}, image) ** 2))(image)

    there, here = gradient(exact), gradient(straight)
    assert np.all(np.isfinite(here)) and np.abs(here - there).max() > 1e-3 * np.abs(there).max()


def test_straight_through_gating_has_the_derivative_of_a_narrow_border(rng):
    (gx, gy), weights = rng.normal(size=(2, 50)).astype(np.float32), rng.normal(size=(50, 18)).astype(np.float32)

    def gated(gating, gradient):
        def scalar(gx):
            return jnp.sum(weights * gradient_histograms.gate(gx, gy, 18, gating, gradient=gradient))

        return jax.value_and_grad(scalar)(gx)

    def narrow(gx):
        """A magnitude is split linearly between bins over the middle quarter of the angle between their centers."""
        position = np.arctan2(np.float64(gy), gx) * 18 / (2 * np.pi)
        lower = np.floor(position)
        share = np.clip((position - lower - 0.5) * 4 + 0.5, 0, 1)
        rows, bins = np.arange(50), lower.astype(int) % 18
        terms = (1 - share) * weights[rows, bins] + share * weights[rows, (bins + 1) % 18]
        return np.hypot(gx, gy) * terms

    value, slope = gated("hard", "straight_through")
    assert value == gated("hard", "exact")[0]
    step, gx64 = 1e-6, np.float64(gx)
    np.testing.assert_allclose(slope, (narrow(gx64 + step) - narrow(gx64 - step)) / (2 * step), rtol=1e-3, atol=1e-4)


def test_unknown_gradients_are_refused():
    for make in FACTORIES.values():
        with refused("gradient"):
            make(gradient="soft")


@pytest.mark.slow
@every_case
def test_gradient_is_that_of_finite_differences(case):
    representation, random = CASES[case][0], np.random.default_rng(5)
    image = pictures.textured(40, 48, seed=2).astype(np.float64)[..., None]
    direction, h = random.normal(size=image.shape), 1e-5
    with jax.enable_x64(True):
        weights = random.normal(size=jax.eval_shape(representation, image).shape)

        @jax.jit
        def everything(x):
            def scalar(x):
                features = representation.apply(representation.params, x)
                assert features.dtype == jnp.float64, "finite differences need the precision"
                return jnp.sum(weights * features)

            around = scalar(x + h * direction) - scalar(x - h * direction)
            return around / (2 * h), jnp.vdot(jax.grad(scalar)(x), direction), jax.jvp(scalar, (x,), (direction,))[1]

        numeric, reverse, forward = map(float, everything(image))
    assert abs(numeric) > 1e-2  # the rounding of the difference is about 1e-9
    np.testing.assert_allclose([reverse, forward], numeric, rtol=1e-5)


# --- what is refused ---


@pytest.mark.parametrize(
    ("name", "variant", "side", "shape"),
    [
        # Half a cell is a cell to VLFeat; the released network needs one whole block, 2 x 2 cells.
        ("hog", "vlfeat", 4, (1, 1, 27)),
        ("hog", "released", 16, (2, 2, 27)),
        # One descriptor needs 3 b + 1 pixels (VLFeat) or 5 b + 2 (released).
        ("dsift", "vlfeat", 16, (1, 1, 128)),
        ("dsift", "released", 27, (1, 1, 128)),
    ],
)
def test_too_small_an_image_is_refused(name, variant, side, shape):
    representation = FACTORIES[name](variant=variant)
    assert representation.feature_shape((side, side, 1)) == shape
    for small in ((side - 1, 40, 1), (40, side - 1, 1)):
        with refused(f"{side} x {side}"):
            representation(np.zeros(small, np.float32))


@pytest.mark.parametrize("name", FACTORIES)
def test_anything_but_one_gray_image_is_refused(name):
    for shape in ((32, 32, 3), (32, 32), (2, 32, 32, 1)):
        with refused(str(shape)):
            FACTORIES[name]()(np.zeros(shape, np.float32))
    for value in (np.nan, np.inf):
        with refused("non-finite"):
            FACTORIES[name]()(np.full((32, 32, 1), value))


@pytest.mark.parametrize(
    ("name", "tunables", "noun"),
    [
        ("hog", {"binning": "soft"}, "bilinear"),
        ("hog", {"variant": "matlab"}, "released"),
        ("hog", {"cell_size": 0}, "cell_size"),
        ("hog", {"num_orientations": -9}, "num_orientations"),
        ("dsift", {"variant": "matlab"}, "released"),
        ("dsift", {"bin_size": 2.5}, "bin_size"),
        ("dsift", {"step": 0}, "step"),
    ],
)
def test_bad_tunables_are_refused(name, tunables, noun):
    with refused(noun):
        FACTORIES[name](**tunables)
