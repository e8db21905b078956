"""The runners that look closer at a code's invariance: its width, ways and tangent, and receptive fields in effect."""

import json

import numpy as np
import pytest
from runners import rows, run_module

import invert_jax as ij


def test_geometry_of_a_shallow_layer(tmp_path, photographs):
    arguments = [f"--images={photographs}", "--num_images=1", "--layers=conv1", "--num_restarts=2", "--num_steps=20"]
    recipe = ij.recipes.mahendran_vedaldi(lambda_tv=0.5, stages=((4e-3, 30),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ij.recipes, "for_layer", lambda layer: recipe)
        original = ij.analysis.singular_directions
        patch.setattr(
            ij.sensitivity, "directions", lambda *given, **options: original(*given, **options, tolerance=0.1)
        )
        run_module("invariance_geometry", tmp_path, *arguments)
        first = (tmp_path / "results.json").read_text()
        patch.setattr(ij.sensitivity, "directions", None)  # everything is kept
        run_module("invariance_geometry", tmp_path, *arguments)
    results = json.loads(first)
    assert json.loads((tmp_path / "results.json").read_text())["rows"] == results["rows"]
    (row,) = results["rows"]
    assert "coupled" in results["restarts"]["repulsion"] and all(row["pushed_within"])
    assert row["pushed_distance"] > 1.5 * row["distance"] and max(row["pushed_error"]) <= 1.001 * max(row["error"])
    assert len(row["way_error"]) == len(row["line_error"]) == 9 and len(row["way_error_between"]) == 8
    assert all(row["way_within"]) and max(row["way_error_between"]) < 2 * max(row["error"])
    gains = row["gains"]
    assert gains["most"][0] > gains["most, smooth"][0] > gains["least, smooth"][0] >= 0
    assert {path.stem for path in tmp_path.glob("*.png")} == {"repulsion", "path", "directions"}
    kept = [np.load(path) for path in (tmp_path / "inversions").glob("*.npz")]
    assert sum("coupled" in file.files for file in kept) == 2  # their files say so
    assert row["free_distance"] > 1.3 * row["distance"]  # what the priors kept together
    assert len(row["free_error"]) == 2 and row["free_error"] != row["error"]


def test_geometry_of_hog(tmp_path, photographs):
    arguments = [f"--images={photographs}", "--num_images=1", "--layers=hogb", "--num_restarts=2", "--num_steps=10"]
    with pytest.MonkeyPatch.context() as patch:
        recipe = ij.recipes.mahendran_vedaldi(lambda_tv=0.5, stages=((4e-3, 30),))
        patch.setattr(ij.recipes, "shallow", lambda: recipe)
        run_module("invariance_geometry", tmp_path, *arguments, "--gray_size=32")
    (row,) = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert row["layer"] == "hogb" and all(row["pushed_within"]) and row["pushed_distance"] > row["distance"]


def test_receptive_fields_in_effect(asked, tmp_path, photographs):
    arguments = [f"--images={photographs}", "--num_images=3", "--layers=conv1,conv3", "--num_restarts=2", "--side=5"]
    run_module("receptive_fields", tmp_path, *arguments)
    assert len(asked) == 12 and all(mask.sum() == 25 * mask.shape[2] for _, mask in asked)
    layers = json.loads((tmp_path / "results.json").read_text())["layers"]
    assert [layers[name]["box_side"] for name in ("conv1", "conv3")] == [27, 163]
    for layer in layers.values():  # of noise the box holds its share of the area
        assert layer["inside"][0] == pytest.approx(layer["area_inside"], rel=0.15)
        assert layer["side"][0] == pytest.approx(np.sqrt(0.9) * layer["box_side"], abs=2)
        assert layer["photographs"] == 3
    assert {path.stem for path in tmp_path.glob("*.png")} == {"receptive_fields", "sides"}
    assert len(rows(tmp_path)) == 2
