"""Eq. 3: the loss of the features plus weighted natural-image priors, in the optimizer's units.

`E(x) = loss(Phi(center + sigma x), Phi_0) + lambda_alpha R_alpha(x) + lambda_V R_V^beta(x)`, with `x` of about unit
Euclidean norm.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from invert_jax import losses, regularizers
from invert_jax._util import checks
from invert_jax.types import Loss, Recipe, Representation

TYPICAL_RMS = 68.92116477
"""Root mean square of a centered natural image, gray levels: the authors' sigma, 27098.1, at 227x227x3."""

_BALANCED_RANGE = (TYPICAL_RMS**2 / 4e-10) ** (1 / 6)  # B = 151: the authors' weight of the alpha-norm


def typical_norm(image_shape: tuple[int, int, int]) -> float:
    """Sigma, the Euclidean norm of a typical centered image: `68.92 sqrt(H W C)`.

    The constant is the root mean square: kept at its value for 227x227x3, sigma makes small images diverge.

    >>> round(typical_norm((227, 227, 3)), 1)
    27098.1
    """
    return TYPICAL_RMS * math.sqrt(math.prod(image_shape))


def balanced_lambda_alpha(sigma: float, *, alpha: float = 6.0) -> float:
    """The balancing rule for the alpha-norm's weight, `lambda_alpha = sigma^alpha / (H W C B^alpha)`, `B = 151`.

    With `sigma = s sqrt(H W C)` this is `sigma^(alpha - 2) s^2 / B^alpha`: `4e-10 sigma^4` for `alpha = 6`.

    Source: Mahendran & Vedaldi 2015, section 2, "Balancing the different terms".

    >>> f"{balanced_lambda_alpha(typical_norm((227, 227, 3))):.3g}"
    '2.16e+08'
    """
    return sigma ** (alpha - 2) * (TYPICAL_RMS**2 / _BALANCED_RANGE**alpha)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Objective:
    """Eq. 3 for one target, with every default resolved; from `make`.

    Attributes:
      representation: Phi.
      target: `[F...]`, Phi_0.
      mask: boolean `[F...]`, or None.
      center: `[H, W, C]`, intensity at `x = 0`.
      sigma: gray levels for a unit of `x`.
      lambda_alpha: weight of the alpha-norm.
      lambda_tv: weight of TV^beta.
      alpha: exponent of the alpha-norm (static).
      beta: exponent of TV^beta (static).
      loss: compares features with their target (static).
    """

    representation: Representation
    target: jax.Array
    mask: jax.Array | None
    center: jax.Array
    sigma: jax.Array
    lambda_alpha: jax.Array
    lambda_tv: jax.Array
    alpha: float = dataclasses.field(metadata={"static": True})
    beta: float = dataclasses.field(metadata={"static": True})
    loss: Loss = dataclasses.field(metadata={"static": True})

    def to_image(self, x: jax.Array) -> jax.Array:
        """`center + sigma x`: `[H, W, C]`, intensity 0..255."""
        return self.center + self.sigma * x

    def from_image(self, image: jax.Array) -> jax.Array:
        """`(image - center) / sigma`: `[H, W, C]`."""
        return (image - self.center) / self.sigma


def make(
    representation: Representation,
    target: jax.Array,
    recipe: Recipe,
    *,
    image_shape: tuple[int, int, int],
    mask: jax.Array | None = None,
) -> Objective:
    """Eq. 3 for one target; checks everything that the user gave.

    Args:
      representation: Phi.
      target: features to reach, `[F...]`.
      recipe: lambdas, exponents, sigma and loss.
      image_shape: `(H, W, C)` of the image sought.
      mask: boolean `[F...]`: the neurons that the loss sees; None is all of them.

    Returns:
      An `Objective`.

    Raises:
      ValueError: shapes that do not fit each other or the representation, a non-finite target, a mask that is not
        boolean or has no neuron, or a sigma, exponent, weight, rate or step count out of range.
    """
    if np.shape(image_shape) != (3,) or any(side < 1 or side != int(side) for side in image_shape):
        raise ValueError(
            f"image_shape is {image_shape}; it must be whole numbers (height, width, channels), each >= 1."
        )
    image_shape = (int(image_shape[0]), int(image_shape[1]), int(image_shape[2]))
    check_recipe(recipe)
    shape = representation.feature_shape(image_shape)
    if np.shape(target) != shape:
        raise ValueError(
            f"The target has shape {np.shape(target)}; the representation of an image {image_shape} has shape "
            f"{shape}: compute the target with this representation, or change image_shape."
        )
    checks.require_finite(target, "target")
    if mask is not None:
        mask = _checked_mask(mask, shape)
        if checks.is_concrete(target) and checks.is_concrete(mask) and not np.any(np.asarray(target)[np.asarray(mask)]):
            raise ValueError(
                "The target is zero at every neuron of the mask, so there is nothing to measure distances by; choose "
                "neurons that the image excites."
            )
    center = jnp.asarray(representation.center, jnp.float32)
    if center.ndim not in (0, 1, 3) or not all(
        a in (1, b) for a, b in zip(center.shape[::-1], image_shape[::-1], strict=False)
    ):
        raise ValueError(
            f"The representation's center has shape {center.shape}, which does not fit an image {image_shape}: "
            f"give a scalar, [C] or [H, W, C]."
        )
    sigma = typical_norm(image_shape) if recipe.sigma is None else recipe.sigma
    lambda_alpha = recipe.lambda_alpha
    if lambda_alpha is None:
        lambda_alpha = balanced_lambda_alpha(sigma, alpha=recipe.alpha)
    return Objective(
        representation=representation,
        target=jnp.asarray(target, jnp.float32),
        mask=mask,
        center=jnp.broadcast_to(center.reshape((1,) * (3 - center.ndim) + center.shape), image_shape),
        sigma=jnp.asarray(sigma, jnp.float32),
        lambda_alpha=jnp.asarray(lambda_alpha, jnp.float32),
        lambda_tv=jnp.asarray(recipe.lambda_tv, jnp.float32),
        alpha=recipe.alpha,
        beta=recipe.beta,
        loss=recipe.loss,
    )


