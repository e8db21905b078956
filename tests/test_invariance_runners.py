"""The runners that measure a sweep and show it: curves, and the page, which a browser clicks through."""

import dataclasses
import json
import os
import re
import shutil

import jax
import numpy as np
import pytest
from runners import numbers, rows, run_module

import invert_jax as ij
from experiments import invariance_curves, report, restart_statistics

SMALL = ["--num_images=3", "--num_restarts=3", "--gray_size=32", "--representations=hog,hogb"]
LAYERS = ["--num_images=3", "--num_restarts=2", "--layers=norm1,conv1,pool1"]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def gray(tmp_path_factory):
    """HOG and HOGb of three small photographs, measured."""
    workdir = tmp_path_factory.mktemp("gray")
    run_module("sample_invariances", workdir, *SMALL)
    run_module("invariance_curves", workdir, *SMALL)
    return workdir


def told(workdir):
    return json.loads((workdir / "invariance" / "results.json").read_text())


def test_curves_say_what_the_restarts_say(gray):
    found, results = ij.load_sweep(gray), told(gray)
    assert results["num_restarts"] == 3 and set(results["problems"]) == {"hog", "hogb"}
    assert [row[0] for row in rows(gray / "invariance")] == ["hog", "hogb"]
    for problem, summary in results["problems"].items():
        restarts = [found[problem, image] for image in results["images"]]
        assert summary["error"][0] == pytest.approx(np.mean([each.error.mean() for each in restarts]), rel=1e-5)
        apart = [ij.invariance.distances(each.image)[np.triu_indices(3, 1)].mean() for each in restarts]
        assert summary["distance"][0] == pytest.approx(np.mean(apart), rel=1e-5)
        low, high = summary["distance"][1:]
        assert low < summary["distance"][0] < high
        over_restarts = summary["over_restarts"]
        assert over_restarts["distance"][0] == pytest.approx(np.mean(apart), rel=1e-4)
        assert over_restarts["error"][0] == pytest.approx(summary["error"][0])
        assert all(low < estimate < high for estimate, low, high in (over_restarts["distance"], over_restarts["error"]))
        # an inversion is nearer to its photograph than photographs are to each other
        assert summary["among_photographs"] == summary["percentile"][problem]
        assert summary["among_photographs"][0] < 0.2 <= summary["among_perturbations"][0]
        assert summary["apart"][problem][0] < 1 and summary["rank_correlation"][0] > 0.7
        assert summary["photographs"] == 3
        assert 2 < summary["distinct"][0] <= 3 and summary["not_finite"] == 0
    assert results["trend"] == results["steps"] == {} and all(map(np.isfinite, numbers(results["problems"])))
    assert {path.stem for path in (gray / "invariance").glob("*.png")} == {"diversity", "bands", "error", "equivalence"}


def test_curves_of_layers(asked, tmp_path):
    """On restarts that are noise of 40 gray levels, from layers that are not given in order of depth."""
    run_module("invariance_curves", tmp_path, *LAYERS)  # makes the sweep, since there is none
    assert len(asked) == 3 * 3 * 2
    results = told(tmp_path)
    assert list(results["steps"]) == ["pool1", "norm1"]
    assert list(results["trend"]) == ["pixels"]
    for step in results["steps"].values():
        assert abs(step["difference"][0]) < 1
    summary = results["problems"]["conv1"]
    assert summary["distance"][0] == pytest.approx(40 * np.sqrt(2), rel=0.01)
    assert summary["dissimilarity"][0] == pytest.approx(1, abs=0.05) and summary["distinct"][0] == pytest.approx(
        2, rel=0.01
    )
    assert summary["band 1"][0] > 5 * summary["band 6"][0]  # noise is fine
    for name in ("percentile", "perturbed", "apart"):
        assert list(summary[name]) == list(ij.layers.NAMES)
    _assert_later_layers(tmp_path, summary)
    assert results["problems"]["norm1"]["among_photographs"][0] == summary["among_perturbations"][0] == 1
    assert summary["apart"]["conv1"][0] > 1 and abs(summary["rank_correlation"][0]) < 0.3
    assert 0 <= summary["top1"][0] <= summary["top5"][0] < 0.7
    names = {path.stem for path in (tmp_path / "invariance").glob("*.png")}
    assert names == {"diversity", "bands", "error", "equivalence", "percentile", "perturbed", "apart"}
    assert len(list((tmp_path / "photographs").glob("*.png"))) == 9
    run_module("invariance_curves", tmp_path, *LAYERS[:2], "--layers=conv1")  # of what is there
    assert len(asked) == 18 and told(tmp_path)["problems"]["conv1"] == summary

    with pytest.raises(ValueError, match="holds a sweep in which conv2: weights is absent"):
        run_module("invariance_curves", tmp_path, *LAYERS[:2], "--layers=conv2,pool2,fc8")
    with pytest.raises(ValueError, match="holds a sweep in which conv1: recipe: rates is"):
        run_module("invariance_curves", tmp_path, *LAYERS[:2], "--layers=conv1", "--recipes=pyramid")
    next(tmp_path.glob("restarts/conv1/*.npz")).unlink()
    with pytest.raises(ValueError, match=r"has 0 of 2 restarts of conv1, .*; finish the sweep first"):
        run_module("invariance_curves", tmp_path, *LAYERS[:2], "--layers=conv1")


