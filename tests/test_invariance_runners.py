"""The runner that measures a sweep: what restarts say, against what is computed another way."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from runners import GRAY_SWEEP, numbers, rows, run_module, told

import invert_jax as ij
from experiments import invariance_curves
from experiments.lib import restart_statistics

LAYERS = ["--num_images=3", "--num_restarts=2", "--layers=norm1,conv1,pool1"]


def test_curves_say_what_the_restarts_say(gray):
    found, results = ij.load_sweep(gray), told(gray)
    assert results["num_restarts"] == 3 and set(results["problems"]) == {"hog", "hogb"}
    assert [row[0] for row in rows(gray / "invariance")] == ["hog", "hogb"]
    for problem, summary in results["problems"].items():
        restarts = [found[problem, image] for image in results["images"]]
        assert summary["error"][0] == pytest.approx(np.mean([each.error.mean() for each in restarts]), rel=1e-5)
        apart = [ij.analysis.pairwise_rms(each.image)[np.triu_indices(3, 1)].mean() for each in restarts]
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
    run_module("invariance_curves", tmp_path, *LAYERS, "--num_scale_images=3")  # makes the sweep, since there is none
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
        assert list(summary[name]) == list(ij.networks.LAYER_NAMES)
    _assert_later_layers(tmp_path, summary)
    assert results["problems"]["norm1"]["among_photographs"][0] == summary["among_perturbations"][0] == 1
    assert summary["apart"]["conv1"][0] > 1 and abs(summary["rank_correlation"][0]) < 0.3
    assert 0 <= summary["top1"][0] <= summary["top5"][0] < 0.7
    names = {path.stem for path in (tmp_path / "invariance").glob("*.png")}
    assert names == {"diversity", "bands", "error", "equivalence", "percentile", "perturbed", "apart"}
    assert len(list((tmp_path / "photographs").glob("*.png"))) == 9
    run_module("invariance_curves", tmp_path, *LAYERS[:2], "--layers=conv1", "--num_scale_images=3")  # of what is there
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
    sweep, names = ij.load_sweep(workdir), ("astronaut", "chelsea", "rocket")
    photographs = [ij.example_image(name, size=227) for name in names]
    for layer in ("conv3", "fc8"):
        phi = ij.alexnet(layer=layer)
        codes = [np.asarray(phi(photograph)) for photograph in photographs]
        null = ij.analysis.null_distances(codes)
        expected, apart = [], []
        for name, code in zip(names, codes, strict=True):
            restarts = [np.asarray(phi(image)) for image in sweep["conv1", name].image]
            away = [ij.analysis.pairwise_rms([restart, code])[0, 1] for restart in restarts]
            expected.append(ij.analysis.percentile_rank(away, null).mean())
            apart.append(ij.analysis.pairwise_rms(restarts)[0, 1] / null.mean())
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
    images = {name: ij.example_image(name, size=32, gray=True) for name in ("chelsea", "coffee", "rocket")}
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
    run_module("invariance_curves", gray, *GRAY_SWEEP, f"--against={other}")
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
        run_module("invariance_curves", gray, *GRAY_SWEEP, f"--against={other}")


def test_a_sweep_that_is_not_finished_is_not_compared_with(gray, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(gray, other)
    (other / "restarts" / "hogb" / "rocket.npz").unlink()
    with pytest.raises(ValueError, match="other has 0 of 3 restarts of hogb, rocket; finish it first"):
        run_module("invariance_curves", gray, *GRAY_SWEEP, f"--against={other}")


def test_recipes_of_one_sweep_are_compared(asked, tmp_path, monkeypatch):
    """The second one's restarts have errors that are larger by a tenth."""
    keep = ij.sweeps.work.Worker._keep

    def keep_worse(self, name, lanes, found, seconds):
        error = found.error + 0.1 * ("pyramid" in name)
        keep(self, name, lanes, dataclasses.replace(found, error=error), seconds)

    monkeypatch.setattr(ij.sweeps.work.Worker, "_keep", keep_worse)
    run_module("invariance_curves", tmp_path, *GRAY_SWEEP[:3], "--representations=hog", "--recipes=pixels,pyramid")
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
        run_module("invariance_curves", gray, *GRAY_SWEEP[:2], "--gray_size=40", GRAY_SWEEP[3])
