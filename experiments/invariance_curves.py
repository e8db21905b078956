"""How invariant each layer is: what the restarts of a sweep say, with 95 % intervals, as curves and a table.

    python -m experiments.invariance_curves --images=folder --num_images=10 --layers=conv1,norm2,conv4,fc8
    python -m experiments.invariance_curves --workdir=out/sample_invariances
    python -m experiments.invariance_curves --workdir=out/one --against=out/another

--workdir is a folder of experiments.sample_invariances, made with the same flags and finished; if there is none yet,
the sweep runs first. For every problem, of the restarts that are finite:

    error             relative error of the code
    distance          between two restarts, root mean square, in gray levels; also by Laplacian band
    1 - SSIM          between two restarts
    distinct          how many different images the restarts amount to, 1 to R (it grows with R)
    percentile        of a restart's distance to the photograph's code: among the distances between all photographs, at
                      the layer and at all 20, of which those after it are what it ought to keep; and, at the layer,
                      among the distances of the photograph's own small perturbations (ij.invariance.perturbations)
    apart             distance between restarts in the code of each of the 20 layers, those before it among them, over
                      the mean distance between photographs
    rank correlation  of a restart's code with the photograph's
    top 1, top 5      the share of fc8's best class, and of its best five, that are kept

Intervals are over photographs (BCa bootstrap of each one's mean over restarts); for the distance also over restarts,
photographs as they are. Along each recipe's layers, in order of depth, each is compared with the one before: paired
differences of the distance, p-values by Holm (five photographs cannot give less than 0.06 before it). The trend is the
mean of the photographs' rank correlations of distance with depth. --against compares errors and distances with those of
another sweep of the same photographs (another recipe, another network): positive where this one's are larger.

Writes diversity.png, bands.png and, of layers, error.png, equivalence.png, percentile.png, apart.png, with table.md and
results.json, into WORKDIR/invariance.
"""

import itertools
import re

import jax
import numpy as np
from absl import flags

import invert_jax as ij
from experiments import common, described, reproduction, restart_statistics, sweeping

FLAGS = flags.FLAGS


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
    against = None if FLAGS.against is None else _other(sweep)
    key = jax.random.key(FLAGS.seed)

    records, nulls = {}, {}
    for problem in sweep.problems:
        if restart_statistics.measured_by(problem) not in nulls:
            nulls |= restart_statistics.nulls_of(key, problem)
        jobs = list(problem.images.items())
        records[problem.name] = [
            restart_statistics.record_of(problem, results[problem.name, name], name, image, nulls)
            for name, image in reproduction.track(jobs, problem.name)
        ]

    summary = {name: restart_statistics.summary_of(key, each) for name, each in records.items()}
    chains = _chains(sweep)
    steps = {name: step for chain in chains.values() for name, step in _steps(key, records, chain).items()}
    trend = {recipe: _trend(key, records, chain) for recipe, chain in chains.items() if len(chain) > 2}
    other = None if against is None else _against(key, records, against, sweep)
    reproduction.finish(
        common.make_workdir(workdir / "invariance"),
        results={
            "network": reproduction.network(),
            "images": list(sweep.problems[0].images),
            "num_restarts": results.manifest["num_restarts"],
            "problems": summary,
            "photographs": records,
            "steps": steps,
            "trend": trend,
            "against": other,
        },
        table=_table(summary, steps, trend, other),
        pictures=_pictures(summary, chains),
    )


