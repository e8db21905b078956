"""HOG in every form and dense SIFT: under transforms, against finite differences, at degenerate pictures."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import dsift, hog, pictures

import invert_jax as ij

VARIANTS = ("vlfeat", "released")
HOG_ORACLES = {"vlfeat": hog.hog, "released": hog.hog_released}
DSIFT_ORACLES = {"vlfeat": dsift.dsift, "released": dsift.dsift_released}

# The representation, its oracle, and the size of a small picture.
CASES = [
    pytest.param(
        ij.hog(binning=binning, variant=variant),
        functools.partial(HOG_ORACLES[variant], cell_size=8, binning=binning),
        (24, 32),
        id=f"hog-{binning}-{variant}",
    )
    for binning in ("hard", "bilinear", "approximate")
    for variant in VARIANTS
] + [
    pytest.param(ij.dsift(variant=variant), DSIFT_ORACLES[variant], (30, 34), id=f"dsift-{variant}")
    for variant in VARIANTS
]
every_case = pytest.mark.parametrize(("representation", "oracle", "size"), CASES)


@every_case
def test_plain_jit_and_vmap_agree(representation, oracle, size):
    images = np.stack([pictures.textured(*size, seed) for seed in range(2)])[..., None]
    apply = jax.jit(representation.apply)
    plain = np.stack([representation(image) for image in images])
    compiled = np.stack([apply(representation.params, image) for image in images])
    batched = jax.jit(jax.vmap(representation.apply, (None, 0)))(representation.params, images)
    np.testing.assert_allclose(compiled, plain, atol=2e-6, rtol=0)
    np.testing.assert_allclose(batched, plain, atol=2e-6, rtol=0)


@every_case
def test_gradient_is_that_of_finite_differences(representation, oracle, size):
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


@every_case
def test_degenerate_pictures_have_finite_values_and_gradients(representation, oracle, size):
    degenerate = {
        "black": np.zeros(size, np.float32),
        "middle gray": np.full(size, 128, np.float32),
        "white": np.full(size, 255, np.float32),
        "edge": pictures.step_edge(*size),
    }

    @jax.jit
    def both(x):
        features, pullback = jax.vjp(lambda x: representation.apply(representation.params, x), x)
        return features, *pullback(jnp.ones_like(features))

    for picture, image in degenerate.items():
        features, gradient = both(image[..., None])
        assert np.all(np.isfinite(features)), picture
        assert np.all(np.isfinite(gradient)), picture
        np.testing.assert_allclose(features, oracle(image), atol=1e-5, rtol=0, err_msg=picture)
