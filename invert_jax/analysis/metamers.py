"""Whether images with one code are metamers: the criterion of Feather et al. (2019, 2023).

A metamer of a model's layer has there, and at every later layer, a code nearer to the original's than those of any two
different images are to each other, by three measures, and the model's class of the original.
"""

from typing import NamedTuple

import numpy as np

from invert_jax._util.reprs import short_repr


class Agreement(NamedTuple):
    """How alike codes are, in pairs: NaN where a code is constant or not finite."""

    rank_correlation: np.ndarray  #: Spearman's
    squared_correlation: np.ndarray  #: Pearson's, squared
    snr: np.ndarray  #: 20 log10 of |target| over |code - target|, dB; infinite where they are equal

    __repr__ = short_repr


def agreement(codes, target) -> Agreement:
    """How alike codes are to a target, by the three measures of Feather et al.

    `rho(ranks)`, `rho(y, y0)^2` and `SNR = 20 log10(|y0| / |y - y0|)` dB.

    Args:
      codes: `[N, F...]`, y.
      target: `[F...]`, y0.

    Returns:
      An `Agreement` of `[N]`.

    Raises:
      ValueError: codes of another shape than the target.

    Source: Feather, Leclerc, Madry & McDermott, "Model metamers reveal divergent invariances between biological and
    artificial neural networks", Nature Neuroscience 2023.

    >>> agreement(np.array([[2.0, 4.0, 6.0]]), np.array([1.0, 2.0, 3.0]))._asdict()["snr"].tolist()
    [0.0]
    """
    codes, target = np.asarray(codes, np.float64), np.asarray(target, np.float64)
    if codes.shape[1:] != target.shape:
        raise ValueError(f"The codes have shape {codes.shape}, the target {target.shape}; give [N, F...] and [F...].")
    joined = np.concatenate([codes.reshape(len(codes), -1), target.reshape(1, -1)])
    return Agreement(*(matrix[:-1, -1] for matrix in _pairs(joined)))


def null_agreement(codes) -> Agreement:
    """How alike the codes of different images are: of all ordered pairs of them.

    Args:
      codes: `[P, F...]`, of P different images.

    Returns:
      An `Agreement` of `[P (P - 1)]`.

    Raises:
      ValueError: fewer than two images.

    >>> null_agreement(np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 2.0]])).rank_correlation.round(2).tolist()
    [-1.0, 1.0, -1.0, -1.0, 1.0, -1.0]
    """
    if len(codes) < 2:
        raise ValueError(f"The null of different images needs two or more; got {len(codes)}.")
    off_diagonal = ~np.eye(len(codes), dtype=bool)
    return Agreement(
        *(matrix[off_diagonal] for matrix in _pairs(np.asarray(codes, np.float64).reshape(len(codes), -1)))
    )


def _pairs(codes):
    """The three measures of all pairs: matrices `[N, N]`; of the SNR the columns are targets."""
    from scipy import stats

    with np.errstate(invalid="ignore", divide="ignore"):
        gram = codes @ codes.T
        power = np.diag(gram)
        # Differences one row at a time: from the Gram matrix alone those of near codes would be rounding.
        distances = np.stack([np.sum((codes - code) ** 2, axis=1) for code in codes])
        snr = 10 * np.log10(power[None] / distances)
        return _correlations(stats.rankdata(codes, axis=1)), _correlations(codes) ** 2, snr


def _correlations(rows):
    centered = rows - rows.mean(1, keepdims=True)
    lengths = np.sqrt(np.sum(centered**2, axis=1))
    return centered @ centered.T / np.outer(lengths, lengths)


def is_beyond(found: Agreement, null: Agreement) -> np.ndarray:
    """Whether pairs are more alike than any pair of the null, by all three measures.

    Args:
      found: an `Agreement` of `[N]`.
      null: of any pairs; those that are NaN are left out.

    Returns:
      `[N]`, boolean; false where a measure is NaN.

    Raises:
      ValueError: a measure of the null is NaN for all pairs, as of a layer that is off on all images but one.

    >>> null = Agreement(np.array([0.1, 0.5]), np.array([0.2, 0.1]), np.array([-3.0, 1.0]))
    >>> is_beyond(Agreement(np.array([0.9, 0.9]), np.array([0.8, 0.15]), np.array([20.0, 20.0])), null).tolist()
    [True, False]
    """
    if any(not np.any(np.isfinite(values)) for values in null):
        raise ValueError("The null has no finite pair by one of the measures; give more photographs.")
    beyond = [value > values[np.isfinite(values)].max() for value, values in zip(found, null, strict=True)]
    return np.logical_and.reduce(beyond)
