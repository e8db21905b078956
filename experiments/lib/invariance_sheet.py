"""The table and the pictures of what `experiments.invariance_curves` has measured."""

import numpy as np

import invert_jax as ij
from experiments.lib import paper, restart_statistics


def table(summary: dict, steps: dict, trend: dict, comparisons: dict) -> str:
    """The numbers of every problem, a line each, and below them trends and comparisons."""

    def percent(interval, digits=1):
        return _said(ij.analysis.Interval(*(100 * end for end in interval)), digits)

    rows = [
        [
            name,
            percent(each["error"]),
            _said(each["distance"], 1),
            _ends(each["over_restarts"]["distance"]),
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
    text = paper.markdown(
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
        text += f"Rank correlation of distance and depth, {recipe}: {_said(interval, 2)}.\n"
    for which, compared in comparisons.items():
        for name, found in compared.items():
            text += f"{which}, {name}: {_said(found['difference'], 3)}, p = {found['p_value']:.3f}.\n"
    return text


def _ends(interval):
    return f"{interval.low:.1f} to {interval.high:.1f}" if np.isfinite(interval.low) else "-"


def _said(interval, digits):
    known = "[{:.{d}f}, {:.{d}f}]".format(*interval[1:], d=digits) if np.isfinite(interval.low) else "[-]"
    return f"{interval.estimate:.{digits}f} {known}"


def pictures(summary: dict, chains: dict[str, list[str]]) -> dict[str, np.ndarray]:
    """Curves and heat maps by name; `chains` are the problems of each recipe in order of depth."""
    deep = [name for chain in chains.values() for name in chain]
    gray = [name for name in summary if name not in deep]
    groups = [*chains.values(), *([name] for name in gray)]  # no line from one to the next: a gap between them
    places = [name for group in groups for name in ("", *group)][1:]
    unknown = ij.analysis.Interval(np.nan, np.nan, np.nan)

    def curves(title, y_label, **series):
        """Each series is of the number that stands in a problem's summary by this name."""
        values = {
            label: [summary[name].get(what, unknown) if name else unknown for name in places]
            for label, what in series.items()
        }
        return ij.viz.curves(
            places,
            {label: [interval.estimate for interval in each] for label, each in values.items()},
            intervals={label: [interval[1:] for interval in each] for label, each in values.items()},
            title=f"{title}, 95 % intervals over photographs",
            y_label=y_label,
        )

    def heatmap(title, label, what):
        matrix = [[interval.estimate for interval in summary[name][what].values()] for name in deep]
        return ij.viz.heatmap(
            np.array(matrix), title=title, label=label, rows=deep, columns=list(ij.networks.LAYER_NAMES)
        )

    last = restart_statistics.BANDS
    bands = {f"band {band}": f"band {band}" for band in range(2, last)}
    classes = {f"top {top}": f"top{top}" for top in restart_statistics.TOP} if deep else {}
    found = {
        "diversity": curves(
            "How far apart restarts of one code are",
            "root mean square, gray levels",
            **{"between restarts": "distance"},
        ),
        "bands": curves(
            "How far apart restarts of one code are, by Laplacian band",
            "root mean square, gray levels",
            **{"finest band": "band 1", **bands, "coarsest": f"band {last}"},
        ),
        "error": curves("Relative error of the restarts' codes", "share of the target's norm", error="error"),
        "equivalence": curves(
            "Where the restarts' codes lie" + (", and whether their class is kept" if deep else ""),
            "share",
            **{
                "among photographs": "among_photographs",
                "among perturbations": "among_perturbations",
                "rank correlation": "rank_correlation",
                **classes,
            },
        ),
    }
    if deep:
        away = "Restarts from a layer (row): their codes' distances to the photograph's at every layer"
        found |= {
            "percentile": heatmap(away, "percentile among photographs", "percentile"),
            "perturbed": heatmap(away, "percentile among perturbations", "perturbed"),
            "apart": heatmap(
                "Restarts from a layer (row): distances between their codes at every layer",
                "over that between photographs",
                "apart",
            ),
        }
    return found
