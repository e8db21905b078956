"""Invariance of each layer: statistics of the restarts of a sweep, with 95 % intervals, as curves and a table.

    python -m experiments.invariance_curves --images=folder --num_images=10 --layers=conv1,norm2,conv4,fc8
    python -m experiments.invariance_curves --workdir=out/sample_invariances
    python -m experiments.invariance_curves --workdir=out/one --against=out/another

--workdir is the folder of a finished experiments.sample_invariances with the same flags; if it is empty, the sweep runs
first. Measured for every case, from restarts that are finite (`ij.analysis.measure_restarts`):

    error                     relative error of the code
    distance                  between two restarts, root mean square, in gray levels; also by Laplacian band
    1 - SSIM                  between two restarts
    effective number          of distinct images among the restarts, 1 to R (grows with R)
    photograph percentile     rank of the distance between a restart's and the photograph's code, at the inverted layer
                              and at all layers, among distances between --num_scale_images photographs
    perturbation percentile   the same among distances to small perturbations of the photograph
    relative distance         between two restarts in the code of each layer, over the mean distance between
                              photographs
    rank correlation          of a restart's code with the photograph's
    identified                how often the photograph's code is the nearest to a restart's, among those photographs'
    top 1, top 5              how often the photograph's best class by fc8 is a restart's best, or among its best five

Below the table: the photograph percentiles of a flat picture, of the coarsest level of the photograph's Laplacian
pyramid, and of the nearest other photograph, beside which those of restarts are to be read.

Intervals are over photographs (BCa bootstrap of each photograph's mean over restarts) and, in results.json and for the
distance in the table, over restarts with the photographs fixed. Along the layers of each recipe, in order of depth,
each layer is compared with the previous one: paired differences of the distance, p-values corrected by Holm (five
photographs cannot give a p-value below 0.06 before that). The trend is the rank correlation of distance with depth,
averaged over photographs. Errors and distances by the second and later --recipes are compared with those by the first;
--against compares them with another sweep of the same photographs (another recipe or network): this minus the other.

Writes table.md, results.json, diversity.png, bands.png, error.png, equivalence.png and, for layers,
photograph_percentile.png, perturbation_percentile.png and relative_distance.png into WORKDIR/invariance.
"""

import functools
import itertools

import jax
import numpy as np
from absl import flags as absl_flags

import invert_jax as ij
from experiments.lib import flags, paper, progress
from experiments.lib import sweep as sweeps
from invert_jax._util import command

FLAGS = flags.FLAGS

NUM_LEVELS = 6
TOP = (1, 5)

_RMS = "root mean square, gray levels"
_BANDS = ("finest band", *(f"band {k}" for k in range(2, NUM_LEVELS)), "coarsest band")
_TO_PHOTOGRAPH = "Restarts from a layer (row): distance of the codes to the photograph's, at every layer"
_COLUMNS = (  # of the table: title, measure, factor, digits
    ("error, %", "error", 100, 1),
    ("distance, gray levels", "distance", 1, 1),
    ("1 - SSIM", "dissimilarity", 1, 2),
    ("effective number", "effective_number", 1, 1),
    ("photograph percentile", "photograph_percentile", 100, 0),
    ("perturbation percentile", "perturbation_percentile", 100, 0),
    ("rank correlation", "rank_correlation", 1, 2),
    ("identified, %", "identified", 100, 0),
    *((f"top {k}, %", f"top{k}", 100, 0) for k in TOP),
)
_CURVES = {  # title, vertical axis, {label: measure}
    "diversity": ("Distance between restarts of one code", _RMS, {"between restarts": "distance"}),
    "bands": (
        "Distance between restarts of one code by Laplacian band",
        _RMS,
        {label: f"band {k}" for k, label in enumerate(_BANDS, start=1)},
    ),
    "error": ("Relative error of the restarts' codes", "fraction of the target's norm", {"error": "error"}),
    "equivalence": (
        "Agreement of the restarts' codes with the photograph's",
        "fraction",
        {title.removesuffix(", %"): measure for title, measure, *_ in _COLUMNS[4:]},
    ),
}
_HEATMAPS = {  # title, label of the colors
    "photograph_percentile": (_TO_PHOTOGRAPH, "percentile among photographs"),
    "perturbation_percentile": (_TO_PHOTOGRAPH, "among perturbations"),
    "relative_distance": (_TO_PHOTOGRAPH.replace("the photograph's", "each other"), "over that between photographs"),
}


def define_flags() -> None:
    """Defines the flags of the runner."""
    sweeps.define_flags("sample_invariances", num_scale_images=100)
    absl_flags.DEFINE_string("against", None, "Folder of another sweep of the same photographs, to compare with.")


