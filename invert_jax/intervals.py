"""How sure a number is: intervals over photographs and over restarts, kept apart, and comparisons, by scipy."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from invert_jax import checks

_CONFIDENCE = 0.95


class Interval(NamedTuple):
    """An estimate and where it lies.

    Attributes:
      estimate: the statistic of the sample.
      low: lower end of the interval.
      high: its upper end.
    """

    estimate: float
    low: float
    high: float


def over_photographs(key: jax.Array, values, *, statistic: Callable = np.mean, num_resamples: int = 9999) -> Interval:
    """A statistic of one number for each photograph, and its 95 % interval over photographs, by the BCa bootstrap.

    Args:
      key: random key of the resampling.
      values: `[P]`, such as the mean over each photograph's restarts; those that are not finite are left out.
      statistic: `statistic(values, axis)`.
      num_resamples: how many.

    Returns:
      An `Interval`; NaN ends with fewer than three photographs, or equal ones at the estimate.

    Source: Efron, "Better bootstrap confidence intervals", 1987, as scipy has it.

    >>> found = over_photographs(jax.random.key(0), np.arange(20.0))
    >>> found.low < 9.5 == found.estimate < found.high
    True
    """
    from scipy import stats

    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return Interval(np.nan, np.nan, np.nan)
    estimate = float(statistic(values))
    if np.ptp(values) == 0 and values.size > 2:
        return Interval(estimate, estimate, estimate)
    if values.size < 3:
        return Interval(estimate, np.nan, np.nan)
    found = stats.bootstrap(
        (values,), statistic, n_resamples=num_resamples, confidence_level=_CONFIDENCE, rng=_generator(key)
    )
    return Interval(estimate, float(found.confidence_interval.low), float(found.confidence_interval.high))


def over_restarts(key: jax.Array, pairs: Sequence[np.ndarray], *, num_resamples: int = 999) -> Interval:
    """The mean over pairs of different restarts, and its 95 % interval over restarts, photographs as they are.

    Restarts are drawn anew within each photograph, with replacement, and their pairs follow; a restart drawn twice is
    no pair with itself, and a draw of one restart throughout is drawn again. The percentiles of the resampled means are
    the interval. Of ten normal restarts of four photographs it held the truth in nine cases of ten; with fewer
    restarts it is narrower still.

    Args:
      key: random key of the resampling.
      pairs: for each photograph `[R, R]`, such as the distances of its restarts, with as many as it has; a restart
        whose row is not finite is left out.
      num_resamples: how many.

    Returns:
      An `Interval`; NaN ends if a photograph has fewer than three restarts that are finite. One with fewer than two
      says nothing, and is left out.

    Raises:
      ValueError: another shape.

    >>> gaps = np.abs(np.subtract.outer(np.arange(6.0), np.arange(6.0)))
    >>> found = over_restarts(jax.random.key(0), [gaps])
    >>> found.low < found.estimate < found.high
    True
    """
    known = []
    for square in pairs:
        square = np.array(square, np.float64)
        if square.ndim != 2 or square.shape[0] != square.shape[1]:
            raise ValueError(f"Pairs of a photograph have the shape [R, R]; got {square.shape}.")
        np.fill_diagonal(square, 0)
        good = np.isfinite(square).sum(axis=1) > 1  # a lost restart has its own zero alone
        if good.sum() > 1:
            known.append(square[np.ix_(good, good)])
    if not known:
        return Interval(np.nan, np.nan, np.nan)
    draw = _generator(key)

    def mean(choose):
        means = []
        for square in known:
            chosen = choose(len(square))
            apart = chosen[:, None] != chosen
            means.append(square[np.ix_(chosen, chosen)][apart].mean())
        return float(np.mean(means))

    def again(count):
        while True:
            chosen = draw.integers(count, size=count)
            if np.ptp(chosen):
                return chosen

    estimate = mean(np.arange)
    if min(map(len, known)) < 3:
        return Interval(estimate, np.nan, np.nan)
    resampled = [mean(again) for _ in range(num_resamples)]
    low, high = np.quantile(resampled, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return Interval(estimate, float(low), float(high))


class Comparison(NamedTuple):
    """Differences of paired values, one for each name.

    Attributes:
      difference: `{name: Interval}`, first less second, over photographs.
      p_value: `{name: p}` that the mean difference is zero, corrected for how many were compared.
    """

    difference: Mapping[str, Interval]
    p_value: Mapping[str, float]


def compare(key: jax.Array, first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> Comparison:
    """Two layers, recipes or networks on the same photographs: paired differences, corrected for many by Holm.

    Args:
      key: random key of the resampling.
      first: `{name: [P]}`, such as errors by layer.
      second: the same names and photographs.

    Returns:
      A `Comparison`; the p-values are of the sign-flip permutation test of the mean, exact for few photographs.

    Raises:
      ValueError: other names, or another number of photographs.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.

    >>> rng = np.random.default_rng(0)
    >>> rng, nothing = np.random.default_rng(0), {"a": np.zeros(12), "b": np.zeros(12)}
    >>> found = compare(jax.random.key(0), {"a": rng.normal(1, 0.1, 12), "b": rng.normal(size=12)}, nothing)
    >>> found.p_value["a"] < 0.01 < found.p_value["b"]
    True
    """
    from scipy import stats

    if set(first) != set(second):
        raise ValueError(f"The two have different names: {', '.join(sorted(set(first) ^ set(second)))}; give the same.")
    intervals, values = {}, {}
    for i, name in enumerate(first):
        ours, theirs = np.asarray(first[name], np.float64), np.asarray(second[name], np.float64)
        if ours.shape != theirs.shape or ours.ndim != 1:
            raise ValueError(f"{name} has {ours.shape} and {theirs.shape} photographs; give as many, in one order.")
        gaps = (ours - theirs)[np.isfinite(ours - theirs)]
        mine = jax.random.fold_in(key, i)
        intervals[name] = over_photographs(mine, gaps)
        values[name] = 1.0
        if gaps.size > 1 and np.any(gaps):
            test = stats.permutation_test((gaps,), np.mean, permutation_type="samples", rng=_generator(mine))
            values[name] = float(test.pvalue)
    corrected, least = {}, 0.0
    for i, name in enumerate(sorted(values, key=values.__getitem__)):
        least = max(least, min(1.0, (len(values) - i) * values[name]))
        corrected[name] = least
    return Comparison(intervals, {name: corrected[name] for name in first})


def _generator(key):
    checks.require_key(key)
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
