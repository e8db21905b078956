"""Are the restarts of a sweep metamers, by the criterion of Feather et al. (2023), and does another network agree?

    python -m experiments.metamer_verdict --images=folder --num_images=10 --layers=conv1,conv4,fc8
    python -m experiments.metamer_verdict --workdir=out/sample_invariances --judge=my_network:logits

--workdir is the folder of a finished experiments.sample_invariances with the same flags; if it is empty, the sweep runs
first. At the inverted layer and at every later one, the code of each finite restart is compared with the photograph's
by Spearman's correlation, Pearson's squared, and the signal-to-noise ratio, and these with the same of all ordered
pairs of --num_scale_images photographs (102 give more than 10,000). A restart

    passes       at the inverted layer if it is above every pair by all three measures and has the photograph's class,
                 that of the best score of fc8, or of --judge's network where there is no fc8
    all later    if it is above every pair at the inverted layer and at every later one
    recognized   if --judge, MODULE:FUNCTION that returns an ij.Representation of class scores, gives it the
                 photograph's class

Shares of restarts, with 95 % bootstrap intervals over photographs. Writes table.md and results.json, which has the
three measures of every layer beside the greatest of the pairs, into WORKDIR/verdict.
"""

import functools

import jax
import numpy as np
from absl import flags as absl_flags

import invert_jax as ij
from experiments.lib import flags, paper, progress
from experiments.lib import sweep as sweeps
from invert_jax import cli
from invert_jax._util import command

FLAGS = flags.FLAGS
_SHARES = {"above": "above all pairs, %", "same_class": "same class, %", "passes": "passes, %"}
_MEASURES = {"rank_correlation": "Spearman", "squared_correlation": "Pearson squared", "snr": "SNR, dB"}
_SHARES |= {"all_later": "above at all later layers, %", "recognized": "recognized, %"}


def define_flags() -> None:
    """Defines the flags of the runner."""
    sweeps.define_flags("sample_invariances", num_scale_images=102)
    absl_flags.DEFINE_string("judge", None, "MODULE:FUNCTION that returns class scores, to recognize the restarts by.")


def main() -> int:
    """Judges what the flags describe."""
    sweep, judge = sweeps.make(), None if FLAGS.judge is None else cli.make_model("judge")
    workdir = command.make_workdir(FLAGS.workdir)
    results, nulls, rows = sweeps.load_or_run(sweep, workdir), {}, []
    last = flags.representation(flags.last_layer())
    for case in sweep.cases:
        encode = functools.partial(sweeps.encode, case, last)
        if sweeps.layer_of(case) not in nulls:
            nulls |= _nulls(encode, case)
        images = progress.track(list(case.images.items()), case.name)
        rows += [
            {"case": case.name, "image": name, **_judge(case, encode, judge, results[case.name, name], image, nulls)}
            for name, image in images
        ]
    return paper.finish(
        command.make_workdir(workdir / "verdict"),
        results={"network": paper.network(), "num_pairs": len(nulls[sweeps.layer_of(case)].snr), "rows": rows},
        table=_table(sweep, rows),
        pictures={},
        finite=np.concatenate([restarts.finite for restarts in results.values()]),
    )


def _nulls(encode, case):
    """`{layer: Agreement}` of all pairs of photographs."""
    height, width, channels = next(iter(case.images.values())).shape
    photographs = paper.scale_photographs(size=(height, width), gray=channels == 1)
    codes = [encode(image) for image in photographs]
    return {
        layer: ij.analysis.null_agreement(np.stack([code.pop(layer) for code in codes])) for layer in list(codes[0])
    }


def _judge(case, encode, judge, restarts, image, nulls):
    """The verdict on each restart of a photograph, NaN where it is not finite, and the measures behind it."""
    finite, targets = restarts.finite, encode(image)
    codes = [encode(restart) for restart in restarts.image[finite]]
    layers = list(targets)[list(targets).index(sweeps.layer_of(case)) :]
    measures, beyond = {}, {}
    for layer in layers:
        found = ij.analysis.agreement(
            np.array([code[layer] for code in codes]).reshape(-1, *targets[layer].shape), targets[layer]
        )
        beyond[layer] = ij.analysis.is_beyond(found, nulls[layer])
        measures[layer] = {
            name: {"restarts": values, "greatest of the pairs": _greatest(getattr(nulls[layer], name))}
            for name, values in found._asdict().items()
        }
    recognized = None if judge is None else _same_best(judge, restarts.image[finite], image)
    same_class = (
        recognized
        if "fc8" not in targets
        else np.array([np.argmax(code["fc8"]) == np.argmax(targets["fc8"]) for code in codes])
    )
    above = beyond[layers[0]]
    verdict = {
        "above": above,
        "same_class": same_class,
        "passes": None if same_class is None else above & same_class,
        "all_later": np.logical_and.reduce(list(beyond.values())),
        "recognized": recognized,
    }
    error = restarts.error[finite]
    return {"error": error, **verdict, "measures": measures, "not finite": int(np.sum(~finite))}


def _greatest(values):
    return values[np.isfinite(values)].max()


def _same_best(judge, restarts, image):
    """Whether a network gives restarts the class of the photograph."""
    best = int(np.argmax(judge(image)))
    return np.array([int(np.argmax(judge(np.clip(restart, 0, 255)))) == best for restart in restarts])


def _table(sweep, rows):
    lines = []
    for case in sweep.cases:
        of_case, layer = [row for row in rows if row["case"] == case.name], sweeps.layer_of(case)
        line = {"": case.name, "error, %": paper.percent(np.concatenate([row["error"] for row in of_case]))}
        line |= {title: _share([row[name] for row in of_case]) for name, title in _SHARES.items()}
        line |= {title: _beside(of_case, layer, name) for name, title in _MEASURES.items()}
        lines.append(line)
    note = f"{paper.network()}; {len(sweep.cases[0].images)} photographs, {FLAGS.num_restarts} restarts of each."
    return f"{paper.markdown(list(lines[0]), [list(line.values()) for line in lines])}\n{note}\n"


def _share(of_photographs):
    """A share of restarts in percent, with its interval over photographs."""
    if any(values is None for values in of_photographs):
        return "-"
    means = [100 * np.mean(values) for values in of_photographs if len(values)]
    if len(means) < 2 or np.ptp(means) == 0:
        return f"{np.mean(means):.0f}" if means else "-"
    estimate, low, high = ij.analysis.bootstrap_ci(jax.random.key(FLAGS.seed), means)
    return f"{estimate:.0f} [{low:.0f}, {high:.0f}]"


def _beside(rows, layer, name):
    """The mean of a measure, and the greatest of the pairs in brackets."""
    found = np.concatenate([row["measures"][layer][name]["restarts"] for row in rows])
    return f"{np.mean(found):.2f} ({rows[0]['measures'][layer][name]['greatest of the pairs']:.2f})"


if __name__ == "__main__":
    command.run(main, define_flags)
