"""A sweep small enough to run often, and what its tests share."""

import jax
import numpy as np

import invert_jax as ij
from invert_jax import batching, sweeps

RECIPE = ij.recipes.mahendran_vedaldi(stages=((4e-3, 50), (4e-4, 30)))
IMAGES = {name: ij.example_image(name, size=24, gray=True) for name in ("chelsea", "coffee", "rocket")}
SIZES = {"chelsea": IMAGES["chelsea"], "wide": ij.example_image("chelsea", size=(24, 40), gray=True)}
PROBLEMS = (
    sweeps.Problem("hogb", ij.hog(binning="bilinear"), RECIPE, IMAGES),  # whose descents amplify any other rounding
    sweeps.Problem("hog", ij.hog(), RECIPE, SIZES),
)
MESH = batching.mesh_of(jax.devices()[:1])


def make(num_restarts=3, **options):
    return sweeps.make(PROBLEMS, num_restarts=num_restarts, **options)


def run(workdir, sweep=None, **options):
    options = {"chunk_size": 4, "mesh": MESH, **options}
    return sweeps.run(make() if sweep is None else sweep, workdir, **options)


def assert_same(found, expected, count=3):
    assert list(found) == list(expected)
    for which in expected:
        for name, array, other in zip(sweeps.Restarts._fields, found[which], expected[which], strict=True):
            if name != "seconds":
                np.testing.assert_array_equal(array[:count], other[:count], err_msg=f"{which} {name}")


def stop_after(count):
    """Hooks that stop a run when it asks for the count-th time."""
    asked = iter(range(1, 10_000))
    return sweeps.Hooks(stop=lambda: next(asked) >= count)
