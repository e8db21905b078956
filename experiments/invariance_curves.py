"""How invariant each layer is: what the restarts of a sweep say, with 95 % intervals, as curves and a table.

    python -m experiments.invariance_curves --images=folder --num_images=10 --layers=conv1,norm2,conv4,fc8
    python -m experiments.invariance_curves --workdir=out/sample_invariances
    python -m experiments.invariance_curves --workdir=out/one --against=out/another

--workdir is a folder of experiments.sample_invariances, made with the same flags; if there is none yet, the sweep runs
first. For every problem, of the restarts that are finite:

    error           relative error of the code
    distance        between two restarts, root mean square, in gray levels; also by Laplacian band, and 1 - SSIM
    distinct        how many different images the restarts amount to (1 to R)
    percentile      of a restart's distance to the photograph's code, among the distances between photographs, and
                    among those between a photograph and its small perturbations (ij.invariance.perturbations): at the
                    layer itself and at all 20, of which those after it are what it ought to keep
    same classes    the share of fc8's best class, and of its best five, that are kept

Intervals are over photographs (BCa bootstrap of each one's mean over restarts); for the distance also over restarts,
photographs as they are. Each layer is compared with the one before it in --layers: paired differences of the distance,
p-values by Holm. The trend is the mean of the photographs' rank correlations of distance with depth. --against compares
the errors and distances with those of another sweep of the same photographs (another recipe, another network).

Writes diversity.png, bands.png, equivalence.png, layers.png, table.md and results.json into WORKDIR/invariance.
"""

import jax
import numpy as np
from absl import flags

import invert_jax as ij
from experiments import common, described, reproduction, sweeping

FLAGS = flags.FLAGS
_BANDS = 6
_TOP = (1, 5)


def _define_flags():
    described.define_flags("sample_invariances")
    flags.DEFINE_string("against", None, "Folder of another sweep of the same photographs, to compare with.")


def main() -> None:
    """Measures what the flags describe."""
    sweep = described.sweep()
    if sweep.num_restarts < 2 or min(len(problem.images) for problem in sweep.problems) < 3:
        raise ValueError("Diversity needs --num_restarts of two or more, intervals --num_images of three or more.")
    workdir = common.make_workdir(FLAGS.workdir)
    results = _results(sweep, workdir)
    against = None if FLAGS.against is None else ij.load_sweep(FLAGS.against)
    key = jax.random.key(FLAGS.seed)

    records, nulls = {}, {}
    for problem in sweep.problems:
        if _own(problem) not in nulls:
            nulls |= _nulls(key, problem)
        jobs = list(problem.images.items())
        records[problem.name] = [
            _record(problem, results[problem.name, name], image, nulls)
            for name, image in reproduction.track(jobs, problem.name)
        ]

    summary = {name: _summary(key, each) for name, each in records.items()}
    deep = [problem.name for problem in sweep.problems if _own(problem) in ij.layers.NAMES]
    steps = _steps(key, {name: records[name] for name in deep})
    trend = _trend(key, [records[name] for name in deep])
    other = None if against is None else _against(key, records, against, sweep)
    room = common.make_workdir(workdir / "invariance")
    reproduction.finish(
        room,
        results={
            "network": reproduction.network(),
            "images": list(sweep.problems[0].images),
            "num_restarts": sweep.num_restarts,
            "problems": summary,
            "photographs": records,
            "steps": steps,
            "trend": trend,
            "against": other,
        },
        table=_table(summary, steps, trend, other),
        pictures=_pictures(summary, deep),
    )


def _results(sweep, workdir):
    """The folder's restarts, once they are known to be of these photographs; made first if there are none."""
    if not (workdir / "manifest.json").exists():
        chunk_size = sweeping.chunk_size(sweep, sweeping.memory())
        return sweeping.run(sweep, workdir, description="restarts", chunk_size=chunk_size)
    results = ij.load_sweep(workdir)
    theirs = results.manifest["settings"]
    for setting, value in ij.sweeps.settings(sweep).items():
        matters = any(word in setting for word in (": weights", ": photograph "))  # not who made it, nor how
        if matters and theirs.get(setting) != value:
            raise ValueError(
                f"{workdir} holds a sweep in which {setting} is {theirs.get(setting, 'absent')}, here {value}; give "
                f"the flags that it was made with."
            )
    for problem in sweep.problems:
        for name in problem.images:
            if (problem.name, name) not in results:
                raise ValueError(f"{workdir} has no restarts of {problem.name}, {name} yet; finish the sweep first.")
    return results


def _own(problem):
    """The layer of CNN-A, or the problem's name for another representation."""
    return getattr(problem.representation.apply, "layer", problem.name)


