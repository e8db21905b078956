"""A sweep small enough to run often, and what the tests of sweeps share."""

import jax
import numpy as np

import invert_jax as ij
from invert_jax import sampling, sweeps

RECIPE = ij.recipes.mahendran_vedaldi(stages=((4e-3, 50), (4e-4, 30)))
IMAGES = {name: ij.example_image(name, size=24, gray=True) for name in ("chelsea", "coffee", "rocket")}
SIZES = {"chelsea": IMAGES["chelsea"], "wide": ij.example_image("chelsea", size=(24, 40), gray=True)}
CASES = (
    sweeps.Case("hogb", ij.hog(binning="bilinear"), RECIPE, IMAGES),  # whose descents amplify any other rounding
    sweeps.Case("hog", ij.hog(), RECIPE, SIZES),
)
MESH = sampling.make_mesh(jax.devices()[:1])


def make(num_restarts=3, **options):
    return sweeps.make_sweep(CASES, num_restarts=num_restarts, **options)


def run(workdir, sweep=None, **options):
    return sweeps.run(make() if sweep is None else sweep, workdir, **{"chunk_size": 4, "mesh": MESH, **options})


def assert_same(found, expected, count=3):
    assert list(found) == list(expected)
    for which in expected:
        first, second = (restarts._replace(seconds=None) for restarts in (found[which], expected[which]))
        for array, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
            np.testing.assert_array_equal(array[:count], other[:count], err_msg=str(which))


def stop_after(count):
    """Callbacks that stop a run when it asks for the count-th time."""
    asked = iter(range(1, 10_000))
    return sweeps.Callbacks(should_stop=lambda: next(asked) >= count)
