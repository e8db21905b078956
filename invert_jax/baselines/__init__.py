"""Other methods of inversion to compare with."""

from invert_jax.baselines import hoggle

__all__ = ["hoggle"]
