"""The papers' settings as frozen data, the source beside each number. Change one with `dataclasses.replace`."""

import dataclasses
import functools
import warnings
from collections.abc import Callable

import jax
import optax

from invert_jax import losses, networks, optimizers, parameterizations, regularizers, transforms
from invert_jax._util import checks
from invert_jax.types import Prior, Recipe, Representation, Stage, check_recipe

DEEP_STAGES = ((4e-3, 100), (4e-4, 200), (4e-5, 100))
"""(rate, steps) of the CNN figures, in the released code."""

SHALLOW_STAGES = ((4e-3, 200), (4e-4, 200), (4e-5, 200), (4e-6, 200))
"""(rate, steps) of the HOG, HOGb and DSIFT figures, in the released code."""

CENTRAL_STAGES = ((4e-4, 200), (4e-5, 200), (4e-6, 200))
"""(rate, steps) of Figure 9, the central 5x5 neurons, in the released code."""

# Values with the layer at which each starts. Table 3's bold row: conv1..relu2, pool2..relu4, conv5..fc8.
_LAMBDA_TV = ("conv1", 0.5), ("pool2", 5.0), ("conv5", 50.0)


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

    Warns:
      UserWarning: a rate so near the limit of stability of TV^beta alone that the descent rings: momentum 0.9 allows
        `rate * 16 lambda_tv = 3.8` for `beta = 2`.

    Source: Mahendran & Vedaldi 2015, eq. 3 and section 2; rates from the released code.

    >>> mahendran_vedaldi(lambda_tv=5).num_steps
    400
    """
    recipe = _mahendran_vedaldi(lambda_tv, beta, lambda_alpha, alpha, stages)
    largest = max(stage.rate for stage in recipe.stages)
    curvature = 16 * lambda_tv * beta / 2 * _TYPICAL_DIFFERENCE ** (beta - 2)
    if checks.is_concrete(curvature * largest) and curvature * largest > 0.8 * _LIMIT:
        share = curvature * largest / _LIMIT
        warnings.warn(
            f"A rate of {largest:g} with lambda_tv = {lambda_tv:g} is {share:.0%} of what TV^beta and momentum 0.9 "
            "allow, so the descent rings or diverges; lower the first rate to "
            f"{0.1 * _LIMIT / curvature:.1g}, or use recipes.default.",
            stacklevel=2,
        )
    return recipe


# Momentum m is stable up to rate * curvature = 2 (1 + m). The largest curvature of TV^2 is 16; that of TV^beta is taken
# at differences of one gray level, in the paper's units.
_LIMIT = 3.8
_TYPICAL_DIFFERENCE = 1 / regularizers.default_sigma((227, 227, 3))


def _mahendran_vedaldi(lambda_tv, beta=2.0, lambda_alpha=None, alpha=6.0, stages=DEEP_STAGES):
    if not all(_has_length(2, stage) for stage in stages):
        raise ValueError(f"stages is {stages!r}; give (rate, steps) of each, one or more.")
    recipe = Recipe(
        stages=tuple(Stage(rate, num_steps) for rate, num_steps in stages),
        priors=_priors(lambda_alpha, alpha, lambda_tv, beta),
        loss=losses.normalized_squared_l2,
        optimizer=optimizers.momentum_descent,
        parameterization=parameterizations.pixels,
    )
    check_recipe(recipe)
    return recipe


def _priors(lambda_alpha, alpha, lambda_tv, beta):
    """The two of eq. 3."""
    return (
        Prior(lambda_alpha, regularizers.AlphaNorm(alpha), "alpha_norm"),
        Prior(lambda_tv, regularizers.TotalVariation(beta), "tv"),
    )


def for_layer(layer: str) -> Recipe:
    """The paper's recipe for a layer of CNN-A: lambda_V 0.5 for conv1..relu2, 5 for pool2..relu4, 50 for conv5..fc8.

    Other networks of `networks.ARCHITECTURES` take the weight of the same block, which is not the paper's: VGG-16's
    conv4_3 that of conv4.

    Args:
      layer: one of CNN-A's 20 layers, or of another network's.

    Returns:
      A `Recipe` of 400 steps.

    Raises:
      ValueError: an unknown layer.

    Source: Mahendran & Vedaldi 2015, Table 3 (bold), Figure 6.

    >>> for_layer("conv3").weight("tv")
    5.0
    """
    return _mahendran_vedaldi(_of_layer(layer, _LAMBDA_TV))


def _of_layer(layer, groups):
    """The value for a layer, of groups `(first layer, value)`."""
    known = dict.fromkeys(name for network in networks.ARCHITECTURES.values() for name in network.layer_names)
    checks.require_choice(layer, known, "layer")
    return next(value for first, value in reversed(groups) if _depth(first) <= _depth(layer))


def _depth(layer):
    """Orders layers by block, and within a block: conv or fc, relu, pool, norm. conv4_3 is in block 4."""
    return int(layer.partition("_")[0][-1]), ("c", "f", "r", "p", "n").index(layer[0])


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
    return _mahendran_vedaldi(lambda_tv, stages=SHALLOW_STAGES)


COARSE_STAGE = (0.1, 100)
"""(rate, steps at most) of the stages that leave levels out; rates are of I_pre, of which a unit is 64 gray levels."""

FINE_STAGES = ((0.1, 300, 1.0), (0.1, 300, 0.1), (0.03, 300, 0.01), (0.01, 300, 0.0))
"""(rate, steps at most, prior_weight) of the pyramid's last stages, which show the whole image."""

