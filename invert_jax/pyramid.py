"""Laplacian pyramids, and switched ones that show only their coarse levels. Pure functions of `[H, W, C]`.

Levels are numbered from 1, the finest, to K, the coarsest, in that order, as in Singh & Namboodiri 2015.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from invert_jax._util import checks

KERNEL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""Burt & Adelson's 5-tap generating kernel with `a = 3/8`, the binomial one."""


def reduce(image: jax.Array) -> jax.Array:
    """REDUCE: blurs with `KERNEL` both ways and keeps every second row and column, the first among them.

    The border's value repeats beyond it, so flat images stay flat.

    Args:
      image: `[H, W, C]`.

    Returns:
      `[ceil(H / 2), ceil(W / 2), C]`.

    Raises:
      ValueError: `image` is not `[H, W, C]`.

    Source: Burt & Adelson 1983, eq. 1.

    >>> reduce(jnp.full((5, 4, 1), 7.0))[..., 0].tolist()
    [[7.0, 7.0], [7.0, 7.0], [7.0, 7.0]]
    """
    checks.require_image(image, what="REDUCE of a pyramid")
    return _along_both(image, _reduction(image.shape[0]), _reduction(image.shape[1]))


def expand(image: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """EXPAND: the inverse step in size, a smooth interpolation with `KERNEL`.

    With `h = 2 KERNEL`, an even row or column weighs the three old samples around it by `h_0, h_2, h_4`, an odd one the
    two beside it by `h_1, h_3`. The border's value repeats beyond it.

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
    checks.require_image(image, what="EXPAND of a pyramid")
    if tuple(-(-side // 2) for side in shape) != image.shape[:2]:
        raise ValueError(
            f"An image of {image.shape[0]} x {image.shape[1]} does not expand to {shape[0]} x {shape[1]}; each side "
            f"must be twice as long, or one less."
        )
    return _along_both(image, _expansion(shape[0]), _expansion(shape[1]))


def _along_both(image, rows, columns):
    """`rows @ image @ columns^T` for each channel: small matrix products compile to less and run faster than taps."""
    exact = jax.lax.Precision.HIGHEST
    image = jnp.einsum("ij,jkc->ikc", rows, image, precision=exact)
    return jnp.einsum("lk,ikc->ilc", columns, image, precision=exact)


@functools.cache
def _reduction(size):
    """REDUCE along one axis, `[ceil(size / 2), size]`: row `i` weighs the five samples about `2 i`."""
    matrix = np.zeros((-(-size // 2), size), np.float32)
    for i in range(len(matrix)):
        for tap, weight in enumerate(KERNEL):
            matrix[i, np.clip(2 * i + tap - 2, 0, size - 1)] += weight
    return matrix


@functools.cache
def _expansion(size):
    """EXPAND along one axis, `[size, ceil(size / 2)]`: row `i` weighs the old samples within two of `i`."""
    matrix = np.zeros((size, -(-size // 2)), np.float32)
    for i in range(size):
        for tap, weight in enumerate(KERNEL):
            if (i + tap) % 2 == 0:
                matrix[i, np.clip((i + tap - 2) // 2, 0, matrix.shape[1] - 1)] += 2 * weight
    return matrix


def decompose(image: jax.Array, *, num_levels: int) -> tuple[jax.Array, ...]:
    """The Laplacian pyramid: `L_j = G_j - EXPAND(G_{j+1})` for `j < K` and `L_K = G_K`, `G_1` being the image.

    Args:
      image: `[H, W, C]`.
      num_levels: K; 1 leaves the image as it is.

    Returns:
      K arrays, the finest first, of sides `ceil(side / 2^(j-1))`.

    Raises:
      ValueError: `image` is not `[H, W, C]`, or `num_levels` is not a positive integer.

    Source: Burt & Adelson 1983; Singh & Namboodiri 2015, section 3.2.

    >>> [level.shape for level in decompose(jnp.zeros((9, 6, 3)), num_levels=3)]
    [(9, 6, 3), (5, 3, 3), (3, 2, 3)]
    """
    checks.require_image(image, what="Laplacian pyramid")
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

    Raises:
      ValueError: there are no levels.

    >>> image = jnp.arange(35.0).reshape(7, 5, 1)
    >>> bool(jnp.allclose(recompose(decompose(image, num_levels=3)), image, atol=1e-5))
    True
    """
    if not levels:
        raise ValueError("There are no levels to recompose; give one array or more, the finest first.")
    *finer, image = levels
    for level in reversed(finer):
        image = level + expand(image, (level.shape[0], level.shape[1]))
    return image


def switched(image: jax.Array, switches: jax.Array) -> jax.Array:
    """Eq. 2: `R(s_1 L_1, ..., s_K L_K)`, the image with some levels of its pyramid off.

    Computed as the image less the levels that are off, so that with all on it is the image exactly.

    Args:
      image: `[H, W, C]`.
      switches: `[K]`, 1 where a level is on, the finest first; see `stage_switches`.

    Returns:
      `[H, W, C]`.

    Raises:
      ValueError: `image` is not `[H, W, C]`, or `switches` is not `[K]`.

    Source: Singh & Namboodiri 2015, eq. 2.

    >>> image = jnp.arange(12.0).reshape(4, 3, 1)
    >>> bool((switched(image, jnp.ones(3)) == image).all())
    True
    """
    switches = jnp.asarray(switches)
    if switches.ndim != 1 or not switches.size:
        raise ValueError(f"switches have shape {switches.shape}; give [K], one for each level, the finest first.")
    off = [(1 - switches[j]) * level for j, level in enumerate(decompose(image, num_levels=switches.shape[0]))]
    return image - recompose(off)


def stage_switches(stage: jax.Array | int, *, num_levels: int) -> jax.Array:
    """The switches of a stage of inversion: at stage 0 the coarsest level alone is on, and each stage adds the next.

    Args:
      stage: 0 to K - 1, may be traced; beyond, everything stays on.
      num_levels: K.

    Returns:
      `[K]`, float32, the finest first.

    Raises:
      ValueError: `num_levels` is not a positive integer.

    Source: Singh & Namboodiri 2015, section 3.4.

    >>> stage_switches(1, num_levels=4).tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    checks.require_count(num_levels, "num_levels")
    return (jnp.arange(num_levels) >= num_levels - 1 - stage).astype(jnp.float32)


def switched_at_stage(image: jax.Array, stage: jax.Array | int, *, num_levels: int) -> jax.Array:
    """I_in of a stage of inversion, `switched(image, stage_switches(stage))`, in one step.

    With the levels finer than `j` off, recomposition only expands: `I_in = EXPAND^{j-1}(REDUCE^{j-1}(I_r))`, which is
    one matrix for the rows and one for the columns. At the last stage they are identities, and the image is exact.

    Args:
      image: I_r, `[H, W, C]`.
      stage: 0 to K - 1, may be traced; beyond, everything stays on.
      num_levels: K.

    Returns:
      `[H, W, C]`.

    Raises:
      ValueError: `image` is not `[H, W, C]`, or `num_levels` is not a positive integer.

    Source: Singh & Namboodiri 2015, eq. 2 and section 3.4.

    >>> image = jnp.arange(12.0).reshape(4, 3, 1)
    >>> shown = switched_at_stage(image, 1, num_levels=3)
    >>> bool(jnp.allclose(shown, switched(image, stage_switches(1, num_levels=3)), atol=1e-5))
    True
    """
    checks.require_image(image, what="Laplacian pyramid")
    checks.require_count(num_levels, "num_levels")
    stage = jnp.clip(stage, 0, num_levels - 1)
    rows, columns = (jnp.asarray(_by_stage(size, num_levels))[stage] for size in image.shape[:2])
    return _along_both(image, rows, columns)


@functools.cache
def _by_stage(size, num_levels):
    """`EXPAND^n REDUCE^n` along one axis for `n = K - 1 - stage`, `[K, size, size]`."""
    sizes = [size]
    for _ in range(num_levels - 1):
        sizes.append(-(-sizes[-1] // 2))
    products = []
    for n in range(num_levels):
        product = np.eye(sizes[n])
        for finer in reversed(sizes[:n]):
            product = _expansion(finer) @ product @ _reduction(finer)
        products.append(product)
    return np.stack(products[::-1]).astype(np.float32)
