"""The natural-image priors of section 2: the alpha-norm and total variation."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from invert_jax._util import safe_math

TYPICAL_RMS = 68.92116477
"""Root mean square of a centered natural image, gray levels: the authors' sigma, 27098.1, at 227x227x3."""

_BALANCED_RANGE = (TYPICAL_RMS**2 / 4e-10) ** (1 / 6)  # B = 151: the authors' weight of the alpha-norm


def default_sigma(image_shape: tuple[int, int, int]) -> float:
    """Sigma, the Euclidean norm of a typical centered image: `68.92 sqrt(H W C)`.

    The constant is the root mean square: with the authors' sigma at every size, small images diverge.

    >>> round(default_sigma((227, 227, 3)), 1)
    27098.1
    """
    return TYPICAL_RMS * math.sqrt(math.prod(image_shape))


def default_lambda_alpha(sigma: float, *, alpha: float = 6.0) -> float:
    """The balancing rule for the alpha-norm's weight, `lambda_alpha = sigma^alpha / (H W C B^alpha)`, `B = 151`.

    With `sigma = s sqrt(H W C)` this is `sigma^(alpha - 2) s^2 / B^alpha`: `4e-10 sigma^4` for `alpha = 6`.

    Source: Mahendran & Vedaldi 2015, section 2, "Balancing the different terms".

    >>> f"{default_lambda_alpha(default_sigma((227, 227, 3))):.3g}"
    '2.16e+08'
    """
    return sigma ** (alpha - 2) * (TYPICAL_RMS**2 / _BALANCED_RANGE**alpha)


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
    x = safe_math.saturated(x, alpha)
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
    x = safe_math.saturated(x, max(beta, 2.0))  # squares are taken first
    down, right = x[1:] - x[:-1], x[:, 1:] - x[:, :-1]
    if beta == 2:
        return jnp.sum(down * down) + jnp.sum(right * right)
    square = jnp.pad(down * down, ((0, 1), (0, 0), (0, 0))) + jnp.pad(right * right, ((0, 0), (0, 1), (0, 0)))
    return jnp.sum(safe_math.safe_power(square, beta / 2))


@dataclasses.dataclass(frozen=True)
class AlphaNorm:
    """`alpha_norm` as a function of `x` alone, equal to any other with the same exponent.

    Attributes:
      alpha: exponent.

    >>> float(AlphaNorm(alpha=2.0)(jnp.full((1, 2, 1), -2.0)))
    8.0
    """

    alpha: float = 6.0

    def __call__(self, x: jax.Array) -> jax.Array:
        """`|x|_alpha^alpha`, a scalar."""
        return alpha_norm(x, alpha=self.alpha)

    def balanced_weight(self, sigma: float) -> float:
        """Lambda_alpha by the balancing rule, see `default_lambda_alpha`."""
        return default_lambda_alpha(sigma, alpha=self.alpha)


@dataclasses.dataclass(frozen=True)
class TotalVariation:
    """`total_variation` as a function of `x` alone, equal to any other with the same exponent.

    Attributes:
      beta: exponent.

    >>> float(TotalVariation(beta=1.0)(jnp.array([[0.0, 3.0], [4.0, 4.0]])[..., None]))
    6.0
    """

    beta: float = 2.0

    def __call__(self, x: jax.Array) -> jax.Array:
        """TV^beta, a scalar."""
        return total_variation(x, beta=self.beta)
