"""How alike the codes of restarts are: against null distributions, by rank, by class.

`measure_nulls`, `measure_restarts` and `summarize` are the whole method of the invariance study.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from invert_jax import pyramid
from invert_jax._util import checks
from invert_jax._util.reprs import short_repr
from invert_jax.analysis.bootstrap import Interval, bootstrap_ci, stratified_bootstrap_ci
from invert_jax.analysis.diversity import diversity, pairwise_rms


def percentile_rank(distance, null) -> np.ndarray:
    """Position of distances in a null distribution: 0 below all of it, 0.5 at the median, 1 above all of it.

    Args:
      distance: any shape; NaN remains NaN.
      null: known distances, such as those between the codes of different photographs.

    Returns:
      Fractions, of the shape of `distance`. Values equal to a part of the null count as above half of that part, but
      a distance of zero has rank 0 even if the null contains zeros (HOG is invariant to brightness).

    Raises:
      ValueError: an empty null, or one that is not finite.

    >>> percentile_rank([0.0, 2.0, 9.0], [1.0, 2.0, 3.0]).tolist()
    [0.0, 0.5, 1.0]
    """
    null = np.sort(np.asarray(null, np.float64).ravel())
    if not null.size or not np.isfinite(null).all():
        count = np.sum(~np.isfinite(null))
        raise ValueError(f"A null needs one finite distance or more; got {null.size}, {count} of them not finite.")
    distance = np.asarray(distance, np.float64)
    # Mean ranks: codes of quantized features give many equal distances, which neither side of a step would describe.
    num_below, num_up_to = (np.searchsorted(null, distance, side=side) for side in ("left", "right"))
    rank = np.where(distance > 0, (num_below + num_up_to) / (2 * null.size), 0.0)
    return np.where(np.isnan(distance), np.nan, rank)[()]


def null_distances(codes) -> np.ndarray:
    """The null distribution of different images: distances between the codes of all pairs of photographs.

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
    """Eight small changes of an image, whose codes give the null distribution of the same image.

    Args:
      key: random key of the noise.
      image: `[H, W, C]`, 0..255.

    Returns:
      `{name: image}`: shifted by one and by four pixels along either axis, the edge repeated; blurred once by the 5
      taps of Burt & Adelson; with noise of 5 gray levels; 10 gray levels darker and lighter.

    Raises:
      ValueError: not an image.
      TypeError: not a random key.

    >>> sorted(perturbations(jax.random.key(0), np.zeros((8, 8, 1))))[:3]
    ['blurred', 'darker', 'lighter']
    """
    checks.require_key(key)
    checks.require_image(image, what="perturbation")
    image, (height, width) = np.asarray(image, np.float32), np.shape(image)[:2]
    # The perturbed images are not clipped: a darker photograph must differ from the photograph everywhere.
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="edge")
    blurred = np.sum([tap * padded[i : i + height] for i, tap in enumerate(pyramid.KERNEL)], axis=0)
    blurred = np.sum([tap * blurred[:, i : i + width] for i, tap in enumerate(pyramid.KERNEL)], axis=0)
    return {
        **{f"shifted down {by}": image[np.arange(-by, height - by).clip(0)] for by in (1, 4)},
        **{f"shifted right {by}": np.take(image, np.arange(-by, width - by).clip(0), axis=1) for by in (1, 4)},
        "blurred": blurred,
        "noisy": image + 5 * np.asarray(jax.random.normal(key, image.shape)),
        "darker": image - 10,
        "lighter": image + 10,
    }


def references(image) -> dict[str, np.ndarray]:
    """Pictures that say nearly nothing of an image: how near their codes are to its code is where "near" begins.

    Args:
      image: `[H, W, C]`, 0..255.

    Returns:
      `{name: image}`: flat, of the image's mean color; and the coarsest of six levels of its Laplacian pyramid.

    Raises:
      ValueError: not an image.

    >>> [picture.shape for picture in references(np.eye(64)[..., None] * 255).values()]
    [(64, 64, 1), (64, 64, 1)]
    """
    checks.require_image(image, what="reference")
    image = np.asarray(image, np.float32)
    return {
        "flat": np.broadcast_to(image.mean((0, 1)), image.shape),
        "coarsest level": np.asarray(pyramid.switched_at_stage(jnp.asarray(image), 0, num_levels=6)),
    }


