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
    percentile        of a restart's distance to the photograph's code, at the layer and at all 20, of which those after
                      it are what it ought to keep: among the distances between --num_scale_images photographs, and
                      among those of the photograph's own small perturbations (ij.analysis.perturbations)
    apart             distance between restarts in the code of each of the 20 layers, those before it among them, over
                      the mean distance between photographs
    rank correlation  of a restart's code with the photograph's
    top 1, top 5      how often the photograph's best class by fc8 is a restart's best, and among its best five

Intervals are over photographs (BCa bootstrap of each one's mean over restarts) and, in results.json and for the
distance in the table, over restarts, photographs as they are. Along each recipe's layers, in order of depth, each is
compared with the one before: paired differences of the distance, p-values by Holm (five photographs cannot give less
than 0.06 before it). The trend is the mean of the photographs' rank correlations of distance with depth. Errors and
distances by any further of the --recipes are compared with those by the first; --against compares them with those of
another sweep of the same photographs (another recipe, another network): positive where this one's are larger.

Writes diversity.png, bands.png, error.png, equivalence.png and, of layers, percentile.png, perturbed.png, apart.png,
with table.md and results.json, into WORKDIR/invariance.
"""

import itertools
import re

import jax
import numpy as np
from absl import flags

import invert_jax as ij
from experiments.lib import common, described, invariance_sheet, paper, progress, restart_statistics

FLAGS = flags.FLAGS

_COMPARED = ("error", "distance")


def _define_flags():
    described.define_flags("sample_invariances")
    flags.DEFINE_string("against", None, "Folder of another sweep of the same photographs, to compare with.")
    paper.define_scale_flag()


def main() -> None:
    """Measures what the flags describe."""
    sweep = described.sweep()
    if sweep.num_restarts < 2 or min(len(problem.images) for problem in sweep.problems) < 3:
        raise ValueError("Diversity needs --num_restarts of two or more, intervals --num_images of three or more.")
    workdir = common.make_workdir(FLAGS.workdir)
    against = None if FLAGS.against is None else _other(sweep)
    results = _results(sweep, workdir)
    key = jax.random.key(FLAGS.seed)

    records, nulls = {}, {}
    for problem in sweep.problems:
        layer = restart_statistics.measured_by(problem) in ij.networks.LAYER_NAMES
        if restart_statistics.measured_by(problem) not in nulls:
            size = paper.ALEXNET_SIZE if layer else FLAGS.gray_size
            photographs = paper.scale_photographs(size=size, gray=not layer)
            nulls |= restart_statistics.nulls_of(key, problem, photographs)
        jobs = list(problem.images.items())
        records[problem.name] = [
            restart_statistics.record_of(problem, results[problem.name, name], name, image, nulls)
            for name, image in paper.track(jobs, problem.name)
        ]

    summary = {name: restart_statistics.summary_of(key, each) for name, each in records.items()}
    chains = _chains(sweep)
    steps = {name: step for chain in chains.values() for name, step in _steps(key, records, chain).items()}
    trend = {recipe: _trend(key, records, chain) for recipe, chain in chains.items() if len(chain) > 2}
    comparisons = _between_recipes(key, records, sweep)
    if against is not None:
        comparisons[f"this sweep less {FLAGS.against}"] = _against(key, records, against, sweep)
    paper.finish(
        common.make_workdir(workdir / "invariance"),
        results={
            "network": paper.network(),
            "images": list(sweep.problems[0].images),
            "num_restarts": results.manifest["num_restarts"],
            "problems": summary,
            "photographs": {
                name: [restart_statistics.means_of(record) for record in each] for name, each in records.items()
            },
            "steps": steps,
            "trend": trend,
            "comparisons": comparisons,
        },
        table=invariance_sheet.table(summary, steps, trend, comparisons),
        pictures=invariance_sheet.pictures(summary, chains),
    )


def _results(sweep, workdir):
    """The folder's restarts, once they are known to be those that the flags describe; made first if there are none."""
    if not (workdir / "manifest.json").exists():
        chunk_size = progress.chunk_size(sweep, progress.memory())
        results = progress.run(sweep, workdir, description="restarts", chunk_size=chunk_size)
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
        if restart_statistics.measured_by(problem) in ij.networks.LAYER_NAMES:
            chains.setdefault(problem.name.partition("-")[2] or FLAGS.recipes[0], []).append(problem)
    depth = ij.networks.LAYER_NAMES.index
    return {
        recipe: [
            problem.name for problem in sorted(each, key=lambda problem: depth(restart_statistics.measured_by(problem)))
        ]
        for recipe, each in chains.items()
    }


def _steps(key, records, chain):
    """From each layer to the next: how much farther apart the restarts are, and whether that is chance."""
    distances = {name: _means(records[name], "distance") for name in chain}
    if len(chain) < 2:
        return {}
    later = {name: distances[name] for name in chain[1:]}
    earlier = {name: distances[before] for before, name in itertools.pairwise(chain)}
    return _compared(key, later, earlier)


def _compared(key, first, second):
    found = ij.analysis.paired_permutation_test(key, first, second)
    return {name: {"difference": found.difference[name], "p_value": found.p_value[name]} for name in first}


def _trend(key, records, chain):
    """Rank correlation of distance and depth, photograph by photograph."""
    distances = np.array([_means(records[name], "distance") for name in chain])  # [layers, photographs]
    whole = np.isfinite(distances).all(axis=0)
    return ij.analysis.bootstrap_ci(key, ij.analysis.rank_correlation(distances.T[whole], np.arange(len(chain))))


def _means(records, measure):
    """Each photograph's mean over its restarts, or their pairs."""
    return np.array([restart_statistics.mean_over(record[measure]) for record in records])


def _between_recipes(key, records, sweep):
    """Errors and distances by each further recipe less those by the first, what was inverted with both."""
    first, *further = FLAGS.recipes
    kinds = dict.fromkeys(problem.name.partition("-")[0] for problem in sweep.problems)
    measured = [(kind, measure) for kind in kinds for measure in _COMPARED]
    return {
        f"{recipe} less {first}": _compared(
            key,
            *(
                {f"{kind}, {measure}": _means(records[f"{kind}-{which}"], measure) for kind, measure in measured}
                for which in (recipe, first)
            ),
        )
        for recipe in further
    }


def _other(sweep):
    """The sweep to compare with, once it is known to be of the same photographs, and to have them all."""
    other = ij.load_sweep(FLAGS.against)
    theirs = other.manifest["settings"]
    for setting, value in ij.sweeps.settings(sweep).items():
        if ": photograph " in setting and theirs.get(setting) != value:
            raise ValueError(
                f"{FLAGS.against} holds a sweep in which {setting} is {theirs.get(setting, 'absent')}, here {value}; "
                f"give one of the same problems and photographs."
            )
    for problem in sweep.problems:
        for name in problem.images:
            there = len(other.errors(problem.name, name)[0]) if (problem.name, name) in other else 0
            if there < other.manifest["num_restarts"]:
                raise ValueError(
                    f"{FLAGS.against} has {there} of {other.manifest['num_restarts']} restarts of {problem.name}, "
                    f"{name}; finish it first."
                )
    return other


def _against(key, records, against, sweep):
    """Errors and distances of this sweep less those of another one."""
    ours, theirs = {}, {}
    for problem in sweep.problems:
        found = [against[problem.name, name] for name in problem.images]
        others = [
            {"error": each.error[each.finite], "distance": ij.analysis.pairwise_rms(each.image[each.finite])}
            for each in found
        ]
        for measure in _COMPARED:
            label = f"{problem.name}, {measure}"
            ours[label], theirs[label] = _means(records[problem.name], measure), _means(others, measure)
    return _compared(key, ours, theirs)


if __name__ == "__main__":
    _define_flags()
    common.run(main)