def _codes(problem, images):
    """Codes `{name: [N, F...]}`: by all layers of CNN-A for one of its layers, by the representation itself else."""
    if _own(problem) not in ij.layers.NAMES:
        return {problem.name: reproduction.codes(problem.representation, images)}
    last = reproduction.alexnet(ij.layers.NAMES[-1])
    codes = [jax.device_get(_every(last, image)) for image in images]
    return {name: np.stack([each[name] for each in codes]) for name in ij.layers.NAMES}


@jax.jit
def _every(last, image):
    return last.apply.every(last.params, image)


def _nulls(key, problem):
    """Distances of codes between photographs, and between each photograph and its perturbations, by what measures."""
    codes, changed = _codes(problem, problem.images.values()), []
    for i, image in enumerate(problem.images.values()):
        some = _codes(problem, ij.invariance.perturbations(jax.random.fold_in(key, i), image).values())
        changed.append({name: _distance(some[name], codes[name][i]) for name in codes})
    return {
        name: {
            "photographs": ij.invariance.photographs_null(codes[name]),
            "perturbations": np.concatenate([each[name] for each in changed]),
        }
        for name in codes
    }


def _distance(codes, target):
    return np.sqrt(np.mean((codes - target).reshape(len(codes), -1).astype(np.float64) ** 2, axis=1))


def _record(problem, found, image, nulls):
    """What the restarts of one photograph say."""
    good = found.finite
    images, count = found.image[good].astype(np.float32), len(good)
    record = {"error": np.where(good, found.error, np.nan), "not_finite": int((~good).sum())}
    if len(images) < 2:
        raise ValueError(f"{len(images)} of {count} restarts of a photograph are finite; two are needed.")
    diversity = ij.invariance.diversity(images, num_levels=_BANDS)
    pairs = np.full((count, count), np.nan)
    pairs[np.ix_(good, good)] = diversity.distance
    apart = ~np.eye(len(images), dtype=bool)
    record |= {
        "pairs": pairs,
        "distance": diversity.distance[apart].mean(),
        "dissimilarity": 1 - diversity.ssim[apart].mean(),
        "bands": diversity.bands[:, apart].mean(axis=1),
        "distinct": diversity.effective_number,
        "percentile": {},
        "perturbed": {},
        "apart": {},
    }
    for name, (target, *codes) in _codes(problem, [image, *images]).items():
        codes, null = np.stack(codes), nulls[name]
        away = _distance(codes, target)
        record["percentile"][name] = ij.invariance.percentile(away, null["photographs"]).mean()
        record["perturbed"][name] = ij.invariance.percentile(away, null["perturbations"]).mean()
        record["apart"][name] = ij.invariance.distances(codes)[apart].mean() / null["photographs"].mean()
        if name == _own(problem):
            record["rank_correlation"] = np.nanmean(ij.invariance.rank_correlation(codes, target))
        if name == "fc8":
            for top in _TOP:
                record[f"top{top}"] = ij.invariance.same_classes(codes, target, count=top).mean()
    return record


_MEANS = ("error", "distance", "dissimilarity", "distinct", "rank_correlation", *(f"top{top}" for top in _TOP))


def _summary(key, records):
    """Each number of a problem with its interval over photographs; the distance's over restarts, too."""

    def over(values):
        return ij.intervals.over_photographs(key, [np.nanmean(value) for value in values])

    def each(name):
        return {layer: over([record[name][layer] for record in records]) for layer in records[0][name]}

    return {
        **{name: over([record[name] for record in records]) for name in _MEANS if name in records[0]},
        "distance_over_restarts": ij.intervals.over_restarts(key, [record["pairs"] for record in records]),
        "bands": [over([record["bands"][band] for record in records]) for band in range(_BANDS)],
        **{name: each(name) for name in ("percentile", "perturbed", "apart")},
        "not_finite": sum(record["not_finite"] for record in records),
    }


def _steps(key, records):
    """From each layer to the next: how much farther apart the restarts are, and whether that is chance."""
    names = list(records)
    later, earlier = (
        {b: np.array([record["distance"] for record in records[name]]) for b, name in zip(names[1:], some, strict=True)}
        for some in (names[1:], names[:-1])
    )
    if not later:
        return {}
    found = ij.intervals.compare(key, later, earlier)
    return {name: {"difference": found.difference[name], "p_value": found.p_value[name]} for name in later}


def _trend(key, records):
    """Rank correlation of distance and depth, photograph by photograph; None with fewer than three layers."""
    if len(records) < 3:
        return None
    distances = np.array([[record["distance"] for record in each] for each in records])  # [layers, photographs]
    depth = np.arange(len(records))
    return ij.intervals.over_photographs(key, ij.invariance.rank_correlation(distances.T, depth))