def identification(codes, target, others) -> np.ndarray:
    """The rank of a target among different images' codes by distance to each code: 1 is the nearest, identified.

    Args:
      codes: `[R, F...]`, of restarts.
      target: `[F...]`, the photograph's.
      others: `[P, F...]`, of different photographs; one that equals the target is left out.

    Returns:
      `[R]`, whole numbers from 1.

    Raises:
      ValueError: shapes that do not fit.

    >>> identification(np.array([[0.1], [2.0]]), np.array([0.0]), np.array([[0.0], [1.0], [3.0]])).tolist()
    [1, 3]
    """
    codes, target, others = (np.asarray(values, np.float64) for values in (codes, target, others))
    if codes.shape[1:] != target.shape or others.shape[1:] != target.shape:
        raise ValueError(f"The codes have shapes {codes.shape} and {others.shape}, the target {target.shape}.")
    others = others[[not np.array_equal(other, target) for other in others]]
    nearer = [np.sum(_rms_to(code, others) < _rms_to(code, target[None])) for code in codes]
    return 1 + np.array(nearer, int)


def rank_correlation(codes, target) -> np.ndarray:
    """Spearman's rank correlation of each code with the target: 1 where the order of the features is the same.

    Args:
      codes: `[R, F...]`.
      target: `[F...]`.

    Returns:
      `[R]`; NaN if all features of the code, or of the target, are equal.

    >>> rank_correlation(np.array([[1.0, 2.0, 9.0], [3.0, 2.0, 1.0]]), np.array([1.0, 2.0, 3.0])).tolist()
    [1.0, -1.0]
    """
    from scipy import stats

    # Not scipy's spearmanr, which takes one pair at a time and warns about constant codes.
    ranks = stats.rankdata(np.asarray(codes).reshape(len(codes), np.size(target)), axis=1)
    ranks, target = ranks - ranks.mean(1, keepdims=True), stats.rankdata(np.asarray(target).ravel())
    target = target - target.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        return ranks @ target / np.sqrt(np.sum(ranks**2, axis=1) * np.sum(target**2))


def top_k_agreement(scores, target, *, count: int) -> np.ndarray:
    """Whether the target's best class is among the `count` best of each code, as in top-1 and top-5 accuracy.

    Args:
      scores: `[R, F...]`, class scores of the restarts, such as fc8.
      target: `[F...]`.
      count: k, the number of classes.

    Returns:
      `[R]`, 1 or 0; NaN for scores that are not finite.

    Raises:
      ValueError: scores and target of different shapes, or a count larger than the number of classes.

    >>> top_k_agreement(np.array([[0.9, 0.8, 0.5]]), np.array([0.2, 0.8, 0.1]), count=2).tolist()
    [1.0]
    """
    checks.require_count(count, "count")
    scores, target = np.asarray(scores), np.asarray(target)
    if scores.shape[1:] != target.shape or count > target.size:
        wanted = f"R codes of the target's shape {target.shape}, and a count of at most its {target.size} classes"
        raise ValueError(f"The scores have shape {scores.shape}, the count is {count}; give {wanted}.")
    scores, target = scores.reshape(len(scores), target.size), target.ravel()
    best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return np.where(np.isfinite(scores).all(axis=1), np.any(best == np.argmax(target), axis=1), np.nan)


class Nulls(NamedTuple):
    """Null distributions of distances between codes, at one layer."""

    codes: np.ndarray  #: [P, F...], of the P photographs
    photographs: np.ndarray  #: [P (P - 1) / 2], between all pairs of P different photographs
    perturbations: dict[str, np.ndarray]  #: of each measured photograph: [8], to the codes of its small perturbations
    references: dict[str, dict[str, float]]  #: of each measured photograph: distances of the `references` to it

    __repr__ = short_repr


