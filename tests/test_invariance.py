"""Statistics of restarts: cases whose answer is known, and scipy where it has one."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import invert_jax as ij
from invert_jax import analysis


def checkerboard(size):
    return (-1.0) ** np.add.outer(np.arange(size), np.arange(size))[..., None]


# --- diversity ---


@pytest.mark.parametrize("num_restarts", [2, 5, 9])
def test_as_many_as_there_are_when_each_is_as_far_from_every_other(num_restarts):
    images = np.zeros((num_restarts, 16, 16, 1))
    for r in range(num_restarts):
        images[r, r] = 200.0
    found = ij.analysis.diversity(images, resolution=0)
    assert found.effective_number == pytest.approx(num_restarts, rel=1e-4)
    apart = found.distance[~np.eye(num_restarts, dtype=bool)]
    np.testing.assert_allclose(apart, 200 * np.sqrt(2 / 16), rtol=1e-6)


def test_one_when_all_are_the_same(rng):
    image = rng.uniform(0, 255, (1, 16, 16, 3))
    found = analysis.diversity(np.repeat(image, 4, axis=0) + rng.normal(0, 0.01, (4, 16, 16, 3)))
    assert found.effective_number == pytest.approx(1, abs=1e-4)
    assert found.distance.max() < 0.05 and found.ssim.min() > 0.9999
    assert analysis.diversity(np.repeat(image, 2, axis=0), resolution=0).effective_number == 1


def test_what_differs_by_less_than_the_resolution_hardly_counts(rng):
    """Restarts of independent noise, from a tenth of the resolution to ten times as much: from 1 to R, in no leap."""
    noise = rng.normal(size=(5, 32, 32, 1))
    numbers = [analysis.diversity(128 + deviation * noise).effective_number for deviation in (0.05, 0.25, 0.5, 1, 5)]
    expected = [1 + 4 * (each**2 / (each**2 + 0.25)) ** 2 for each in (0.05, 0.25, 0.5, 1, 5)]
    np.testing.assert_allclose(numbers, expected, rtol=0.05)


@pytest.mark.parametrize(("num_directions", "num_restarts"), [(3, 200), (20, 60), (100, 30)])
def test_the_number_of_directions_shows(num_directions, num_restarts, rng):
    basis = np.linalg.qr(rng.normal(size=(16 * 16, num_directions)))[0]
    images = 128 + 200 * (rng.normal(size=(num_restarts, num_directions)) @ basis.T).reshape(-1, 16, 16, 1)
    expected = 1 + num_directions * (num_restarts - 1) / (num_directions + num_restarts)
    assert analysis.diversity(images).effective_number == pytest.approx(expected, rel=0.05)


def test_bands_tell_the_scale():
    base = ij.example_image("coffee", size=64)
    lighter = analysis.diversity(np.stack([base, base + 10.0])).bands[:, 0, 1]
    np.testing.assert_allclose(lighter[:-1], 0, atol=1e-3)
    assert lighter[-1] == pytest.approx(10, rel=1e-4)
    rougher = analysis.diversity(np.stack([base, base + 10.0 * checkerboard(64)])).bands[:, 0, 1]
    assert rougher[0] == pytest.approx(10, rel=0.05) and rougher[1:].max() < 0.5


def test_bands_add_up_to_the_images():
    images = np.stack([ij.example_image(name, size=(37, 50)) for name in ("chelsea", "coffee")])
    np.testing.assert_allclose(sum(analysis._bands(images, 6)), images, atol=1e-3)


def test_ssim_is_that_of_each_pair():
    assert analysis.pairwise_rms([]).shape == (0, 0)
    images = np.stack([ij.example_image(name, size=32) for name in ("chelsea", "coffee", "rocket")])
    found = analysis.diversity(images)
    assert found.ssim[0, 2] == found.ssim[2, 0] == pytest.approx(float(ij.metrics.ssim(images[0], images[2])), rel=1e-5)


def test_spread_is_where_images_differ(rng):
    images = np.repeat(ij.example_image("chelsea", size=32)[None], 5, axis=0)
    images[:, 8:16, 8:16] += rng.normal(0, 20, (5, 8, 8, 3))
    found = analysis.pixel_std(images)
    np.testing.assert_allclose(found.mean, images.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.deviation, np.std(images, axis=0, ddof=1), rtol=1e-4, atol=1e-4)
    assert found.deviation[20:].max() < 1e-3 < found.deviation[9:15, 9:15].min()
    assert found.bands.shape == (6, 32, 32, 3) and found.bands[0, 8:16, 8:16].mean() > 5 * found.bands[-1].mean()


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((16, 16, 1)), r"\[R, H, W, C\]"),
        (np.zeros((1, 16, 16, 1)), "two or more"),
        (np.full((3, 16, 16, 1), np.nan), r"3 of 3 restarts are not finite; leave them out: images\[found.finite\]"),
    ],
)
def test_restarts_that_are_none_are_refused(images, said):
    with pytest.raises(ValueError, match=said):
        analysis.diversity(images)
    with pytest.raises(ValueError, match=said):
        analysis.pixel_std(images)


# --- descents whose invariance is known ---


def _left_half(params, image):
    return image[:, : image.shape[1] // 2]


def _everything(params, image):
    return image


@pytest.mark.parametrize(("apply", "seen"), [(_left_half, 8), (_everything, 16)])
def test_restarts_of_a_linear_code_differ_in_its_null_space_and_nowhere_else(apply, seen):
    image = ij.example_image("chelsea", size=16, gray=True)
    recipe = dataclasses.replace(
        ij.recipes.mahendran_vedaldi(lambda_tv=0.0, lambda_alpha=0.0, stages=((0.02, 300),)), sigma=1000.0
    )
    phi = ij.from_function(apply)
    found = ij.sample(jax.random.key(0), phi, phi(image), recipe, image_shape=image.shape, num_restarts=8, chunk_size=8)
    assert found.error.max() < 1e-3
    deviation = analysis.pixel_std(found.image).deviation
    assert deviation[:, :seen].max() < 0.1
    if seen == 16:
        assert analysis.diversity(found.image).effective_number < 1.05
    else:  # nothing has moved what is not seen: the starts, noise of norm sigma
        assert deviation[:, seen:].mean() == pytest.approx(1000 / 16, rel=0.1)
        assert analysis.diversity(found.image).effective_number == pytest.approx(8, rel=0.1)


def _mean_and_deviation(params, image):
    mean = jnp.mean(image)
    return jnp.stack([mean, jnp.sqrt(jnp.mean((image - mean) ** 2))])


def test_restarts_of_a_translation_invariant_code_are_as_far_apart_as_unrelated_noise():
    """Of a code that holds the mean and the standard deviation s alone: noise of s, so sqrt(2) s from each other."""
    image = ij.example_image("chelsea", size=32, gray=True)
    recipe = dataclasses.replace(
        ij.recipes.mahendran_vedaldi(lambda_tv=0.0, lambda_alpha=0.0, stages=((0.05, 100), (0.005, 100))), sigma=2000.0
    )
    phi = ij.from_function(_mean_and_deviation)
    found = ij.sample(jax.random.key(0), phi, phi(image), recipe, image_shape=image.shape, num_restarts=6, chunk_size=6)
    assert found.error.max() < 1e-3
    moved = np.roll(found.image, (5, 9), axis=(1, 2))
    np.testing.assert_allclose([phi(each) for each in moved], found.features, rtol=1e-4)
    diversity = analysis.diversity(found.image)
    apart = diversity.distance[np.triu_indices(6, 1)]
    np.testing.assert_allclose(apart, np.sqrt(2) * image.std(), rtol=0.1)
    assert apart.mean() == pytest.approx(np.sqrt(2) * image.std(), rel=0.02)
    assert diversity.effective_number == pytest.approx(6, rel=0.02)
    assert analysis.pixel_std(found.image).deviation.mean() == pytest.approx(image.std(), rel=0.1)


# --- equivalence ---


def test_percentile_is_scipys(rng):
    null, distances = rng.integers(0, 9, 50), np.arange(-1.0, 10.0, 0.5)
    expected = [stats.percentileofscore(null, each, kind="mean") / 100 if each > 0 else 0 for each in distances]
    np.testing.assert_allclose(analysis.percentile_rank(distances, null), expected)
    assert np.isnan(analysis.percentile_rank([np.nan, 5.0], null)).tolist() == [True, False]
    for nothing in ([], [np.inf, 1.0]):
        with pytest.raises(ValueError, match="A null needs finite distances"):
            analysis.percentile_rank(1.0, nothing)


def test_nulls_behave(key):
    """On HOG: two photographs sit in the middle of the first null, a photograph on itself below all, and so does what
    nobody would call another picture."""
    names = ij.images.EXAMPLES
    images = [ij.example_image(name, size=64, gray=True) for name in names]
    hog = ij.hog()
    codes = np.stack([hog(image) for image in images])
    null = analysis.null_distances(codes)
    assert len(null) == len(names) * (len(names) - 1) // 2
    middle = []
    for i, j in itertools.combinations(range(len(names)), 2):  # two photographs, among the distances of the others
        others = np.delete(codes, [i, j], axis=0)
        away = analysis.pairwise_rms(codes[[i, j]])[0, 1]
        middle.append(analysis.percentile_rank(away, analysis.null_distances(others)))
    assert 0.4 < np.mean(middle) < 0.6 and 0.4 < np.median(middle) < 0.6
    assert analysis.percentile_rank(0.0, null) == 0
    with pytest.raises(ValueError, match="two photographs or more; got 1"):
        analysis.null_distances(codes[:1])
    changed = {name: hog(each) for name, each in analysis.perturbations(key, images[0]).items()}
    gaps = {name: analysis.pairwise_rms(np.stack([code, codes[0]]))[0, 1] for name, code in changed.items()}
    assert gaps["lighter"] < 1e-6 and gaps["moved right 1"] < gaps["moved right 4"]
    assert max(gaps.values()) < np.median(null)
    # HOG does not feel that a picture is lighter: the photograph itself is still below all of this null
    assert analysis.percentile_rank(0.0, [0.0, *gaps.values()]) == 0 < analysis.percentile_rank(1e-9, [0.0, 1.0])


def test_perturbations_are_what_they_are_called(key):
    image = ij.example_image("coffee", size=(20, 30))
    found = analysis.perturbations(key, image)
    np.testing.assert_array_equal(found["moved down 4"][4:], image[:-4])
    np.testing.assert_array_equal(found["moved right 1"][:, 1:], image[:, :-1])
    np.testing.assert_array_equal(found["moved right 4"][:, :4], np.repeat(image[:, :1], 4, axis=1))
    np.testing.assert_array_equal(found["darker"], image - 10)
    assert (found["noisy"] - image).std() == pytest.approx(5, rel=0.1)
    np.testing.assert_allclose(found["blurred"][8, 9], np.einsum(
        "i,j,ijc->c", *[np.array([1, 4, 6, 4, 1]) / 16] * 2, image[6:11, 7:12]), rtol=1e-5)  # fmt: skip
    np.testing.assert_allclose(analysis.perturbations(key, np.full((9, 9, 1), 7.0))["blurred"], 7, rtol=1e-6)


def test_rank_correlation_is_scipys(rng):
    codes, target = rng.integers(0, 5, (4, 3, 7)), rng.normal(size=(3, 7))
    expected = [stats.spearmanr(code.ravel(), target.ravel()).statistic for code in codes]
    np.testing.assert_allclose(analysis.rank_correlation(codes, target), expected)
    assert np.isnan(analysis.rank_correlation(np.ones((1, 3, 7)), target)).all()


def test_the_class_is_kept_among_the_best():
    target = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    scores = np.stack([target, -target, [4.0, 5.0, 3.0, 2.0, 1.0], np.full(5, np.nan)])
    assert analysis.top_k_agreement(scores[:3], target, count=1).tolist() == [1, 0, 0]
    assert analysis.top_k_agreement(scores[:3], target, count=2).tolist() == [1, 0, 1]
    assert analysis.top_k_agreement(scores, target, count=5)[:3].all()
    assert np.isnan(analysis.top_k_agreement(scores, target, count=2)[3])
    with pytest.raises(ValueError, match="The 6 best of 5 classes"):
        analysis.top_k_agreement(scores, target, count=6)
    with pytest.raises(ValueError, match="shape"):
        analysis.top_k_agreement(scores, target[:4], count=1)