def _results(sweep, workdir):
    """The folder's restarts, once they are known to be those that the flags describe; made first if there are none."""
    if not (workdir / "manifest.json").exists():
        chunk_size = sweeping.chunk_size(sweep, sweeping.memory())
        results = sweeping.run(sweep, workdir, description="restarts", chunk_size=chunk_size)
        described.save_photographs(sweep, workdir)
        return results
    results = ij.load_sweep(workdir)
    theirs = results.manifest["settings"]
    for setting, value in ij.sweeps.settings(sweep).items():
        # Not which source computed them: a sweep may be measured by a later version.
        of_source = setting.endswith(": representation") or (": recipe: " in setting and _is_fingerprint(value))
        if not of_source and setting not in ("seed", "dtype") and theirs.get(setting) != value:
            raise ValueError(
                f"{workdir} holds a sweep in which {setting} is {theirs.get(setting, 'absent')}, here {value}; give "
                f"the flags that it was made with."
            )
    wanted = results.manifest["num_restarts"]
    for problem in sweep.problems:
        for name in problem.images:
            there = len(results.errors(problem.name, name)[0]) if (problem.name, name) in results else 0
            if there != wanted:
                raise ValueError(
                    f"{workdir} has {there} of {wanted} restarts of {problem.name}, {name}; finish the sweep first, by "
                    f"experiments.sample_invariances with the same flags."
                )
    return results


def _is_fingerprint(value):
    return re.fullmatch(r"[0-9a-f]{16}", value) is not None


def _chains(sweep):
    """Problems that are layers of CNN-A, in order of depth, by recipe."""
    chains = {}
    for problem in sweep.problems:
        if restart_statistics.measured_by(problem) in ij.layers.NAMES:
            chains.setdefault(problem.name.partition("-")[2] or FLAGS.recipes[0], []).append(problem)
    depth = ij.layers.NAMES.index
    return {
        recipe: [
            problem.name for problem in sorted(each, key=lambda problem: depth(restart_statistics.measured_by(problem)))
        ]
        for recipe, each in chains.items()
    }


def _steps(key, records, chain):
    """From each layer to the next: how much farther apart the restarts are, and whether that is chance."""
    distances = {name: np.array([record["distance"] for record in records[name]]) for name in chain}
    if len(chain) < 2:
        return {}
    later = {name: distances[name] for name in chain[1:]}
    earlier = {name: distances[before] for before, name in itertools.pairwise(chain)}
    return _compared(key, later, earlier)


def _compared(key, first, second):
    found = ij.intervals.compare(key, first, second)
    return {name: {"difference": found.difference[name], "p_value": found.p_value[name]} for name in first}


def _trend(key, records, chain):
    """Rank correlation of distance and depth, photograph by photograph."""
    distances = np.array([[record["distance"] for record in records[name]] for name in chain])  # [layers, photographs]
    whole = np.isfinite(distances).all(axis=0)
    return ij.intervals.over_photographs(key, ij.invariance.rank_correlation(distances.T[whole], np.arange(len(chain))))


def _other(sweep):
    """The sweep to compare with, once it is known to be of the same photographs."""
    other = ij.load_sweep(FLAGS.against)
    theirs = other.manifest["settings"]
    for setting, value in ij.sweeps.settings(sweep).items():
        if ": photograph " in setting and theirs.get(setting) != value:
            raise ValueError(
                f"{FLAGS.against} holds a sweep in which {setting} is {theirs.get(setting, 'absent')}, here {value}; "
                f"give one of the same problems and photographs."
            )
    return other


def _against(key, records, against, sweep):
    """Errors and distances of this sweep less those of another one."""
    ours, theirs = {}, {}
    for problem in sweep.problems:
        for measure in ("error", "distance"):
            label = f"{problem.name}, {measure}"
            ours[label] = np.array([reproduction.mean_of(record[measure]) for record in records[problem.name]])
            theirs[label] = np.array([_of_other(against, problem.name, name, measure) for name in problem.images])
    return _compared(key, ours, theirs)


def _of_other(against, problem, name, measure):
    found = against[problem, name]
    if measure == "error":
        return reproduction.mean_of(found.error[found.finite])
    apart = ij.invariance.distances(found.image[found.finite])
    return reproduction.mean_of(apart[np.triu_indices(len(apart), 1)])