def measure_nulls(key: jax.Array, encode: Callable, photographs: Sequence, images: Mapping) -> dict[str, Nulls]:
    """Null distributions at every layer: distances between different photographs, and to small perturbations.

    Args:
      key: random key of the perturbations' noise.
      encode: `encode(image) -> {layer: features}`.
      photographs: P images `[H, W, C]`, two or more, 0..255: the scale of "another picture".
      images: `{name: [H, W, C]}`, the photographs whose restarts are measured later.

    Returns:
      `{layer: Nulls}`.

    Raises:
      ValueError: fewer than two photographs.
      TypeError: not a random key.

    >>> encode = lambda image: {"mean": image.mean(keepdims=True)}
    >>> gray = [np.full((8, 8, 1), level) for level in (50.0, 100.0, 200.0)]
    >>> nulls = measure_nulls(jax.random.key(0), encode, gray, {"dark": gray[0]})
    >>> nulls["mean"].photographs.tolist(), nulls["mean"].perturbations["dark"].max().tolist()
    ([50.0, 150.0, 100.0], 10.0)
    """
    codes = _codes(encode, photographs)
    nulls = {layer: Nulls(codes[layer], null_distances(codes[layer]), {}, {}) for layer in codes}
    for i, (name, image) in enumerate(images.items()):
        # One key for each photograph, so that the noise of two photographs is independent.
        perturbed, other = perturbations(jax.random.fold_in(key, i), image), references(image)
        for layer, (target, *found) in _codes(encode, [image, *perturbed.values(), *other.values()]).items():
            distances = _rms_to(target, np.array(found))
            nulls[layer].perturbations[name] = distances[: len(perturbed)]
            nearest = _rms_to(target, codes[layer])
            nulls[layer].references[name] = {
                **dict(zip(other, distances[len(perturbed) :].tolist(), strict=True)),
                "nearest other photograph": float(min(nearest[nearest > 0], default=np.nan)),
            }
    return nulls


class Measurement(NamedTuple):
    """Measurements of the R restarts of one photograph; NaN for restarts that are not finite."""

    error: np.ndarray  #: [R], relative, of the codes
    distance: np.ndarray  #: [R, R], between images, root mean square, in gray levels
    dissimilarity: np.ndarray  #: [R, R], 1 - SSIM
    bands: np.ndarray  #: [K, R, R], distances by Laplacian band, the finest first, in gray levels
    effective_number: float  #: of distinct images; NaN with fewer than two finite restarts
    rank_correlation: np.ndarray  #: [R], of the code at the inverted layer with the photograph's
    # {layer: [R]}: rank of the distance to the photograph's code, among those between photographs or to perturbations
    photograph_percentile: dict[str, np.ndarray]
    perturbation_percentile: dict[str, np.ndarray]
    relative_distance: dict[str, float]  #: {layer: mean distance of the restarts' codes, over that of photographs'}
    identification: np.ndarray  #: [R], rank of the photograph's code among photographs', by distance to the restart's
    reference_percentile: dict[str, float]  #: {reference: rank of its distance at the inverted layer}
    top_k: dict[int, np.ndarray]  #: {k: [R]}, whether the photograph's class is among the k best
    layer: str  #: that was inverted
    not_finite: int  #: number of restarts

    __repr__ = short_repr


