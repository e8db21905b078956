"""Flags: one definition of each, one meaning of every word, all of them in --help."""

import dataclasses
import pathlib

import pytest
from absl import flags as absl_flags
from running import end, parsed, start

import invert_jax as ij
from experiments.lib import flags
from invert_jax.types import Stage

pytestmark = pytest.mark.slow

FOLDER = pathlib.Path(flags.__file__).parents[1]
FILES = [path.relative_to(FOLDER).with_suffix("") for path in FOLDER.rglob("*.py") if path.stem != "__init__"]
RUNNERS = sorted(".".join(path.parts) for path in FILES if path.parts[0] != "lib")


def recipe(word, name="default", *arguments):
    return parsed(lambda: flags.recipe(name, flags.representation(word)), "invert_image", *arguments)


@pytest.mark.parametrize("runner", RUNNERS)
def test_every_runner_has_the_common_flags(runner):
    names = parsed(lambda: set(absl_flags.FLAGS), runner)
    assert "workdir" in names or runner == "report"  # which takes the folder as its argument
    if runner.startswith(("mahendran", "singh")) and runner != "mahendran_vedaldi.table2":
        assert {"images", "num_images", "size", "stages", "seed"} <= names
    if "figure" in runner:
        assert "num_restarts" in names and ("layers" in names or {"representations", "variant"} <= names)


@pytest.mark.parametrize("runner", ["invert_image", "sample_invariances"])
def test_help_lists_every_flag(runner):
    names = parsed(lambda: [name for name in absl_flags.FLAGS if name in flags.cli.FLAG_TABLE], runner)
    text, _ = end(start(runner, "--help"))
    assert len(names) > 15 and all(f"--{name}:" in text or f"--[no]{name}:" in text for name in names)


def test_library_and_command_line_share_the_default_recipe():
    assert recipe("fc8") == ij.recipes.default(ij.alexnet(layer="fc8"))
    assert recipe("hog") == ij.recipes.default(ij.hog())
    assert recipe("fc8", "mahendran_vedaldi") == ij.recipes.for_layer("fc8")
    assert recipe("dsift", "laplacian_pyramid") == ij.recipes.laplacian_pyramid()


def test_a_word_is_one_network_on_every_command_line():
    for runner, arguments, variant in [
        ("invert_image", [], "vlfeat"),
        ("sample_invariances", [], "vlfeat"),
        ("sample_invariances", ["--variant=released"], "released"),
        ("mahendran_vedaldi.figure3", [], "vlfeat"),
        ("mahendran_vedaldi.figure3", ["--variant=released"], "released"),
    ]:
        found = parsed(lambda: flags.representation("dsift"), runner, *arguments)
        assert found.apply == ij.dsift(variant=variant).apply


def test_flags_change_the_recipe():
    arguments = ("--loss=normalized_l1", "--lambda_tv=2", "--lambda_alpha=0", "--sigma=9", "--beta=1.5")
    changed = recipe("fc8", "default", *arguments)
    assert (changed.loss, changed.sigma) == (ij.losses.normalized_l1, 9)
    assert (changed.weight("tv"), changed.weight("alpha_norm")) == (2, 0)
    assert ij.regularizers.TotalVariation(1.5) in [prior.function for prior in changed.priors]
    same = {"loss": changed.loss, "sigma": 9, "priors": changed.priors}
    assert changed == dataclasses.replace(ij.recipes.natural_spectrum(), **same)


def test_stages_are_those_of_pixels_or_coarse_and_fine_ones():
    assert recipe("conv1", "mahendran_vedaldi", "--stages=4e-3x5,4e-4x6").stages == (Stage(4e-3, 5), Stage(4e-4, 6))
    pyramid = recipe("conv1", "laplacian_pyramid", "--stages=0.2x2,0.1x3,0.1x4")
    assert pyramid.stages == (*[Stage(0.2, 2)] * 5, Stage(0.1, 3), Stage(0.1, 4, 0.1))
    with pytest.raises(ValueError, match="coarse"):
        recipe("conv1", "laplacian_pyramid", "--stages=0.2x2")
