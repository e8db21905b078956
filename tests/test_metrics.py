"""Metrics against scikit-image, SciPy and NumPy written out; NaN is never hidden."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import distance
from skimage import metrics as reference

from invert_jax.analysis import metrics

# --- relative error ---


def test_relative_error_by_hand(rng):
    f, t = rng.normal(size=(2, 4, 5, 3)).astype(np.float32)
    expected = np.linalg.norm(f - t) / np.linalg.norm(t)
    assert float(metrics.relative_error(f, t)) == pytest.approx(expected, rel=1e-6)
    assert float(jax.jit(metrics.relative_error)(f, t)) == pytest.approx(expected, rel=1e-6)


def test_relative_error_looks_only_through_the_mask(rng):
    f, t = rng.normal(size=(2, 6, 2)).astype(np.float32)
    mask = rng.random((6, 2)) < 0.5
    expected = np.linalg.norm((f - t)[mask]) / np.linalg.norm(t[mask])
    f[~mask] = np.nan
    assert float(metrics.relative_error(f, t, mask)) == pytest.approx(expected, rel=1e-6)


def test_relative_error_to_a_zero_target_is_absolute():
    assert float(metrics.relative_error(jnp.array([3.0, 4.0]), jnp.zeros(2))) == 5.0
    mask = jnp.array([True, False])
    assert float(metrics.relative_error(jnp.array([3.0, 4.0]), jnp.array([0.0, 9.0]), mask)) == 3.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_relative_error_shows_what_is_not_finite(bad):
    assert not np.isfinite(metrics.relative_error(jnp.array([1.0, bad]), jnp.ones(2)))
    assert np.isnan(metrics.relative_error(jnp.ones(2), jnp.array([1.0, bad])))


def test_relative_error_gradient_at_the_target_is_zero():
    assert jax.grad(metrics.relative_error)(jnp.ones(3), jnp.ones(3)).tolist() == [0.0, 0.0, 0.0]


def test_relative_error_shapes():
    with pytest.raises(ValueError, match=r"features \(2,\) and the target \(2, 1\)"):
        metrics.relative_error(jnp.ones(2), jnp.ones((2, 1)))
    with pytest.raises(ValueError, match=r"mask \(1,\)"):
        metrics.relative_error(jnp.ones(2), jnp.ones(2), jnp.ones(1, bool))


# --- normalized errors ---


def test_normalized_errors_by_hand():
    # Three targets on a line at 0, 3, 9: distances 3, 9, 6; inversions off by 1, 0, 2.
    errors = metrics.normalized_errors(jnp.array([[1.0], [3.0], [7.0]]), jnp.array([[0.0], [3.0], [9.0]]))
    np.testing.assert_allclose(errors.text, np.array([1, 0, 2]) / 6, rtol=1e-6)
    np.testing.assert_allclose(errors.squared, np.array([1, 0, 4]) / (2 * (9 + 81 + 36) / 9), rtol=1e-6)


def test_normalized_errors_against_scipy(rng):
    targets = rng.normal(size=(9, 4, 3, 2))
    features = targets + 0.3 * rng.normal(size=targets.shape)
    flat = targets.reshape(9, -1)
    error = np.linalg.norm((features - targets).reshape(9, -1), axis=1)
    text = error / distance.pdist(flat).mean()
    squared = error**2 / distance.squareform(distance.pdist(flat, "sqeuclidean")).mean()
    for function in (metrics.normalized_errors, jax.jit(metrics.normalized_errors)):
        errors = function(jnp.asarray(features, "float32"), jnp.asarray(targets, "float32"))
        np.testing.assert_allclose(errors.text, text, rtol=1e-5)
        np.testing.assert_allclose(errors.squared, squared, rtol=1e-5)


def test_normalized_errors_with_another_scale(rng):
    features, targets, scale = (rng.normal(size=(n, 4, 5)).astype(np.float32) for n in (2, 2, 6))
    flat = scale.reshape(6, -1).astype(np.float64)
    distances = np.linalg.norm(flat[:, None] - flat, axis=-1)
    gaps = np.linalg.norm((features - targets).reshape(2, -1).astype(np.float64), axis=1)
    errors = metrics.normalized_errors(features, targets, scale=scale)
    np.testing.assert_allclose(errors.text, gaps / distances[np.triu_indices(6, 1)].mean(), rtol=1e-5)
    np.testing.assert_allclose(errors.squared, gaps**2 / (distances**2).mean(), rtol=1e-5)
    one = metrics.normalized_errors(features[:1], targets[:1], scale=scale)  # one image needs no second
    np.testing.assert_allclose(one.text, errors.text[:1], rtol=1e-6)
    with pytest.raises(ValueError, match=r"targets \(2, 4, 5\) and the scale \(6, 20\) differ"):
        metrics.normalized_errors(features, targets, scale=scale.reshape(6, 20))


def test_close_targets_far_from_the_origin_do_not_cancel():
    targets = (1e4 + np.arange(5.0)[:, None] / 8 * np.ones((5, 16))).astype(np.float32)
    errors = metrics.normalized_errors(targets + np.float32(0.125), targets)
    np.testing.assert_allclose(errors.text, 0.125 / (0.125 * 2), rtol=1e-5)  # mean |i - j| of 5 is 2


def test_half_precision_and_integers_are_widened():
    targets = np.array([[0, 0], [60_000, 0]])
    features = np.array([[600, 0], [60_000, 0]])
    np.testing.assert_allclose(metrics.normalized_errors(features, targets).text, [0.01, 0], rtol=1e-6)
    half = jnp.asarray([[0.0], [300.0]], "float16")  # 300^2 is beyond float16
    np.testing.assert_allclose(metrics.normalized_errors(half + 3, half).text, 0.01, rtol=1e-6)


def test_nan_in_features_stays_in_its_row(rng):
    targets = rng.normal(size=(4, 3))
    features = targets + 1
    features[2, 1] = np.nan
    for values in metrics.normalized_errors(features, targets):
        assert np.isnan(values).tolist() == [False, False, True, False]


def test_nan_in_targets_is_everywhere(rng):
    targets = rng.normal(size=(4, 3))
    features = targets + 1
    targets[2, 1] = np.nan
    for values in metrics.normalized_errors(features, targets):
        assert np.isnan(values).all()


@pytest.mark.parametrize(
    ("features", "targets", "message"),
    [
        (np.zeros((1, 3)), np.zeros((1, 3)), "scale of two or more"),
        (np.zeros(3), np.zeros(3), "scale of two or more"),
        (np.zeros((3, 2)), np.zeros((2, 3)), "differ in shape"),
        (np.zeros((3, 2)), np.ones((3, 2)), "images are the same"),
    ],
)
def test_bad_normalized_errors(features, targets, message):
    with pytest.raises(ValueError, match=message):
        metrics.normalized_errors(features, targets)


# --- pictures ---


@pytest.mark.parametrize("shape", [(40, 31, 3), (11, 11, 1), (64, 64, 1)])
@pytest.mark.parametrize("noise", [2.0, 40.0])
def test_psnr_and_ssim_against_scikit_image(rng, shape, noise):
    smooth = 120 + 100 * np.sin(np.arange(np.prod(shape)).reshape(shape) / 50)
    r = np.clip(smooth, 0, 255).astype(np.float32)
    x = np.clip(r + noise * rng.normal(size=shape), 0, 255).astype(np.float32)
    expected = reference.structural_similarity(
        x.astype(np.float64),
        r.astype(np.float64),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=-1,
    )
    assert float(metrics.ssim(x, r)) == pytest.approx(expected, abs=1e-5)
    assert float(jax.jit(metrics.ssim)(x, r)) == pytest.approx(expected, abs=1e-5)
    assert float(jax.vmap(metrics.ssim)(x[None], r[None])[0]) == pytest.approx(expected, abs=1e-5)
    assert float(metrics.psnr(x, r)) == pytest.approx(reference.peak_signal_noise_ratio(r, x, data_range=255), abs=1e-3)


def test_ssim_of_bright_flat_images_does_not_cancel():
    x, r = np.full((16, 16, 1), 250.0), np.full((16, 16, 1), 240.0)
    c1 = (0.01 * 255) ** 2
    luminance = (2 * 250 * 240 + c1) / (250**2 + 240**2 + c1)
    assert float(metrics.ssim(x, r)) == pytest.approx(luminance, abs=1e-5)


def test_equal_images(rng):
    x = rng.uniform(0, 255, (20, 20, 3)).astype(np.float32)
    assert float(metrics.psnr(x, x)) == np.inf
    assert float(metrics.ssim(x, x)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("where", [(0, 0, 0), (10, 7, 2), (19, 19, 1)])
def test_one_nan_pixel_is_not_hidden(rng, where):
    x = rng.uniform(0, 255, (20, 20, 3)).astype(np.float32)
    broken = x.copy()
    broken[where] = np.nan
    for metric in (metrics.psnr, metrics.ssim):
        assert np.isnan(metric(broken, x)) and np.isnan(metric(x, broken))


def test_bytes_do_not_wrap_around():
    a, b = np.full((12, 12, 1), 10, np.uint8), np.full((12, 12, 1), 20, np.uint8)
    assert float(metrics.psnr(a, b)) == pytest.approx(20 * np.log10(25.5), abs=1e-4)


def test_bad_pictures():
    with pytest.raises(ValueError, match="at least 11 x 11"):
        metrics.ssim(np.zeros((10, 40, 3)), np.zeros((10, 40, 3)))
    for metric in (metrics.psnr, metrics.ssim):
        with pytest.raises(ValueError, match="differ in shape"):
            metric(np.zeros((12, 12, 3)), np.zeros((12, 12, 1)))
        with pytest.raises(ValueError, match=r"\[H, W, C\]"):
            metric(np.zeros((12, 12)), np.zeros((12, 12)))