def measure_restarts(
    encode: Callable,
    restarts,
    image,
    nulls: Mapping[str, Nulls],
    *,
    name: str,
    layer: str,
    class_layer: str | None = None,
    top: Sequence[int] = (1, 5),
    num_levels: int = 6,
) -> Measurement:
    """Measures the restarts of one photograph: differences of the images, agreement of the codes.

    Args:
      encode: `encode(image) -> {layer: features}`, as in `measure_nulls`.
      restarts: has `image [R, H, W, C]`, `error [R]` and `finite [R]`, such as a `Preimage` of `sample`.
      image: `[H, W, C]`, the photograph.
      nulls: as `measure_nulls` returns.
      name: the photograph's name in `nulls`.
      layer: the layer that was inverted, one of those that `encode` returns.
      class_layer: a layer of class scores, such as "fc8"; None measures no classes.
      top: values of k of the top-k agreement.
      num_levels: K, bands of the Laplacian pyramid.

    Returns:
      A `Measurement`.

    Raises:
      ValueError: nulls without this layer or photograph, or restarts that are not images `[R, H, W, C]`.

    >>> from invert_jax.types import Preimage
    >>> encode = lambda image: {"mean": image.mean(keepdims=True)}
    >>> rng, gray = np.random.default_rng(0), [np.full((16, 16, 1), level) for level in (50.0, 100.0, 200.0)]
    >>> nulls = measure_nulls(jax.random.key(0), encode, gray, {"dark": gray[0]})
    >>> images = gray[0] + rng.normal(0, 20, (4, 16, 16, 1))
    >>> restarts = Preimage(images, None, np.zeros(4), None, np.ones(4, bool), None)
    >>> found = measure_restarts(encode, restarts, gray[0], nulls, name="dark", layer="mean")
    >>> round(restart_mean(found.distance)), restart_mean(found.photograph_percentile["mean"])
    (27, 0.0)
    """
    if layer not in nulls or name not in nulls[layer].perturbations:
        raise ValueError(f"The nulls lack the layer {layer} of {name}; measure them with this encode and photograph.")
    finite = np.asarray(restarts.finite)
    images, count = np.asarray(restarts.image)[finite].astype(np.float32), len(finite)
    # Arrays have the shape of all restarts: a diverged restart is NaN at its index and cannot be averaged in unnoticed.
    effective_number, pairs = np.nan, np.full((2 + num_levels, count, count), np.nan)
    if len(images) > 1:
        found = diversity(images, num_levels=num_levels)
        effective_number = found.effective_number
        pairs[:, *np.ix_(finite, finite)] = [found.distance, 1 - found.ssim, *found.bands]

    def all_restarts(values):
        """`[R]`, from the values of the finite restarts."""
        result = np.full(count, np.nan)
        result[finite] = values
        return result

    codes = _codes(encode, [image, *images])
    distances = {at: _rms_to(code[0], code[1:]) for at, code in codes.items()}

    def percentiles(null_of):
        return {at: all_restarts(percentile_rank(found, null_of(nulls[at]))) for at, found in distances.items()}

    target, inverted, scores = codes[layer][0], codes[layer][1:], codes.get(class_layer)
    return Measurement(
        error=np.where(finite, restarts.error, np.nan),
        distance=pairs[0],
        dissimilarity=pairs[1],
        bands=pairs[2:],
        effective_number=effective_number,
        rank_correlation=all_restarts(rank_correlation(inverted, target)),
        photograph_percentile=percentiles(lambda null: null.photographs),
        perturbation_percentile=percentiles(lambda null: null.perturbations[name]),
        relative_distance={  # NaN at a layer that is off on every photograph
            at: restart_mean(pairwise_rms(code[1:])) / (nulls[at].photographs.mean() or np.nan)
            for at, code in codes.items()
        },
        identification=all_restarts(identification(inverted, target, nulls[layer].codes)),
        reference_percentile={
            reference: float(percentile_rank(distance, nulls[layer].photographs))
            for reference, distance in nulls[layer].references[name].items()
        },
        top_k={k: all_restarts(top_k_agreement(scores[1:], scores[0], count=k)) for k in top if scores is not None},
        layer=layer,
        not_finite=int((~finite).sum()),
    )


class Summary(NamedTuple):
    """Means over the photographs of one case, with 95 % intervals."""

    over_photographs: dict[str, Interval]  #: {measure: interval of the mean over photographs}
    over_restarts: dict[str, Interval]  #: {measure: interval over restarts, the photographs fixed}
    by_layer: dict[str, dict[str, Interval]]  #: {measure: {layer: interval over photographs}}
    not_finite: int  #: number of restarts
    num_photographs: int  #: with two finite restarts or more


