"""The natural-image priors of section 2: the alpha-norm and total variation."""

import jax
import jax.numpy as jnp

from invert_jax._util import safe_math


def alpha_norm(x: jax.Array, *, alpha: float = 6.0) -> jax.Array:
    """`R_alpha(x) = |x|_alpha^alpha = sum |x_i|^alpha`: holds intensities within a range.

    Args:
      x: `[H, W, C]`, centered about 0.
      alpha: exponent, greater than 0; the paper's is 6.

    Returns:
      A scalar.

    >>> float(alpha_norm(jnp.full((1, 2, 1), -2.0)))
    128.0
    """
    if float(alpha).is_integer() and int(alpha) % 2 == 0:
        return jnp.sum(x ** int(alpha))
    return jnp.sum(safe_math.safe_power(safe_math.safe_abs(x), alpha))


def total_variation(x: jax.Array, *, beta: float = 2.0) -> jax.Array:
    """`R_V^beta(x) = sum ((x[i, j+1] - x[i, j])^2 + (x[i+1, j] - x[i, j])^2)^(beta/2)`: holds images smooth.

    Differences beyond the last row and column are zero; channels are summed. For `beta < 2` the power's
    gradient is taken as 0 where both differences are 0.

    Args:
      x: `[H, W, C]`.
      beta: exponent, greater than 0; the paper's is 2, and 1 for Figure 2.

    Returns:
      A scalar.

    >>> float(total_variation(jnp.array([[0.0, 3.0], [4.0, 4.0]])[..., None], beta=1.0))
    6.0
    """
    down, right = x[1:] - x[:-1], x[:, 1:] - x[:, :-1]
    if beta == 2:
        return jnp.sum(down * down) + jnp.sum(right * right)
    square = jnp.pad(down * down, ((0, 1), (0, 0), (0, 0))) + jnp.pad(right * right, ((0, 0), (0, 1), (0, 0)))
    return jnp.sum(safe_math.safe_power(square, beta / 2))
