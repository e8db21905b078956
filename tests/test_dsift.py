"""Dense SIFT: against a NumPy oracle, under transforms, at degenerate pictures."""

import jax
import jax.numpy as jnp
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
def test_plain_jit_and_vmap_agree(variant):
    representation = ij.dsift(variant=variant)
    images = np.stack([pictures.textured(30, 34, seed) for seed in range(2)])[..., None]
    plain = np.stack([representation(image) for image in images])
    compiled = np.stack([_apply(representation, image[..., 0]) for image in images])
    batched = jax.jit(jax.vmap(representation.apply, (None, 0)))(representation.params, images)
    np.testing.assert_allclose(compiled, plain, atol=2e-6, rtol=0)
    np.testing.assert_allclose(batched, plain, atol=2e-6, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_is_that_of_finite_differences(variant):
    representation = ij.dsift(variant=variant)
    random = np.random.default_rng(5)
    image = pictures.textured(40, 48, seed=2).astype(np.float64)[..., None]
    direction = random.normal(size=image.shape)
    with jax.enable_x64(True):
        weights = random.normal(size=jax.eval_shape(representation, image).shape)

        @jax.jit
        def scalar(x):
            features = representation.apply(representation.params, x)
            assert features.dtype == jnp.float64, "finite differences need the precision"
            return jnp.sum(weights * features)

        h = 1e-5
        numeric = float(scalar(image + h * direction) - scalar(image - h * direction)) / (2 * h)
        reverse = float(np.vdot(jax.jit(jax.grad(scalar))(image), direction))
        forward = float(jax.jvp(scalar, (jnp.asarray(image),), (jnp.asarray(direction),))[1])
    assert abs(numeric) > 1e-2  # the rounding of the difference is about 1e-9
    np.testing.assert_allclose(reverse, numeric, rtol=1e-5)
    np.testing.assert_allclose(forward, numeric, rtol=1e-5)


DEGENERATE = {
    "black": np.zeros((30, 34), np.float32),
    "middle gray": np.full((30, 34), 128, np.float32),
    "white": np.full((30, 34), 255, np.float32),
    "edge": pictures.step_edge(30, 34),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_degenerate_pictures_have_finite_values_and_gradients(variant):
    representation = ij.dsift(variant=variant)
    reference = oracle.dsift if variant == "vlfeat" else oracle.dsift_released

    @jax.jit
    def both(x):
        features, pullback = jax.vjp(lambda x: representation.apply(representation.params, x), x)
        return features, *pullback(jnp.ones_like(features))

    for picture, image in DEGENERATE.items():
        features, gradient = both(image[..., None])
        assert np.all(np.isfinite(features)), picture
        assert np.all(np.isfinite(gradient)), picture
        np.testing.assert_allclose(features, reference(image), atol=1e-5, rtol=0, err_msg=picture)


@pytest.mark.parametrize("variant", VARIANTS)
def test_flat_picture_gives_zeros(variant):
    features = _apply(ij.dsift(variant=variant), DEGENERATE["white"])
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
