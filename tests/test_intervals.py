"""Intervals that hold what they promise, and comparisons whose p-value is known."""

import jax
import numpy as np
import pytest
from scipy import stats

from invert_jax import analysis


@pytest.mark.parametrize(
    ("draw", "count", "least"),
    [("exponential", 25, 0.9), ("exponential", 10, 0.9), ("normal", 10, 0.9), ("normal", 5, 0.88)],
)
def test_intervals_over_photographs_hold_what_they_promise(draw, count, least, rng, key):
    """Also of few photographs, of which plain resampling at 95 % holds the mean in 77 to 89 %."""
    inside, mean = 0, {"exponential": 1, "normal": 0}[draw]
    for i in range(200):
        values = getattr(rng, draw)(size=count)
        found = analysis.bootstrap_ci(jax.random.fold_in(key, i), values, num_resamples=599)
        inside += found.low < mean < found.high
    assert least < inside / 200 < 0.99


def test_of_many_values_the_interval_is_students(rng, key):
    values = rng.normal(size=400)
    found = analysis.bootstrap_ci(key, values)
    expected = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    np.testing.assert_allclose(found[1:], expected, atol=0.01)


def test_intervals_over_restarts_hold_what_they_promise(rng, key):
    """The mean distance of two points drawn alike from a normal distribution of d dimensions, over the root of d."""
    inside, expected = 0, np.mean(np.linalg.norm(rng.normal(size=(20000, 5)) * np.sqrt(2), axis=1)) / np.sqrt(5)
    for i in range(100):
        pairs = [analysis.pairwise_rms(rng.normal(size=(8, 5))) for _ in range(4)]
        found = analysis.stratified_bootstrap_ci(jax.random.fold_in(key, i), pairs, num_resamples=199)
        inside += found.low < expected < found.high
    assert inside / 100 >= 0.9
    assert found.high - found.low < 0.3 * found.estimate  # not by being wide
    assert found.estimate == pytest.approx(np.sum(pairs) / (4 * 56))
    with pytest.raises(ValueError, match=r"shape \[R\], or \[R, R\] for pairs; got \(2, 3\)"):
        analysis.stratified_bootstrap_ci(key, [np.zeros((2, 3))])


@pytest.mark.parametrize(("count", "least"), [(3, 0.88), (8, 0.9)])
def test_intervals_over_few_restarts_hold_their_mean(count, least, rng, key):
    """Of four photographs that are far from each other, which is nothing to the restarts."""
    inside, widths = 0, []
    for i in range(150):
        samples = [10.0 * photograph + rng.normal(size=count) for photograph in range(4)]
        found = analysis.stratified_bootstrap_ci(jax.random.fold_in(key, i), samples, num_resamples=199)
        inside += found.low < 15 < found.high
        widths.append(found.high - found.low)
    student = stats.t.ppf(0.975, 4 * (count - 1)) / np.sqrt(4 * count)
    assert inside / 150 > least and np.mean(widths) == pytest.approx(2 * student, rel=0.2)


def test_a_photograph_of_which_one_restart_is_drawn_stays(rng, key):
    """Pairs of three restarts, no two photographs alike: the interval is not of which photographs count."""
    pairs = [scale * (1 - np.eye(3)) for scale in (5.0, 8, 10, 14, 20)]
    pairs[0][0, 1] = pairs[0][1, 0] = 5.1
    found = analysis.stratified_bootstrap_ci(key, pairs)
    assert found.high - found.low < 0.1


def test_the_mean_of_restarts_varies_as_theirs_do_and_not_as_photographs_do(rng, key):
    """Two photographs far apart, whose restarts hardly differ: narrow, and half as wide with four times as many."""
    few, many = ([mean + rng.normal(size=count) for mean in (0.0, 100.0)] for count in (50, 200))
    widths = []
    for samples in (few, many):
        found = analysis.stratified_bootstrap_ci(key, samples)
        assert found.estimate == pytest.approx(np.mean(np.concatenate(samples)))
        assert found.low < found.estimate < found.high
        widths.append(found.high - found.low)
    assert widths[0] == pytest.approx(2 * 1.96 / np.sqrt(100), rel=0.2) and widths[1] == pytest.approx(
        widths[0] / 2, rel=0.25
    )


def test_intervals_are_those_of_their_key(rng, key):
    values = rng.normal(size=9)
    first, again, other = (analysis.bootstrap_ci(k, values) for k in (key, key, jax.random.fold_in(key, 1)))
    assert first == again != other


@pytest.mark.parametrize(("values", "estimate"), [([], np.nan), ([2.0, np.nan], 2.0), ([3.0] * 4, 3.0)])
def test_intervals_of_little(values, estimate, key):
    found = analysis.bootstrap_ci(key, np.array(values))
    np.testing.assert_equal(found.estimate, estimate)
    assert np.isnan([found.low, found.high]).all()  # equal values do not tell how they vary
    assert np.isnan(analysis.stratified_bootstrap_ci(key, [np.full(4, 3.0)])[1:]).all()


def test_comparison_is_exact_and_corrected(rng, key):
    """All ten differences have one sign: two of 2^10 assignments are as far out; the least of three is tripled."""
    gaps = {"a": rng.uniform(1, 2, 10), "b": -rng.uniform(1, 2, 10), "c": np.zeros(10)}
    second = {name: rng.normal(size=10) for name in gaps}
    found = analysis.paired_permutation_test(key, {name: second[name] + gaps[name] for name in gaps}, second)
    assert found.p_value["a"] == found.p_value["b"] == pytest.approx(3 * 2 / 2**10)
    assert found.p_value["c"] > 0.9
    assert found.difference["b"].high < 0 < found.difference["a"].low
    few = {name: gaps["a"][:3] for name in "abcd"}
    few = analysis.paired_permutation_test(key, few, {name: np.zeros(3) for name in few})
    assert few.p_value["a"] == 1 and few.difference["a"].low == few.difference["b"].low > 0  # 0.25 four times
    with pytest.raises(ValueError, match="different names: c"):
        analysis.paired_permutation_test(key, gaps, {"a": gaps["a"], "b": gaps["b"]})
    with pytest.raises(ValueError, match="as many"):
        analysis.paired_permutation_test(key, {"a": np.zeros(3)}, {"a": np.zeros(4)})


def test_two_restarts_have_no_interval(key):
    found = analysis.stratified_bootstrap_ci(key, [np.array([[0.0, 3.0], [3.0, 0.0]])])
    assert found.estimate == 3 and np.isnan([found.low, found.high]).all()


def test_lost_restarts_are_left_out_and_their_photographs_stay(rng, key):
    """Two photographs of unequal width, one of which has lost a restart: both count in full, always."""
    wide, narrow = (scale * analysis.pairwise_rms(rng.normal(size=(8, 5))) for scale in (100, 1))
    lost = np.full((9, 9), np.nan)
    lost[:8, :8], lost[8, 8] = wide, 0.0
    whole, found = (analysis.stratified_bootstrap_ci(key, [each, narrow]) for each in (wide, lost))
    assert found == whole
    assert 0.4 * found.estimate < found.low < found.high < 1.6 * found.estimate  # not that of one photograph alone
    assert np.isnan(analysis.stratified_bootstrap_ci(key, [np.full((3, 3), np.nan)]).estimate)
