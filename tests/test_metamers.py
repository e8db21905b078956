"""The criterion for metamers against scipy and NumPy, pair by pair."""

import numpy as np
import pytest
from refusals import refused
from scipy import stats

from invert_jax import analysis


def test_agreement_is_scipys_pair_by_pair(rng):
    codes, target = rng.normal(size=(4, 5, 3)).round(1), rng.normal(size=(5, 3)).round(1)
    found = analysis.agreement(codes, target)
    for i, code in enumerate(codes):
        assert found.rank_correlation[i] == pytest.approx(stats.spearmanr(code.ravel(), target.ravel()).statistic)
        assert found.squared_correlation[i] == pytest.approx(np.corrcoef(code.ravel(), target.ravel())[0, 1] ** 2)
        ratio = np.linalg.norm(target) / np.linalg.norm(code - target)
        assert found.snr[i] == pytest.approx(20 * np.log10(ratio))
    same = analysis.agreement(target[None], target)
    assert same.rank_correlation == pytest.approx(1) and same.snr == np.inf


def test_near_codes_have_their_ratio_and_not_rounding(rng):
    target = rng.normal(size=1000) + 100
    code = target + 1e-6 * rng.normal(size=1000)
    expected = 20 * np.log10(np.linalg.norm(target) / np.linalg.norm(code - target))
    assert analysis.agreement(code[None], target).snr[0] == pytest.approx(expected, rel=1e-6)


def test_the_null_is_all_ordered_pairs(rng):
    codes = rng.normal(size=(4, 6))
    null = analysis.null_agreement(codes)
    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
    for number, (i, j) in enumerate(pairs):
        one = analysis.agreement(codes[i : i + 1], codes[j])
        for values, value in zip(null, one, strict=True):
            assert values[number] == pytest.approx(value[0])
    with refused("two"):
        analysis.null_agreement(codes[:1])


def test_beyond_the_null_by_all_three_measures(rng):
    codes = rng.normal(size=(30, 50))
    null = analysis.null_agreement(codes)
    near = codes[0] + np.outer([1e-3, 10], rng.normal(size=50))
    assert analysis.is_beyond(analysis.agreement(near, codes[0]), null).tolist() == [True, False]
    constant = analysis.agreement(np.zeros((1, 50)), codes[0])  # has no correlation
    assert analysis.is_beyond(constant, null).tolist() == [False]
    with refused("null"):
        analysis.is_beyond(constant, analysis.null_agreement(np.zeros((3, 50))))
    with refused("shape"):
        analysis.agreement(codes, codes)
