"""HOGgle's runner, and the runners that take what it learned."""

import numpy as np
import pytest
import running

import invert_jax as ij

pytestmark = pytest.mark.slow

LEARN = ("--size=64", "--num_windows=60", "--num_atoms=8", "--num_test_images=3")


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A folder with pair.npz, dictionaries for VLFeat's HOG, and out/, what the runner wrote; and the flags."""
    folder = tmp_path_factory.mktemp("learned")
    (folder / "photographs").mkdir()
    for name in ("chelsea", "coffee"):
        ij.save_image(folder / "photographs" / f"{name}.png", ij.example_image(name, size=64))
    arguments = (f"--images={folder / 'photographs'}", f"--output={folder / 'pair.npz'}", *LEARN)
    running.run("learn_hoggle", folder / "out", *arguments)
    return folder, arguments


def test_errors_are_those_of_the_saved_dictionaries(learned):
    folder, arguments = learned
    results, pair, hog = running.results(folder / "out"), ij.baselines.hoggle.load(folder / "pair.npz"), ij.hog()
    targets = np.stack([hog(ij.example_image(name, size=64, gray=True)) for name in results["images"]])
    found = np.stack([hog(ij.baselines.hoggle.invert(pair, target)) for target in targets])
    scale = np.mean([np.linalg.norm(targets[i] - targets[j]) for i, j in ((0, 1), (0, 2), (1, 2))])
    errors = [np.linalg.norm(a - b) / scale for a, b in zip(found, targets, strict=True)]
    np.testing.assert_allclose(results["errors"], errors, rtol=1e-3)

    before = (folder / "pair.npz").stat().st_mtime_ns
    assert running.run("learn_hoggle", folder / "out", *arguments)["errors"] == results["errors"]
    assert (folder / "pair.npz").stat().st_mtime_ns == before  # learned once


def test_figure3_and_table1_show_hoggle(learned, photographs, tmp_path):
    arguments = (f"--images={photographs}", "--size=48", f"--hoggle={learned[0] / 'pair.npz'}", "--stages=4e-3x2")
    results = running.run("mahendran_vedaldi.figure3", tmp_path / "figure", *arguments, "--representations=hog")
    assert [row["case"] for row in results["rows"]] == ["HOGgle", "HOG"]
    running.run("mahendran_vedaldi.table1", tmp_path / "table", *arguments, "--num_images=2", "--representations=")
    assert [row[0] for row in running.rows(tmp_path / "table")] == ["hoggle"]


def test_mistakes_end_before_learning(learned, tmp_path):
    photographs = learned[0] / "photographs"
    (tmp_path / "other.npz").write_bytes(b"Dear diary")
    for arguments, noun in [
        ((f"--output={tmp_path / 'other.npz'}",), "other.npz"),
        ((f"--output={tmp_path / 'pair.txt'}",), "npz"),
        ((f"--output={tmp_path / 'new.npz'}", f"--test_images={photographs}"), "learned from"),
    ]:
        with pytest.raises(ValueError, match=noun):
            running.run("learn_hoggle", tmp_path / "out", f"--images={photographs}", *LEARN, *arguments)
    assert (tmp_path / "other.npz").read_bytes() == b"Dear diary"
