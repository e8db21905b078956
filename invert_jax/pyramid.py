"""Laplacian pyramids, and the switched ones that show their coarse levels only. Pure functions of `[H, W, C]`.

Levels are numbered from 1, the finest, to K, the coarsest, and stand in that order, as in Singh & Namboodiri 2015.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from invert_jax import checks

KERNEL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""Burt & Adelson's 5-tap generating kernel with `a = 3/8`, the binomial one."""


def reduce(image: jax.Array) -> jax.Array:
    """REDUCE: blurs with `KERNEL` both ways and keeps every second row and column, the first among them.

    What the kernel reaches beyond the border is the border's value, so flat images stay flat.

    Args:
      image: `[H, W, C]`.

    Returns:
      `[ceil(H / 2), ceil(W / 2), C]`.

    Source: Burt & Adelson 1983, eq. 1.

    >>> reduce(jnp.full((5, 4, 1), 7.0))[..., 0].tolist()
    [[7.0, 7.0], [7.0, 7.0], [7.0, 7.0]]
    """
    for axis in (0, 1):
        size = image.shape[axis]
        image = jnp.pad(image, [(2, 2) if a == axis else (0, 0) for a in range(3)], mode="edge")
        taps = (jax.lax.slice_in_dim(image, k, k + size, stride=2, axis=axis) for k in range(5))
        image = sum((w * tap for w, tap in zip(KERNEL, taps, strict=True)), jnp.zeros((), image.dtype))
    return image


def expand(image: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """EXPAND: the inverse step in size, a smooth interpolation with `KERNEL`.

    Old samples stand at even places; with `h = 2 KERNEL`, an even place takes `h_0, h_2, h_4` of the three old samples
    around it, an odd one `h_1, h_3` of the two beside it. Beyond the border stands the border's value.

    Args:
      image: `[h, w, C]`.
      shape: `(H, W)` wanted, each twice the old one or one less.

    Returns:
      `[H, W, C]`.

    Raises:
      ValueError: a shape that `reduce` would not bring to this one.

    Source: Burt & Adelson 1983, eq. 2.

    >>> expand(jnp.array([[[0.0]], [[8.0]]]), (4, 1))[:, 0, 0].tolist()
    [1.0, 4.0, 7.0, 8.0]
    """
    if tuple(-(-side // 2) for side in shape) != image.shape[:2]:
        raise ValueError(
            f"An image of {image.shape[0]} x {image.shape[1]} does not expand to {shape[0]} x {shape[1]}; each side "
            f"must be twice as long, or one less."
        )
    for axis in (0, 1):
        size = image.shape[axis]
        image = jnp.pad(image, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        before, at, after = (jax.lax.slice_in_dim(image, k, k + size, axis=axis) for k in range(3))
        even = 2 * (KERNEL[0] * before + KERNEL[2] * at + KERNEL[4] * after)
        odd = 2 * (KERNEL[1] * at + KERNEL[3] * after)
        image = jnp.stack([even, odd], axis=axis + 1)
        image = image.reshape(*image.shape[:axis], 2 * size, *image.shape[axis + 2 :])
        image = jax.lax.slice_in_dim(image, 0, shape[axis], axis=axis)
    return image


def decompose(image: jax.Array, *, num_levels: int) -> tuple[jax.Array, ...]:
    """The Laplacian pyramid: `L_j = G_j - EXPAND(G_{j+1})` for `j < K` and `L_K = G_K`, `G_1` being the image.

    Args:
      image: `[H, W, C]`.
      num_levels: K; 1 leaves the image as it is.

    Returns:
      K arrays, the finest first, of sides `ceil(side / 2^(j-1))`.

    Source: Burt & Adelson 1983; Singh & Namboodiri 2015, section 3.2.

    >>> [level.shape for level in decompose(jnp.zeros((9, 6, 3)), num_levels=3)]
    [(9, 6, 3), (5, 3, 3), (3, 2, 3)]
    """
    checks.require_count(num_levels, "num_levels")
    levels = []
    for _ in range(num_levels - 1):
        coarse = reduce(image)
        levels.append(image - expand(coarse, (image.shape[0], image.shape[1])))
        image = coarse
    return (*levels, image)


def recompose(levels: Sequence[jax.Array]) -> jax.Array:
    """R, the image whose pyramid this is: `G_j = L_j + EXPAND(G_{j+1})`. Linear; undoes `decompose` to rounding.

    Args:
      levels: K arrays, the finest first.

    Returns:
      `[H, W, C]`.

    >>> image = jnp.arange(35.0).reshape(7, 5, 1)
    >>> bool(jnp.allclose(recompose(decompose(image, num_levels=3)), image, atol=1e-5))
    True
    """
    *finer, image = levels
    for level in reversed(finer):
        image = level + expand(image, (level.shape[0], level.shape[1]))
    return image


def switched(image: jax.Array, switches: jax.Array) -> jax.Array:
    """Eq. 2: `R(s_1 L_1, ..., s_K L_K)`, the image with some levels of its pyramid off.

    Computed as the image less what the switches hide, so that with all on it is the image exactly.

    Args:
      image: `[H, W, C]`.
      switches: `[K]`, 1 where a level is on, the finest first; see `coarse_to_fine`.

    Returns:
      `[H, W, C]`.

    Source: Singh & Namboodiri 2015, eq. 2.

    >>> image = jnp.arange(12.0).reshape(4, 3, 1)
    >>> bool((switched(image, jnp.ones(3)) == image).all())
    True
    """
    hidden = [(1 - switches[j]) * level for j, level in enumerate(decompose(image, num_levels=switches.shape[0]))]
    return image - recompose(hidden)


def coarse_to_fine(stage: jax.Array | int, *, num_levels: int) -> jax.Array:
    """The switches of a stage of inversion: at stage 0 the coarsest level alone is on, and each stage adds the next.

    Args:
      stage: 0 to K - 1, may be traced; beyond, everything stays on.
      num_levels: K.

    Returns:
      `[K]`, float32, the finest first.

    Source: Singh & Namboodiri 2015, section 3.4.

    >>> coarse_to_fine(1, num_levels=4).tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    checks.require_count(num_levels, "num_levels")
    return (jnp.arange(num_levels) >= num_levels - 1 - stage).astype(jnp.float32)
