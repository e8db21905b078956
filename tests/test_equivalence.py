"""Agreement of codes against scipy, null distributions on HOG, and the measurements of a study."""

import itertools

import jax
import numpy as np
import pytest
from refusals import refused
from scipy import stats

import invert_jax as ij
from invert_jax import analysis
from invert_jax.types import Preimage

HOG = ij.hog(binning="bilinear")


def encode(image):
    return {"hogb": np.asarray(HOG(image))}


def test_percentile_rank_is_scipys(rng):
    null, distances = rng.integers(0, 9, 50), np.arange(-1.0, 10.0, 0.5)
    expected = [stats.percentileofscore(null, value, kind="mean") / 100 if value > 0 else 0 for value in distances]
    np.testing.assert_allclose(analysis.percentile_rank(distances, null), expected)
    assert np.isnan(analysis.percentile_rank([np.nan, 5.0], null)).tolist() == [True, False]
    for invalid in ([], [np.inf, 1.0]):
        with pytest.raises(ValueError, match="null"):
            analysis.percentile_rank(1.0, invalid)


def test_nulls_of_hog(key):
    """Two photographs are in the middle of the null of photographs; small perturbations are below its median."""
    images = [ij.example_image(name, size=32, gray=True) for name in ij.images.EXAMPLES]
    codes = np.stack([HOG(image) for image in images])
    ranks = []
    for i, j in itertools.combinations(range(len(images)), 2):  # each pair among the distances of the others
        null = analysis.null_distances(np.delete(codes, [i, j], axis=0))
        ranks.append(analysis.percentile_rank(analysis.pairwise_rms(codes[[i, j]])[0, 1], null))
    assert 0.4 < np.mean(ranks) < 0.6 and 0.35 < np.median(ranks) < 0.65
    with pytest.raises(ValueError, match="photographs"):
        analysis.null_distances(codes[:1])
    nulls = analysis.measure_nulls(key, encode, images, {"first": images[0]})["hogb"]
    assert len(nulls.photographs) == len(images) * (len(images) - 1) // 2
    distances = dict(zip(analysis.perturbations(key, images[0]), nulls.perturbations["first"], strict=True))
    assert distances["lighter"] < 1e-6 and distances["shifted right 1"] < distances["shifted right 4"]
    assert max(distances.values()) < np.median(nulls.photographs)
    # HOG is invariant to brightness: the photograph itself still ranks below the whole null
    assert analysis.percentile_rank(0.0, [0.0, *distances.values()]) == 0 < analysis.percentile_rank(1e-9, [0.0, 1.0])


def test_perturbations(key):
    image = ij.example_image("coffee", size=32, gray=True)
    result = analysis.perturbations(key, image)
    np.testing.assert_array_equal(result["shifted down 4"][4:], image[:-4])
    np.testing.assert_array_equal(result["shifted right 1"][:, 1:], image[:, :-1])
    np.testing.assert_array_equal(result["shifted right 4"][:, :4], np.repeat(image[:, :1], 4, axis=1))
    np.testing.assert_array_equal(result["darker"], image - 10)
    assert (result["noisy"] - image).std() == pytest.approx(5, rel=0.1)
    taps = np.array([1, 4, 6, 4, 1]) / 16
    expected = np.einsum("i,j,ijc->c", taps, taps, image[6:11, 7:12])
    np.testing.assert_allclose(result["blurred"][8, 9], expected, rtol=1e-5)


def test_rank_correlation_is_scipys(rng):
    codes, target = rng.integers(0, 5, (4, 3, 7)), rng.normal(size=(3, 7))
    expected = [stats.spearmanr(code.ravel(), target.ravel()).statistic for code in codes]
    np.testing.assert_allclose(analysis.rank_correlation(codes, target), expected)
    assert np.isnan(analysis.rank_correlation(np.ones((1, 3, 7)), target)).all()


def test_top_k_agreement():
    target = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    scores = np.stack([target, -target, [4.0, 5.0, 3.0, 2.0, 1.0], np.full(5, np.nan)])
    for count, expected in ((1, [1, 0, 0, np.nan]), (2, [1, 0, 1, np.nan]), (5, [1, 1, 1, np.nan])):
        np.testing.assert_array_equal(analysis.top_k_agreement(scores, target, count=count), expected)
    for invalid, count, word in ((target, 6, "classes"), (target[:4], 1, "shape")):
        with pytest.raises(ValueError, match=word):
            analysis.top_k_agreement(scores, invalid, count=count)


