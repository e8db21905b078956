"""The runners of the paper's tables and figures, each run whole on what stands in for the descent.

Compiling the descent from 20 layers takes minutes, and it is tested elsewhere; here what the runners ask of it is
recorded and compared with the paper's settings, and noise is handed back. One runner descends in earnest.
"""

import dataclasses
import functools
import math
import pathlib
import shutil
from typing import NamedTuple

import numpy as np
import pytest
import runners
from runners import files, numbers, rows

import invert_jax as ij
from experiments.lib import paper
from invert_jax._util import hashing

RUNNERS = pathlib.Path(paper.__file__).parent / "mahendran_vedaldi"
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
        ("--num_images=1", "--num_scale_images=2", "--layers=conv1", "--lambdas=0.5,50"),
        1,
        2,
        {(0.5, 2.0, DEEP), (50.0, 2.0, DEEP)},
    ),
    Case("figure1", ("--num_restarts=2",), 1, 2, {(50.0, 2.0, DEEP)}),
    Case("figure2", (), 1, 2, {(1.845e-3, 1.0, DEEP), (50.0, 2.0, DEEP)}),
    Case("figure3", (), 3, 3, {(0.5, 2.0, SHALLOW)}),
    Case("figure4", (), 3, 3, {(value, 2.0, SHALLOW) for value in (0.5, 5.0, 50.0)}),
    Case("figure6", ("--layers=conv1,fc8",), 2, 2, {(0.5, 2.0, DEEP), (50.0, 2.0, DEEP)}),
    Case(
        "figure7",
        ("--num_images=1", "--num_restarts=2"),
        4,
        8,
        {(value, 2.0, DEEP) for value in (0.5, 5.0, 50.0)},
    ),
    Case("figure8", (), 6, 6, {(value, 2.0, DEEP) for value in (50.0, 5.0, 0.5, 0.05, 0.005, 0.0)}),
    Case("figure9", ("--layers=conv1,pool5",), 2, 2, {(50.0, 2.0, CENTRAL)}),
    Case("figure10", ("--num_images=1",), 6, 6, {(0.5, 2.0, DEEP)}),
    Case("figure11", ("--num_images=2",), 2, 2, {(50.0, 2.0, DEEP)}),
    Case("green", ("--num_images=2", "--layers=fc8"), 3, 4, {(50.0, 2.0, DEEP), (0.5, 2.0, DEEP)}),
)


module = functools.partial(runners.module, "mahendran_vedaldi")
run = functools.partial(runners.run, "mahendran_vedaldi")


