"""The papers' settings as frozen data, the source beside each number. Change one with `dataclasses.replace`."""

from invert_jax import checks, layers, losses, objective, optimizers, parameterizations
from invert_jax.types import Recipe, Representation

DEEP_STAGES = ((4e-3, 100), (4e-4, 200), (4e-5, 100))
"""(rate, steps) of the CNN figures, in the released code."""

SHALLOW_STAGES = ((4e-3, 200), (4e-4, 200), (4e-5, 200), (4e-6, 200))
"""(rate, steps) of the HOG, HOGb and DSIFT figures, in the released code."""

CENTRAL_STAGES = ((4e-4, 200), (4e-5, 200), (4e-6, 200))
"""(rate, steps) of Figure 9, the central 5x5 neurons, in the released code."""

_LAMBDA_TV = (0.5, 6), (5.0, 6), (50.0, 8)  # Table 3's bold row: conv1..relu2, pool2..relu4, conv5..fc8


def mahendran_vedaldi(
    *,
    lambda_tv: float = 5.0,
    beta: float = 2.0,
    lambda_alpha: float | None = None,
    alpha: float = 6.0,
    stages: tuple[tuple[float, int], ...] = DEEP_STAGES,
) -> Recipe:
    """Eq. 3 by momentum descent on the pixels.

    Args:
      lambda_tv: weight of TV^beta: 0.5, 5 or 50 in the paper, twice that in the released code; 1.845e-3 for Figure
        2's `beta = 1`.
      beta: exponent of TV^beta; 2 in the paper, 1 shows its spikes.
      lambda_alpha: weight of the alpha-norm; None is the balancing rule, 2.16e8 at 227x227x3.
      alpha: exponent of the alpha-norm.
      stages: `(rate, steps)` one after the other; momentum is zeroed where the rate changes.

    Returns:
      A `Recipe`.

    Raises:
      ValueError: a negative weight, or an exponent, rate or step count that is not positive.

    Source: Mahendran & Vedaldi 2015, eq. 3 and section 2; rates from the released code.

    >>> mahendran_vedaldi(lambda_tv=50).num_steps
    400
    """
    recipe = Recipe(
        rates=tuple(rate for rate, _ in stages),
        steps=tuple(steps for _, steps in stages),
        lambda_tv=lambda_tv,
        lambda_alpha=lambda_alpha,
        sigma=None,
        alpha=alpha,
        beta=beta,
        loss=losses.squared_distance,
        optimizer=optimizers.momentum_descent,
        parameterization=parameterizations.pixels,
    )
    objective.check_recipe(recipe)
    return recipe


def for_layer(layer: str) -> Recipe:
    """The paper's recipe for a layer of CNN-A: lambda_V 0.5 for conv1..relu2, 5 for pool2..relu4, 50 for conv5..fc8.

    Args:
      layer: one of CNN-A's 20 layers.

    Returns:
      A `Recipe` of 400 steps.

    Raises:
      ValueError: an unknown layer.

    Source: Mahendran & Vedaldi 2015, Table 3 (bold), Figure 6.

    >>> for_layer("conv3").lambda_tv
    5.0
    """
    checks.require_choice(layer, layers.NAMES, "CNN-A layer")
    by_layer = [value for value, count in _LAMBDA_TV for _ in range(count)]
    return mahendran_vedaldi(lambda_tv=by_layer[layers.NAMES.index(layer)])


def shallow(*, lambda_tv: float = 5.0) -> Recipe:
    """The paper's recipe for HOG, HOGb and DSIFT: 800 steps in four stages.

    Args:
      lambda_tv: weight of TV^2; Figure 3 takes 0.5, and 5 reproduces Table 1.

    Returns:
      A `Recipe`.

    Source: Mahendran & Vedaldi 2015, section 5; rates from the released code.

    >>> shallow().num_steps
    800
    """
    return mahendran_vedaldi(lambda_tv=lambda_tv, stages=SHALLOW_STAGES)


def default(representation_or_layer: Representation | str) -> Recipe:
    """The recipe to begin with: `for_layer` for a layer of CNN-A, `shallow` for anything else.

    Args:
      representation_or_layer: what is to be inverted, or the name of a layer of CNN-A.

    Returns:
      A `Recipe`.

    Raises:
      ValueError: an unknown layer.

    >>> default("fc8").lambda_tv
    50.0
    """
    if isinstance(representation_or_layer, str):
        return for_layer(representation_or_layer)
    if not isinstance(representation_or_layer, Representation):
        kind = type(representation_or_layer).__name__
        raise TypeError(f"default takes a Representation or the name of a layer of CNN-A; got {kind}.")
    layer = getattr(representation_or_layer.apply, "layer", None)
    return for_layer(layer) if layer in layers.NAMES else shallow()