def summarize(key: jax.Array, measurements: Sequence[Measurement]) -> Summary:
    """Means of a case's measurements with intervals over photographs and over restarts.

    The measures are those of `Measurement`, percentiles at the inverted layer; also "top1", ..., "band 1", ....

    Args:
      key: random key of the resampling.
      measurements: one for each photograph.

    Returns:
      A `Summary`; see `bootstrap_ci` and `stratified_bootstrap_ci` for when an interval is NaN.

    Raises:
      ValueError: no measurements.
      TypeError: not a random key.

    >>> from invert_jax.types import Preimage
    >>> encode, image = lambda image: {"mean": image.mean(keepdims=True)}, np.full((16, 16, 1), 99.0)
    >>> nulls = measure_nulls(jax.random.key(0), encode, [image, image + 9], {"gray": image})
    >>> restarts = Preimage(np.stack([image, image + 2]), None, np.zeros(2), None, np.ones(2, bool), None)
    >>> found = measure_restarts(encode, restarts, image, nulls, name="gray", layer="mean")
    >>> summarize(jax.random.key(0), [found]).over_photographs["distance"].estimate
    2.0
    """
    if not measurements:
        raise ValueError("A summary needs the measurements of one photograph or more; got none.")

    def over_photographs(values):
        return bootstrap_ci(key, [restart_mean(value) for value in values])

    samples = [_by_measure(found) for found in measurements]
    values = {measure: [sample[measure] for sample in samples] for measure in samples[0]}
    by_layer = {measure: [getattr(found, measure) for found in measurements] for measure in _AT_LAYERS}
    return Summary(
        over_photographs={measure: over_photographs(values[measure]) for measure in values}
        | {"effective_number": over_photographs([found.effective_number for found in measurements])},
        over_restarts={measure: stratified_bootstrap_ci(key, values[measure]) for measure in values},
        by_layer={
            measure: {at: over_photographs([layers[at] for layers in found]) for at in found[0]}
            for measure, found in by_layer.items()
        },
        not_finite=sum(found.not_finite for found in measurements),
        num_photographs=sum(bool(np.isfinite(restart_mean(found.distance))) for found in measurements),
    )


_AT_LAYERS = ("photograph_percentile", "perturbation_percentile", "relative_distance")


def _by_measure(found):
    """`{measure: [R] or [R, R]}`, of what every restart or pair of restarts has."""
    return {
        "error": found.error,
        "photograph_percentile": found.photograph_percentile[found.layer],
        "perturbation_percentile": found.perturbation_percentile[found.layer],
        "rank_correlation": found.rank_correlation,
        "identified": np.where(np.isnan(found.identification), np.nan, found.identification == 1),
        **{f"reference: {name}": np.array([value]) for name, value in found.reference_percentile.items()},
        **{f"top{k}": values for k, values in found.top_k.items()},
        "distance": found.distance,
        "dissimilarity": found.dissimilarity,
        **{f"band {i}": band for i, band in enumerate(found.bands, start=1)},
    }


def restart_mean(values) -> float:
    """Mean of the finite values over restarts, or over pairs of different restarts; NaN if none is finite.

    Args:
      values: `[R]`, or `[R, R]` for pairs; a scalar is returned as it is.

    Returns:
      A number.

    >>> restart_mean([1.0, np.nan, 2.0]), restart_mean([[0.0, 3.0], [3.0, 0.0]])
    (1.5, 3.0)
    """
    values = np.asarray(values, np.float64)
    if values.ndim == 2:
        values = values[~np.eye(len(values), dtype=bool)]
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else np.nan


def _codes(encode, images):
    """`{layer: [N, F...]}`; one image at a time, which bounds memory."""
    codes = [{layer: np.asarray(code) for layer, code in encode(image).items()} for image in images]
    return {layer: np.stack([code[layer] for code in codes]) for layer in codes[0]}


def _rms_to(target, codes):
    return np.sqrt(np.mean((codes - target).reshape(len(codes), target.size).astype(np.float64) ** 2, axis=1))
