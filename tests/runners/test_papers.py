"""The papers' tables and figures: settings as data, arithmetic against NumPy, every runner whole with tiny settings."""

import math
import shutil

import numpy as np
import pytest
import running
from refusals import refused

import invert_jax as ij
from experiments.lib import paper, sweep

pytestmark = pytest.mark.slow

PIXELS, PYRAMID = ("--size=63", "--stages=4e-3x2"), ("--size=63", "--stages=0.1x1,0.1x2")
CONV1, TWO = "--layers=conv1", ("--num_images=2", "--num_scale_images=2")
COMPARED = ("pixels_vs_pyramid", "convergence_conv1")
RUNS = {
    "mahendran_vedaldi.table2": ((), 20, ()),
    "mahendran_vedaldi.table3": ((*PIXELS, *TWO, CONV1, "--lambdas=0.5,50"), 1, ("table3",)),
    "mahendran_vedaldi.figure1": ((*PIXELS, CONV1, "--num_restarts=2"), 1, ("figure1",)),
    "mahendran_vedaldi.figure3": (("--size=48", "--stages=4e-3x2"), 3, ("figure3",)),
    "mahendran_vedaldi.figure4": (("--size=48", "--stages=4e-3x2"), 3, ("figure4",)),
    "mahendran_vedaldi.figure6": ((*PIXELS, "--layers=conv1,relu1"), 2, ("figure6",)),
    "mahendran_vedaldi.figure7": ((*PIXELS, CONV1, "--num_restarts=2"), 2, ("figure7",)),
    "mahendran_vedaldi.figure9": ((*PIXELS, "--layers=conv1,relu1"), 2, ("figure9",)),
    "mahendran_vedaldi.figure11": ((*PIXELS, CONV1, "--num_images=3"), 3, ("figure11",)),
    "mahendran_vedaldi.green_bias": ((*PIXELS, CONV1, "--num_images=2"), 3, ("green_bias",)),
    "singh_namboodiri.table1": ((*PYRAMID, *TWO, CONV1), 1, ("table1",)),
    "singh_namboodiri.table2": (("--size=32", PYRAMID[1], *TWO), 2, ("figure4",)),
    "singh_namboodiri.figure1": ((*PYRAMID, CONV1), 2, ("figure1",)),
    "singh_namboodiri.figure3": ((*PYRAMID, CONV1), 1, ("figure3",)),
    "singh_namboodiri.ablation": ((*PYRAMID, *TWO, "--layers=pool2"), 2, ("pool2",)),
    "singh_namboodiri.pixels_vs_pyramid": (("--size=63", *TWO, CONV1, "--evaluations=20"), 2, COMPARED),
}
RUNS |= {f"mahendran_vedaldi.figure{i}": ((*PIXELS, CONV1), n, (f"figure{i}",)) for i, n in ((2, 2), (8, 6), (10, 4))}
"""Flags, rows of the table, pictures."""

DEEP = ((4e-3, 100), (4e-4, 200), (4e-5, 100))
SHALLOW = ((4e-3, 200), (4e-4, 200), (4e-5, 200), (4e-6, 200))
CENTRAL = ((4e-4, 200), (4e-5, 200), (4e-6, 200))
QUOTED = (
    *(10.0, 11.3, 21.9, 20.3, 12.4, 12.9, 18.2, 18.4, 14.4, 15.1),
    *(13.3, 14.0, 25.7, 20.1, 19.0, 18.6, 18.7, 17.1, 15.5, 8.5),
)
"""Table 3's bold row, as Singh & Namboodiri quote it."""


def module(name):
    return running.module(f"mahendran_vedaldi.{name}")


def cases(number):
    found = module(f"figure{number}").FIGURE
    return [case for word in found.layers or found.representations for case in found.cases(word)]


@pytest.mark.parametrize("runner", RUNS)
def test_runner(runner, photographs, tmp_path):
    arguments, num_rows, pictures = RUNS[runner]
    arguments = (f"--images={photographs}", *arguments) if pictures else arguments
    results = running.run(runner, tmp_path, *arguments)
    assert len(running.numbers(results)) > 3 and all(map(math.isfinite, running.numbers(results)))
    assert len(running.rows(tmp_path)) == num_rows
    assert {path.stem for path in tmp_path.glob("*.png")} == set(pictures)
    assert all(ij.load_image(tmp_path / f"{name}.png").std() > 10 for name in pictures)

    arrays = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert running.run(runner, tmp_path, *arguments) == results
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")} == arrays  # nothing was inverted again