def _assert_later_layers(workdir, summary):
    """What is said of conv1's restarts in the code of conv3 and fc8, by the layers' own representations."""
    sweep, names = ij.load_sweep(workdir), ("chelsea", "coffee", "rocket")
    photographs = [ij.load_image(workdir / "photographs" / f"conv1-{name}.png") for name in names]
    for layer in ("conv3", "fc8"):
        phi = ij.alexnet(layer)
        codes = [np.asarray(phi(photograph)) for photograph in photographs]
        null = ij.invariance.photographs_null(codes)
        expected, apart = [], []
        for name, code in zip(names, codes, strict=True):
            restarts = [np.asarray(phi(image)) for image in sweep["conv1", name].image]
            away = [ij.invariance.distances([restart, code])[0, 1] for restart in restarts]
            expected.append(ij.invariance.percentile(away, null).mean())
            apart.append(ij.invariance.distances(restarts)[0, 1] / null.mean())
        assert summary["percentile"][layer][0] == pytest.approx(np.mean(expected), abs=0.01)
        assert summary["apart"][layer][0] == pytest.approx(np.mean(apart), rel=0.01)
    assert summary["perturbed"]["conv1"] == summary["among_perturbations"]


def test_steps_and_trends_have_their_sign(key):
    def records(*distances):
        return [{"distance": np.full(2, distance), "error": np.full(2, distance / 100)} for distance in distances]

    chain = {"a": records(1, 2, 3, 4, 5), "b": records(3, 4, 5, 6, 8), "c": records(2, 3, 4, 5, np.nan)}
    steps = invariance_curves._steps(key, chain, ["a", "b", "c"])
    assert steps["b"]["difference"].estimate == pytest.approx(2.2)
    assert steps["c"]["difference"].estimate == pytest.approx(-1)
    assert steps["b"]["p_value"] == pytest.approx(2 * 2 / 2**5)
    assert invariance_curves._trend(key, chain, ["a", "b", "c"]).estimate == pytest.approx(0.5)  # ranks 1, 3, 2
    assert invariance_curves._trend(key, chain, ["b", "a"]).estimate == -1


def test_a_lost_restart_is_left_out_and_counted(key):
    hog = ij.hog(binning="bilinear")
    images = {name: ij.sample_image(name, size=32, gray=True) for name in ("chelsea", "coffee", "rocket")}
    problem = ij.sweeps.Problem("hogb", hog, ij.recipes.shallow(), images)
    nulls = restart_statistics.nulls_of(key, problem, list(images.values()))
    image, noise = images["chelsea"], np.array(jax.random.normal(key, (3, 32, 32, 1)))
    noise[1] = np.nan

    def restarts(finite):
        fields = dict.fromkeys(ij.sweeps.Restarts._fields)
        fields |= {"image": image + noise, "error": np.float32([0.1, np.nan, 0.3]), "finite": np.array(finite)}
        return ij.sweeps.Restarts(**fields)

    record = restart_statistics.record_of(problem, restarts([True, False, True]), "chelsea", image, nulls)
    expected = np.sqrt(np.mean((noise[0] - noise[2]) ** 2))
    assert record["not_finite"] == 1 and record["distance"][0, 2] == pytest.approx(expected, rel=1e-4)
    assert np.isnan(record["distance"][1]).all() and record["bands"].shape == (6, 3, 3)
    assert restart_statistics.mean_over(record["distance"]) == pytest.approx(expected, rel=1e-4)
    for name in ("among_photographs", "among_perturbations", "rank_correlation"):
        assert np.isfinite(record[name]).tolist() == [True, False, True]
    nothing = restart_statistics.record_of(problem, restarts([False, False, True]), "chelsea", image, nulls)
    summary = restart_statistics.summary_of(key, [record, nothing])
    assert (
        np.isnan(restart_statistics.mean_over(nothing["distance"]))
        and summary["photographs"] == 1
        and summary["not_finite"] == 3
    )
    assert summary["distance"].estimate == pytest.approx(expected, rel=1e-4)
    assert summary["error"].estimate == pytest.approx((0.2 + 0.3) / 2)