def main() -> int:
    """Measures what the flags describe."""
    sweep = sweeps.make()
    if sweep.num_restarts < 2 or min(len(case.images) for case in sweep.cases) < 3:
        raise ValueError("Measuring diversity needs --num_restarts of two or more and --num_images of three or more.")
    other = None if FLAGS.against is None else sweeps.load(sweep, FLAGS.against, only_photographs=True)
    workdir = command.make_workdir(FLAGS.workdir)
    results = sweeps.load_or_run(sweep, workdir)
    key = jax.random.key(FLAGS.seed)
    measured = _measure(key, sweep, results)
    summary = {name: ij.analysis.summarize(key, measurements) for name, measurements in measured.items()}
    chains = _chains(sweep)
    steps = {name: step for chain in chains.values() for name, step in compare_neighbors(key, measured, chain).items()}
    trends = {recipe: trend(key, measured, chain) for recipe, chain in chains.items() if len(chain) > 2}
    comparisons = _compare_recipes(key, measured, sweep)
    if other is not None:
        comparisons[f"this sweep minus {FLAGS.against}"] = _compare_sweeps(key, measured, other, sweep)
    finite = [restarts.finite for restarts in results.values()]
    return paper.finish(
        command.make_workdir(workdir / "invariance"),
        results={
            "network": paper.network(),
            "images": list(sweep.cases[0].images),
            "num_restarts": results.manifest["num_restarts"],
            "cases": {name: case_summary._asdict() for name, case_summary in summary.items()},
            "photographs": {name: list(map(_without_pairs, of_case)) for name, of_case in measured.items()},
            "steps": steps,
            "trend": trends,
            "comparisons": comparisons,
        },
        table=_table(summary, steps, trends, comparisons),
        pictures=_pictures(summary, chains),
        finite=np.concatenate(finite),
    )


def _measure(key, sweep, results):
    """`{case: measurements of its photographs}`; all layers of a network share their null distributions."""
    measured, nulls, last = {}, {}, flags.representation(flags.last_layer())
    for case in sweep.cases:
        layer, encode = sweeps.layer_of(case), functools.partial(sweeps.encode, case, last)
        if layer not in nulls:
            height, width, channels = next(iter(case.images.values())).shape
            photographs = paper.scale_photographs(size=(height, width), gray=channels == 1)
            nulls |= ij.analysis.measure_nulls(key, encode, photographs, case.images)
        how = {"layer": layer, "class_layer": "fc8", "top": TOP, "num_levels": NUM_LEVELS}
        measured[case.name] = [
            ij.analysis.measure_restarts(encode, results[case.name, name], image, nulls, name=name, **how)
            for name, image in progress.track(list(case.images.items()), case.name)
        ]
    return measured


def _means(measurements, measure):
    """Each photograph's mean over its restarts, or over pairs of them."""
    return np.array([ij.analysis.restart_mean(getattr(measurement, measure)) for measurement in measurements])


def _without_pairs(measurement):
    """A measurement for results.json, with means in place of the numbers of all pairs."""
    mean = ij.analysis.restart_mean
    means = {"distance": mean(measurement.distance), "dissimilarity": mean(measurement.dissimilarity)}
    return {**measurement._asdict(), **means, "bands": list(map(mean, measurement.bands))}


def _chains(sweep):
    """Cases that are layers of a network, in order of depth, by recipe."""
    chains, layers = {}, [case for case in sweep.cases if ij.networks.layer_of(case.representation) is not None]
    for case in sorted(layers, key=lambda case: len(sweeps.layers_up_to(case.representation))):
        chains.setdefault(case.name.partition("-")[2] or FLAGS.recipes[0], []).append(case.name)
    return chains


def compare_neighbors(key, measured, chain):
    """Distance of restarts from each layer minus that from the previous layer: `{case: difference and p-value}`."""
    distances = {name: _means(measured[name], "distance") for name in chain}
    previous = {name: distances[before] for before, name in itertools.pairwise(chain)}
    return _compare(key, {name: distances[name] for name in chain[1:]}, previous)


def trend(key, measured, chain):
    """Rank correlation of distance with depth, of each photograph, and its mean with an interval."""
    distances = np.array([_means(measured[name], "distance") for name in chain])  # [layers, photographs]
    complete = np.isfinite(distances).all(axis=0)
    correlations = ij.analysis.rank_correlation(distances.T[complete], np.arange(len(chain)))
    return ij.analysis.bootstrap_ci(key, correlations)


