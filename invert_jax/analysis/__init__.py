"""Statistics of finished restarts: how different the images are, how alike their codes, how certain both numbers are.

Arrays go in, NumPy comes out, on the host.
"""

from invert_jax.analysis.bootstrap import (
    Comparison,
    Interval,
    bootstrap_ci,
    paired_permutation_test,
    stratified_bootstrap_ci,
)
from invert_jax.analysis.diversity import (
    Concentration,
    Diversity,
    PixelStd,
    concentration,
    diversity,
    pairwise_rms,
    pixel_std,
    std_map,
)
from invert_jax.analysis.equivalence import (
    Measurement,
    Nulls,
    Summary,
    identification,
    measure_nulls,
    measure_restarts,
    null_distances,
    percentile_rank,
    perturbations,
    rank_correlation,
    references,
    restart_mean,
    summarize,
    top_k_agreement,
)
from invert_jax.analysis.jacobian import SingularDirections, singular_directions
from invert_jax.analysis.metamers import Agreement, agreement, is_beyond, null_agreement
from invert_jax.analysis.repulsion import Coupled, low_error_path, repel

__all__ = [
    "Agreement",
    "Comparison",
    "Concentration",
    "Coupled",
    "Diversity",
    "Interval",
    "Measurement",
    "Nulls",
    "PixelStd",
    "SingularDirections",
    "Summary",
    "agreement",
    "bootstrap_ci",
    "concentration",
    "diversity",
    "identification",
    "is_beyond",
    "low_error_path",
    "measure_nulls",
    "measure_restarts",
    "null_agreement",
    "null_distances",
    "paired_permutation_test",
    "pairwise_rms",
    "percentile_rank",
    "perturbations",
    "pixel_std",
    "rank_correlation",
    "references",
    "repel",
    "restart_mean",
    "singular_directions",
    "std_map",
    "stratified_bootstrap_ci",
    "summarize",
    "top_k_agreement",
]
