"""The records that the library passes around, and the contracts of the functions inside them.

Letters: `H W C` image height, width, channels; `F...` feature shape; `R` restarts; `T` steps.
Images that users see are float32 `[H, W, C]`, RGB or one gray channel, intensity 0..255.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from invert_jax import regularizers
from invert_jax._util import checks
from invert_jax._util.reprs import short_repr

Image = jax.Array
"""float32 `[H, W, C]`, intensity 0..255."""

Features = Any
"""float32 `[F...]`, whatever a representation returns, or a pytree of such arrays: several layers jointly."""

Params = Any
"""A pytree of arrays."""

Loss = Callable[[jax.Array, jax.Array, jax.Array | None], jax.Array]
"""`loss(features, target, mask) -> scalar`; `mask` is boolean `[F...]` or None for all."""

OptimizerFactory = Callable[[Any], Any]
"""`factory(learning_rate) -> optax.GradientTransformation` for a scalar rate, as `optax.adam` and `optax.sgd` are."""


_STATIC: Any = {"static": True}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Representation:
    """A function of an image with its weights: what is inverted.

    Attributes:
      apply: `apply(params, image [H, W, C]) -> features [F...]`; static, hashable by value. One with a true attribute
        `any_range` takes images of any range.
      params: pytree of arrays that `apply` needs (leaves: new weights never retrace).
      center: the intensity, 0..255, about which images are regularized: a scalar, `[C]` or `[H, W, C]`.
    """

    apply: Callable[[Params, Image], Features] = dataclasses.field(metadata=_STATIC)
    params: Params
    center: jax.Array

    __repr__ = short_repr

    def __call__(self, image: Image) -> Features:
        """Features `[F...]` of one image `[H, W, C]`, 0..255.

        Raises:
          TypeError: an image of other than real numbers.
          ValueError: not `[H, W, C]`, a shape that the representation cannot take, or non-finite values.

        Warns:
          UserWarning: a photograph in 0..1 or -1..1.
        """
        checks.require_image(image)
        checks.refuse_channels_first(jax.numpy.shape(image))
        checks.require_finite(image, "image")
        if not getattr(self.apply, "any_range", False):
            checks.warn_of_range(image, "image")
        return _apply(self, jax.numpy.asarray(image, "float32"))

    def feature_shape(self, image_shape: tuple[int, int, int]) -> Any:
        """Shape of the features of an image of shape `[H, W, C]`, without computing them; a pytree of shapes for one.

        Raises:
          TypeError: `apply` does not return arrays of floating-point numbers.
        """
        return jax.tree.map(lambda leaf: leaf.shape, self.abstract_features(image_shape))

    def abstract_features(self, image_shape: tuple[int, int, int]) -> Any:
        """The features of an image of shape `[H, W, C]` as `jax.ShapeDtypeStruct`, without computing them.

        Raises:
          TypeError: `apply` does not return arrays of floating-point numbers.
        """
        features = _apply.eval_shape(self, jax.ShapeDtypeStruct(tuple(image_shape), "float32"))
        leaves = jax.tree.leaves_with_path(features)
        if not leaves:
            raise TypeError(f"The representation returns {features!r}, which holds no array; return the features.")
        for path, leaf in leaves:
            if not jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating):
                where = f" at {jax.tree_util.keystr(path)}" if path else ""
                raise TypeError(
                    f"Features{where} are {leaf.dtype}, which have no gradient; return real floating-point ones, or "
                    "choose a layer."
                )
        return features


@jax.jit
def _apply(representation, image):
    return representation.apply(representation.params, image)


class Parameterization(NamedTuple):
    """How the variable `z` that is optimized describes an image; pure functions.

    The image may depend on the stage of the descent, an int32 from 0, which may be traced.

    Attributes:
      init: `init(key, image_shape) -> z`, a random start.
      encode: `encode(image, center, sigma) -> z`, so that at the last stage `decode(encode(image))` is the image.
      decode: `decode(z, center, sigma, stage) -> image [H, W, C]`, gray levels.
      residual: `residual(z, stage) -> scalar`, the Euclidean norm, in gray levels, of what the stage leaves out of the
        image: D of eq. 6 of Singh & Namboodiri.
      num_stages: the first stage that leaves nothing out, plus one.
    """

    init: Callable[[jax.Array, tuple[int, ...]], Any]
    encode: Callable[[jax.Array, jax.Array, jax.Array], Any]
    decode: Callable[[Any, jax.Array, jax.Array, jax.Array], jax.Array]
    residual: Callable[[Any, jax.Array], jax.Array]
    num_stages: int = 1

    __repr__ = short_repr


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a descent with one learning rate.

    Attributes:
      rate: the learning rate.
      num_steps: steps of the stage; at most as many, if the recipe has a tolerance (static).
      prior_weight: factor of all priors' weights in this stage.
    """

    rate: float
    num_steps: int = dataclasses.field(metadata=_STATIC)
    prior_weight: float = 1.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prior:
    """A term of eq. 3 that depends on the image alone, `weight * function(x)`.

    Attributes:
      weight: lambda, in eq. 3's units, where the centered image `x` has about unit Euclidean norm; None is the
        balancing rule of section 2, which `AlphaNorm` has.
      function: `function(x [H, W, C]) -> scalar`; static, hashable by value.
      name: the part of `Energy` that the term is added to: "alpha_norm", "tv" or "other" (static).
    """

    weight: float | None
    function: Callable[[jax.Array], jax.Array] = dataclasses.field(metadata=_STATIC)
    name: str = dataclasses.field(default="other", metadata=_STATIC)

    def with_balanced_weight(self, sigma: float) -> "Prior":
        """The prior with its weight by the balancing rule, if it has none."""
        if self.weight is None and isinstance(self.function, regularizers.AlphaNorm):
            return dataclasses.replace(self, weight=self.function.balanced_weight(sigma))
        return self


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, repr=False)
class Recipe:
    """How to invert: the terms of eq. 3 and the descent, as data. Change a field with `dataclasses.replace`.

    Numbers are leaves (a new value does not retrace); whatever shapes the computation is static.

    Attributes:
      stages: one after the other.
      priors: natural-image priors, and any of your own.
      loss: compares features with their target (static).
      optimizer: makes the optax transformation from the stage's rate, a scalar, as `optax.adam` does. Its state passes
        from stage to stage, but `momentum_descent` drops its momentum where the rate changes (static, compared by
        identity: build a `functools.partial(optax.adam, b1=0.8)` once, at module level, or each one compiles anew).
      parameterization: how the variable describes an image (static).
      sigma: Euclidean norm of a typical centered image; None is 68.92 sqrt(H W C).
      lambda_compactness: weight of the parameterization's residual (eq. 7 of Singh & Namboodiri), in the features'
        unit per gray level; 0 for pixels.
      tolerance: a stage ends early when `patience` steps lowered the mean energy by less than this fraction of it; None
        makes all steps.
      patience: how many steps that is (static).
      transform: `transform(key, image) -> image`, applied before the representation at every step, such as a random
        shift; None is the image as it is (static). See `transforms`.
      feature_weights: the like of features that are a pytree, such as several layers, with the weight of each array's
        loss; None weighs them alike.
    """

    stages: tuple[Stage, ...]
    priors: tuple[Prior, ...]
    loss: Loss = dataclasses.field(metadata=_STATIC)
    optimizer: OptimizerFactory = dataclasses.field(metadata=_STATIC)
    parameterization: Parameterization = dataclasses.field(metadata=_STATIC)
    sigma: float | None = None
    lambda_compactness: float = 0.0
    tolerance: float | None = None
    patience: int = dataclasses.field(default=50, metadata=_STATIC)
    transform: Callable[[jax.Array, Image], Image] | None = dataclasses.field(default=None, metadata=_STATIC)
    feature_weights: Any = None

    __repr__ = short_repr

    @property
    def num_steps(self) -> int:
        """T, the number of steps of all stages."""
        return sum(stage.num_steps for stage in self.stages)

    def weight(self, name: str) -> float | None:
        """The weight of the prior called `name`; None if that follows the balancing rule.

        Raises:
          KeyError: not exactly one prior has this name.

        >>> from invert_jax import recipes
        >>> recipes.for_layer("fc8").weight("tv")
        50.0
        """
        weights = [prior.weight for prior in self.priors if prior.name == name]
        if len(weights) != 1:
            names = ", ".join(prior.name for prior in self.priors)
            raise KeyError(f"The recipe has {len(weights)} priors called {name!r}; its priors are: {names or 'none'}.")
        return weights[0]

    def reweight(self, **weights: float | None) -> "Recipe":
        """The same recipe with other weights of its priors.

        Args:
          **weights: `name=weight` of each prior to change.

        Returns:
          A `Recipe`.

        Raises:
          KeyError: not exactly one prior has a name that is given.
          ValueError: a negative weight.

        >>> from invert_jax import recipes
        >>> recipes.shallow().reweight(tv=0.5, alpha_norm=0.0).weight("tv")
        0.5
        """
        for name in weights:
            self.weight(name)
        priors = (dataclasses.replace(p, weight=weights.get(p.name, p.weight)) for p in self.priors)
        changed = dataclasses.replace(self, priors=tuple(priors))
        check_recipe(changed)
        return changed