def test_measurements_leave_out_and_count_diverged_restarts(key):
    images = {name: ij.example_image(name, size=32, gray=True) for name in ("chelsea", "coffee", "rocket")}
    image, noise = images["chelsea"], np.array(jax.random.normal(key, (3, 32, 32, 1)))
    noise[1] = np.nan
    nulls = analysis.measure_nulls(key, encode, list(images.values()), images)

    def measure(finite):
        error, finite = np.float32([0.1, np.nan, 0.3]), np.array(finite)
        restarts = ij.Preimage(image + noise, None, error, None, finite, None)
        return analysis.measure_restarts(encode, restarts, image, nulls, name="chelsea", layer="hogb")

    result = measure([True, False, True])
    expected = np.sqrt(np.mean((noise[0] - noise[2]) ** 2))
    assert result.not_finite == 1 and result.bands.shape == (6, 3, 3) and np.isnan(result.distance[1]).all()
    assert analysis.restart_mean(result.distance) == pytest.approx(expected, rel=1e-4)
    for values in (*result.photograph_percentile.values(), *result.perturbation_percentile.values()):
        assert np.isfinite(values).tolist() == np.isfinite(result.rank_correlation).tolist() == [True, False, True]
    distance = analysis.pairwise_rms([HOG(image + noise[r]) for r in (0, 2)])[0, 1]
    assert result.relative_distance["hogb"] == pytest.approx(distance / nulls["hogb"].photographs.mean())

    with pytest.raises(ValueError, match="nulls"):
        analysis.measure_restarts(encode, None, image, nulls, name="cat", layer="hogb")
    one_restart = measure([False, False, True])
    assert np.isnan(analysis.restart_mean(one_restart.distance)) and np.isnan(one_restart.effective_number)
    summary = analysis.summarize(key, [result, one_restart])
    assert summary.num_photographs == 1 and summary.not_finite == 3
    assert summary.over_photographs["distance"].estimate == pytest.approx(expected, rel=1e-4)
    assert summary.over_photographs["error"].estimate == pytest.approx((0.2 + 0.3) / 2)
    assert summary.by_layer["photograph_percentile"]["hogb"] == summary.over_photographs["photograph_percentile"]


# --- references and identification ---


def test_identification_is_the_rank_by_distance(rng):
    others, target = rng.normal(size=(20, 3, 4)), rng.normal(size=(3, 4))
    codes = np.stack([target, others[7], target + 1e-3, (target + others[7]) / 2 + 0.02 * (others[7] - target)])
    found = analysis.identification(codes, target, np.concatenate([others, target[None]]))
    distances = np.linalg.norm((codes[:, None] - others[None]).reshape(4, 20, -1), axis=2)
    own = np.linalg.norm((codes - target).reshape(4, -1), axis=1)
    assert found.tolist() == [1 + int(np.sum(row < mine)) for row, mine in zip(distances, own, strict=True)]
    assert found[0] == found[2] == 1 and found[1] > 1 and found[3] > 1
    with refused("shapes"):
        analysis.identification(codes, target, others[:, 0])


def test_references_of_a_code_that_is_the_mean(key, rng):
    """A code that is an image's mean takes the flat picture for the photograph; pixels do not."""
    photographs = rng.uniform(0, 255, (6, 32, 32, 1)).astype(np.float32)

    def encode(image):
        return {"mean": np.asarray(image).mean(keepdims=True), "pixels": np.asarray(image)}

    nulls = analysis.measure_nulls(key, encode, photographs, {"first": photographs[0]})
    distances = nulls["mean"].references["first"]
    assert distances["flat"] == pytest.approx(0, abs=1e-4)
    means = photographs.mean((1, 2, 3))
    nearest = np.min(np.abs(means[1:] - means[0]))
    assert distances["nearest other photograph"] == pytest.approx(nearest, rel=1e-3)
    rms = np.sqrt(np.mean((photographs[0] - photographs[0].mean()) ** 2))
    assert nulls["pixels"].references["first"]["flat"] == pytest.approx(rms, rel=1e-5)
    restarts = Preimage(photographs[:2], None, np.zeros(2), None, np.ones(2, bool), None)
    found = analysis.measure_restarts(encode, restarts, photographs[0], nulls, name="first", layer="pixels")
    assert found.identification[0] == 1 and found.identification[1] > 1
    assert set(found.reference_percentile) == {"flat", "coarsest level", "nearest other photograph"}
    assert analysis.summarize(key, [found]).over_photographs["identified"].estimate == 0.5
