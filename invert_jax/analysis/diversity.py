"""What restarts say of an invariance: how different the images of one code are, and how alike their codes.

All of it is statistics of finished restarts, on the host: arrays in, NumPy out. How sure they are, `intervals` says.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from invert_jax import pyramid
from invert_jax._util import checks
from invert_jax.analysis import metrics


class Diversity(NamedTuple):
    """How different R images are from each other.

    Attributes:
      distance: `[R, R]`, root mean square differences in gray levels.
      ssim: `[R, R]`, structural similarities; 1 on the diagonal.
      bands: `[K, R, R]`, root mean square differences of the Laplacian bands, the finest first, in gray levels.
      effective_number: of distinct images among them, 1 to R.
    """

    distance: np.ndarray
    ssim: np.ndarray
    bands: np.ndarray
    effective_number: float


class PixelStd(NamedTuple):
    """Where, and at which scale, R images differ.

    Attributes:
      mean: `[H, W, C]`.
      deviation: `[H, W, C]`, the standard deviation, in gray levels.
      bands: `[K, H, W, C]`, the standard deviation of each Laplacian band, the finest first.
    """

    mean: np.ndarray
    deviation: np.ndarray
    bands: np.ndarray


def diversity(images, *, num_levels: int = 6, resolution: float = 0.5) -> Diversity:
    """How different the images of one code are: in pixels, in structure, band by band, and how many they amount to.

    The effective number is `1 + (sum_i l_i)^2 / sum_i (l_i + e)^2`, the `l_i` being the R - 1 eigenvalues of the Gram
    matrix of the images about their mean, and `e = H W C resolution^2`: the participation ratio, 1 for images that are
    all the same, R for R images each as far from every other, and between them where they differ by about the
    resolution. R images drawn alike from d directions have about `1 + d (R - 1) / (d + R)`, so it grows with R until R
    is many times d, and says no more than R where d is large.

    Args:
      images: `[R, H, W, C]`, two or more, 0..255; those of the restarts that are finite.
      num_levels: K, bands of the Laplacian pyramid, the last being what is left.
      resolution: differences that do not count, in gray levels, root mean square: images that lie 2.2 times as far
        from each other count half, ten times as far in full.

    Returns:
      A `Diversity`.

    Raises:
      ValueError: not R images, fewer than two, or some not finite.

    Source: the participation ratio of Gao et al., "A theory of multineuronal dimensionality, dynamics and measurement",
    2017, of restarts in place of neurons.

    >>> black, white = np.zeros((16, 16, 1)), np.full((16, 16, 1), 255.0)
    >>> found = diversity(np.stack([black, white, white]))
    >>> found.distance[0].tolist(), round(found.effective_number, 3)
    ([0.0, 255.0, 255.0], 2.0)
    """
    images = _restarts(images)
    centered = (images - images.mean(0)).reshape(len(images), -1)
    values = np.maximum(np.linalg.eigvalsh(centered @ centered.T)[1:], 0).astype(np.float64)
    floor = np.sum((values + resolution**2 * images[0].size) ** 2)
    return Diversity(
        distance=pairwise_rms(images),
        ssim=_ssim(images),
        bands=np.stack([pairwise_rms(band) for band in _bands(images, num_levels)]),
        effective_number=float(1 + values.sum() ** 2 / floor) if floor else 1.0,
    )


def pairwise_rms(arrays) -> np.ndarray:
    """Root mean square differences between R arrays, `[R, R]`: of images in gray levels, of codes in their own unit.

    Args:
      arrays: `[R, ...]`.

    Returns:
      `[R, R]`, zero on the diagonal.

    >>> pairwise_rms(np.array([[0.0, 0.0], [3.0, 3.0]])).tolist()
    [[0.0, 3.0], [3.0, 0.0]]
    """
    if not len(arrays):
        return np.zeros((0, 0))
    flat = np.asarray(arrays, np.float32).reshape(len(arrays), -1)
    return np.stack([np.sqrt(np.mean((flat - row) ** 2, axis=1, dtype=np.float64)) for row in flat])


def pixel_std(images, *, num_levels: int = 6) -> PixelStd:
    """Where, and at which scale, the code does not care: mean and standard deviation of restarts, pixel by pixel.

    Args:
      images: `[R, H, W, C]`, two or more, 0..255; those of the restarts that are finite.
      num_levels: K, bands of the Laplacian pyramid, the last being what is left.

    Returns:
      A `PixelStd`.

    Raises:
      ValueError: not R images, fewer than two, or some not finite.

    >>> pixel_std(np.stack([np.zeros((8, 8, 1)), np.full((8, 8, 1), 2.0)])).deviation[0, 0].tolist()
    [1.4142135381698608]
    """
    images = _restarts(images)
    deviations = [band.std(0, ddof=1) for band in _bands(images, num_levels)]
    return PixelStd(images.mean(0), images.std(0, ddof=1), np.stack(deviations))


def percentile_rank(distance, null) -> np.ndarray:
    """Where distances lie among those of a null: 0 below all of them, 0.5 in their middle, 1 above all.

    Args:
      distance: any shape; NaN has no place, and stays NaN.
      null: distances of what is known, such as those between the codes of different photographs.

    Returns:
      Fractions, of the shape of `distance`; what equals some of the null counts as half above them, but no distance at
      all is 0, even in a null that holds such (HOG does not feel that a picture is darker).

    Raises:
      ValueError: an empty null, or one that is not finite.

    >>> percentile_rank([0.0, 2.0, 9.0], [1.0, 2.0, 3.0]).tolist()
    [0.0, 0.5, 1.0]
    """
    null = np.sort(np.asarray(null, np.float64).ravel())
    if not null.size or not np.isfinite(null).all():
        lost = np.sum(~np.isfinite(null))
        raise ValueError(f"A null needs finite distances, one or more; got {null.size}, {lost} of them not finite.")
    distance = np.asarray(distance, np.float64)
    below, through = (np.searchsorted(null, distance, side=side) for side in ("left", "right"))
    among = np.where(distance > 0, (below + through) / (2 * null.size), 0.0)
    return np.where(np.isnan(distance), np.nan, among)[()]


def null_distances(codes) -> np.ndarray:
    """The null of different images: distances between the codes of all pairs of photographs.

    Args:
      codes: `[P, F...]`, of two photographs or more.

    Returns:
      `[P (P - 1) / 2]`, root mean square distances.

    Raises:
      ValueError: fewer than two photographs.

    >>> null_distances(np.array([[0.0], [1.0], [3.0]])).tolist()
    [1.0, 3.0, 2.0]
    """
    if len(codes) < 2:
        raise ValueError(f"The null of different images needs two photographs or more; got {len(codes)}.")
    return pairwise_rms(codes)[np.triu_indices(len(codes), 1)]


def perturbations(key: jax.Array, image) -> dict[str, np.ndarray]:
    """The null of the same image: what nobody would call another picture.

    Args:
      key: random key of the noise.
      image: `[H, W, C]`, 0..255.

    Returns:
      `{name: image}`: moved by a pixel and by four along either axis, the edge repeated; blurred once by the 5 taps of
      Burt & Adelson; with noise of 5 gray levels; 10 gray levels darker and lighter.

    Raises:
      ValueError: not an image.
      TypeError: not a random key.

    >>> sorted(perturbations(jax.random.key(0), np.zeros((8, 8, 1))))[:3]
    ['blurred', 'darker', 'lighter']
    """
    checks.require_key(key)
    checks.require_image(image, what="perturbation")
    image = np.asarray(image, np.float32)
    height, width = image.shape[:2]
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="edge")
    blurred = np.sum([tap * padded[i : i + height] for i, tap in enumerate(pyramid.KERNEL)], axis=0)
    blurred = np.sum([tap * blurred[:, i : i + width] for i, tap in enumerate(pyramid.KERNEL)], axis=0)
    moved = {
        f"moved {'down' if axis == 0 else 'right'} {by}": np.take(
            image, np.maximum(np.arange(image.shape[axis]) - by, 0), axis
        )
        for axis in (0, 1)
        for by in (1, 4)
    }
    return {
        **moved,
        "blurred": blurred,
        "noisy": image + 5 * np.asarray(jax.random.normal(key, image.shape)),
        "darker": image - 10,
        "lighter": image + 10,
    }


def rank_correlation(codes, target) -> np.ndarray:
    """Spearman's rank correlation of each code with the target: 1 where the features keep their order.

    Args:
      codes: `[R, F...]`.
      target: `[F...]`.

    Returns:
      `[R]`; NaN for a code, or a target, whose features are all the same.

    >>> rank_correlation(np.array([[1.0, 2.0, 9.0], [3.0, 2.0, 1.0]]), np.array([1.0, 2.0, 3.0])).tolist()
    [1.0, -1.0]
    """
    from scipy import stats

    ranks = stats.rankdata(np.asarray(codes).reshape(len(codes), -1), axis=1)
    ranks, target = ranks - ranks.mean(1, keepdims=True), stats.rankdata(np.asarray(target).ravel())
    target = target - target.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        return ranks @ target / np.sqrt(np.sum(ranks**2, axis=1) * np.sum(target**2))


def top_k_agreement(scores, target, *, count: int) -> np.ndarray:
    """Whether the target's best class is among each code's `count` best, as in top-1 and top-5 accuracy.

    Args:
      scores: `[R, F...]`, such as fc8 of the restarts.
      target: `[F...]`.
      count: how many classes.

    Returns:
      `[R]`, 1 or 0; NaN for scores that are not finite.

    Raises:
      ValueError: scores and target of different shapes, or more classes than there are.

    >>> top_k_agreement(np.array([[0.9, 0.8, 0.5]]), np.array([0.2, 0.8, 0.1]), count=2).tolist()
    [1.0]
    """
    checks.require_count(count, "count")
    scores, target = np.asarray(scores), np.asarray(target)
    if scores.shape[1:] != target.shape:
        raise ValueError(f"The scores have shape {scores.shape}, R codes of the target's shape {target.shape} are due.")
    scores, target = scores.reshape(len(scores), -1), target.ravel()
    if count > target.size:
        raise ValueError(f"The {count} best of {target.size} classes are asked for; give a count that is no larger.")
    theirs = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return np.where(np.isfinite(scores).all(axis=1), np.any(theirs == np.argmax(target), axis=1), np.nan)


def _restarts(images):
    images = np.asarray(images, np.float32)
    if images.ndim != 4 or len(images) < 2:
        raise ValueError(f"Restarts are images [R, H, W, C], two or more; got shape {images.shape}.")
    if not np.isfinite(images).all():
        bad = int(np.sum(~np.isfinite(images).all(axis=(1, 2, 3))))
        raise ValueError(f"{bad} of {len(images)} restarts are not finite; leave them out: images[found.finite].")
    return images


def _bands(images, num_levels):
    """Each band of the pyramid at the images' size, the finest first; they add up to the images."""
    checks.require_count(num_levels, "num_levels")
    shown = np.stack([_shown(image, num_levels=num_levels) for image in images], axis=1)  # [K, R, H, W, C]
    return [*(shown[1:] - shown[:-1])[::-1], shown[0]]


@functools.partial(jax.jit, static_argnames="num_levels")
def _shown(image, *, num_levels):
    """What every stage shows of an image, the coarsest first, `[K, H, W, C]`."""
    return jax.lax.map(
        lambda stage: pyramid.switched_at_stage(image, stage, num_levels=num_levels), jnp.arange(num_levels)
    )


def _ssim(images):
    """Of all pairs, `[R, R]`."""
    pairs = np.triu_indices(len(images), 1)
    found = np.eye(len(images))
    found[pairs] = found[pairs[::-1]] = _ssim_of_pairs(images, np.stack(pairs, axis=1))
    return found


@jax.jit
def _ssim_of_pairs(images, pairs):
    return jax.lax.map(lambda pair: metrics.ssim(images[pair[0]], images[pair[1]]), pairs)
