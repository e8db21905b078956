"""What restarts say: how much they differ, how alike their features are, and how certain either number is."""

from invert_jax.analysis.bootstrap import (
    Comparison,
    Interval,
    bootstrap_ci,
    paired_permutation_test,
    stratified_bootstrap_ci,
)
from invert_jax.analysis.diversity import (
    Diversity,
    PixelStd,
    diversity,
    null_distances,
    pairwise_rms,
    percentile_rank,
    perturbations,
    pixel_std,
    rank_correlation,
    top_k_agreement,
)
from invert_jax.analysis.jacobian import SingularDirections, singular_directions
from invert_jax.analysis.repulsion import Coupled, low_error_path, repel

__all__ = [
    "Comparison",
    "Coupled",
    "Diversity",
    "Interval",
    "PixelStd",
    "SingularDirections",
    "bootstrap_ci",
    "diversity",
    "low_error_path",
    "null_distances",
    "paired_permutation_test",
    "pairwise_rms",
    "percentile_rank",
    "perturbations",
    "pixel_std",
    "rank_correlation",
    "repel",
    "singular_directions",
    "stratified_bootstrap_ci",
    "top_k_agreement",
]