def _compare_recipes(key, measured, sweep):
    """Errors and distances by every further recipe minus those by the first."""
    first, *others = FLAGS.recipes
    names = dict.fromkeys(case.name.partition("-")[0] for case in sweep.cases)

    def by(recipe):
        cases = [(name, measure, measured[f"{name}-{recipe}"]) for name in names for measure in ("error", "distance")]
        return {f"{name}, {measure}": _means(measurements, measure) for name, measure, measurements in cases}

    return {f"{recipe} minus {first}": _compare(key, by(recipe), by(first)) for recipe in others}


def _compare_sweeps(key, measured, other, sweep):
    """Errors and distances of this sweep minus those of another."""
    first, second = {}, {}
    for case in sweep.cases:
        restarts = [other[case.name, name] for name in case.images]
        values = {
            "error": [found.error[found.finite] for found in restarts],
            "distance": [ij.analysis.pairwise_rms(found.image[found.finite]) for found in restarts],
        }
        for measure, of_photographs in values.items():
            first[f"{case.name}, {measure}"] = _means(measured[case.name], measure)
            second[f"{case.name}, {measure}"] = np.array([ij.analysis.restart_mean(found) for found in of_photographs])
    return _compare(key, first, second)


def _compare(key, first, second):
    result = ij.analysis.paired_permutation_test(key, first, second)
    return {name: {"difference": result.difference[name], "p_value": result.p_value[name]} for name in first}


def _table(summary, steps, trends, comparisons):
    """A line for every case, then trends and comparisons."""
    rows = []
    for name, case in summary.items():
        means, (_, low, high), step = case.over_photographs, case.over_restarts["distance"], steps.get(name)
        rows.append(
            [
                name,
                *(_interval(means[m], digits, factor) if m in means else "-" for _, m, factor, digits in _COLUMNS),
                f"{low:.1f} to {high:.1f}" if np.isfinite(low) else "-",
                f"{step['difference'].estimate:+.1f}" if step else "-",
                f"{step['p_value']:.3f}" if step else "-",
                case.not_finite,
            ]
        )
    more = ["distance over restarts", "distance minus previous layer's", "p", "not finite"]
    text = paper.markdown(["case", *(title for title, *_ in _COLUMNS), *more], rows)
    for name, case in summary.items():
        found = {m.partition(": ")[2]: v for m, v in case.over_photographs.items() if m.startswith("reference: ")}
        text += f"Photograph percentiles of references, {name}: "
        text += ", ".join(f"{reference} {100 * value.estimate:.0f}" for reference, value in found.items()) + ".\n"
    for recipe, interval in trends.items():
        text += f"Rank correlation of distance with depth, {recipe}: {_interval(interval, 2)}.\n"
    for title, compared in comparisons.items():
        for name, result in compared.items():
            text += f"{title}, {name}: {_interval(result['difference'], 3)}, p = {result['p_value']:.3f}.\n"
    return text


def _interval(interval, digits, factor=1):
    estimate, low, high = (f"{factor * value:.{digits}f}" for value in interval)
    return f"{estimate} [{low}, {high}]" if np.isfinite(interval.low) else f"{estimate} [-]"


def _pictures(summary, chains):
    """Functions that draw curves and, for layers of CNN-A, heat maps, by name."""
    layers = [name for chain in chains.values() for name in chain]
    groups = [*chains.values(), *([name] for name in summary if name not in layers)]
    names = [name for group in groups for name in ("", *group)][1:]  # "" is a gap: no line between two groups
    missing = ij.analysis.Interval(np.nan, np.nan, np.nan)

    def curves(title, y_label, measures):
        found = {
            label: np.array(
                [summary[name].over_photographs.get(measure, missing) if name else missing for name in names]
            )
            for label, measure in measures.items()
            if layers or not measure.startswith("top")
        }
        return ij.viz.curves(
            names,
            {label: intervals[:, 0] for label, intervals in found.items()},
            intervals={label: intervals[:, 1:] for label, intervals in found.items()},
            title=f"{title}, 95 % intervals over photographs",
            y_label=y_label,
        )

    def heatmap(measure, title, label):
        found = [summary[name].by_layer[measure] for name in layers]
        values = np.array([[interval.estimate for interval in by_layer.values()] for by_layer in found])
        return ij.viz.heatmap(values, title=title, label=label, rows=layers, columns=list(found[0]))

    drawings = {name: functools.partial(curves, *texts) for name, texts in _CURVES.items()}
    maps = {measure: functools.partial(heatmap, measure, *texts) for measure, texts in _HEATMAPS.items()}
    return drawings | (maps if layers else {})


if __name__ == "__main__":
    command.run(main, define_flags)
