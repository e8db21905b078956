"""The runners that measure an invariance, and the page of a sweep, against the same numbers computed independently."""

import json
import os
import re
import shutil
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest
import running
from scipy import stats

import invert_jax as ij
from experiments import invariance_curves
from invert_jax import analysis
from invert_jax.viz import report

pytestmark = pytest.mark.slow

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOG = ("--num_images=3", "--num_restarts=3", "--size=32", "--representations=hog,hogb", "--stages=4e-3x60")
NOISE = ("--num_images=3", "--num_restarts=2", "--stages=1e-12x1")
NOISY_SWEEP = (*NOISE, "--num_scale_images=3", "--recipes=mahendran_vedaldi")


def measured(workdir, *arguments):
    """What invariance_curves wrote into results.json."""
    assert running.status("invariance_curves", workdir, *arguments) == 0
    return running.results(workdir / "invariance")


def pictures(folder):
    return {path.stem for path in folder.glob("*.png")}


@pytest.fixture(scope="module")
def hog(tmp_path_factory):
    """HOG and HOGb of three small photographs, swept and measured."""
    workdir = tmp_path_factory.mktemp("hog")
    running.run("sample_invariances", workdir, *HOG)
    measured(workdir, *HOG)
    return workdir


@pytest.fixture
def copy(hog, tmp_path):
    """A copy of that folder under an odd name."""
    return shutil.copytree(hog, tmp_path / "<b>odd & $strange$")


# --- invariance_curves ---


def test_curves_are_statistics_of_the_restarts(hog):
    sweep, results = ij.load_sweep(hog), running.results(hog / "invariance")
    assert [row[0] for row in running.rows(hog / "invariance")] == list(results["cases"]) == ["hog", "hogb"]
    assert results["num_restarts"] == 3 and results["trend"] == results["steps"] == {}
    for case, summary in results["cases"].items():
        restarts = [sweep[case, image] for image in results["images"]]
        means, over_restarts = summary["over_photographs"], summary["over_restarts"]
        assert means["error"][0] == pytest.approx(np.mean([found.error.mean() for found in restarts]), rel=1e-5)
        pairs = [analysis.pairwise_rms(found.image)[np.triu_indices(3, 1)].mean() for found in restarts]
        assert means["distance"][0] == pytest.approx(np.mean(pairs), rel=1e-5)
        for estimate, low, high in (means["distance"], over_restarts["distance"], over_restarts["error"]):
            assert low < estimate < high
        assert over_restarts["distance"][0] == pytest.approx(np.mean(pairs), rel=1e-4)
        assert means["photograph_percentile"] == summary["by_layer"]["photograph_percentile"][case]
        assert means["photograph_percentile"][0] < 0.2 < means["perturbation_percentile"][0]
        assert summary["num_photographs"] == 3 and summary["not_finite"] == 0 and 1 < means["effective_number"][0] <= 3
    assert pictures(hog / "invariance") == {"diversity", "bands", "error", "equivalence"}