# Section 5: layers 1-8, 9-12, 13-16, the rest.
_LAMBDA_COMPACTNESS = ("conv1", 0.001), ("conv3", 0.01), ("conv5", 0.1), ("relu6", 1.0)
_PATIENCE = ("conv1", 20), ("conv5", 100)
_adam = functools.partial(optax.adam, b2=0.99)


def laplacian_pyramid(
    layer: str | None = None,
    *,
    num_levels: int = 6,
    lambda_compactness: float | None = None,
    lambda_tv: float | None = None,
    lambda_alpha: float | None = None,
    coarse_stage: tuple[float, int] = COARSE_STAGE,
    fine_stages: tuple[tuple[float, int, float], ...] = FINE_STAGES,
    tolerance: float | None = 0.01,
    patience: int | None = None,
) -> Recipe:
    """Eq. 7 on a range-constrained, switched Laplacian pyramid, coarse to fine.

    The paper gives the number of levels, gradient descent of each stage until it has converged, and the weights of
    compactness by layer, of 24 that it does not name (Table 1's 20 are counted here). It leaves the rest open. Chosen
    here: Adam with falling rates; the priors of eq. 3 at first, withdrawn over the fine stages, so that the last one is
    the paper's eq. 7 (`lambda_tv=0, lambda_alpha=0` is that equation in every stage); and a start from flat mid-gray.
    `docs/ablation.md` has what each choice is worth.

    Args:
      layer: one of CNN-A's 20 layers, or one of another network, which counts as its block's; sets the weight of
        compactness. None is anything else, with weight 0.
      num_levels: K; the paper's is 6.
      lambda_compactness: lambda_D; None is 0.001 for conv1..norm2, 0.01 for conv3..relu4, 0.1 for conv5..fc6, 1 for
        relu6..fc8, and 0 without a layer.
      lambda_tv: weight of TV^2 in stages of prior_weight 1; None is the weight that Mahendran & Vedaldi give the layer,
        see `for_layer`, and 0.5 without a layer.
      lambda_alpha: weight of the alpha-norm, likewise; None is their balancing rule.
      coarse_stage: `(rate, steps at most)` of each of the K - 1 stages that show coarse levels alone.
      fine_stages: `(rate, steps at most, prior_weight)` of each stage that shows the whole image.
      tolerance: a stage has converged when `patience` steps lowered the mean energy by less than this fraction of it;
        None makes every step.
      patience: how many steps that is; None is 20 for conv1..relu4 and without a layer, 100 for conv5..fc8, where
        descents crawl before they move.

    Returns:
      A `Recipe`.

    Raises:
      ValueError: an unknown layer, a count, rate or weight out of range, or no fine stage.

    Source: Singh & Namboodiri 2015, eqs. 1-7 and section 5.

    >>> laplacian_pyramid("conv5").lambda_compactness, len(laplacian_pyramid(num_levels=2).stages)
    (0.1, 5)
    """
    if not fine_stages or not all(_has_length(3, stage) for stage in fine_stages):
        raise ValueError(f"fine_stages is {fine_stages!r}; give (rate, steps, prior_weight) of each, one or more.")
    if not _has_length(2, coarse_stage):
        raise ValueError(f"coarse_stage is {coarse_stage!r}; give (rate, steps) of every stage that leaves levels out.")
    if lambda_compactness is None:
        lambda_compactness = 0.0 if layer is None else _of_layer(layer, _LAMBDA_COMPACTNESS)
    if lambda_tv is None:
        lambda_tv = 0.5 if layer is None else _of_layer(layer, _LAMBDA_TV)
    if patience is None:
        patience = _of_layer(layer or "conv1", _PATIENCE)
    recipe = Recipe(
        stages=(*[Stage(*coarse_stage)] * (num_levels - 1), *(Stage(*stage) for stage in fine_stages)),
        priors=_priors(lambda_alpha, 6.0, lambda_tv, 2.0),
        loss=losses.normalized_l2,
        optimizer=_adam,
        parameterization=parameterizations.switched_pyramid(num_levels=num_levels),
        lambda_compactness=lambda_compactness,
        tolerance=tolerance,
        patience=patience,
    )
    check_recipe(recipe)
    return recipe


