"""How far an inversion is from its target, in the features and in the picture, and how natural the picture is."""

import jax
import jax.numpy as jnp
import numpy as np

from invert_jax import losses, networks
from invert_jax._util import checks, safe_math
from invert_jax.weights import lpips_jax

FALLING = 0.05
"""The `remaining_fall` above which tables mark an error, since its descent has not converged."""

_PEAK = 255.0
_SSIM_RADIUS = 5  # 3.5 standard deviations of 1.5 pixels, as Wang et al. (2004) cut their window
_SSIM_SIGMA = 1.5
_LPIPS_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
# LPIPS takes -1..1 and has constants of its own, which are nearly ImageNet's.
_LPIPS_MEAN = (np.array([-0.030, -0.088, -0.188]) + 1) * _PEAK / 2
_LPIPS_STD = np.array([0.458, 0.448, 0.450]) * _PEAK / 2


def relative_error(features: jax.Array, target: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """`|m (f - t)| / |m t|`, Euclidean; where `m t` is zero the absolute error `|m f|` is returned instead.

    Args:
      features: `[F...]`, f, or a pytree of arrays, which has the mean of their errors.
      target: `[F...]`, t, the like of the features.
      mask: boolean `[F...]`, m; what it leaves out is not looked at. None is everything.

    Returns:
      A scalar.

    Raises:
      ValueError: the shapes differ.

    Source: the root of the normalized loss of Mahendran and Vedaldi (2015), section 2.

    >>> float(relative_error(jnp.array([3.0, 5.0]), jnp.array([3.0, 4.0])))
    0.20000000298023224
    """
    return losses.mean_over_leaves(_relative_error, features, target, mask)


def _relative_error(features, target, mask):
    features, target = _floating(features), _floating(target)
    _require_same_shape(features, target, "features", "target")
    if mask is not None:
        mask = jnp.asarray(mask)
        _require_same_shape(mask, target, "mask", "target")
    return losses.normalized_l2(features, target, mask)


def normalized_error(features: jax.Array, targets: jax.Array, *, scale: jax.Array | None = None) -> jax.Array:
    """Normalized error of N inversions: distances over the mean distance between different images' features.

        error_i = |f_i - t_i| / mean of |s_i - s_j| over all i != j

    A NaN in `features[i]` makes error `i` NaN; one in `scale` makes all of them NaN.

    Args:
      features: `[N, F...]`, f: those of the inversions.
      targets: `[N, F...]`, t: those of the images that were inverted.
      scale: `[M, F...]`, s: those of two or more different images; None takes the targets.

    Returns:
      `[N]`, fractions (0.1 is 10 %).

    Raises:
      ValueError: fewer than two images to scale by, shapes that differ, or features that are all the same.

    Source: Mahendran and Vedaldi (2015), section 4: the definition in the text, which the tables follow.

    >>> normalized_error(jnp.array([[1.0], [4.0]]), jnp.array([[0.0], [4.0]])).tolist()
    [0.25, 0.0]
    """
    squared_error, squares = _squares(features, targets, scale)
    num_images = len(squares)
    distance = jnp.sum(jnp.sqrt(squares)) / (num_images * (num_images - 1))
    return jnp.sqrt(squared_error) / distance


def normalized_squared_error(features: jax.Array, targets: jax.Array, *, scale: jax.Array | None = None) -> jax.Array:
    """The squared form of `normalized_error` that the released script computes; 3 to 14 times smaller.

        error_i = |f_i - t_i|^2 / mean of |s_i - s_j|^2 over all i, j, the zeros at i = j included

    Args:
      features: as in `normalized_error`.
      targets: as in `normalized_error`.
      scale: as in `normalized_error`.

    Returns:
      `[N]`, fractions.

    Raises:
      ValueError: as in `normalized_error`.

    Source: the code released with Mahendran and Vedaldi (2015).

    >>> normalized_squared_error(jnp.array([[1.0], [4.0]]), jnp.array([[0.0], [4.0]])).tolist()
    [0.125, 0.0]
    """
    squared_error, squares = _squares(features, targets, scale)
    return squared_error / jnp.mean(squares)


def _squares(features, targets, scale):
    """`|f_i - t_i|^2 [N]`, and `|s_i - s_j|^2 [M, M]`."""
    features, targets = _floating(features), _floating(targets)
    _require_same_shape(features, targets, "features", "targets")
    scale = targets if scale is None else _floating(scale)
    if scale.ndim < 2 or scale.shape[0] < 2 or targets.ndim < 2:
        raise ValueError(
            f"Normalized errors need the features [N, F...] of one or more images and a scale of two or more; got "
            f"targets {targets.shape} and a scale {scale.shape}."
        )
    if scale.shape[1:] != targets.shape[1:]:
        raise ValueError(
            f"The targets {targets.shape} and the scale {scale.shape} differ in the shape of one image's features; "
            f"give both from one representation."
        )
    features, targets, scale = (codes.reshape(codes.shape[0], -1) for codes in (features, targets, scale))
    # Differences, not |a|^2 + |b|^2 - 2ab, which cancels; by rows, so that [M, M, F] never exists.
    squares = jax.lax.map(lambda row: jnp.sum((row[None] - scale) ** 2, axis=1), scale)
    if checks.is_concrete(squares) and not np.any(np.asarray(squares) != 0):
        raise ValueError(
            f"The features of all {len(scale)} images are the same, so errors cannot be normalized by their spread; "
            f"give different images."
        )
    return jnp.sum((features - targets) ** 2, axis=1), squares


def remaining_fall(energies: np.ndarray) -> np.ndarray:
    """Share of their energy that descents still shed in the last tenth of their steps: 0 once they have converged.

    `1 - b / a`, with `a` and `b` the mean energies of the first and the last third of that tenth, which is of the steps
    before the descent terminated. It says nothing of what a larger rate would have reached.

    Args:
      energies: `[..., T]`, such as `Preimage.energy.total`; the last value repeats after a descent terminated.

    Returns:
      `[...]`, fractions; NaN where a value is not finite, 0 for descents too short to say.

    >>> remaining_fall(np.array([[8.0] * 60, np.geomspace(1, 0.5, 60)])).round(2).tolist()
    [0.0, 0.05]
    """
    energies = np.asarray(energies, np.float64)
    shares = np.zeros(energies.shape[:-1])
    for index in np.ndindex(shares.shape):
        trace = energies[index]
        changes = np.flatnonzero(trace != trace[-1])
        tail = trace[: changes[-1] + 2 if changes.size else 0]
        third = len(tail) // 30
        if not np.isfinite(trace).all():
            shares[index] = np.nan
        elif third:
            last = tail[-3 * third :]
            before, after = last[:third].mean(), last[-third:].mean()
            shares[index] = (before - after) / max(abs(before), np.finfo(np.float32).tiny)
    return shares


def psnr(image: jax.Array, reference: jax.Array) -> jax.Array:
    """Peak signal-to-noise ratio `10 log10(255^2 / mean((x - r)^2))`, in decibels; infinite if equal.

    Args:
      image: `[H, W, C]`, x, 0..255; taken as it is, so clip it first to judge what is displayed.
      reference: `[H, W, C]`, r, 0..255.

    Returns:
      A scalar.

    Raises:
      ValueError: not images, or the shapes differ.

    >>> round(float(psnr(jnp.full((2, 2, 1), 10.0), jnp.zeros((2, 2, 1)))), 4)
    28.1308
    """
    image, reference = _image_pair(image, reference, 1, "PSNR")
    return 10 * jnp.log10(_PEAK**2 / jnp.mean((image - reference) ** 2))


def ssim(image: jax.Array, reference: jax.Array) -> jax.Array:
    """Structural similarity: 1 for equal images, about 0 for unrelated ones.

    The mean, over channels and every position of an 11 x 11 Gaussian window (sigma 1.5) inside the image, of

        (2 mu_x mu_r + c1) (2 cov_xr + c2) / ((mu_x^2 + mu_r^2 + c1) (var_x + var_r + c2)),

    `c1 = (0.01 * 255)^2`, `c2 = (0.03 * 255)^2`.

    Args:
      image: `[H, W, C]`, x, 0..255.
      reference: `[H, W, C]`, r, 0..255.

    Returns:
      A scalar.

    Raises:
      ValueError: not images, the shapes differ, or a side is shorter than 11.

    Source: Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.

    >>> x = jnp.arange(256.0).reshape(16, 16, 1)
    >>> float(ssim(x, x))
    1.0
    """
    x, r = _image_pair(image, reference, 2 * _SSIM_RADIUS + 1, "SSIM")
    mu_x, mu_r = _window_mean(x), _window_mean(r)
    # Covariances do not change with an offset; about mid-gray the squares are smaller and round less.
    x, r = x - _PEAK / 2, r - _PEAK / 2
    shifted_x, shifted_r = mu_x - _PEAK / 2, mu_r - _PEAK / 2
    var_x = _window_mean(x * x) - shifted_x * shifted_x
    var_r = _window_mean(r * r) - shifted_r * shifted_r
    cov = _window_mean(x * r) - shifted_x * shifted_r
    c1, c2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2
    luminance = (2 * mu_x * mu_r + c1) / (mu_x * mu_x + mu_r * mu_r + c1)
    structure = (2 * cov + c2) / (var_x + var_r + c2)
    return jnp.mean(luminance * structure)


def lpips(image: jax.Array, reference: jax.Array) -> jax.Array:
    """Learned perceptual distance of two images: LPIPS 0.1 on VGG-16; 0 for equal images, about 0.7 for unrelated ones.

    The sum, over the layers l = relu1_2, relu2_2, relu3_3, relu4_3, relu5_3, of the mean over positions of

        sum_c w_lc (y_c / |y| - r_c / |r|)^2,

    with `y` and `r` the features of one position in `image` and in `reference`, and learned weights `w_l`.

    Args:
      image: `[H, W, 3]`, 0..255; taken as it is, so clip it first to judge what is displayed.
      reference: `[H, W, 3]`, 0..255.

    Returns:
      A scalar.

    Raises:
      ValueError: not color images, the shapes differ, or a side is shorter than 16.
      ModuleNotFoundError: the extra `pretrained` is not installed.

    Source: Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", 2018.

    >>> flat = jnp.full((32, 32, 3), 100.0)
    >>> round(float(lpips(flat, flat)), 6)
    0.0
    """
    image, reference = _image_pair(image, reference, 16, "LPIPS", channels=3)
    params = {**lpips_jax.convolutions("vgg16"), "mean": _LPIPS_MEAN, "std": _LPIPS_STD}
    return _lpips(networks.vgg16(params, layer="relu5_3"), lpips_jax.lpips_heads(), image, reference)


@jax.jit
def _lpips(vgg, heads, image, reference):
    features = jax.vmap(vgg.apply.every, in_axes=(None, 0))(vgg.params, jnp.stack([image, reference]))
    distance = jnp.zeros((), jnp.float32)
    for layer, head in zip(_LPIPS_LAYERS, heads, strict=True):
        y, r = features[layer] / (safe_math.safe_norm(features[layer], -1)[..., None] + 1e-10)
        distance += jnp.mean((y - r) ** 2 @ head)
    return distance


def image_error(image: jax.Array, photograph: jax.Array) -> jax.Array:
    """Normalized image error, `|x - r| / |r - mean(r)|`, Euclidean: 0 for equal images, 1 for the flat mean.

    Args:
      image: `[H, W, C]`, x, 0..255.
      photograph: `[H, W, C]`, r, 0..255, whose mean of each channel is taken; a flat one leaves `|x - r|`.

    Returns:
      A scalar.

    Raises:
      ValueError: not images, or the shapes differ.

    >>> ramp = jnp.arange(4.0).reshape(2, 2, 1)
    >>> float(image_error(jnp.full((2, 2, 1), 1.5), ramp))
    1.0
    """
    image, photograph = _image_pair(image, photograph, 1, "image error")
    spread = safe_math.safe_norm(photograph - photograph.mean((0, 1), keepdims=True))
    return safe_math.safe_norm(image - photograph) / jnp.where(spread > 0, spread, 1)


def gradient_histogram_intersection(image: jax.Array, photographs: jax.Array) -> jax.Array:
    """How much of an image's histogram of gradients natural images share: 1 for equal histograms, 0 for disjoint ones.

    `sum_k min(p_k, q_k)` of the normalized histograms `p` and `q` of the differences between neighboring pixels, along
    both axes and in all channels, in bins of 2 gray levels from -255 to 255. A smooth image has too few large
    differences, a noisy one too many.

    Args:
      image: `[H, W, C]`, 0..255.
      photographs: `[N, H, W, C]`, or `[H, W, C]`, 0..255; of the same scale as the image, but of any size.

    Returns:
      A scalar.

    Raises:
      ValueError: not images.

    Source: Mahendran & Vedaldi, "Visualizing deep convolutional neural networks using natural pre-images", 2016.

    >>> noise = jax.random.uniform(jax.random.key(0), (64, 64, 1), maxval=255.0)
    >>> float(gradient_histogram_intersection(noise, noise))
    1.0
    """
    checks.require_image(image, min_side=2, what="gradient histogram")
    photographs = jnp.asarray(photographs, "float32")
    photographs = photographs[None] if photographs.ndim == 3 else photographs
    checks.require_image(photographs[0], min_side=2, what="gradient histogram")
    own, natural = _gradient_histogram(jnp.asarray(image, "float32")[None]), _gradient_histogram(photographs)
    return jnp.sum(jnp.minimum(own, natural))


def _gradient_histogram(images):
    differences = jnp.concatenate([jnp.diff(images, axis=axis).ravel() for axis in (1, 2)])
    counts, _ = jnp.histogram(jnp.clip(differences, -_PEAK, _PEAK), bins=255, range=(-_PEAK, _PEAK))
    return counts / differences.size


def spectrum_slope(image: jax.Array) -> jax.Array:
    """Slope of the power spectrum in log-log coordinates: about -2 for photographs, 0 for white noise.

    The line of least squares through `log power` against `log f`, `power` being the mean over channels and over the
    frequencies of a ring of width 1 / N about f = 1 / N, 2 / N ... 1 / 2 cycles a pixel, `N` the shorter side, of the
    square middle of the image under a Hann window, its mean subtracted. A flat image has NaN.

    Args:
      image: `[H, W, C]`, 0..255.

    Returns:
      A scalar.

    Raises:
      ValueError: not an image, or a side is shorter than 16.

    Source: Field, "Relations between the statistics of natural images and the response properties of cortical cells",
    1987.

    >>> noise = jax.random.normal(jax.random.key(1), (224, 224, 3))
    >>> abs(float(spectrum_slope(noise))) < 0.1
    True
    """
    checks.require_image(image, min_side=16, what="power spectrum")
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    square = jnp.asarray(image, "float32")[top : top + side, left : left + side]
    window = np.hanning(side + 2)[1:-1].astype(np.float32)
    window = (window[:, None] * window)[..., None]
    centered = square - jnp.sum(window * square, (0, 1), keepdims=True) / window.sum()
    power = jnp.sum(jnp.abs(jnp.fft.fft2(window * centered, axes=(0, 1))) ** 2, -1)
    frequency = np.fft.fftfreq(side) * side
    ring = np.rint(np.hypot(frequency[:, None], frequency)).astype(int)
    used = np.arange(1, side // 2 + 1)
    sums = jnp.zeros(ring.max() + 1, jnp.float32).at[ring].add(power)[used]
    log_power = jnp.log(sums / np.bincount(ring.ravel())[used].astype(np.float32))
    log_frequency = (np.log(used) - np.log(used).mean()).astype(np.float32)
    slope = jnp.sum(log_frequency * log_power) / np.sum(log_frequency**2)
    return jnp.where(jnp.isfinite(slope), slope, jnp.nan)


def nearest(image: jax.Array, photographs: jax.Array) -> jax.Array:
    """Index of the photograph that an image is most correlated with: an inversion's should be its own.

    Correlation does not see brightness and contrast, which HOG and SIFT do not determine.

    Args:
      image: `[H, W, C]`, 0..255.
      photographs: `[N, H, W, C]`, 0..255.

    Returns:
      A whole number, from 0.

    Raises:
      ValueError: the shapes do not fit.

    >>> photographs = jax.random.uniform(jax.random.key(0), (5, 8, 8, 1), maxval=255.0)
    >>> int(nearest(0.5 * photographs[3] + 20, photographs))
    3
    """
    checks.require_image(image, what="nearest photograph")
    image, photographs = jnp.asarray(image, "float32"), jnp.asarray(photographs, "float32")
    if photographs.ndim != 4 or photographs.shape[1:] != image.shape:
        raise ValueError(
            f"The image has shape {image.shape} and the photographs {photographs.shape}; give [N, *image.shape]."
        )
    centered = photographs - photographs.mean((1, 2, 3), keepdims=True)
    norms = safe_math.safe_norm(centered, (1, 2, 3))
    products = jnp.sum(centered * (image - image.mean())[None], (1, 2, 3))
    return jnp.argmax(products / jnp.where(norms > 0, norms, 1))


@jax.jit
def _window_mean(image: jax.Array) -> jax.Array:
    """Gaussian-weighted means at every position of the window inside `[H, W, C]`."""
    offsets = np.arange(-_SSIM_RADIUS, _SSIM_RADIUS + 1)
    weights = np.exp(-0.5 * (offsets / _SSIM_SIGMA) ** 2)
    weights = (weights / weights.sum()).tolist()
    height, width = image.shape[0] - 2 * _SSIM_RADIUS, image.shape[1] - 2 * _SSIM_RADIUS
    # Shifted sums keep full float32 where a convolution may be lowered to fewer bits.
    image = sum((w * image[k : k + height] for k, w in enumerate(weights)), jnp.zeros((), jnp.float32))
    return sum((w * image[:, k : k + width] for k, w in enumerate(weights)), jnp.zeros((), jnp.float32))


def _floating(array) -> jax.Array:
    """At least float32: whole numbers would overflow when squared, half precision would round."""
    array = jnp.asarray(array)
    return array.astype(jnp.promote_types(array.dtype, "float32"))


def _image_pair(
    image, reference, min_side: int, what: str, *, channels: int | None = None
) -> tuple[jax.Array, jax.Array]:
    checks.require_image(image, channels=channels, min_side=min_side, what=what)
    for given in (image, reference):
        checks.warn_of_range(given, what, stacklevel=4)
    image, reference = jnp.asarray(image, "float32"), jnp.asarray(reference, "float32")
    _require_same_shape(image, reference, "image", "reference")
    return image, reference


def _require_same_shape(first: jax.Array, second: jax.Array, first_name: str, second_name: str) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"The {first_name} {first.shape} and the {second_name} {second.shape} differ in shape; "
            f"give both in the same shape."
        )
