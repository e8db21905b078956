"""What the restarts of one photograph say, and of all photographs of a problem: numbers, nulls and intervals."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

import invert_jax as ij
from experiments import reproduction

BANDS = 6
"""Of the Laplacian pyramid."""
TOP = (1, 5)
"""How many of fc8's best classes are to be kept."""


def measured_by(problem: ij.sweeps.Problem) -> str:
    """The layer of CNN-A, or the problem's name for another representation."""
    return getattr(problem.representation.apply, "layer", problem.name)


def _codes(problem, images):
    """Codes `{name: [N, F...]}`: by all layers of CNN-A for one of its layers, by the representation itself else."""
    if measured_by(problem) not in ij.layers.NAMES:
        return {problem.name: reproduction.codes(problem.representation, images)}
    last = reproduction.alexnet(ij.layers.NAMES[-1])
    codes = [jax.device_get(_every(last, image)) for image in images]
    return {name: np.stack([each[name] for each in codes]) for name in ij.layers.NAMES}


@jax.jit
def _every(last, image):
    return last.apply.every(last.params, image)


class Nulls(NamedTuple):
    """Distances of codes that are known.

    Attributes:
      photographs: between all pairs of photographs.
      perturbations: between each photograph and its perturbations, by its name.
    """

    photographs: np.ndarray
    perturbations: dict[str, np.ndarray]


def nulls_of(key: jax.Array, problem: ij.sweeps.Problem) -> dict[str, Nulls]:
    """The nulls by the name of what measures: all layers of CNN-A for one of its layers."""
    codes = _codes(problem, problem.images.values())
    nulls = {name: Nulls(ij.invariance.photographs_null(codes[name]), {}) for name in codes}
    for i, (photograph, image) in enumerate(problem.images.items()):
        some = _codes(problem, ij.invariance.perturbations(jax.random.fold_in(key, i), image).values())
        for name in codes:
            nulls[name].perturbations[photograph] = _distance(some[name], codes[name][i])
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
    pairs, apart = np.full((count, count), np.nan), ~np.eye(len(images), dtype=bool)
    diversity = None if few else ij.invariance.diversity(images, num_levels=BANDS)
    if diversity is not None:
        pairs[np.ix_(good, good)] = diversity.distance
    record |= {
        "pairs": pairs,
        "distance": np.nan if diversity is None else diversity.distance[apart].mean(),
        "dissimilarity": np.nan if diversity is None else 1 - diversity.ssim[apart].mean(),
        "bands": np.full(BANDS, np.nan) if diversity is None else diversity.bands[:, apart].mean(axis=1),
        "distinct": np.nan if diversity is None else diversity.effective_number,
    }
    percentile, distances = {}, {}
    for name, (target, *codes) in _codes(problem, [image, *images]).items():
        null = nulls[name].photographs
        away = _distance(np.array(codes), target) if codes else np.zeros(0)
        percentile[name] = _over_all(good, ij.invariance.percentile(away, null))
        distances[name] = np.nan if few else ij.invariance.distances(codes)[apart].mean() / null.mean()
        if name == own:
            record["among_perturbations"] = _over_all(
                good, ij.invariance.percentile(away, nulls[name].perturbations[photograph])
            )
            record["rank_correlation"] = _over_all(
                good, ij.invariance.rank_correlation(codes, target) if codes else np.zeros(0)
            )
        if name == "fc8" and own in ij.layers.NAMES:
            for top in TOP:
                kept = ij.invariance.same_classes(codes, target, count=top) if codes else np.zeros(0)
                record[f"top{top}"] = _over_all(good, kept)
    return {**record, "among_photographs": percentile[own], "percentile": percentile, "apart": distances}


def _over_all(good, values):
    """Values of the restarts that are finite, among NaN for the others."""
    everyone = np.full(len(good), np.nan)
    everyone[good] = values
    return everyone


_MEANS = (
    *("error", "distance", "dissimilarity", "distinct", "among_photographs", "among_perturbations"),
    *("rank_correlation", *(f"top{top}" for top in TOP)),
)


def summary_of(key: jax.Array, records: list[dict[str, Any]]) -> dict[str, Any]:
    """Each number of a problem with its interval over photographs; the distance's over restarts, too."""

    def over(values):
        return ij.intervals.over_photographs(key, [reproduction.mean_of(value) for value in values])

    def each(name):
        return {layer: over([record[name][layer] for record in records]) for layer in records[0][name]}

    return {
        **{name: over([record[name] for record in records]) for name in _MEANS if name in records[0]},
        "distance_over_restarts": ij.intervals.over_restarts(key, [record["pairs"] for record in records]),
        "bands": [over([record["bands"][band] for record in records]) for band in range(BANDS)],
        **{name: each(name) for name in ("percentile", "apart")},
        "not_finite": sum(record["not_finite"] for record in records),
        "photographs": sum(bool(np.isfinite(record["distance"])) for record in records),
    }