def _table(summary, steps, trend, other):
    def percent(interval, digits=1):
        return _said(ij.intervals.Interval(*(100 * end for end in interval)), digits)

    rows = [
        [
            name,
            percent(each["error"]),
            _said(each["distance"], 1),
            _ends(each["distance_over_restarts"]),
            _said(each["dissimilarity"], 2),
            _said(each["distinct"], 1),
            percent(each["among_photographs"], 0),
            percent(each["among_perturbations"], 0),
            _said(each["rank_correlation"], 2),
            *(percent(each[f"top{top}"], 0) if f"top{top}" in each else "-" for top in restart_statistics.TOP),
            f"{steps[name]['difference'].estimate:+.1f}" if name in steps else "-",
            f"{steps[name]['p_value']:.3f}" if name in steps else "-",
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
            "1 - SSIM",
            "distinct",
            "percentile among photographs",
            "among perturbations",
            "rank correlation",
            *(f"top {top}, %" for top in restart_statistics.TOP),
            "from the one before",
            "p",
            "not finite",
        ],
        rows,
    )
    for recipe, interval in trend.items():
        table += f"Rank correlation of distance and depth, {recipe}: {_said(interval, 2)}.\n"
    for name, found in (other or {}).items():
        table += f"Against {FLAGS.against}, {name}: {_said(found['difference'], 3)}, p = {found['p_value']:.3f}.\n"
    return table


def _ends(interval):
    return f"{interval.low:.1f} to {interval.high:.1f}" if np.isfinite(interval.low) else "-"


def _said(interval, digits):
    return "{:.{d}f} [{:.{d}f}, {:.{d}f}]".format(*interval, d=digits)


def _pictures(summary, chains):
    deep = [name for chain in chains.values() for name in chain]
    names = [*deep, *(name for name in summary if name not in deep)]

    def curves(title, y_label, of, **series):
        """Each series is of what a problem's summary is read by."""
        values = {label: [read(summary[name]) for name in of] for label, read in series.items()}
        return ij.plots.curves(
            of,
            {label: [interval.estimate for interval in each] for label, each in values.items()},
            intervals={label: [interval[1:] for interval in each] for label, each in values.items()},
            title=title,
            y_label=y_label,
        )

    def heatmap(title, label, what):
        matrix = [[interval.estimate for interval in summary[name][what].values()] for name in deep]
        return ij.plots.heatmap(np.array(matrix), title=title, label=label, rows=deep, columns=list(ij.layers.NAMES))

    called = ["finest band", *(f"band {band}" for band in range(2, restart_statistics.BANDS)), "coarsest"]
    pictures = {
        "diversity": curves(
            "How far apart restarts of one code are, 95 % intervals over photographs",
            "root mean square, gray levels",
            names,
            **{"between restarts": lambda each: each["distance"]},
        ),
        "bands": curves(
            "How far apart restarts of one code are, by Laplacian band, 95 % intervals over photographs",
            "root mean square, gray levels",
            names,
            **{label: lambda each, band=band: each["bands"][band] for band, label in enumerate(called)},
        ),
    }
    if deep:
        pictures |= {
            "error": curves(
                "Relative error of the restarts' codes, 95 % intervals over photographs",
                "share of the target's norm",
                deep,
                error=lambda each: each["error"],
            ),
            "equivalence": curves(
                "Where the restarts' codes lie, and whether their class is kept",
                "share",
                deep,
                **{
                    "among photographs": lambda each: each["among_photographs"],
                    "among perturbations": lambda each: each["among_perturbations"],
                    "rank correlation": lambda each: each["rank_correlation"],
                    **{f"top {top}": lambda each, top=top: each[f"top{top}"] for top in restart_statistics.TOP},
                },
            ),
            "percentile": heatmap(
                "Restarts from a layer (row): their codes' distances to the photograph's at every layer",
                "percentile among photographs",
                "percentile",
            ),
            "apart": heatmap(
                "Restarts from a layer (row): distances between their codes at every layer",
                "over that between photographs",
                "apart",
            ),
        }
    return pictures


if __name__ == "__main__":
    _define_flags()
    common.run(main)
