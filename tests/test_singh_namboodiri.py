"""The runners of Singh & Namboodiri's tables and figures, each run whole on what stands in for the descent."""

import dataclasses
import functools
import math
import pathlib

import jax
import numpy as np
import pytest
import runners
from runners import files, numbers, rows

import invert_jax as ij
from experiments.lib import paper

RUNNERS = pathlib.Path(paper.__file__).parent / "singh_namboodiri"
LEVELS = {levels: ij.parameterizations.switched_pyramid(num_levels=levels) for levels in (2, 6)}
CASES = {
    "table1": (("--num_images=2", "--num_scale_images=2", "--layers=conv1,fc8"), 2, 4, "table1"),
    "table2": (("--num_images=2", "--num_scale_images=3"), 2, 4, "figure4"),
    "figure1": (("--num_images=1",), 4, 4, "figure1"),
    "figure3": (("--layers=conv1,fc8",), 2, 2, "figure3"),
    "side_by_side": (("--num_images=2", "--num_scale_images=2", "--layers=conv4"), 2, 4, "side_by_side"),
    "ablation": (("--num_images=2", "--num_scale_images=2", "--layers=pool2"), 2, 4, "pool2"),
}

EXTRA = {"side_by_side": {"convergence_conv4"}}

module = functools.partial(runners.module, "singh_namboodiri")
run = functools.partial(runners.run, "singh_namboodiri")


def test_every_runner_has_a_case():
    assert {path.stem for path in RUNNERS.glob("*.py")} - {"__init__"} == set(CASES)


@pytest.mark.parametrize("runner", CASES)
def test_runner(runner, asked, kept, photographs, tmp_path):
    arguments, num_rows, num_kept, picture = CASES[runner]
    results = run(runner, tmp_path, f"--images={photographs}", *arguments)
    assert len(numbers(results)) > 3 and all(map(math.isfinite, numbers(results)))
    assert len(rows(tmp_path)) == num_rows
    first = files(tmp_path)
    assert kept(tmp_path) == len(asked) == num_kept
    assert {path.stem for path in tmp_path.glob("*.png")} == {picture} | EXTRA.get(runner, set())
    assert ij.load_image(tmp_path / f"{picture}.png").std() > 20

    run(runner, tmp_path, f"--images={photographs}", *arguments)  # again: nothing is inverted anew
    assert files(tmp_path) == first and len(asked) == num_kept


def test_layers_have_their_compactness_and_figure1_its_levels(asked, photographs, tmp_path):
    run("figure3", tmp_path / "3", f"--images={photographs}", "--layers=conv1,fc8")
    assert [recipe.lambda_compactness for recipe, _ in asked] == [0.001, 1.0]
    assert {recipe.parameterization for recipe, _ in asked} == {LEVELS[6]}
    asked.clear()
    run("figure1", tmp_path / "1", f"--images={photographs}")
    assert [recipe.parameterization for recipe, _ in asked] == [LEVELS[2], LEVELS[6]] * 2
    assert {recipe.lambda_compactness for recipe, _ in asked} == {0.1}
    assert all(recipe.lambda_tv > 0 for recipe, _ in asked)
    asked.clear()
    run("figure1", tmp_path / "bare", f"--images={photographs}", "--nopriors")
    assert {(recipe.lambda_tv, recipe.lambda_alpha, recipe.steps[0]) for recipe, _ in asked} == {(0.0, 0.0, 300)}
    asked.clear()
    run("table2", tmp_path / "2", f"--images={photographs}", "--num_images=2")
    assert {recipe.lambda_compactness for recipe, _ in asked} == {0.0}


@pytest.mark.parametrize("evaluations", [20, 601, 2000])
def test_both_make_the_same_number_of_evaluations(evaluations, asked, photographs, tmp_path):
    run(
        "side_by_side",
        tmp_path,
        f"--images={photographs}",
        "--num_images=2",
        "--num_scale_images=2",
        "--layers=conv1",
        f"--evaluations={evaluations}",
    )
    assert [recipe.num_steps for recipe, _ in asked] == [evaluations] * 4
    assert [recipe.tolerance for recipe, _ in asked] == [None] * 4
    assert all(min(recipe.steps) >= 1 for recipe, _ in asked)
    assert asked[0][0].rates == ij.recipes.for_layer("conv1").rates