def test_a_sweep_is_compared_with_another(gray, tmp_path):
    """The other has the same photographs, errors that are larger by a tenth, and images twice as far apart."""
    other = tmp_path / "other"
    shutil.copytree(gray, other)
    for path in other.glob("restarts/*/*.npz"):
        arrays = dict(np.load(path))
        arrays["error"] += np.float32(0.1)
        arrays["image"] = 2 * arrays["image"]
        np.savez(path, **arrays)
    run_module("invariance_curves", gray, *SMALL, f"--against={other}")
    results = told(gray)
    ((title, compared),) = results["comparisons"].items()
    assert title == f"this sweep less {other}"
    assert set(compared) == {f"{name}, {what}" for name in ("hog", "hogb") for what in ("error", "distance")}
    for name, found in compared.items():
        problem, what = name.split(", ")
        expected = -0.1 if what == "error" else -results["problems"][problem]["distance"][0]
        assert found["difference"][0] == pytest.approx(expected, rel=1e-3)
        assert found["p_value"] == 1.0  # 0.25 four times: three photographs can show no more
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["settings"]["hog: photograph chelsea"] = "another"
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="photograph chelsea is another, here"):
        run_module("invariance_curves", gray, *SMALL, f"--against={other}")


def test_a_sweep_that_is_not_finished_is_not_compared_with(gray, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(gray, other)
    (other / "restarts" / "hogb" / "coffee.npz").unlink()
    with pytest.raises(ValueError, match="other has no restarts of hogb, coffee yet; finish it first"):
        run_module("invariance_curves", gray, *SMALL, f"--against={other}")


def test_recipes_of_one_sweep_are_compared(asked, tmp_path, monkeypatch):
    """The second one's restarts have errors that are larger by a tenth."""
    keep = ij.sweeps.work.Worker._keep

    def keep_worse(self, name, lanes, found, seconds):
        error = found.error + 0.1 * ("pyramid" in name)
        keep(self, name, lanes, dataclasses.replace(found, error=error), seconds)

    monkeypatch.setattr(ij.sweeps.work.Worker, "_keep", keep_worse)
    run_module("invariance_curves", tmp_path, *SMALL[:3], "--representations=hog", "--recipes=pixels,pyramid")
    ((title, compared),) = told(tmp_path)["comparisons"].items()
    assert title == "pyramid less pixels" and set(compared) == {"hog, error", "hog, distance"}
    assert compared["hog, error"]["difference"][0] == pytest.approx(0.1, abs=0.05)


def test_the_weight_of_the_prior_may_be_one_for_everything(asked, tmp_path):
    run_module("sample_invariances", tmp_path, *LAYERS[:2], "--layers=conv1,fc8", "--lambda_tv=5")
    assert {recipe.lambda_tv for recipe, _ in asked} == {5.0}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--num_restarts=1"], "--num_restarts of two or more"),
        (["--num_images=2"], "--num_images of three or more"),
        (["--layers=conv9"], "conv9"),
    ],
)
def test_mistakes_of_curves_are_told(arguments, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        run_module("invariance_curves", tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


def test_photographs_other_than_the_sweeps_are_refused(gray):
    with pytest.raises(ValueError, match="holds a sweep in which hog: photograph chelsea is"):
        run_module("invariance_curves", gray, *SMALL[:2], "--gray_size=40", SMALL[3])


@pytest.fixture(scope="module")
def page(gray):
    report.write_page(gray)
    return gray / "report.html"


def test_the_page_needs_nothing_but_itself(page, gray):
    text = page.read_text()
    addresses = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert addresses and all(address.startswith(("data:", "#")) for address in addresses)
    assert "http" not in re.sub(r"data:[^\"]*", "", text)
    pictures = re.findall(r"<img src[^>]*>", text)
    assert len(pictures) == 4 + 2 * 3 * (1 + 3 + 7 + 2)  # curves; photograph, restarts, mean and bands, plots
    assert all(re.search(r'alt="[^"]{12,}"', picture) for picture in pictures)
    for row in rows(gray / "invariance"):
        assert row[1] in text  # the table's intervals
    assert "python -m experiments.report" in text
    assert "python -m experiments.sample_invariances" in text and "python -m experiments.invariance_curves" in text
    assert text.index('id="problem-hog"') < text.index('id="problem-hogb"')


@pytest.fixture
def one(gray, tmp_path):
    """A sweep of one photograph and representation, under an odd name."""
    odd = tmp_path / "<b>odd & strange"
    shutil.copytree(gray, odd)
    for path in [*odd.glob("restarts/*/*.npz"), *odd.glob("invariance/table.md")]:
        if path.parts[-2:] != ("hog", "chelsea.npz"):
            path.unlink()
    return odd


def test_what_else_was_measured_there_is_on_the_page(one):
    room = one / "geometry"
    room.mkdir()
    (room / "table.md").write_text("| layer | length |\n|---|---|\n| hog | 12.3 |\n\nhog: twice as far apart.\n")
    (room / "results.json").write_text(json.dumps({"command": ["invariance_geometry.py", "--bound=2"]}))
    ij.save_image(room / "path.png", ij.sample_image("coffee", size=32))
    report.write_page(one)
    text = (one / "report.html").read_text()
    section = text[text.index('<section id="geometry">') :].partition("</section>")[0]
    assert "12.3" in section and "hog: twice as far apart." in section and section.count("<img") == 1
    assert 'href="#geometry"' in text and "python -m experiments.invariance_geometry --bound=2" in text
    assert 'id="receptive_fields"' not in text


def test_names_are_escaped(one):
    odd = one
    report.write_page(odd)
    text = (odd / "report.html").read_text()
    assert "<b>odd" not in text and "&lt;b&gt;odd &amp; strange" in text


def test_folders_without_a_sweep_are_told(tmp_path):
    with pytest.raises(ValueError, match="Name the folder"):
        report.main()
    with pytest.raises(FileNotFoundError, match="not the work folder of a sweep"):
        report.write_page(tmp_path)


def test_pictures_are_shared_out_and_numbers_of_fewer_restarts_are_told(gray, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(gray, copied)
    results = told(copied)
    (copied / "invariance" / "results.json").write_text(json.dumps({**results, "num_restarts": 2}))
    report.write_page(copied, num_shown=2)
    text = (copied / "report.html").read_text()
    assert "Measured when there were 2 restarts of each, not 3: run it again." in text
    assert text.count("<img src") == 4 + 2 * 1 * (1 + 3 + 7 + 2)
    assert text.count("Pictures are of the first 1 photographs of 3.") == 2
    assert len(text) < 1.5e6
    report.write_page(gray)
    assert "run it again" not in (gray / "report.html").read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to open the page in (apt install chromium)")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_browser_opens_it_and_clicks_through(page, width, scheme):
    from playwright import sync_api

    with sync_api.sync_playwright() as browsers:
        unboxed = ["--no-sandbox"] if os.geteuid() == 0 else []
        options = ["--disable-gpu", "--disable-background-networking", "--no-first-run", *unboxed]
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=options)
        shown = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        complaints = []
        shown.on("console", lambda message: complaints.append(message.text))
        shown.on("pageerror", lambda error: complaints.append(str(error)))
        shown.goto(page.as_uri())

        def ground():
            return shown.evaluate("getComputedStyle(document.body).backgroundColor")

        def luminous(color):
            return np.mean([int(part) for part in re.findall(r"\d+", color)[:3]]) > 128

        assert luminous(ground()) == (scheme == "light")
        shown.click("#theme")
        assert luminous(ground()) == (scheme == "dark")
        for link in shown.query_selector_all("nav a"):
            link.click()
            assert shown.evaluate("document.querySelector(location.hash) !== null")
        for summary in shown.query_selector_all("details:not([open]) > summary"):
            summary.click()
        assert shown.evaluate("document.querySelectorAll('details:not([open])').length") == 0
        shown.evaluate("document.querySelectorAll('img[src]').forEach(image => image.loading = 'eager')")
        shown.wait_for_function("[...document.querySelectorAll('figure img')].every(image => image.naturalWidth > 0)")
        shown.click("figure img >> nth=0")
        assert shown.is_visible("#large") and shown.inner_text("#large p") != ""
        plot = "[...document.querySelectorAll('#large img')].map(image => [image.clientWidth, image.naturalWidth])[0]"
        assert np.ptp(shown.evaluate(plot)) == 0  # at its own size, whatever the screen's
        shown.click("#large button")
        assert not shown.is_visible("#large")
        shown.focus("figure button >> nth=-1")
        shown.keyboard.press("Enter")
        assert shown.is_visible("#large")
        shown.keyboard.press("Escape")
        assert not shown.is_visible("#large")
        assert shown.evaluate("document.documentElement.scrollWidth") <= width  # nothing to scroll sideways on a phone
        assert complaints == []
        browser.close()


def test_the_page_is_written_whole_or_not_at_all(one, monkeypatch):
    (one / "report.html").write_text("before")
    monkeypatch.setattr(os, "replace", lambda *given: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        report.write_page(one)
    assert (one / "report.html").read_text() == "before" and not list(one.glob(".*.tmp"))