def _has_length(length, stage):
    return isinstance(stage, tuple | list) and len(stage) == length


_SHIFTED = transforms.jitter(max_shift=16)
_SHAKEN = transforms.compose(
    [
        transforms.jitter(max_shift=8),
        transforms.scale(),
        transforms.rotate(max_degrees=5.0),
        transforms.jitter(max_shift=4),
    ]
)


def activation_maximization(
    *,
    stages: tuple[tuple[float, int], ...] = ((0.05, 500),),
    transform: Callable[[jax.Array, jax.Array], jax.Array] | None = _SHAKEN,
    lambda_tv: float = 0.0,
) -> Recipe:
    """What excites a neuron, a channel or a class most: no target, but a mask of what is driven up.

    Adam on the coefficients of `parameterizations.fourier`, with the image shaken at every step, so that what is found
    does not hang on single pixels.

    Args:
      stages: `(rate, steps)` one after the other.
      transform: see `transforms`; None leaves the image still.
      lambda_tv: weight of TV^2.

    Returns:
      A `Recipe`. Pass None as the target, and a mask from `masks.neuron` or `masks.channel`.

    Source: Olah et al., "Feature visualization", 2017.

    >>> from invert_jax import masks, sampling
    >>> conv2 = networks.alexnet(layer="conv2")
    >>> mask = masks.channel(conv2.feature_shape((64, 64, 3)), index=7)
    >>> recipe = activation_maximization(stages=((0.05, 2),))
    >>> found = sampling.sample(
    ...     jax.random.key(0), conv2, None, recipe, image_shape=(64, 64, 3), num_restarts=1, mask=mask
    ... )
    >>> found.image.shape, found.error is None
    ((1, 64, 64, 3), True)
    """
    return _objective(losses.activation, stages, transform, lambda_tv)


def caricature(
    *,
    stages: tuple[tuple[float, int], ...] = ((0.05, 300),),
    transform: Callable[[jax.Array, jax.Array], jax.Array] | None = _SHAKEN,
    lambda_tv: float = 0.0,
) -> Recipe:
    """What a layer sees in a photograph, exaggerated: the inner product of its features with the photograph's.

    Args:
      stages: as in `activation_maximization`.
      transform: as in `activation_maximization`.
      lambda_tv: weight of TV^2.

    Returns:
      A `Recipe`. The target is the photograph's features; start from noise, or from the photograph by `initial_image`.

    Source: Mahendran & Vedaldi, "Visualizing deep convolutional neural networks using natural pre-images", 2016;
    Olah et al., "Feature visualization", 2017.

    >>> caricature().num_steps, losses.is_distance(caricature().loss)
    (300, False)
    """
    return _objective(losses.inner_product, stages, transform, lambda_tv)


def deep_dream(
    *,
    stages: tuple[tuple[float, int], ...] = ((0.02, 100),),
    transform: Callable[[jax.Array, jax.Array], jax.Array] | None = _SHIFTED,
    lambda_tv: float = 0.0,
) -> Recipe:
    """DeepDream: whatever a layer responds to in a photograph, driven up, by steps of one length along the gradient.

    The published program also repeats this at growing sizes of the image; do so by `images.resize` and `initial_image`.

    Args:
      stages: `(rate, steps)`; the rate is the length of a step as a share of a typical photograph's norm, 0.02 being
        1.4 gray levels.
      transform: as in `activation_maximization`.
      lambda_tv: weight of TV^2.

    Returns:
      A `Recipe`. Pass None as the target, and the photograph as `initial_image`.

    Source: Mordvintsev et al., "Inceptionism", 2015.

    >>> deep_dream().num_steps
    100
    """
    recipe = _objective(losses.negative_squared_norm, stages, transform, lambda_tv)
    return dataclasses.replace(recipe, optimizer=_unit_steps, parameterization=parameterizations.pixels)


_unit_steps = functools.partial(optax.novograd, b1=0.0, b2=0.0)