def test_curves_of_layers_on_noise(tmp_path):
    """Descents of one negligible step, so that restarts are their starts: noise of 68.92 gray levels."""
    results = measured(tmp_path, *NOISY_SWEEP, "--layers=norm1,conv1,pool1")  # runs the sweep first
    assert list(results["steps"]) == ["pool1", "norm1"] and list(results["trend"]) == ["mahendran_vedaldi"]
    summary = results["cases"]["conv1"]
    means, by_layer = summary["over_photographs"], summary["by_layer"]
    assert means["distance"][0] == pytest.approx(68.92 * np.sqrt(2), rel=0.01)
    assert means["dissimilarity"][0] == pytest.approx(1, abs=0.05)
    assert means["effective_number"][0] == pytest.approx(2, rel=0.01)
    assert means["band 1"][0] > 5 * means["band 6"][0]  # white noise is fine
    assert means["photograph_percentile"][0] == means["perturbation_percentile"][0] == 1
    assert abs(means["rank_correlation"][0]) < 0.3 and 0 <= means["top1"][0] <= means["top5"][0] < 0.7
    assert all(list(values) == list(ij.networks.CAFFENET.layer_names) for values in by_layer.values())
    maps = {"photograph_percentile", "perturbation_percentile", "relative_distance"}
    assert pictures(tmp_path / "invariance") == {"diversity", "bands", "error", "equivalence", *maps}
    sweep, names = ij.load_sweep(tmp_path), results["images"]
    for layer in ("conv3", "fc8"):  # by the layer's own representation
        phi = ij.alexnet(layer=layer)
        codes = {name: np.asarray(phi(ij.example_image(name, size=227))) for name in names}
        null, percentiles, distances = analysis.null_distances(list(codes.values())), [], []
        for name in names:
            restarts = [np.asarray(phi(image)) for image in sweep["conv1", name].image]
            to_photograph = [analysis.pairwise_rms([code, codes[name]])[0, 1] for code in restarts]
            percentiles.append(analysis.percentile_rank(to_photograph, null).mean())
            distances.append(analysis.pairwise_rms(restarts)[0, 1] / null.mean())
        assert by_layer["photograph_percentile"][layer][0] == pytest.approx(np.mean(percentiles), abs=0.01)
        assert by_layer["relative_distance"][layer][0] == pytest.approx(np.mean(distances), rel=0.01)
    again = measured(tmp_path, *NOISY_SWEEP, "--layers=conv1")  # a part of what is saved
    assert again["cases"]["conv1"] == summary
    for changed, word in (("--layers=conv2", "conv2"), ("--lambda_tv=7", "recipe"), ("--num_images=4", "photograph")):
        with pytest.raises(ValueError, match=word):
            measured(tmp_path, *NOISY_SWEEP, "--layers=conv1", changed)


def test_steps_and_trends_have_their_sign(key):
    def measured(*distances):
        return [types.SimpleNamespace(distance=np.full(2, distance)) for distance in distances]

    chain = {"a": measured(1, 2, 3, 4, 5), "b": measured(3, 4, 5, 6, 8), "c": measured(2, 3, 4, 5, np.nan)}
    steps = invariance_curves.compare_neighbors(key, chain, ["a", "b", "c"])
    assert steps["b"]["difference"].estimate == pytest.approx(2.2) and steps["b"]["p_value"] == 2 * 2 / 2**5
    assert steps["c"]["difference"].estimate == pytest.approx(-1)
    assert invariance_curves.trend(key, chain, ["a", "b", "c"]).estimate == pytest.approx(0.5)  # ranks 1, 3, 2
    assert invariance_curves.trend(key, chain, ["b", "a"]).estimate == -1


def test_comparison_with_another_sweep(hog, copy):
    """The other has errors that are larger by a tenth, and images twice as far apart."""
    for path in copy.glob("restarts/*/*.npz"):
        arrays = dict(np.load(path))
        del arrays["digest"]  # else the changed arrays are taken for damage
        arrays["error"] += np.float32(0.1)
        arrays["image"] = 2 * arrays["image"]
        np.savez(path, **arrays)
    results = measured(hog, *HOG, f"--against={copy}")
    (compared,) = results["comparisons"].values()
    assert set(compared) == {f"{name}, {measure}" for name in ("hog", "hogb") for measure in ("error", "distance")}
    for name, comparison in compared.items():
        case, measure = name.split(", ")
        distance = results["cases"][case]["over_photographs"]["distance"][0]
        expected = -0.1 if measure == "error" else -distance
        assert comparison["difference"][0] == pytest.approx(expected, rel=1e-3)
        assert comparison["p_value"] == 1.0  # 0.25 four times: the least that three photographs can give
    (copy / "restarts" / "hogb" / "rocket.npz").unlink()
    with pytest.raises(ValueError, match="rocket"):
        measured(hog, *HOG, f"--against={copy}")


def test_comparison_of_recipes(tmp_path):
    how = ("--representations=hogb", "--recipes=mahendran_vedaldi,laplacian_pyramid", "--stages=1e-2x10,1e-2x10")
    results = measured(tmp_path, *HOG[:3], *how)
    pixels, pyramid = (summary["over_photographs"]["error"][0] for summary in results["cases"].values())
    (compared,) = results["comparisons"].values()
    assert compared["hogb, error"]["difference"][0] == pytest.approx(pyramid - pixels, rel=1e-4)