def test_every_runner_has_a_case():
    assert {path.stem for path in RUNNERS.glob("*.py")} - {"__init__"} == {case.runner for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_runner(case, asked, kept, photographs, tmp_path):
    arguments = (f"--images={photographs}", *case.arguments) if case.kept else case.arguments
    results = run(case.runner, tmp_path, *arguments)
    recipes = [recipe for recipe, _ in asked]
    assert {(r.lambda_tv, r.beta, tuple(zip(r.rates, r.steps, strict=True))) for r in recipes} == case.recipes
    assert all(recipe.alpha == 6 and recipe.lambda_alpha is recipe.sigma is None for recipe in recipes)
    assert len(numbers(results)) > 3 and all(map(math.isfinite, numbers(results)))
    assert len(rows(tmp_path)) == case.rows and all(row[0] for row in rows(tmp_path))

    first = files(tmp_path)
    assert kept(tmp_path) == len(asked) == case.kept
    pictures = list(tmp_path.glob("*.png"))
    assert [path.stem for path in pictures] == ([case.runner] if case.kept else [])
    for path in pictures:
        picture = ij.load_image(path)
        assert picture.std() > 20 and min(picture.shape[:2]) > 128

    run(case.runner, tmp_path, *arguments)  # again: nothing is inverted anew, and the same is written
    assert files(tmp_path) == first and len(asked) == case.kept


def test_figure6_descends(photographs, tmp_path, monkeypatch):
    for_layer = ij.recipes.for_layer
    monkeypatch.setattr(
        ij.recipes, "for_layer", lambda layer: dataclasses.replace(for_layer(layer), rates=(4e-3,), steps=(60,))
    )
    results = run("figure6", tmp_path, f"--images={photographs}", "--layers=conv1")
    assert results["finite"] == {"conv1": [True]}
    (folder,) = tmp_path.glob("inversions/*")
    (restarts,) = ij.load_sweep(folder).values()
    restored = restarts.image[0]
    conv1, photograph = ij.alexnet(layer="conv1"), ij.load_image(photographs / "astronaut.png", size=227)
    error = ij.metrics.relative_error(conv1(restored), conv1(photograph))
    assert results["relative_errors"]["conv1"] == [pytest.approx(float(error), rel=1e-3)] and error < 0.3


def test_restarts_are_added_to_those_that_are_there(asked, kept, photographs, tmp_path):
    arguments = (f"--images={photographs}", "--num_images=1")
    run("figure1", tmp_path, *arguments, "--num_restarts=2")
    few = run("figure1", tmp_path, *arguments, "--num_restarts=3")
    again = run("figure1", tmp_path, *arguments, "--num_restarts=2")
    assert kept(tmp_path) == len(asked) == 3
    assert len(str(again)) < len(str(few))


def test_a_runner_that_was_stopped_comes_to_the_same_files(asked, photographs, tmp_path, monkeypatch):
    """What is kept stays, a file that another program cut short is made again, and tables and pictures are the same."""
    arguments = (f"--images={photographs}", "--size=48", "--num_images=3", "--representations=hogb,dsift_vlfeat")
    workdir, make = tmp_path / "out", ij.sweeps.work.Worker.make
    run("table1", workdir, *arguments)
    whole = {path.name: path.read_bytes() for path in workdir.iterdir() if path.is_file()}
    shutil.rmtree(workdir)
    batches = iter(range(9))

    def stopped(worker, group, *given):
        if next(batches) == 1:
            raise KeyboardInterrupt
        make(worker, group, *given)

    with monkeypatch.context() as patch:
        patch.setattr(ij.sweeps.work.Worker, "make", stopped)
        with pytest.raises(KeyboardInterrupt):
            run("table1", workdir, *arguments)
    survivors = {path: path.stat().st_mtime_ns for path in workdir.rglob("*.npz")}
    assert len(survivors) == 3 and not (workdir / "results.json").exists()
    damaged = next(iter(survivors))
    damaged.write_bytes(damaged.read_bytes()[:100])
    asked.clear()
    run("table1", workdir, *arguments)
    assert len(asked) == 4 and np.load(damaged)["image"].shape == (1, 48, 48, 1)
    assert {path.name: path.read_bytes() for path in workdir.iterdir() if path.is_file()} == whole
    assert all(path.stat().st_mtime_ns == written for path, written in survivors.items() if path != damaged)


def test_figure9_asks_for_the_central_neurons_and_figure10_for_halves(asked, photographs, tmp_path):
    run("figure9", tmp_path / "9", f"--images={photographs}", "--layers=conv1")
    ((_, mask),) = asked
    assert mask.shape == (55, 55, 96) and mask[25:30, 25:30].all() and mask.sum() == 25 * 96
    asked.clear()
    run("figure10", tmp_path / "10", f"--images={photographs}", "--num_images=1")
    masks = [mask for _, mask in asked]
    assert [mask.shape[2] for mask in masks] == [96, 96, 96, 96, 256, 256]
    for first, second in zip(masks[::2], masks[1::2], strict=True):
        assert first.sum() == second.sum() == first.size / 2 and not np.any(first & second)
        assert first[..., : first.shape[2] // 2].all()


def test_sample_photographs_serve_without_a_folder(asked, tmp_path, capsys):
    results = run("figure11", tmp_path, "--num_images=1")
    assert results["images"] == ["chelsea"]
    assert "public-domain photographs (chelsea)" in " ".join(capsys.readouterr().out.split())


def test_figure3_shows_hoggle_when_it_has_dictionaries(asked, photographs, tmp_path, monkeypatch):
    given, dictionaries = [], ij.hoggle.Dictionaries(*[0.0] * 6, representation=hashing.content_hash(ij.hog()))

    class Hoggle:  # stands for the baseline, which is tested by itself
        load = staticmethod(lambda path: dictionaries._replace(digest=path))
        invert = staticmethod(lambda *arguments: given.append(arguments) or np.full((48, 64, 1), 99.0, np.float32))

    monkeypatch.setattr(ij, "hoggle", Hoggle, raising=False)
    run("figure3", tmp_path / "without", f"--images={photographs}")
    assert not given
    results = run("figure3", tmp_path / "with", f"--images={photographs}", "--hoggle=pair.npz")
    ((used, features),) = given
    image = ij.load_image(photographs / "astronaut.png", gray=True)
    assert used.digest == "pair.npz" and np.array_equal(features, ij.hog()(image))
    assert list(results["relative_errors"]) == ["HOGgle", "HOG", "HOGb", "DSIFT"]
    assert rows(tmp_path / "with")[0][0] == "HOGgle" and len(rows(tmp_path / "without")) == 3
    widths = [ij.load_image(tmp_path / name / "figure3.png").shape[1] for name in ("without", "with")]
    assert widths[0] < widths[1]
    run("figure3", tmp_path / "with", f"--images={photographs}", "--hoggle=pair.npz")
    assert len(given) == 1  # kept, as the descents are
    dictionaries = dictionaries._replace(representation="another")
    with pytest.raises(ValueError, match="not for VLFeat's HOG"):
        run("table1", tmp_path / "other", f"--images={photographs}", "--num_images=2", "--hoggle=pair.npz")


def test_green_takes_the_least_green(asked, photographs, tmp_path):
    results = run("green", tmp_path, f"--images={photographs}", "--num_images=2", "--layers=conv1")
    assert sorted(results["images"]) == ["chelsea", "coffee"]
    assert set(results["excess_of_red_green_blue"]) == {"photograph", "conv1", "conv1, weak prior"}
    assert [recipe.lambda_tv for recipe, _ in asked] == [0.5, 0.5, 0.005, 0.005]


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
        ("table3", ("--lambdas=",), ("--lambdas", "bold")),
        ("table3", ("--lambdas=-1",), ("--lambdas", ">= 0")),
        ("figure7", ("--lambdas=nan,1,1,1",), ("--lambdas", "4 numbers >= 0")),
        ("figure7", ("--lambdas=1,1,1",), ("--lambdas", "4 numbers >= 0")),
        ("figure1", ("--images=",), ("--images", "no photographs")),
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


def test_excess_is_a_channel_over_the_other_two_and_noise_has_none(rng):
    excess = module("green")._excess
    image = np.array([[[10.0, 60.0, 30.0], [200.0, 100.0, 20.0]], [[0.0, 300.0, 0.0], [90.0, 90.0, 90.0]]])
    np.testing.assert_allclose(
        excess(image), [75 - (505 / 4 + 35) / 2, 505 / 4 - (75 + 35) / 2, 35 - (75 + 505 / 4) / 2]
    )
    np.testing.assert_allclose(excess(rng.normal(128, 30, size=(200, 200, 3))), 0, atol=1)


def test_hue_is_that_of_the_mean_color():
    hue = module("green")._hue
    assert hue([np.full((2, 2, 3), (20.0, 200.0, 20.0))]) == pytest.approx(120)
    assert hue([np.full((2, 2, 3), (300.0, 0.0, 0.0)), np.full((2, 2, 3), np.nan)]) == 0
    assert math.isnan(hue([np.full((2, 2, 3), np.nan)]))


def test_the_detail_is_where_the_spikes_are(rng):
    image = rng.normal(128, 3, size=(227, 227, 3))
    image[150:170:4, 20:40:4] += 90
    place = module("figure2")._spikiest(image)
    assert image[place].shape == (56, 56, 3) and place[0].start <= 150 <= 166 < place[0].stop
    assert place[1].start <= 20 <= 36 < place[1].stop


def test_paper_rows_of_table3_are_whole():
    table3 = module("table3")
    for row in table3.PAPER.values():
        assert len(row.split()) == 20
    bold = [
        table3.PAPER[ij.recipes.for_layer(name).lambda_tv].split()[i] for i, name in enumerate(ij.networks.LAYER_NAMES)
    ]
    assert [float(cell.split("±")[0]) for cell in bold] == [
        *(10.0, 11.3, 21.9, 20.3, 12.4, 12.9, 18.2, 18.4, 14.4, 15.1),
        *(13.3, 14.0, 25.7, 20.1, 19.0, 18.6, 18.7, 17.1, 15.5, 8.5),
    ]  # the row that Singh & Namboodiri quote


def test_percent_leaves_out_what_is_not_finite():
    assert paper.percent([0.1, 0.3, np.nan]) == "20.0 ± 14.1 (1 not finite)"
    assert paper.percent([0.25]) == "25.0" and paper.percent([np.inf]) == "- (1 not finite)"


def test_what_surrounds_an_inversion_names_it_too(asked, kept, photographs, tmp_path, monkeypatch):
    run("figure11", tmp_path, f"--images={photographs}", "--num_images=1")
    monkeypatch.setattr(ij.fingerprints, "surroundings", lambda: {"jax": "another"})
    monkeypatch.setattr(ij, "surroundings", lambda: {"jax": "another"})
    run("figure11", tmp_path, f"--images={photographs}", "--num_images=1")
    assert len(asked) == 2 == kept(tmp_path)


def test_saturation_is_the_deviation_across_the_channels():
    saturation = module("figure10")._saturation
    assert saturation(np.full((4, 4, 3), 77.0)) == 0
    assert saturation(np.tile([0.0, 0.0, 300.0], (4, 4, 1))) == pytest.approx(255 * math.sqrt(2) / 3)


def test_what_is_kept_of_color_and_of_luminance(rng):
    kept = module("figure10")._kept
    photograph = rng.uniform(50, 200, size=(32, 32, 3))
    gray = np.repeat(photograph.mean(axis=2, keepdims=True), 3, axis=2)
    assert kept(photograph, photograph) == pytest.approx((1, 1))
    assert kept(gray, photograph) == pytest.approx((0, 1), abs=1e-6)
    assert kept(128 + 0.3 * (photograph - gray), photograph) == pytest.approx((1, 0), abs=1e-5)  # 0 of roundings
    assert kept(250 - photograph, photograph) == pytest.approx((-1, -1))


def test_variation_is_the_mean_gradient():
    ramp = np.tile(3.0 * np.arange(10, dtype=np.float32)[None, :, None], (10, 1, 1))
    assert paper.variation(ramp) == pytest.approx(3 * 0.9)
