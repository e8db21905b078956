"""The runners of the paper's tables and figures, each run whole but with two steps of descent.

What is descended is the runner's own: the recipe it asks for is recorded, and compared with the paper's.
"""

import dataclasses
import importlib
import json
import math
import pathlib
from typing import NamedTuple

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

import invert_jax as ij
from experiments import reproduction

RUNNERS = pathlib.Path(reproduction.__file__).parent / "mahendran_vedaldi"
DEEP = (4e-3, 100), (4e-4, 200), (4e-5, 100)
SHALLOW = (4e-3, 200), (4e-4, 200), (4e-5, 200), (4e-6, 200)
CENTRAL = (4e-4, 200), (4e-5, 200), (4e-6, 200)


class Case(NamedTuple):
    """A runner at little cost: its flags, rows of its table, inversions kept, recipes (lambda_V, beta, stages)."""

    runner: str
    arguments: tuple[str, ...]
    rows: int
    kept: int
    recipes: set

    def __str__(self):
        return self.runner


CASES = (
    Case("table1", ("--size=48", "--num_images=2", "--representations=hogb"), 1, 2, {(5.0, 2.0, SHALLOW)}),
    Case("table2", (), 20, 0, set()),
    Case(
        "table3",
        ("--num_images=1", "--num_scale=2", "--layers=conv1", "--lambdas=0.5,50"),
        1,
        2,
        {(0.5, 2.0, DEEP), (50.0, 2.0, DEEP)},
    ),
    Case("figure1", ("--num_restarts=2",), 1, 1, {(50.0, 2.0, DEEP)}),
    Case("figure2", (), 1, 2, {(1.845e-3, 1.0, DEEP), (50.0, 2.0, DEEP)}),
    Case("figure3", (), 3, 3, {(0.5, 2.0, SHALLOW)}),
    Case("figure4", (), 3, 3, {(value, 2.0, SHALLOW) for value in (0.5, 5.0, 50.0)}),
    Case("figure6", ("--layers=conv1,fc8",), 2, 2, {(0.5, 2.0, DEEP), (50.0, 2.0, DEEP)}),
    Case(
        "figure7",
        ("--num_images=1", "--num_restarts=2"),
        4,
        4,
        {(value, 2.0, DEEP) for value in (0.5, 5.0, 50.0)},
    ),
    Case("figure8", (), 6, 6, {(value, 2.0, DEEP) for value in (50.0, 5.0, 0.5, 0.05, 0.005, 0.0)}),
    Case("figure9", ("--layers=conv1,pool5",), 2, 2, {(50.0, 2.0, CENTRAL)}),
    Case("figure10", ("--num_images=1",), 6, 6, {(0.5, 2.0, DEEP)}),
    Case("figure11", ("--num_images=2",), 2, 2, {(50.0, 2.0, DEEP)}),
    Case("green", ("--num_images=2", "--layers=fc8"), 3, 4, {(50.0, 2.0, DEEP), (0.5, 2.0, DEEP)}),
)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of three photographs: a green one, and two that are not."""
    folder = tmp_path_factory.mktemp("photographs")
    for name in ("astronaut", "chelsea", "coffee"):
        image = ij.sample_image(name, size=(48, 64))
        ij.save_image(folder / f"{name}.png", image * (0.2, 1.0, 0.2) if name == "astronaut" else image)
    return folder


@pytest.fixture
def asked(monkeypatch):
    """The recipes that a runner asks for; what is run has two steps."""
    recipes, inverter = [], reproduction.inverter

    def short(workdir, representation, recipe):
        recipes.append(recipe)
        return inverter(workdir, representation, dataclasses.replace(recipe, rates=recipe.rates[:1], steps=(2,)))

    monkeypatch.setattr(reproduction, "inverter", short)
    return recipes


def module(runner):
    return importlib.import_module(f"experiments.mahendran_vedaldi.{runner}")


def run(runner, workdir, *arguments):
    with flagsaver.flagsaver():  # takes the runner's flags away again
        module(runner)._define_flags()
        flags.FLAGS([runner, f"--workdir={workdir}", *arguments])
        module(runner).main()
    return json.loads((workdir / "results.json").read_text())


def numbers(value):
    if isinstance(value, dict | list):
        return [number for each in (value.values() if isinstance(value, dict) else value) for number in numbers(each)]
    return [value] if isinstance(value, int | float) else []


def rows(workdir):
    lines = [line for line in (workdir / "table.md").read_text().splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def files(workdir):
    return {
        path.relative_to(workdir): (path.stat().st_mtime_ns if path.suffix == ".npz" else path.read_bytes())
        for path in workdir.rglob("*")
        if path.is_file()
    }


def test_every_runner_has_a_case():
    assert {path.stem for path in RUNNERS.glob("*.py")} - {"__init__"} == {case.runner for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_runner(case, asked, photographs, tmp_path):
    arguments = (f"--images={photographs}", *case.arguments) if case.kept else case.arguments
    results = run(case.runner, tmp_path, *arguments)
    assert {(r.lambda_tv, r.beta, tuple(zip(r.rates, r.steps, strict=True))) for r in asked} == case.recipes
    assert all(recipe.alpha == 6 and recipe.lambda_alpha is recipe.sigma is None for recipe in asked)
    assert len(numbers(results)) > 3 and all(map(math.isfinite, numbers(results)))
    assert len(rows(tmp_path)) == case.rows and all(row[0] for row in rows(tmp_path))

    first = files(tmp_path)
    assert len(list(tmp_path.glob("inversions/*.npz"))) == case.kept
    pictures = list(tmp_path.glob("*.png"))
    assert [path.stem for path in pictures] == ([case.runner] if case.kept else [])
    for path in pictures:
        picture = ij.load_image(path)
        assert picture.std() > 20 and min(picture.shape[:2]) > 128

    run(case.runner, tmp_path, *arguments)  # again: nothing is inverted anew, and the same is written
    assert files(tmp_path) == first


def test_sample_photographs_serve_without_a_folder(asked, tmp_path, capsys):
    results = run("figure11", tmp_path, "--num_images=1")
    assert results["images"] == ["chelsea"]
    assert "public-domain photographs (chelsea)" in " ".join(capsys.readouterr().out.split())


def test_figure3_shows_hoggle_when_it_has_dictionaries(asked, photographs, tmp_path, monkeypatch):
    given = []

    class Hoggle:  # stands for the baseline, which is tested by itself
        load = str
        invert = staticmethod(lambda *arguments: given.append(arguments) or np.full((48, 64, 1), 99.0, np.float32))

    monkeypatch.setattr(ij, "hoggle", Hoggle, raising=False)
    run("figure3", tmp_path / "without", f"--images={photographs}")
    assert not given
    results = run("figure3", tmp_path / "with", f"--images={photographs}", "--hoggle=pair.npz")
    ((dictionaries, features),) = given
    image = ij.load_image(photographs / "astronaut.png", gray=True)
    assert dictionaries == "pair.npz" and np.array_equal(features, ij.hog()(image))
    assert list(results["relative_errors"]) == ["HOGgle", "HOG", "HOGb", "DSIFT"]
    assert rows(tmp_path / "with")[0][0] == "HOGgle" and len(rows(tmp_path / "without")) == 3
    widths = [ij.load_image(tmp_path / name / "figure3.png").shape[1] for name in ("without", "with")]
    assert widths[0] < widths[1]


def test_green_takes_the_least_green(asked, photographs, tmp_path):
    results = run("green", tmp_path, f"--images={photographs}", "--num_images=2", "--layers=conv1")
    assert sorted(results["images"]) == ["chelsea", "coffee"]
    assert set(results["green_excess"]) == {"photograph", "conv1", "conv1, weak prior"}


@pytest.mark.parametrize(
    ("runner", "arguments", "words"),
    [
        ("figure6", ("--layers=conv9",), ("--layers", "conv9", "fc8")),
        ("figure9", ("--layers=fc8",), ("--layers", "fc8", "pool5")),
        ("green", ("--layers=",), ("--layers", "empty")),
        ("green", ("--num_images=1",), ("--num_images", "1", "two")),
        ("figure11", ("--num_images=9",), ("3 photographs", "9")),
        ("figure1", ("--images=nowhere",), ("--images", "nowhere")),
        ("table1", ("--num_images=1",), ("--num_images", "1", ">= 2")),
        ("table3", ("--lambdas=small",), ("--lambdas", "small", "bold")),
    ],
)
def test_mistakes_are_told_in_a_sentence(runner, arguments, words, photographs, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError)) as told:
        run(runner, tmp_path / "out", f"--images={photographs}", *arguments)
    message = str(told.value)
    assert message.endswith(".") and "\n" not in message and all(word in message for word in words), message
    assert not (tmp_path / "out").exists()


# --- the runners' own measures ---


def test_peakiness_tells_spikes_from_noise_and_from_edges(rng):
    peakiness = module("figure2")._peakiness
    noise = rng.normal(128, 10, size=(64, 64, 3))
    spikes = noise.copy()
    spikes[::8, ::8] += 200
    edges = noise + 100 * (np.arange(64) > 31)[None, :, None]
    assert abs(peakiness(noise)) < 1 and abs(peakiness(edges)) < 1 and peakiness(spikes) > 10


def test_concentration_is_of_energy_about_the_box():
    concentration = module("figure9")._concentration
    energy = np.zeros((100, 100, 3))
    energy[40:60, 40:60] = 1
    found = concentration(energy, (30, 30, 70, 70))
    assert found["energy_inside"] == 1 and found["area_inside"] == 0.16 and found["box_side"] == 40
    assert found["side_of_90_percent"] == 19  # 0.9 of 400 pixels: 18.97 a side
    energy[:20] = 0.1  # elsewhere
    assert concentration(energy, (30, 30, 70, 70))["energy_inside"] == pytest.approx(400 / 600)
    assert concentration(np.ones((100, 100, 3)), (-20, -20, 120, 120))["area_inside"] == 1


def test_green_is_what_exceeds_the_other_colors():
    green = module("green")._green
    image = np.array([[[10.0, 60.0, 30.0], [200.0, 100.0, 20.0]], [[0.0, 300.0, 0.0], [90.0, 90.0, 90.0]]])
    assert green(image) == ((30 + 255) / 4, 0.5)


def test_color_is_the_deviation_across_the_channels():
    color = module("figure10")._color
    assert color(np.full((4, 4, 3), 77.0)) == 0
    assert color(np.tile([0.0, 0.0, 300.0], (4, 4, 1))) == pytest.approx(255 * math.sqrt(2) / 3)


def test_variation_is_the_mean_gradient():
    ramp = np.tile(3.0 * np.arange(10, dtype=np.float32)[None, :, None], (10, 1, 1))
    for runner in ("figure4", "figure8"):
        assert module(runner)._variation(ramp) == pytest.approx(3 * 0.9)
