"""Figure 3: one gray photograph from its HOG by HOGgle, and from HOG, HOGb and DSIFT by descent.

    python -m experiments.mahendran_vedaldi.figure3 --variant=released --images=photograph.jpg --hoggle=dictionaries.npz

Took a minute and a half on two CPU cores that had other work, with --hoggle.

VLFeat's features, or the released code's networks as in the paper's figure (--variant=released), at the photograph's
own size (largest side 500 at most), one restart by `recipes.shallow` with lambda_V = 0.5. HOGgle inverts VLFeat's HOG
with dictionaries from `experiments.learn_hoggle`; without --hoggle its picture is left out. Reconstructions are
stretched to full contrast, to which these features are nearly blind. In the paper each is sharper than the one before:
HOGgle, HOG, HOGb, DSIFT.
"""

import invert_jax as ij
from experiments.lib import flags
from experiments.lib.figure import Case, Figure

LABELS = {"hog": "HOG", "hogb": "HOGb", "dsift": "DSIFT"}


def _cases(name):
    cases = [Case(LABELS[name], name, ij.recipes.shallow(lambda_tv=0.5))]
    first = flags.value("hoggle") is not None and name == flags.value("representations")[0]
    return [Case("HOGgle", "hog", None), *cases] if first else cases


FIGURE = Figure(
    name="figure3",
    title="Figure 3: inversions with lambda_V = 0.5",
    cases=_cases,
    representations=flags.SHALLOW,
    more_flags={"hoggle": None},
)

if __name__ == "__main__":
    FIGURE.run()