@pytest.mark.parametrize("mistake", ["--num_restarts=1", "--num_images=2", "--layers=conv9"])
def test_mistakes_are_refused_before_there_is_a_folder(mistake, tmp_path):
    with pytest.raises(ValueError, match=mistake.partition("=")[0]):
        measured(tmp_path / "out", "--layers=conv1", mistake)
    assert not (tmp_path / "out").exists()


# --- invariance_geometry, receptive_fields ---


def test_geometry(tmp_path, photographs, monkeypatch):
    size = ("--num_images=1", "--num_restarts=2", "--num_steps=20", "--size=63", "--stages=4e-3x30")
    arguments = (f"--images={photographs}", "--layers=conv1,hogb", *size)
    results = running.run("invariance_geometry", tmp_path, *arguments)
    for name in ("repel", "low_error_path", "singular_directions"):
        monkeypatch.delattr(analysis, name)  # the second run reads what is saved
    assert running.run("invariance_geometry", tmp_path, *arguments)["rows"] == results["rows"]
    assert "coupled" in results["restarts"]["repulsion"] and len(running.rows(tmp_path)) == 2
    for row in results["rows"]:
        assert all(row["pushed_feasible"]) and row["pushed_distance"] > row["distance"]
        assert max(row["pushed_error"]) <= 1.001 * max(row["error"]) and row["free_error"] != row["error"]
        assert len(row["path_error"]) == len(row["line_error"]) == 9 and len(row["path_max_segment_error"]) == 8
        values = row["gain"]
        assert values["most"][0] > values["most, smooth"][0] > values["least, smooth"][0] >= 0
    assert pictures(tmp_path) == {"repulsion", "path", "directions"}
    saved = [np.load(path) for path in (tmp_path / "inversions").glob("*.npz")]
    assert sum("coupled" in file.files for file in saved) == 4


def test_receptive_fields_of_noise(tmp_path, photographs):
    """Of white noise a field holds its part of the area."""
    layers = running.run("receptive_fields", tmp_path, f"--images={photographs}", "--layers=conv1,conv3", *NOISE)[
        "layers"
    ]
    assert [layer["box_side"] for layer in layers.values()] == [27, 163]
    for layer in layers.values():
        assert layer["inside"][0] == pytest.approx(layer["area_inside"], rel=0.15) and layer["photographs"] == 3
        assert layer["side"][0] == pytest.approx(np.sqrt(0.9) * layer["box_side"], abs=2)
    assert pictures(tmp_path) == {"receptive_fields", "sides"} and len(running.rows(tmp_path)) == 2


# --- the page ---


def test_page_is_complete_and_needs_no_network(hog, copy):
    page = report.write_report(hog).read_text()
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert addresses and all(address.startswith(("data:", "#")) for address in addresses)
    assert "http" not in re.sub(r"data:[^\"]*", "", page)
    images = re.findall(r"<img src[^>]*>", page)
    assert len(images) == 4 + 2 * 3 * (1 + 3 + 7 + 2)  # curves; photograph, restarts, mean and bands, plots
    assert all(re.search(r'alt="[^"]{12,}"', image) for image in images)
    assert all(row[1] in page for row in running.rows(hog / "invariance"))
    for runner in ("report", "sample_invariances", "invariance_curves"):
        assert f"python -m experiments.{runner}" in page

    geometry = copy / "geometry"
    geometry.mkdir()
    (geometry / "table.md").write_text("| layer | length |\n|---|---|\n| hog | 12.3 |\n")
    results = running.results(copy / "invariance")
    command = {"command": ["invariance_geometry.py", "--bound=2"]}
    (geometry / "results.json").write_text(json.dumps(results | command))
    ij.save_image(geometry / "path.png", ij.example_image("coffee", size=32))
    (copy / "invariance" / "results.json").write_text(json.dumps({**results, "num_restarts": 2}))
    page = report.write_report(copy, num_pictures=2).read_text()
    section = page[page.index('<section id="geometry">') :].partition("</section>")[0]
    assert "12.3" in section and section.count("<img") == 1 and "--bound=2" in section
    assert "run it again" in page and page.count("<img src") == 5 + 2 * 1 * (1 + 3 + 7 + 2)
    assert "<b>odd" not in page and "&lt;b&gt;odd &amp; $strange$" in page
    with pytest.raises(FileNotFoundError, match="sweep"):
        report.write_report(copy / "geometry")


