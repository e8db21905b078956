"""Metrics against scikit-image, SciPy and NumPy written out; NaN is always reported."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import distance
from skimage import metrics as reference

from invert_jax.analysis import metrics

NORMALIZED = (metrics.normalized_error, metrics.normalized_squared_error)
every_normalized = pytest.mark.parametrize("metric", NORMALIZED, ids=lambda metric: metric.__name__)
batch_ssim, batch_psnr = (jax.jit(jax.vmap(metric, (0, None))) for metric in (metrics.ssim, metrics.psnr))


# --- relative error ---


@pytest.mark.parametrize("masked", [False, True])
def test_relative_error_against_numpy(rng, masked):
    f, t = rng.normal(size=(2, 6, 2)).astype(np.float32)
    mask = rng.random((6, 2)) < 0.5 if masked else None
    counted = np.ones((6, 2), bool) if mask is None else mask
    expected = np.linalg.norm((f - t)[counted]) / np.linalg.norm(t[counted])
    f[~counted] = np.nan
    for function in (metrics.relative_error, jax.jit(metrics.relative_error)):
        assert float(function(f, t, mask)) == pytest.approx(expected, rel=1e-6)


def test_relative_error_to_a_zero_target_is_absolute_and_of_values_that_are_not_finite_is_not_finite():
    assert float(metrics.relative_error(jnp.array([3.0, 4.0]), jnp.zeros(2))) == 5.0
    mask = jnp.array([True, False])
    assert float(metrics.relative_error(jnp.array([3.0, 4.0]), jnp.array([0.0, 9.0]), mask)) == 3.0
    assert jax.grad(metrics.relative_error)(jnp.ones(3), jnp.ones(3)).tolist() == [0.0, 0.0, 0.0]
    for bad in (np.nan, np.inf):
        assert not np.isfinite(metrics.relative_error(jnp.array([1.0, bad]), jnp.ones(2)))
        assert np.isnan(metrics.relative_error(jnp.ones(2), jnp.array([1.0, bad])))
    with pytest.raises(ValueError, match="mask"):
        metrics.relative_error(jnp.ones(2), jnp.ones(2), jnp.ones(1, bool))


# --- normalized errors ---


@pytest.mark.parametrize("scaled", [False, True])
def test_normalized_errors_against_scipy(rng, scaled):
    targets = rng.normal(size=(9, 4, 3, 2))
    features = targets + 0.3 * rng.normal(size=targets.shape)
    scale = rng.normal(size=(6, 4, 3, 2)) if scaled else None
    flat = (targets if scale is None else scale).reshape(-1, 24)
    error = np.linalg.norm((features - targets).reshape(9, -1), axis=1)
    expected = (
        error / distance.pdist(flat).mean(),
        error**2 / distance.squareform(distance.pdist(flat, "sqeuclidean")).mean(),
    )
    for metric, values in zip(NORMALIZED, expected, strict=True):
        np.testing.assert_allclose(jax.jit(metric)(features, targets, scale=scale), values, rtol=1e-5)
        if scaled:  # one image needs no second
            np.testing.assert_allclose(metric(features[:1], targets[:1], scale=scale), values[:1], rtol=1e-5)


def test_close_targets_far_from_the_origin_do_not_cancel():
    targets = (1e4 + np.arange(5.0)[:, None] / 8 * np.ones((5, 16))).astype(np.float32)
    error = metrics.normalized_error(targets + np.float32(0.125), targets)
    np.testing.assert_allclose(error, 0.125 / (0.125 * 2), rtol=1e-5)  # mean |i - j| of 5 is 2


def test_half_precision_and_integers_are_widened():
    targets = np.array([[0, 0], [60_000, 0]])
    features = np.array([[600, 0], [60_000, 0]])
    np.testing.assert_allclose(metrics.normalized_error(features, targets), [0.01, 0], rtol=1e-6)
    half = jnp.asarray([[0.0], [300.0]], "float16")  # 300^2 is beyond float16
    np.testing.assert_allclose(metrics.normalized_error(half + 3, half), 0.01, rtol=1e-6)


@every_normalized
def test_nan_stays_in_a_row_of_features_but_not_of_targets(metric, rng):
    targets = rng.normal(size=(4, 3))
    broken = targets.copy()
    broken[2, 1] = np.nan
    assert np.isnan(metric(broken + 1, targets)).tolist() == [False, False, True, False]
    assert np.isnan(metric(targets + 1, broken)).all()


@every_normalized
@pytest.mark.parametrize(
    ("features", "targets", "scale", "noun"),
    [
        (np.zeros(3), np.zeros(3), None, "scale"),
        (np.zeros((3, 2)), np.zeros((2, 3)), None, "shape"),
        (np.zeros((3, 2)), np.ones((3, 2)), None, "spread"),
        (np.zeros((2, 4, 5)), np.zeros((2, 4, 5)), np.zeros((6, 20)), "scale"),
    ],
)
def test_normalized_errors_check_their_arrays(metric, features, targets, scale, noun):
    with pytest.raises(ValueError, match=noun):
        metric(features, targets, scale=scale)


# --- pictures ---


@pytest.mark.parametrize("shape", [(40, 31, 3), (11, 11, 1)])
def test_psnr_and_ssim_against_scikit_image(rng, shape):
    smooth = 120 + 100 * np.sin(np.arange(np.prod(shape)).reshape(shape) / 50)
    r = np.clip(smooth, 0, 255).astype(np.float32)
    noisy = [np.clip(r + noise * rng.normal(size=shape), 0, 255).astype(np.float32) for noise in (2.0, 40.0)]
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    for x, ssim, psnr in zip(noisy, batch_ssim(np.stack(noisy), r), batch_psnr(np.stack(noisy), r), strict=True):
        expected = reference.structural_similarity(x.astype(float), r.astype(float), channel_axis=-1, **window)
        assert float(ssim) == pytest.approx(expected, abs=1e-5)
        expected = reference.peak_signal_noise_ratio(r, x, data_range=255)
        assert float(psnr) == pytest.approx(expected, abs=1e-3)


def test_equal_images_and_images_with_one_nan(rng):
    x = rng.uniform(0, 255, (40, 31, 3)).astype(np.float32)
    for place in [(0, 0, 0), (10, 7, 2), (39, 30, 1)]:
        broken = x.copy()
        broken[place] = np.nan
        ssim, psnr = (metric(np.stack([x, broken]), x) for metric in (batch_ssim, batch_psnr))
        assert psnr[0] == np.inf and float(ssim[0]) == pytest.approx(1, abs=1e-6)
        assert np.isnan(psnr[1]) and np.isnan(ssim[1])
        assert all(np.all(np.isnan(metric(np.stack([x, x]), broken))) for metric in (batch_ssim, batch_psnr))


def test_bright_flat_images_do_not_cancel_and_bytes_do_not_wrap_around():
    x, r = np.full((12, 12, 1), 250, np.uint8), np.full((12, 12, 1), 240, np.uint8)
    c1 = (0.01 * 255) ** 2
    luminance = (2 * 250 * 240 + c1) / (250**2 + 240**2 + c1)
    for reference_image, image in ((x, r), (r, x)):
        assert float(metrics.ssim(image, reference_image)) == pytest.approx(luminance, abs=1e-5)
        assert float(metrics.psnr(image, reference_image)) == pytest.approx(20 * np.log10(25.5), abs=1e-4)


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim])
def test_picture_metrics_check_shapes(metric):
    with pytest.raises(ValueError, match="shape"):
        metric(np.zeros((12, 12, 3)), np.zeros((12, 12, 1)))
    with pytest.raises(ValueError, match="shape"):
        metric(np.zeros((12, 12)), np.zeros((12, 12)))
    with pytest.raises(ValueError, match="pixels"):
        metrics.ssim(np.zeros((10, 40, 3)), np.zeros((10, 40, 3)))
