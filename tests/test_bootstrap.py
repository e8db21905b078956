"""Intervals with their stated coverage, and comparisons whose p-values are known."""

import jax
import numpy as np
import pytest
from scipy import stats

from invert_jax import analysis


@pytest.mark.slow
@pytest.mark.parametrize(
    ("distribution", "count", "least"), [("exponential", 10, 0.9), ("normal", 10, 0.9), ("normal", 5, 0.88)]
)
def test_coverage_over_photographs(distribution, count, least, rng, key):
    """Plain resampling at 95 % covers the mean of so few values in 77 to 89 % of samples."""
    covered, mean = 0, {"exponential": 1, "normal": 0}[distribution]
    for i in range(200):
        values = getattr(rng, distribution)(size=count)
        interval = analysis.bootstrap_ci(jax.random.fold_in(key, i), values, num_resamples=599)
        covered += interval.low < mean < interval.high
    assert least < covered / 200 < 0.99


@pytest.mark.slow
def test_coverage_over_pairs_of_restarts(rng, key):
    """The mean distance of two normal points in d dimensions, over the root of d."""
    covered, expected = 0, np.mean(np.linalg.norm(rng.normal(size=(20000, 5)) * np.sqrt(2), axis=1)) / np.sqrt(5)
    for i in range(100):
        pairs = [analysis.pairwise_rms(rng.normal(size=(8, 5))) for _ in range(4)]
        interval = analysis.stratified_bootstrap_ci(jax.random.fold_in(key, i), pairs, num_resamples=199)
        covered += interval.low < expected < interval.high
    assert covered / 100 >= 0.9 and interval.high - interval.low < 0.3 * interval.estimate
    assert interval.estimate == pytest.approx(np.sum(pairs) / (4 * 56))


@pytest.mark.slow
@pytest.mark.parametrize(("count", "least"), [(3, 0.88), (8, 0.9)])
def test_coverage_over_few_restarts(count, least, rng, key):
    covered, widths = 0, []
    for i in range(150):
        samples = [10.0 * photograph + rng.normal(size=count) for photograph in range(4)]
        interval = analysis.stratified_bootstrap_ci(jax.random.fold_in(key, i), samples, num_resamples=199)
        covered += interval.low < 15 < interval.high
        widths.append(interval.high - interval.low)
    student = stats.t.ppf(0.975, 4 * (count - 1)) / np.sqrt(4 * count)
    assert covered / 150 > least and np.mean(widths) == pytest.approx(2 * student, rel=0.2)


def test_interval_of_many_values_is_students_and_depends_on_the_key_alone(rng, key):
    values = rng.normal(size=400)
    expected = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    np.testing.assert_allclose(analysis.bootstrap_ci(key, values)[1:], expected, atol=0.01)
    first, again, other = (analysis.bootstrap_ci(k, values[:9]) for k in (key, key, jax.random.fold_in(key, 1)))
    assert first == again != other


def test_interval_over_restarts_ignores_differences_between_photographs(rng, key):
    for count in (50, 200):
        samples = [mean + rng.normal(size=count) for mean in (0.0, 100.0)]
        interval = analysis.stratified_bootstrap_ci(key, samples)
        assert interval.estimate == pytest.approx(np.mean(np.concatenate(samples)))
        assert interval.low < interval.estimate < interval.high
        assert interval.high - interval.low == pytest.approx(2 * 1.96 / np.sqrt(2 * count), rel=0.25)
    # A photograph of which one restart is drawn throughout has no pair, and must not drop out of the mean.
    pairs = [scale * (1 - np.eye(3)) for scale in (5.0, 8, 10, 14, 20)]
    pairs[0][0, 1] = pairs[0][1, 0] = 5.1
    interval = analysis.stratified_bootstrap_ci(key, pairs)
    assert interval.high - interval.low < 0.1


def test_diverged_restarts_are_left_out_but_not_their_photographs(rng, key):
    wide, narrow = (scale * analysis.pairwise_rms(rng.normal(size=(8, 5))) for scale in (100, 1))
    with_diverged = np.full((9, 9), np.nan)
    with_diverged[:8, :8], with_diverged[8, 8] = wide, 0.0
    expected, interval = (analysis.stratified_bootstrap_ci(key, [pairs, narrow]) for pairs in (wide, with_diverged))
    assert interval == expected and 0.4 * interval.estimate < interval.low < interval.high < 1.6 * interval.estimate
    assert np.isnan(analysis.stratified_bootstrap_ci(key, [np.full((3, 3), np.nan)]).estimate)


@pytest.mark.parametrize(("values", "estimate"), [([], np.nan), ([2.0, np.nan], 2.0), ([3.0] * 4, 3.0)])
def test_no_interval_of_too_few_or_equal_values(values, estimate, key):
    interval = analysis.bootstrap_ci(key, np.array(values))
    np.testing.assert_equal([*interval], [estimate, np.nan, np.nan])
    assert np.isnan(analysis.stratified_bootstrap_ci(key, [np.full(4, 3.0)])[1:]).all()
    np.testing.assert_equal([*analysis.stratified_bootstrap_ci(key, [3 - 3 * np.eye(2)])], [3, np.nan, np.nan])


def test_p_values_are_exact_and_corrected(rng, key):
    """All ten differences have one sign: two of 2^10 assignments are as extreme; the smallest of three is tripled."""
    differences = {"a": rng.uniform(1, 2, 10), "b": -rng.uniform(1, 2, 10), "c": np.zeros(10)}
    second = {name: rng.normal(size=10) for name in differences}
    first = {name: second[name] + differences[name] for name in differences}
    result = analysis.paired_permutation_test(key, first, second)
    assert result.p_value["a"] == result.p_value["b"] == pytest.approx(3 * 2 / 2**10) and result.p_value["c"] > 0.9
    assert result.difference["b"].high < 0 < result.difference["a"].low
    three = {name: differences["a"][:3] for name in "abcd"}
    three = analysis.paired_permutation_test(key, three, {name: np.zeros(3) for name in three})
    assert three.p_value["a"] == 1 and three.difference["a"].low == three.difference["b"].low > 0  # 0.25 four times
    for wrong, word in (({"a": np.zeros(3)}, "names"), ({name: np.zeros(4) for name in "abc"}, "photographs")):
        with pytest.raises(ValueError, match=word):
            analysis.paired_permutation_test(key, first, wrong)
    with pytest.raises(ValueError, match="shape"):
        analysis.stratified_bootstrap_ci(key, [np.zeros((2, 3))])