def _objective(loss, stages, transform, lambda_tv):
    if not all(_has_length(2, stage) for stage in stages):
        raise ValueError(f"stages is {stages!r}; give (rate, steps) of each, one or more.")
    recipe = Recipe(
        stages=tuple(Stage(rate, num_steps) for rate, num_steps in stages),
        priors=_priors(0.0, 6.0, lambda_tv, 2.0),
        loss=loss,
        optimizer=_adam,
        parameterization=parameterizations.fourier(),
        transform=transform,
    )
    check_recipe(recipe)
    return recipe


FALLING_STAGES = 8
"""Stages of `natural_spectrum`, of equal length, over which rates and priors fall geometrically."""

_WITHDRAWN = 0.01  # what the priors of the last stage but one have of their weight


def natural_spectrum(
    *,
    num_steps: int = 400,
    rates: tuple[float, float] = (0.006, 1e-4),
    lambda_tv: float = 20.0,
    lambda_alpha: float | None = None,
    decay: float = 0.7,
    corner: float = 4.0,
) -> Recipe:
    """Momentum descent by steps of given lengths on the whitened spectrum of an image, whose priors are withdrawn.

    Three things make it converge on representations that it knows nothing of:

    - The gradient is divided by the running root of its mean square (`optimizers.normalized_momentum`). A rate is then
      a length, and neither the scale of a network nor the curvature of a prior makes it unstable.
    - The variable is the spectrum of a range-constrained image divided by that of natural images
      (`parameterizations.fourier`). A step then changes coarse structure and brightness more than pixels and hues.
    - Lengths and priors fall geometrically over the stages, from steps that cross the space of images in dozens and
      priors that hold it smooth, to steps too small to matter and no priors.

    Args:
      num_steps: T, the steps of all stages.
      rates: root mean square of a step in the first stage and in the last, before momentum makes it up to ten times
        longer; the coefficients of a natural image have about unit variance.
      lambda_tv: weight of TV^2 in the first stage, which falls to a hundredth in the last but one and 0 in the last.
      lambda_alpha: weight of the alpha-norm, likewise; None is the balancing rule.
      decay: of the spectrum, see `parameterizations.fourier`.
      corner: of the spectrum, likewise.

    Returns:
      A `Recipe`.

    Raises:
      ValueError: fewer steps than stages, or a rate or weight out of range.

    Source: `docs/recipes.md` has what was tried.

    >>> recipe = natural_spectrum(num_steps=1000)
    >>> recipe.num_steps, recipe.stages[0].rate, recipe.stages[-1].prior_weight
    (1000, 0.006, 0.0)
    """
    checks.require_count(num_steps, "num_steps")
    if num_steps < FALLING_STAGES:
        raise ValueError(f"num_steps is {num_steps}; give {FALLING_STAGES} or more, one for each stage.")
    if not _has_length(2, rates):
        raise ValueError(f"rates is {rates!r}; give those of the first stage and of the last.")
    for rate in rates:
        checks.require_positive(rate, "A learning rate")
    stages = []
    for i in range(FALLING_STAGES):
        fallen, length = i / (FALLING_STAGES - 1), (num_steps + i) // FALLING_STAGES
        rate = float(f"{rates[0] ** (1 - fallen) * rates[1] ** fallen:.3g}")
        weight = 0.0 if i == FALLING_STAGES - 1 else float(f"{_WITHDRAWN ** (i / (FALLING_STAGES - 2)):.3g}")
        stages.append(Stage(rate, length, weight))
    recipe = Recipe(
        stages=tuple(stages),
        priors=_priors(lambda_alpha, 6.0, lambda_tv, 2.0),
        loss=losses.normalized_l2,
        optimizer=optimizers.normalized_momentum,
        parameterization=parameterizations.fourier(decay=decay, corner=corner),
    )
    check_recipe(recipe)
    return recipe


def default(representation: Representation) -> Recipe:
    """The recipe to start with, for any differentiable representation: `natural_spectrum`.

    At the same number of evaluations its error is below that of Mahendran & Vedaldi's recipe for HOG, HOGb, DSIFT and
    nearly all layers of AlexNet (`docs/recipes.md`); no descent that was tried diverged. For a lower error give it more
    steps, `natural_spectrum(num_steps=1000)`.

    Args:
      representation: what is to be inverted.

    Returns:
      A `Recipe`.

    Raises:
      TypeError: not a representation.

    >>> from invert_jax import representations
    >>> default(networks.alexnet(layer="fc8")) == default(representations.hog()) == natural_spectrum()
    True
    """
    if not isinstance(representation, Representation):
        raise TypeError(f"default takes a Representation; got {type(representation).__name__}.")
    return natural_spectrum()