def check_recipe(recipe: Recipe) -> None:
    """Checks a recipe's numbers, whether a factory made it or `dataclasses.replace`.

    Args:
      recipe: what to check; numbers that are being traced pass.

    Raises:
      TypeError: not a recipe, a stage or prior that is none, or an optimizer that is not a factory.
      ValueError: a weight, sigma, rate, tolerance or count out of range, or too few stages.

    >>> from invert_jax import recipes
    >>> check_recipe(dataclasses.replace(recipes.shallow(), sigma=0.0))
    Traceback (most recent call last):
    ValueError: sigma is 0.0; it must be a finite number greater than 0.
    """
    if not isinstance(recipe, Recipe):
        raise TypeError(f"The recipe is {type(recipe).__name__}; give one from invert_jax.recipes.")
    if not recipe.stages:
        raise ValueError("The recipe has no stages; give one Stage(rate, num_steps) or more.")
    for stage in recipe.stages:
        if not isinstance(stage, Stage):
            raise TypeError(f"A stage of the recipe is {stage!r}; give Stage(rate, num_steps).")
        checks.require_positive(stage.rate, "A learning rate")
        checks.require_count(stage.num_steps, "A stage's number of steps")
        checks.require_non_negative(stage.prior_weight, "A stage's prior_weight")
    for prior in recipe.priors:
        _check_prior(prior)
    if recipe.sigma is not None:
        checks.require_positive(recipe.sigma, "sigma")
    if len(recipe.stages) < recipe.parameterization.num_stages:
        raise ValueError(
            f"The recipe has {len(recipe.stages)} stages, but its parameterization shows the whole image only from "
            f"stage {recipe.parameterization.num_stages} on; give at least as many."
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
    for weight in jax.tree.leaves(recipe.feature_weights):
        checks.require_non_negative(weight, "A weight of feature_weights")


def _check_prior(prior):
    if not isinstance(prior, Prior):
        raise TypeError(f"A prior of the recipe is {prior!r}; give Prior(weight, function).")
    checks.require_choice(prior.name, ("alpha_norm", "tv", "other"), "name of a prior")
    if prior.weight is not None:
        checks.require_non_negative(prior.weight, f"The weight of the prior {prior.name}")
    if isinstance(prior.function, regularizers.AlphaNorm):
        checks.require_positive(prior.function.alpha, "alpha")
    elif isinstance(prior.function, regularizers.TotalVariation):
        checks.require_positive(prior.function.beta, "beta")
    if prior.weight is None and not isinstance(prior.function, regularizers.AlphaNorm):
        raise ValueError(f"The prior {prior.name} has no weight; give a number: only AlphaNorm has a balancing rule.")


class Energy(NamedTuple):
    """Eq. 3, and eq. 7 of Singh & Namboodiri, with their terms: `total` is the sum of the others.

    Attributes:
      total: what the descent lowers.
      loss: distance of the features from their target.
      alpha_norm: weighted alpha-norm.
      tv: weighted TV^beta.
      other: weighted sum of the other priors.
      compactness: weighted residual of the parameterization, over the norm of the target.
    """

    total: Any
    loss: Any
    alpha_norm: Any
    tv: Any
    other: Any
    compactness: Any

    __repr__ = short_repr


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Preimage:
    """What an inversion found. Many restarts carry a leading axis `R` on every field.

    Attributes:
      image: `[H, W, C]`, intensity 0..255, not clipped.
      features: `[F...]`, the representation of `image`, or a pytree of such arrays.
      error: relative error `|m (features - target)| / |m target|`, a scalar; for a pytree the mean over its arrays.
        Where `m target` is zero, the distance itself, which a warning says; tables and sweeps leave it out. None if
        the loss is an `objective`, which measures no distance.
      energy: an `Energy` of `[T]`: row `t` is from before step `t + 1`; after the descent terminated its last row
        repeats.
      finite: whether image, features, error and every energy are finite; leave out a restart that is not.
      evaluations: how often the energy was evaluated before the descent terminated, int32: T without a tolerance, and
        what line searches took beside.
    """

    image: jax.Array
    features: jax.Array
    error: Any
    energy: Energy
    finite: jax.Array
    evaluations: jax.Array

    __repr__ = short_repr

    @property
    def failed_at(self) -> np.ndarray:
        """The first step whose energy is not finite; `evaluations` if only the result is not; -1 if all is finite."""
        bad = ~np.isfinite(np.asarray(self.energy.total))
        return np.where(bad.any(-1), bad.argmax(-1), np.where(self.finite, -1, self.evaluations)).astype(np.int32)
