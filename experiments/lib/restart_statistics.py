"""What the restarts of one photograph say, and of all photographs of a problem: numbers, nulls and intervals."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import invert_jax as ij
from experiments.lib import paper

BANDS = 6
"""Of the Laplacian pyramid."""
TOP = (1, 5)
"""Among how many of fc8's best classes the photograph's is to be."""


def measured_by(problem: ij.sweeps.Problem) -> str:
    """The layer of CNN-A, or the problem's name for another representation."""
    return getattr(problem.representation.apply, "layer", problem.name)


def _codes(problem, images):
    """Codes `{name: [N, F...]}`: by all layers of CNN-A for one of its layers, by the representation itself else."""
    if measured_by(problem) not in ij.networks.LAYER_NAMES:
        return {problem.name: paper.codes(problem.representation, images)}
    last = paper.alexnet(ij.networks.LAYER_NAMES[-1])
    codes = [jax.device_get(_every(last, image)) for image in images]
    return {name: np.stack([each[name] for each in codes]) for name in ij.networks.LAYER_NAMES}


@jax.jit
def _every(last, image):
    return last.apply.every(last.params, image)


class Nulls(NamedTuple):
    """Distances of codes that are known.

    Attributes:
      photographs: between all pairs of many photographs.
      perturbations: between each photograph of the problem and its perturbations, by its name.
    """

    photographs: np.ndarray
    perturbations: dict[str, np.ndarray]


def nulls_of(key: jax.Array, problem: ij.sweeps.Problem, photographs: Sequence[np.ndarray]) -> dict[str, Nulls]:
    """The nulls by the name of what measures: all layers of CNN-A for one of its layers."""
    codes = _codes(problem, photographs)
    nulls = {name: Nulls(ij.analysis.null_distances(codes[name]), {}) for name in codes}
    for i, (photograph, image) in enumerate(problem.images.items()):
        perturbed = ij.analysis.perturbations(jax.random.fold_in(key, i), image).values()
        for name, (target, *some) in _codes(problem, [image, *perturbed]).items():
            nulls[name].perturbations[photograph] = _distance(np.array(some), target)
    return nulls


def _distance(codes, target):
    return np.sqrt(np.mean((codes - target).reshape(len(codes), -1).astype(np.float64) ** 2, axis=1))


def record_of(
    problem: ij.sweeps.Problem,
    found: ij.sweeps.Restarts,
    photograph: str,
    image: np.ndarray,
    nulls: Mapping[str, Nulls],
) -> dict[str, Any]:
    """What the restarts of one photograph say: numbers, and arrays over its restarts, NaN for those that were lost."""
    good, own = found.finite, measured_by(problem)
    images, count = found.image[good].astype(np.float32), len(good)
    few = len(images) < 2
    record = {"error": np.where(good, found.error, np.nan), "not_finite": int((~good).sum())}
    pairs, apart = np.full((2 + BANDS, count, count), np.nan), ~np.eye(len(images), dtype=bool)
    if not few:
        diversity = ij.analysis.diversity(images, num_levels=BANDS)
        pairs[:, *np.ix_(good, good)] = [diversity.distance, 1 - diversity.ssim, *diversity.bands]
    record |= {
        "distance": pairs[0],
        "dissimilarity": pairs[1],
        "bands": pairs[2:],
        "distinct": np.nan if few else diversity.effective_number,
    }
    among: dict[str, dict[str, Any]] = {"percentile": {}, "perturbed": {}, "apart": {}}
    for name, (target, *codes) in _codes(problem, [image, *images]).items():
        null = nulls[name]
        codes = np.array(codes).reshape(len(images), *target.shape)
        away, scale = _distance(codes, target), null.photographs.mean()
        among["percentile"][name] = _over_all(good, ij.analysis.percentile_rank(away, null.photographs))
        among["perturbed"][name] = _over_all(good, ij.analysis.percentile_rank(away, null.perturbations[photograph]))
        unknown = few or not scale  # a layer that is off on every photograph
        among["apart"][name] = np.nan if unknown else ij.analysis.pairwise_rms(codes)[apart].mean() / scale
        if name == own:
            record["rank_correlation"] = _over_all(good, ij.analysis.rank_correlation(codes, target))
        if name == "fc8" and own in ij.networks.LAYER_NAMES:
            for top in TOP:
                record[f"top{top}"] = _over_all(good, ij.analysis.top_k_agreement(codes, target, count=top))
    own_among = {"among_photographs": among["percentile"][own], "among_perturbations": among["perturbed"][own]}
    return {**record, **own_among, **among}


def _over_all(good, values):
    """Values of the restarts that are finite, among NaN for the others."""
    everyone = np.full(len(good), np.nan)
    everyone[good] = values
    return everyone


_OF_RESTARTS = (
    *("error", "among_photographs", "among_perturbations", "rank_correlation"),
    *(f"top{top}" for top in TOP),
)
_OF_PAIRS = ("distance", "dissimilarity")


def mean_over(values: np.ndarray) -> float:
    """Of a photograph's restarts `[R]`, or of their pairs `[R, R]`, those that are finite."""
    pairs = np.ndim(values) == 2
    return paper.mean_of(values[~np.eye(len(values), dtype=bool)] if pairs else values)


def means_of(record: dict[str, Any]) -> dict[str, Any]:
    """A record with the mean in place of each number of pairs, which are many."""
    pairs = {name: mean_over(record[name]) for name in _OF_PAIRS}
    return {**record, **pairs, "bands": [mean_over(band) for band in record["bands"]]}


def summary_of(key: jax.Array, records: list[dict[str, Any]]) -> dict[str, Any]:
    """Each number of a problem with its interval over photographs, and those of restarts with that over restarts."""

    def over(values):
        return ij.analysis.bootstrap_ci(key, [mean_over(value) for value in values])

    def each(name):
        return {layer: over([record[name][layer] for record in records]) for layer in records[0][name]}

    many = {
        name: [record[name] for record in records] for name in (*_OF_RESTARTS, *_OF_PAIRS) if name in records[0]
    } | {f"band {band + 1}": [record["bands"][band] for record in records] for band in range(BANDS)}
    photographs = {name: over(values) for name, values in many.items()}
    return {
        **photographs,
        "distinct": over([record["distinct"] for record in records]),
        **{name: each(name) for name in ("percentile", "perturbed", "apart")},
        "over_restarts": {name: ij.analysis.stratified_bootstrap_ci(key, values) for name, values in many.items()},
        "not_finite": sum(record["not_finite"] for record in records),
        "photographs": sum(bool(np.isfinite(mean_over(record["distance"]))) for record in records),
    }