def test_table1_against_numpy(photographs, tmp_path):
    arguments = (f"--images={photographs}", "--num_images=3", "--size=48", "--representations=hogb", "--variant=vlfeat")
    results = running.run("mahendran_vedaldi.table1", tmp_path, *arguments, "--stages=4e-3x60")
    hogb, errors = ij.hog(binning="bilinear"), results["errors"]["hogb vlfeat"]
    images = [ij.load_image(photographs / f"{name}.png", size=48, gray=True) for name in results["images"]]
    targets = np.stack([np.asarray(hogb(image), np.float64).ravel() for image in images])
    (sweep,) = map(ij.load_sweep, tmp_path.glob("inversions/*"))
    found = np.stack([np.asarray(hogb(sweep[which].image[0]), np.float64).ravel() for which in sorted(sweep)])
    gaps = np.linalg.norm(found - targets, axis=-1)
    scale = np.mean([np.linalg.norm(targets[i] - targets[j]) for i, j in ((0, 1), (0, 2), (1, 2))])
    np.testing.assert_allclose(errors["normalized_error"], gaps / scale, rtol=1e-4)
    np.testing.assert_allclose(errors["relative_error"], gaps / np.linalg.norm(targets, axis=-1), rtol=1e-4)
    assert f"{100 * np.mean(gaps / scale):.1f} ± " in (tmp_path / "table.md").read_text()

    damaged = next(tmp_path.rglob("*.npz"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert running.run("mahendran_vedaldi.table1", tmp_path, *arguments, "--stages=4e-3x60") == results


def test_figure1_adds_restarts_whose_errors_are_those_of_the_images(photographs, tmp_path):
    arguments = ("mahendran_vedaldi.figure1", tmp_path, f"--images={photographs}", "--size=63", CONV1)
    few = running.run(*arguments, "--stages=4e-3x40", "--num_restarts=3")["rows"][0]["relative_errors"]
    more = running.run(*arguments, "--stages=4e-3x40", "--num_restarts=4")["rows"][0]["relative_errors"]
    assert len(more) == 4 and more[:3] == pytest.approx(few, rel=1e-3)
    (sweep,) = map(ij.load_sweep, tmp_path.glob("inversions/*"))
    conv1, photograph = ij.alexnet(layer="conv1"), ij.load_image(photographs / "astronaut.png", size=63)
    error = ij.metrics.relative_error(conv1(next(iter(sweep.values())).image[0]), conv1(photograph))
    assert more[0] == pytest.approx(float(error), rel=1e-3) and error < 0.4


WEIGHTS = {1: [50.0], 2: [1.845e-3, 50.0], 3: [0.5] * 3, 4: [0.5, 5.0, 50.0], 6: [0.5] * 6 + [5.0] * 6 + [50.0] * 8}
WEIGHTS |= {8: [50.0, 5.0, 0.5, 0.05, 0.005, 0.0], 9: [50.0] * 15, 10: [0.5] * 6, 11: [50.0]}


@pytest.mark.parametrize("number", WEIGHTS)
def test_settings_of_figures_are_the_papers(number):
    assert [case.recipe.weight("tv") for case in cases(number)] == WEIGHTS[number]
    stages = {3: SHALLOW, 4: SHALLOW, 9: CENTRAL}.get(number, DEEP)
    assert all(tuple((s.rate, s.num_steps) for s in case.recipe.stages) == stages for case in cases(number))


def test_masks_of_figures_9_and_10():
    mask = cases(9)[0].mask((55, 55, 96))
    assert mask[25:30, 25:30].all() and mask.sum() == 25 * 96
    first, second = (case.mask((55, 55, 96)) for case in cases(10)[:2])
    assert first[..., :48].all() and np.array_equal(first, ~second)


def test_the_papers_rows_agree():
    published = [module("table3").published(layer) for layer in ij.networks.CAFFENET.layer_names]
    assert [float(text.split("±")[0]) for text in published] == list(QUOTED)
    assert [field.size for field in ij.receptive_field.alexnet()] == list(module("table2").PAPER_FIELDS)


@pytest.mark.parametrize("num_steps", [20, 601, 2000])
def test_stretched_stages_have_that_many_steps(num_steps):
    stretched = paper.stretched
    for recipe in (ij.recipes.for_layer("conv1"), ij.recipes.laplacian_pyramid("conv1")):
        long = stretched(recipe, num_steps)
        assert long.num_steps == num_steps and min(s.num_steps for s in long.stages) >= 1 and long.tolerance is None


def named(text, *arguments):
    """The photographs that `--images=text` finds."""
    return running.parsed(paper.files, "mahendran_vedaldi.table1", f"--images={text}", *arguments)


def test_photographs_are_found_as_people_name_them(photographs, tmp_path, monkeypatch):
    folder = tmp_path / "cats, dogs"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    paths = [folder / f"{name}.PNG" for name in "ab"]
    for path in paths:
        ij.save_image(path, np.zeros((40, 40, 3)))
    for name in ("._a.png", ".DS_Store", "notes.txt"):
        (folder / name).write_bytes(b"not a photograph")
    (folder / "c.png").mkdir()
    for text in (f"{folder}", f"{folder}/", f"{folder}/*", f"{folder}/*.PNG", "~/cats, dogs", "~/**/*.PNG"):
        assert named(text) == paths
    assert [path.name for path in named("cats, dogs/b.PNG,cats, dogs/a.PNG")] == ["b.PNG", "a.PNG"]
    assert set(named(f"{photographs},{folder}")) > set(paths)
    for text in ("~/cats", f"{folder}/*.gif"):
        with refused("--images", FileNotFoundError):
            named(text)


def test_an_unreadable_photograph_is_named_or_passed_over(photographs, tmp_path, capsys):
    folder = tmp_path / "photographs"
    shutil.copytree(photographs, folder)
    (folder / "aaa.png").write_bytes(b"no picture")
    arguments = ("mahendran_vedaldi.table1", f"--images={folder}", "--num_images=2")
    with refused("aaa.png"):
        running.parsed(lambda: paper.photographs(size=32, gray=True), *arguments)
    found = running.parsed(lambda: paper.photographs(size=32, gray=True), *arguments, "--skip_unreadable")
    assert len(found) == 2 and "aaa" not in [photo.name for photo in found]
    assert "aaa.png" in capsys.readouterr().out


def test_two_photographs_with_one_name_are_both_named(photographs, tmp_path):
    photograph = sorted(photographs.iterdir())[0]
    shutil.copy(photograph, tmp_path)
    text = f"--images={photograph},{tmp_path / photograph.name}"
    with refused(str(tmp_path / photograph.name)) as caught:
        running.parsed(sweep.make, "sample_invariances", text, "--num_images=2", "--representations=hog", "--size=32")
    assert str(photograph) in str(caught.value)


MISTAKES = {"table1": "--num_images=1", "table3": "--lambdas=-1", "green_bias": "--layers=", "figure1": "--images=no"}
MISTAKES |= {"figure9": "--layers=fc8", "figure11": "--num_images=9"}


@pytest.mark.parametrize("runner", MISTAKES)
def test_mistakes_end_before_anything_is_made(runner, photographs, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match="--"):
        running.run(f"mahendran_vedaldi.{runner}", tmp_path / "out", f"--images={photographs}", MISTAKES[runner])
    assert not (tmp_path / "out").exists()


# --- what they measure ---


def test_percent_leaves_out_what_is_not_finite():
    assert paper.percent([0.1, 0.3, np.nan]) == "20.0 ± 14.1 (1 without)"
    assert paper.percent([0.25]) == "25.0" and paper.percent([np.inf]) == "- (1 without)"


def test_variation_is_the_mean_gradient_and_coarse_difference_measures_color_and_not_detail():
    ramp = np.tile(3.0 * np.arange(10, dtype=np.float32)[None, :, None], (10, 1, 1))
    assert paper.variation(ramp) == pytest.approx(3 * 0.9)
    image = ij.example_image("coffee", size=96)
    greener = image + np.float32([0, 12, 0])
    assert paper.coarse_difference(greener, image) == pytest.approx(12 / np.sqrt(3), rel=1e-3)
    assert paper.coarse_difference(greener, image, color=True) == pytest.approx(
        np.sqrt((4**2 + 8**2 + 4**2) / 3), rel=1e-3
    )
    checks = 40 * (-1.0) ** np.add.outer(np.arange(96), np.arange(96))[..., None]
    assert paper.coarse_difference(image + checks, image) < 1


def test_excess_and_hue_of_green_bias():
    image = np.array([[[10.0, 60.0, 30.0], [200.0, 100.0, 20.0]], [[0.0, 300.0, 0.0], [90.0, 90.0, 90.0]]])
    red, green, blue = np.clip(image, 0, 255).mean((0, 1))
    np.testing.assert_allclose(module("green_bias").excess(image)[1], green - (red + blue) / 2)
    assert module("green_bias").hue([np.full((2, 2, 3), (20.0, 200.0, 20.0))]) == pytest.approx(120)


def test_peakiness_of_figure2_is_large_for_spikes_and_not_for_noise_or_edges(rng):
    peakiness, noise = module("figure2").peakiness, rng.normal(128, 10, size=(64, 64, 3))
    spikes, edges = noise.copy(), noise + 100 * (np.arange(64) > 31)[None, :, None]
    spikes[::8, ::8] += 200
    assert abs(peakiness(noise)) < 1 and abs(peakiness(edges)) < 1 and peakiness(spikes) > 10


def test_saturation_and_correlations_of_figure10(rng):
    figure10 = module("figure10")
    assert figure10.saturation(np.tile([0.0, 0.0, 300.0], (4, 4, 1))) == pytest.approx(255 * math.sqrt(2) / 3)
    photograph = rng.uniform(50, 200, size=(32, 32, 3))
    gray = np.repeat(photograph.mean(axis=2, keepdims=True), 3, axis=2)
    for image, color, luminance in [(photograph, 1, 1), (250 - photograph, -1, -1), (gray, 0, 1)]:
        assert figure10.correlation(1, image, photograph) == pytest.approx(color, abs=1e-5)
        assert figure10.correlation(0, image, photograph) == pytest.approx(luminance, abs=1e-5)
