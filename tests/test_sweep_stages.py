"""Sweeps of descents that end when each has converged: the pyramid, Adam's moments, the bundled network."""

import numpy as np
import pytest
from small_sweeps import MESH, assert_same, run, stop_after

import invert_jax as ij
from invert_jax import batching, sweeps

STAGES = {"coarse_stage": (0.1, 20), "fine_stages": ((0.1, 25, 1.0), (0.03, 25, 0.0))}
RECIPE = ij.recipes.laplacian_pyramid("conv1", num_levels=3, tolerance=0.08, patience=5, **STAGES)
IMAGES = {name: ij.example_image(name, size=63) for name in ("chelsea", "coffee", "rocket")}
SWEEP = sweeps.make([sweeps.Problem("conv1", ij.alexnet(layer="conv1"), RECIPE, IMAGES)], num_restarts=3)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run(tmp_path_factory.mktemp("stages"), SWEEP)


def test_lanes_end_apart(undisturbed):
    evaluations = np.concatenate([found.evaluations for found in undisturbed.values()])
    assert len(set(evaluations.tolist())) > 1 and evaluations.min() < RECIPE.num_steps
    for found in undisturbed.values():
        assert found.finite.all() and (found.error < 0.5).all()


@pytest.mark.parametrize("count", [2, 3, 7])
def test_stopped_and_gone_on_with_it_comes_to_the_same(count, undisturbed, tmp_path):
    with pytest.raises(sweeps.StoppedError):
        run(tmp_path, SWEEP, hooks=stop_after(count))
    assert (tmp_path / "checkpoints").is_dir()
    assert_same(run(tmp_path, SWEEP), undisturbed)


def test_eight_devices_make_what_one_makes(undisturbed, tmp_path):
    assert_same(run(tmp_path, SWEEP, mesh=batching.mesh_of(None)), undisturbed)
    assert MESH.size == 1 < batching.mesh_of(None).size
