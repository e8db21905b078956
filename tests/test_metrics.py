"""Metrics against scikit-image, SciPy and NumPy written out; NaN is always reported."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import distance
from skimage import metrics as reference

import invert_jax as ij
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


# --- naturalness ---


def test_image_error_against_numpy(rng):
    x, r = rng.uniform(0, 255, size=(2, 9, 7, 3))
    expected = np.linalg.norm(x - r) / np.linalg.norm(r - r.mean((0, 1)))
    assert float(metrics.image_error(x, r)) == pytest.approx(expected, rel=1e-5)
    assert float(metrics.image_error(r, r)) == 0
    flat = np.full((4, 4, 1), 7.0)
    assert float(metrics.image_error(flat + 2, flat)) == pytest.approx(8)
    with pytest.raises(ValueError, match="shape"):
        metrics.image_error(x, r[:, :5])


def test_gradient_histogram_intersection_against_numpy(rng):
    image, photographs = rng.uniform(0, 255, (12, 9, 3)), np.cumsum(rng.normal(size=(4, 10, 14, 3)), 1) * 9 + 120

    def histogram(images):
        values = np.concatenate([np.diff(images, axis=axis).ravel() for axis in (-3, -2)]).astype(np.float32)
        counts = np.histogram(values.clip(-255, 255), np.linspace(-255, 255, 256))[0]
        return counts / values.size

    expected = np.minimum(histogram(image), histogram(photographs)).sum()
    assert float(metrics.gradient_histogram_intersection(image, photographs)) == pytest.approx(expected, abs=2e-3)
    assert 0 < expected < 0.9


def test_naturalness_orders_a_photograph_its_blur_and_its_noise(rng):
    others = np.stack([ij.example_image(name, size=96) for name in ("astronaut", "coffee", "rocket")])
    photograph = np.asarray(ij.example_image("chelsea", size=96))
    blurred = ndimage.gaussian_filter(photograph, (6, 6, 0))
    noisy = photograph + rng.normal(scale=60, size=photograph.shape)
    of_photograph, *rest = (metrics.gradient_histogram_intersection(x, others) for x in (photograph, blurred, noisy))
    assert of_photograph > max(rest)
    slopes = [float(metrics.spectrum_slope(x)) for x in (blurred, photograph, noisy)]
    assert slopes == sorted(slopes) and slopes[0] < -4 and slopes[2] > -2


@pytest.mark.parametrize("exponent", [0.0, -1.0, -2.0, -3.0])
def test_spectrum_slope_of_noise_with_that_power_law(rng, exponent):
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    frequency[0, 0] = 1
    spectrum = np.fft.fft2(rng.normal(size=(24, 256, 256))) * frequency ** (exponent / 2)
    image = np.moveaxis(np.fft.ifft2(spectrum).real, 0, 2)
    assert float(metrics.spectrum_slope(128 + 30 * image / image.std())) == pytest.approx(exponent, abs=0.08)


def test_nearest_photograph_is_by_correlation(rng):
    photographs = rng.uniform(0, 255, (6, 8, 9, 3)).astype(np.float32)
    photographs[0] = 90  # flat: correlated with nothing
    image = 0.2 * photographs[4] + 30 + rng.normal(size=photographs[4].shape)
    expected = np.argmax([np.corrcoef(image.ravel(), p.ravel())[0, 1] for p in photographs[1:]]) + 1
    assert int(metrics.nearest(image, photographs)) == expected == 4
    with pytest.raises(ValueError, match="photographs"):
        metrics.nearest(image, photographs[:, :5])


def test_remaining_fall():
    falling, flat = np.linspace(2, 1, 300), np.full(300, 3.0)
    stopped = np.concatenate([np.linspace(2, 1, 90), np.ones(210)])  # of a descent that ended after 90 steps
    first, last = falling[-30:-20].mean(), falling[-10:].mean()
    found = metrics.remaining_fall(np.stack([falling, flat, stopped, np.where(np.arange(300) == 5, np.nan, flat)]))
    assert found[0] == pytest.approx(1 - last / first) and found[1] == 0 and np.isnan(found[3])
    assert found[2] == pytest.approx(1 - stopped[87:90].mean() / stopped[81:84].mean())
    assert metrics.remaining_fall(np.array([3.0, 1.0])) == 0