def test_the_pyramid_comes_nearer_than_pixels_by_as_many_evaluations(key):
    image, conv2 = ij.example_image("coffee", size=67), ij.alexnet(layer="conv2")
    errors = [
        float(ij.invert(key, conv2, conv2(image), recipe, image_shape=image.shape).error)
        for recipe in (
            module("side_by_side").stretched(ij.recipes.for_layer("conv2"), 150),
            module("side_by_side").stretched(ij.recipes.laplacian_pyramid("conv2", num_levels=4), 150),
        )
    ]
    assert errors[1] < 0.6 * errors[0] < 0.1


def test_errors_along_the_descent_end_at_the_error():
    hog, image = ij.hog(), ij.example_image("coffee", size=32, gray=True)
    for recipe in (ij.recipes.mahendran_vedaldi(lambda_tv=5.0, stages=((4e-3, 40),)), ij.recipes.laplacian_pyramid()):
        recipe = module("side_by_side").stretched(recipe, 40)
        found = ij.sample(jax.random.key(0), hog, hog(image), recipe, image_shape=image.shape, num_restarts=2)
        errors = module("side_by_side").relative_errors(recipe, [found, found])
        assert errors.shape == (2, 40) and errors[0, -1] == pytest.approx(float(found.error[0]), rel=0.1)


def test_a_lost_restart_is_left_out_of_every_column(asked, photographs, tmp_path, monkeypatch):
    keep = ij.sweeps.work.Worker._keep

    def losing(worker, problem, lanes, found, seconds):
        image = np.array(found.image)
        image[0] = np.nan
        finite = np.arange(len(image)) > 0
        keep(worker, problem, lanes, dataclasses.replace(found, image=image, finite=finite), seconds)

    monkeypatch.setattr(ij.sweeps.work.Worker, "_keep", losing)
    options = ("--num_images=2", "--num_scale_images=2", "--layers=conv1", "--evaluations=20")
    run("side_by_side", tmp_path, f"--images={photographs}", *options)
    for row in rows(tmp_path):
        assert "1 not finite" in row[2]
        assert all(np.isfinite(float(cell)) for cell in row[5:])


def test_coarse_difference_sees_color_and_not_detail(rng):
    picture = ij.example_image("coffee", size=96)
    assert paper.coarse_difference(picture + np.float32([0, 12, 0]), picture) == pytest.approx(
        12 / np.sqrt(3), rel=1e-3
    )
    assert paper.color_difference(picture + np.float32([0, 12, 0]), picture) == pytest.approx(
        np.sqrt((4**2 + 8**2 + 4**2) / 3), rel=1e-3
    )
    assert paper.color_difference(picture + 12, picture) < 0.01 < paper.coarse_difference(picture + 12, picture)
    checks = 40 * (-1.0) ** np.add.outer(np.arange(96), np.arange(96))[..., None]
    assert paper.coarse_difference(picture + checks, picture) < 1


def test_the_papers_rows_are_table_1s():
    table1 = module("table1")
    assert len(table1.PAPER) == len(table1.MAHENDRAN_VEDALDI) == 20
    assert table1.PAPER[ij.networks.LAYER_NAMES.index("relu2")] == 3.6 and table1.PAPER[-1] == 5.5
    paper = runners.module("mahendran_vedaldi", "table3").PAPER
    bold = [paper[ij.recipes.for_layer(name).lambda_tv].split()[i] for i, name in enumerate(ij.networks.LAYER_NAMES)]
    assert [float(cell.split("±")[0]) for cell in bold] == list(table1.MAHENDRAN_VEDALDI)


@pytest.mark.parametrize(
    ("runner", "arguments", "words"),
    [
        ("table1", ("--layers=conv9",), ("--layers", "conv9", "fc8")),
        ("table2", ("--num_images=2", "--num_scale_images=1"), ("--num_scale_images", "1")),
        ("side_by_side", ("--num_scale_images=1",), ("--num_scale_images", "1")),
    ],
)
def test_mistakes_are_told_in_a_sentence(runner, arguments, words, photographs, tmp_path):
    with pytest.raises(ValueError) as told:
        run(runner, tmp_path / "out", f"--images={photographs}", *arguments)
    message = str(told.value)
    assert message.endswith(".") and "\n" not in message and all(word in message for word in words), message
    assert not (tmp_path / "out").exists()