def _against(key, records, against, sweep):
    """Errors and distances of this sweep less those of another one."""
    ours, theirs = {}, {}
    for problem in sweep.problems:
        for measure in ("error", "distance"):
            label = f"{problem.name}, {measure}"
            ours[label] = np.array([np.nanmean(record[measure]) for record in records[problem.name]])
            theirs[label] = np.array([_of_other(against, problem, name, measure) for name in problem.images])
    found = ij.intervals.compare(key, ours, theirs)
    return {name: {"difference": found.difference[name], "p_value": found.p_value[name]} for name in ours}


def _of_other(against, problem, name, measure):
    if (problem.name, name) not in against:
        raise ValueError(f"{against.path} has no restarts of {problem.name}, {name}; give a sweep that has.")
    found = against[problem.name, name]
    if measure == "error":
        return found.error[found.finite].mean()
    apart = ij.invariance.distances(found.image[found.finite])
    return apart[np.triu_indices(len(apart), 1)].mean()


def _table(summary, steps, trend, other):
    def percent(interval, digits=1):
        return _said(ij.intervals.Interval(*(100 * end for end in interval)), digits)

    rows = [
        [
            name,
            percent(each["error"]),
            _said(each["distance"], 1),
            "{1:.1f} to {2:.1f}".format(*each["distance_over_restarts"]),
            _said(each["distinct"], 1),
            percent(_at(each, name)),
            *(percent(each[f"top{top}"], 0) if f"top{top}" in each else "-" for top in _TOP),
            "{:+.1f}".format(steps[name]["difference"].estimate) if name in steps else "-",
            "{:.3f}".format(steps[name]["p_value"]) if name in steps else "-",
            each["not_finite"],
        ]
        for name, each in summary.items()
    ]
    table = reproduction.markdown(
        [
            "problem",
            "error, %",
            "distance, gray levels",
            "over restarts",
            "distinct",
            "percentile",
            *(f"top {top}, %" for top in _TOP),
            "from the one before",
            "p",
            "not finite",
        ],
        rows,
    )
    if trend is not None:
        table += f"Rank correlation of distance and depth: {_said(trend, 2)}.\n"
    for name, found in (other or {}).items():
        table += f"Against {FLAGS.against}, {name}: {_said(found['difference'], 3)}, p = {found['p_value']:.3f}.\n"
    return table


def _at(each, name, null="percentile"):
    """The percentile at the layer that was inverted: of `conv1-pyramid`, conv1's."""
    return each[null].get(name.split("-")[0]) or next(iter(each[null].values()))


def _said(interval, digits):
    return "{:.{d}f} [{:.{d}f}, {:.{d}f}]".format(*interval, d=digits)


def _pictures(summary, deep):
    names = list(summary)

    def curves(title, y_label, **series):
        return ij.plots.curves(
            names,
            {label: [interval.estimate for interval in values] for label, values in series.items()},
            intervals={label: [interval[1:] for interval in values] for label, values in series.items()},
            title=title,
            y_label=y_label,
        )

    bands = {
        ("finest band", "coarsest")[band > 0] if band in (0, _BANDS - 1) else f"band {band + 1}": band
        for band in range(_BANDS)
    }
    pictures = {
        "diversity": curves(
            "How far apart restarts of one code are, 95 % intervals over photographs",
            "root mean square, gray levels",
            **{"between restarts": [summary[name]["distance"] for name in names]},
        ),
        "bands": curves(
            "The same, band by band of the Laplacian pyramid",
            "root mean square, gray levels",
            **{label: [summary[name]["bands"][band] for name in names] for label, band in bands.items()},
        ),
    }
    if deep:
        at = {
            "among photographs": [_at(summary[name], name) for name in deep],
            "among perturbations": [_at(summary[name], name, "perturbed") for name in deep],
            **{f"top {top}": [summary[name][f"top{top}"] for name in deep] for top in _TOP},
        }
        names = deep
        pictures["equivalence"] = curves(
            "Where the restarts' codes lie, and whether their class is kept", "share", **at
        )
        matrix = [[interval.estimate for interval in summary[name]["percentile"].values()] for name in deep]
        pictures["layers"] = ij.plots.heatmap(
            np.array(matrix),
            title="Restarts from a layer (row): their codes' distances to the photograph's at every layer",
            label="percentile among photographs",
            rows=deep,
            columns=list(ij.layers.NAMES),
        )
    return pictures


if __name__ == "__main__":
    _define_flags()
    common.run(main)
