"""Learns HOGgle dictionaries from a folder of photographs, and inverts others with them: Table 1's first column.

    python -m experiments.learn_hoggle --images=folder --output=hoggle.npz
    python -m experiments.learn_hoggle --images=folder --output=hoggle.npz --variant=released --test_images=other_folder

The paired dictionaries of Vondrick et al. 2013, learned for the representation that the flags name: from 40 000 windows
of 300 photographs in about two minutes on one CPU core. The file notes what it was learned from; where it already
holds what the flags ask for, nothing is learned again.

The test photographs, which must not be in the folder learned from, are inverted from their HOG. The error is the
text's, |Phi(x) - Phi_i| / N_Phi, with N_Phi the mean distance between two photographs' codes. The paper's Table 1 has
66.2 ± 13.7 % for the dictionaries that Vondrick et al. published. With no folders the sample photographs are taken,
half to learn from and half to invert, which are too few for good dictionaries.

Writes results.json and hoggles.png, a sheet of photographs and HOGgles, into --workdir.
"""

import pathlib
import time

import jax
import numpy as np
from absl import flags

import invert_jax as ij
from experiments.lib import common, paper
from invert_jax._util import hashing

FLAGS = flags.FLAGS

_SHOWN = 12  # photographs on the sheet


def _define_flags():
    flags.DEFINE_list("images", None, "Photographs to learn from, or folders; half the sample photographs if absent.")
    flags.DEFINE_string("output", "hoggle.npz", "File for the dictionaries, .npz.")
    flags.DEFINE_list("test_images", None, "Photographs to invert, or folders; the other sample photographs if absent.")
    flags.DEFINE_integer("num_test_images", 20, "How many of them at most, the first by name.", lower_bound=2)
    flags.DEFINE_integer("size", 160, "Side to which photographs are resized, both kinds.")
    flags.DEFINE_integer("cell_size", 8, "Cell of HOG, pixels.")
    flags.DEFINE_integer("num_orientations", 9, "Undirected orientations of HOG.")
    flags.DEFINE_enum("binning", "hard", ["hard", "bilinear", "approximate"], "How HOG gates gradients; see ij.hog.")
    flags.DEFINE_enum("variant", "vlfeat", ["vlfeat", "released"], "HOG as VLFeat, or as the paper's code.")
    flags.DEFINE_integer("window", 3, "Side of a window, cells.")
    flags.DEFINE_integer("num_windows", None, "Windows to learn from; 40000, or all if there are fewer, if absent.")
    flags.DEFINE_integer("num_atoms", 512, "Size of either dictionary.")
    flags.DEFINE_integer("num_components", 250, "Principal components of patches, and of windows, while learning.")
    flags.DEFINE_integer("num_passes", 1, "How often each window is visited.")
    flags.DEFINE_float("sparsity", 0.1, "Weight of the L1 norm of a code.")
    flags.DEFINE_integer("seed", 0, "Seed of the choice of windows and of the learning.")
    flags.DEFINE_string("workdir", "out/learn_hoggle", "Folder for the results.")


def main() -> None:
    """Runs the experiment that the flags describe."""
    output = pathlib.Path(FLAGS.output)
    _require_place(output)
    representation = ij.hog(
        cell_size=FLAGS.cell_size,
        num_orientations=FLAGS.num_orientations,
        binning=FLAGS.binning,
        variant=FLAGS.variant,
    )
    names, tests, photographs = _photographs()
    workdir = common.make_workdir(FLAGS.workdir)

    dictionaries = _learned(output, photographs, representation)
    targets = np.stack([representation(image) for image in tests])
    hoggles = np.stack([ij.hoggle.invert(dictionaries, target) for target in targets])
    tests = tests[:, : hoggles.shape[1], : hoggles.shape[2]]
    features = np.stack([representation(image) for image in hoggles])
    errors = np.asarray(ij.metrics.normalized_errors(features, targets).text)

    pairs = [picture for pair in zip(tests[:_SHOWN], hoggles[:_SHOWN], strict=True) for picture in pair]
    ij.save_image(workdir / "hoggles.png", ij.viz.montage(pairs, columns=6, title="photograph | HOGgle"))
    numbers = {
        "digest": dictionaries.digest,
        "num_photographs": len(photographs),
        "images": names,
        "errors": errors,
        "mean": errors.mean(),
        "standard_deviation": errors.std(ddof=1),
    }
    common.write_results(workdir, numbers)
    common.console.print(
        f"Normalized error of {len(errors)} photographs: {100 * errors.mean():.1f} ± {100 * errors.std(ddof=1):.1f} %; "
        f"pictures in {workdir / 'hoggles.png'}.",
        highlight=False,
    )


