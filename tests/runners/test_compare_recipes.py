"""The comparison of recipes: its numbers against the metrics, what it adds later, and the ten random networks."""

import jax
import numpy as np
import pytest
from running import parsed, run, status

import invert_jax as ij
from experiments import compare_recipes
from experiments.lib import flags, random_networks

pytestmark = pytest.mark.slow

SMALL = ("--representations=hogb", "--size=32", "--num_images=2", "--num_restarts=2", "--evaluations=20")


def test_numbers_are_means_over_restarts_and_differences_are_paired(tmp_path):
    found = run("compare_recipes", tmp_path, *SMALL)
    rows = {row["recipe"]: row for row in found["rows"]}
    assert list(rows) == ["mahendran_vedaldi", "laplacian_pyramid", "default"] and found["evaluations"] == 20
    for difference in found["differences"]:
        pairs = np.subtract(rows["default"]["psnr"], rows[difference["less"]]["psnr"])
        assert difference["psnr"][0] == pytest.approx(pairs.mean())
    assert (tmp_path / "hogb.png").exists() and "| hogb | default |" in (tmp_path / "table.md").read_text()
    folders = len(list((tmp_path / "inversions").iterdir()))
    run("compare_recipes", tmp_path, *SMALL, "--recipes=default")  # what is saved is used
    assert len(list((tmp_path / "inversions").iterdir())) == folders == 6


def test_measure_against_the_metrics(rng):
    image, restored = rng.uniform(0, 255, (2, 24, 24, 3)).astype(np.float32)
    phi = ij.from_function(lambda params, image: image[::4, ::4])
    energy = ij.Energy(*[np.ones((2, 40), np.float32)] * 6)
    parts = np.arange(2), np.stack([restored, image]), np.float32([0.5, 0.0]), energy, np.array([True, True])
    restarts = ij.sweeps.Restarts(*parts, *[np.ones(2)] * 4)
    numbers = compare_recipes.measure(phi, [restarts], [image], [image, restored])
    assert numbers["ssim"][0] == pytest.approx((1 + float(ij.metrics.ssim(restored, image))) / 2, rel=1e-5)
    assert numbers["image_error"][0] == pytest.approx(float(ij.metrics.image_error(restored, image)) / 2, rel=1e-5)
    assert numbers["nearest"][0] == 0.5 and numbers["relative_error"][0] == 0.25 and numbers["diverged"].sum() == 0


# One with logits, one with batch norm, one whose input is not scaled, and attention; the runner compares on all ten.
@pytest.mark.parametrize("name", ["two_convolutions", "separable", "unscaled", "attention"])
def test_the_default_does_not_diverge(name):
    """It knows nothing of the network, the range of its input or the scale of its features."""
    phi, photograph = random_networks.NETWORKS[name](), ij.example_image(size=64)
    recipe = ij.recipes.natural_spectrum(num_steps=24)
    found = ij.sample(jax.random.key(1), phi, phi(photograph), recipe, image_shape=photograph.shape, num_restarts=2)
    assert found.finite.all() and np.all(found.energy.loss[:, -1] < found.energy.loss[:, 0])


def test_a_network_of_ones_own_is_compared(tmp_path):
    model = "--model=experiments.lib.random_networks:two_convolutions"
    small = ("--size=64", "--num_images=2", "--num_restarts=1", "--evaluations=20", "--recipes=default")
    assert status("compare_recipes", tmp_path, model, *small) == 0
    assert parsed(lambda: flags.RECIPES, "compare_recipes")[0] == "default"