def check_recipe(recipe: Recipe) -> None:
    """Checks a recipe's numbers, whether a factory made it or `dataclasses.replace`.

    Args:
      recipe: what to check; numbers that are being traced pass.

    Raises:
      TypeError: not a recipe, or its optimizer is not a factory.
      ValueError: an exponent, weight, sigma, rate, tolerance or count out of range, or too few stages.

    >>> from invert_jax import recipes
    >>> check_recipe(dataclasses.replace(recipes.shallow(), sigma=0.0))
    Traceback (most recent call last):
    ValueError: sigma is 0.0; it must be a finite number greater than 0.
    """
    if not isinstance(recipe, Recipe):
        raise TypeError(f"The recipe is {type(recipe).__name__}; give one from invert_jax.recipes.")
    checks.require_positive(recipe.alpha, "alpha")
    checks.require_positive(recipe.beta, "beta")
    checks.require_non_negative(recipe.lambda_tv, "lambda_tv")
    if recipe.lambda_alpha is not None:
        checks.require_non_negative(recipe.lambda_alpha, "lambda_alpha")
    if recipe.sigma is not None:
        checks.require_positive(recipe.sigma, "sigma")
    if len(recipe.rates) != len(recipe.steps) or not recipe.steps:
        raise ValueError(
            f"The recipe has {len(recipe.rates)} rates and {len(recipe.steps)} step counts; give one of each for "
            f"every stage."
        )
    if recipe.prior_shares is not None:
        if len(recipe.prior_shares) != len(recipe.steps):
            raise ValueError(
                f"The recipe has {len(recipe.prior_shares)} prior_shares and {len(recipe.steps)} stages; give one for "
                f"every stage."
            )
        for share in recipe.prior_shares:
            checks.require_non_negative(share, "A share of the priors")
    if len(recipe.steps) < recipe.parameterization.num_stages:
        raise ValueError(
            f"The recipe has {len(recipe.steps)} stages, but its parameterization shows everything only in stage "
            f"{recipe.parameterization.num_stages}; give at least as many."
        )
    if not callable(recipe.optimizer):
        raise TypeError(
            f"The optimizer is a finished {type(recipe.optimizer).__name__}; give the factory that takes the learning "
            f"rate, such as optax.adam."
        )
    checks.require_non_negative(recipe.lambda_compactness, "lambda_compactness")
    if recipe.tolerance is not None:
        checks.require_non_negative(recipe.tolerance, "tolerance")
    checks.require_count(recipe.patience, "patience")
    for rate, steps in zip(recipe.rates, recipe.steps, strict=True):
        checks.require_positive(rate, "A learning rate")
        checks.require_count(steps, "A stage's number of steps")


def _checked_mask(mask, shape):
    mask = mask if isinstance(mask, jax.Array) else np.asarray(mask)
    if mask.shape != shape or mask.dtype != bool:
        raise ValueError(
            f"The mask is {mask.dtype} of shape {mask.shape}; it must be boolean, of the features' "
            f"shape {shape}: see invert_jax.masks."
        )
    if checks.is_concrete(mask) and not np.any(np.asarray(mask)):
        raise ValueError("The mask selects no neuron at all; set at least one to True.")
    return jnp.asarray(mask)


def evaluate(
    objective: Objective, x: jax.Array, *, prior_share: jax.Array | float = 1.0, compactness: jax.Array | float = 0.0
) -> tuple[jax.Array, jax.Array]:
    """Eq. 3 at `x`, plus the second term of eq. 7 of Singh & Namboodiri.

    Args:
      objective: from `make`.
      x: `[H, W, C]`, the image as `(image - center) / sigma`.
      prior_share: how much of the alpha-norm's and TV's weights counts.
      compactness: `lambda_D D`, in the features' unit; like the loss it is divided by their target's norm.

    Returns:
      The energy, and `[4]`: the energy again and its three terms, loss, alpha-norm and TV.

    >>> from invert_jax import recipes, representations
    >>> hog = representations.hog()
    >>> image = jnp.full((16, 16, 1), 128.0)
    >>> eq3 = make(hog, hog(image), recipes.shallow(), image_shape=image.shape)
    >>> evaluate(eq3, eq3.from_image(image))[1].tolist()
    [0.0, 0.0, 0.0, 0.0]
    """
    phi = objective.representation
    features = phi.apply(phi.params, objective.to_image(x))
    loss = objective.loss(features, objective.target, objective.mask)
    alpha = prior_share * objective.lambda_alpha * regularizers.alpha_norm(x, alpha=objective.alpha)
    tv = prior_share * objective.lambda_tv * regularizers.total_variation(x, beta=objective.beta)
    total = loss + alpha + tv + compactness / losses.target_norm(objective.target, objective.mask)
    return total, jnp.stack([total, loss, alpha, tv])