FOREIGN = (
    "[]",
    "3",
    '"text"',
    "{",
    "\xff",
    '{"command": "a"}',
    '{"command": [1], "versions": {}, "device": 2}',
    "[" * 100_000,
)


@pytest.mark.parametrize("content", FOREIGN)
def test_page_passes_over_foreign_files(copy, content):
    """Each with the name of a file that a runner writes: named in a warning, and not shown."""
    data = content.encode("latin-1")
    for path in (copy / "results.json", copy / "invariance" / "results.json"):
        path.write_bytes(data)
    (copy / "geometry").mkdir()
    (copy / "geometry" / "table.md").write_bytes(data)
    with pytest.warns(UserWarning, match="passed over") as warned:
        page = report.write_report(copy, num_pictures=1).read_text()
    named = " ".join(str(warning.message) for warning in warned)
    assert all(str(copy / name) in named for name in ("results.json", "invariance/results.json", "geometry"))
    assert '<section id="geometry">' not in page and '<section id="invariance">' in page


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to open the page in (apt install chromium)")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_page_in_a_browser(hog, width, scheme):
    from playwright import sync_api

    with sync_api.sync_playwright() as browsers:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        options = ["--disable-gpu", "--disable-background-networking", "--no-first-run", *sandbox]
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=options)
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        complaints = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(report.write_report(hog).as_uri())

        def is_light():
            color = page.evaluate("getComputedStyle(document.body).backgroundColor")
            return np.mean([int(part) for part in re.findall(r"\d+", color)[:3]]) > 128

        assert is_light() == (scheme == "light")
        page.click("#theme")
        assert is_light() == (scheme == "dark")
        for link in page.query_selector_all("nav a"):
            link.click()
            assert page.evaluate("document.querySelector(location.hash) !== null")
        page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
        page.evaluate("document.querySelectorAll('img[src]').forEach(image => image.loading = 'eager')")
        page.wait_for_function("[...document.querySelectorAll('figure img')].every(image => image.naturalWidth > 0)")
        page.click("figure img >> nth=0")
        assert page.is_visible("#large") and page.inner_text("#large p") != ""
        page.keyboard.press("Escape")
        assert not page.is_visible("#large")
        assert page.evaluate("document.documentElement.scrollWidth") <= width  # no sideways scrolling on a phone
        assert complaints == []
        browser.close()


# --- metamer_verdict ---


def brightness(_, image):
    """Two classes: a dark and a light image."""
    mean = image.mean()
    return jnp.stack([128 - mean, mean - 128])


def judge():
    return ij.from_function(brightness, ())


def test_verdict_against_numpy(hog, tmp_path, monkeypatch):
    folder, module = tmp_path / "sweep", sys.modules[__name__]
    shutil.copytree(hog, folder)
    monkeypatch.setitem(sys.modules, "a_judge", module)
    assert running.status("metamer_verdict", folder, *HOG, "--num_scale_images=5", "--judge=a_judge:judge") == 0
    results = running.results(folder / "verdict")
    assert results["num_pairs"] == 20 and len(results["rows"]) == 6
    sweep = ij.load_sweep(folder)
    row = results["rows"][0]
    found, phi = sweep[row["case"], row["image"]], ij.hog()
    assert row["passes"] == [a and b for a, b in zip(row["above"], row["recognized"], strict=True)]
    assert len(row["above"]) == len(found.error) == 3
    code = np.asarray(phi(found.image[1]), np.float64).ravel()
    photograph = ij.load_image(folder / "photographs" / f"{row['case']}-{row['image']}.png", gray=True)
    target = np.asarray(phi(photograph), np.float64).ravel()
    measures = {name: measure["restarts"][1] for name, measure in row["measures"][row["case"]].items()}
    assert measures["rank_correlation"] == pytest.approx(stats.spearmanr(code, target).statistic, abs=0.02)
    assert measures["squared_correlation"] == pytest.approx(np.corrcoef(code, target)[0, 1] ** 2, abs=0.02)
    snr = 20 * np.log10(np.linalg.norm(target) / np.linalg.norm(code - target))
    assert measures["snr"] == pytest.approx(snr, abs=0.3)
