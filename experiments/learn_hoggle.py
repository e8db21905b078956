"""Learns HOGgle dictionaries from a folder of photographs, and inverts others with them: Table 1's first column.

    python -m experiments.learn_hoggle --images=folder --output=hoggle.npz
    python -m experiments.learn_hoggle --images=folder --output=hoggle.npz --variant=released --test_images=other_folder

The paired dictionaries of Vondrick et al. 2013, learned for the HOG that the flags describe: from 40 000 windows of 300
photographs in about two minutes on one CPU core. The file records what it was learned from; if it already holds what
the flags ask for, nothing is learned again.

The test photographs, which must not be among those learned from, are inverted from their HOG. The error is the text's,
|Phi(x) - Phi_i| / N_Phi, with N_Phi the mean distance between two photographs' features. The paper's Table 1 has
66.2 ± 13.7 % for the dictionaries that Vondrick et al. published. Without folders the example photographs are taken,
half to learn from and half to invert, which are too few for good dictionaries.

Writes results.json and hoggles.png, a sheet of photographs and HOGgles, into --workdir.
"""

import functools
import pathlib
import time

import jax
import numpy as np
from absl import flags as absl_flags

import invert_jax as ij
from experiments.lib import flags, paper
from invert_jax._util import command, hashing, paths

FLAGS = flags.FLAGS

_SHOWN = 12  # photographs on the sheet
_SETTINGS = ("cell_size", "window", "num_windows", "num_atoms", "num_components", "num_passes", "sparsity")


def define_flags() -> None:
    """Defines the flags of the runner."""
    hog = {"cell_size": 8, "num_orientations": 9, "binning": "hard", "variant": "vlfeat"}
    flags.define("learn_hoggle", images=None, size=None, **hog, seed=0)
    absl_flags.DEFINE_string("output", "hoggle.npz", "File for the dictionaries, .npz.")
    absl_flags.DEFINE_string("test_images", None, "Photographs to invert, as --images; other examples if absent.")
    absl_flags.DEFINE_integer("num_test_images", 20, "How many of them at most, the first by name.", lower_bound=2)
    absl_flags.DEFINE_integer("window", 3, "Side of a window, cells.")
    absl_flags.DEFINE_integer("num_windows", None, "Windows to learn from; 40000, or all of fewer, if absent.")
    absl_flags.DEFINE_integer("num_atoms", 512, "Size of either dictionary.")
    absl_flags.DEFINE_integer("num_components", 250, "Principal components of patches and windows while learning.")
    absl_flags.DEFINE_integer("num_passes", 1, "How often each window is visited.")
    absl_flags.DEFINE_float("sparsity", 0.1, "Weight of the L1 norm of a code.")


def main() -> int:
    """Learns and measures what the flags describe."""
    output = paths.expand(FLAGS.output)
    if output.suffix.lower() != ".npz":
        raise ValueError(f"--output is {output}; give a name that ends in .npz.")
    if not output.parent.is_dir():
        raise ValueError(f"The folder {output.parent} of --output does not exist; create it first.")
    representation = flags.representation("hog")
    names, tests, photographs = _photographs()
    workdir = command.make_workdir(FLAGS.workdir)

    dictionaries = _learned(output, photographs, representation)
    targets = np.stack([representation(image) for image in tests])
    hoggles = np.stack([ij.baselines.hoggle.invert(dictionaries, target) for target in targets])
    features = np.stack([representation(image) for image in hoggles])
    errors = np.asarray(ij.metrics.normalized_error(features, targets))
    results = {"digest": dictionaries.digest, "num_photographs": len(photographs), "images": names, "errors": errors}
    results |= {"mean": errors.mean(), "standard_deviation": errors.std(ddof=1)}
    command.write_results(workdir, results)
    sheet = workdir / "hoggles.png"
    command.attempt("hoggles.png", functools.partial(_draw, sheet, tests, hoggles))
    command.say(f"Normalized error of {len(errors)} photographs: {paper.percent(errors)} %; pictures in {sheet}.")
    return 0


def _draw(path, tests, hoggles):
    tests = tests[:, : hoggles.shape[1], : hoggles.shape[2]]
    pairs = [image for pair in zip(tests[:_SHOWN], hoggles[:_SHOWN], strict=True) for image in pair]
    ij.save_image(path, ij.viz.montage(pairs, columns=6, title="photograph | HOGgle"))


def _learned(output, photographs, representation):
    """The dictionaries that the flags describe, learned unless the file has them already."""
    settings = {name: FLAGS[name].value for name in _SETTINGS}
    key = jax.random.key(FLAGS.seed)
    digest = hashing.content_hash((hashing.environment(), key, photographs, representation, settings))
    if output.exists():
        found = ij.baselines.hoggle.load(output)  # a file of another kind is refused, not replaced
        if found.digest == digest:
            command.say(f"{output} was learned with these settings ({digest}); not again.")
            return found
        command.say(f"{output} was learned with other settings ({found.digest}) and will be replaced.")
    start = time.monotonic()
    with command.console.status(f"learning {FLAGS.num_atoms} atoms from {len(photographs)} photographs"):
        dictionaries = ij.baselines.hoggle.learn(key, photographs, representation, **settings)
    dictionaries = dictionaries._replace(representation=hashing.content_hash(representation), digest=digest)
    ij.baselines.hoggle.save(output, dictionaries)
    seconds = time.monotonic() - start
    command.say(f"{output}: {FLAGS.num_atoms} atoms from {len(photographs)} photographs in {seconds:.1f} s ({digest}).")
    return dictionaries


def _photographs():
    """Names and images of those to invert, and the images to learn from; none may be both."""
    examples = [pathlib.Path(name) for name in ij.images.EXAMPLES]
    learned = examples[1::2] if FLAGS.images is None else paper.find("images", FLAGS.images)
    tests = examples[::2] if FLAGS.test_images is None else paper.find("test_images", FLAGS.test_images)
    tests = tests[: FLAGS.num_test_images]
    if len(tests) < 2:
        raise ValueError(f"--test_images has {len(tests)} photograph(s); the error is normalized between two or more.")
    photographs, images = (
        [flags.photograph(str(path), size=flags.size_of("hog"), gray=True)[1] for path in paths]
        for paths in (learned, tests)
    )
    known = set(map(hashing.content_hash, photographs))
    for path, image in zip(tests, images, strict=True):
        if hashing.content_hash(image) in known:
            raise ValueError(f"{path.name} is learned from; give --test_images that are not among --images.")
    return [path.name for path in tests], np.stack(images), photographs


if __name__ == "__main__":
    command.run(main, define_flags)