def _require_place(output):
    """A mistake in the name is told before minutes of learning."""
    if output.suffix.lower() != ".npz":
        raise ValueError(f"--output is {output}; give a name that ends in .npz.")
    if not output.parent.is_dir():
        raise ValueError(f"The folder {output.parent} of --output does not exist; create it first.")


def _learned(output, photographs, representation):
    """The dictionaries that the flags describe, learned unless the file has them already."""
    settings = {
        "cell_size": FLAGS.cell_size,
        "window": FLAGS.window,
        "num_windows": FLAGS.num_windows,
        "num_atoms": FLAGS.num_atoms,
        "num_components": FLAGS.num_components,
        "num_passes": FLAGS.num_passes,
        "sparsity": FLAGS.sparsity,
    }
    key = jax.random.key(FLAGS.seed)
    digest = hashing.content_hash((hashing.environment(), key, photographs, representation, settings))
    if output.exists():
        found = ij.hoggle.load(output)  # a file of another kind is refused, not replaced
        if found.digest == digest:
            common.console.print(f"{output} was learned with these settings ({digest}); not again.", highlight=False)
            return found
        common.console.print(f"{output} was learned otherwise ({found.digest}) and will be replaced.", highlight=False)
    began = time.monotonic()
    with common.console.status(f"learning {FLAGS.num_atoms} atoms from {len(photographs)} photographs"):
        dictionaries = ij.hoggle.learn(key, photographs, representation, **settings)
    dictionaries = dictionaries._replace(representation=hashing.content_hash(representation), digest=digest)
    seconds = round(time.monotonic() - began, 1)
    ij.hoggle.save(output, dictionaries)
    common.console.print(
        f"{output}: {FLAGS.num_atoms} atoms from {len(photographs)} photographs in {seconds} s ({digest}).",
        highlight=False,
    )
    return dictionaries


def _photographs():
    """Names and pictures of those to invert, and the pictures to learn from; none may be both."""
    samples = [pathlib.Path(name) for name in ij.images.EXAMPLES]
    learned = samples[1::2] if FLAGS.images is None else paper.paths("--images", FLAGS.images)
    tests = samples[::2] if FLAGS.test_images is None else paper.paths("--test_images", FLAGS.test_images)
    tests = tests[: FLAGS.num_test_images]
    if len(tests) < 2:
        raise ValueError(f"--test_images has {len(tests)} photograph(s); the error is normalized between two or more.")
    photographs = [_read(path) for path in learned]
    known = {hashing.content_hash(image): path for path, image in zip(learned, photographs, strict=True)}
    pictures = [_read(path) for path in tests]
    for path, image in zip(tests, pictures, strict=True):
        if hashing.content_hash(image) in known:
            raise ValueError(
                f"{path.name}, to be inverted, is {known[hashing.content_hash(image)].name}, to be learned from; give "
                f"--test_images that are not among --images."
            )
    return [path.name for path in tests], np.stack(pictures), photographs


def _read(path):
    return common.photograph(str(path), size=FLAGS.size, gray=True)[1]


if __name__ == "__main__":
    _define_flags()
    common.run(main)
