"""The records that the rest of the library passes around, and the contracts of its callables.

Letters: `H W C` image height, width, channels; `F...` feature shape; `R` restarts; `T` steps.
Images that users see are float32 `[H, W, C]`, RGB or one gray channel, intensity 0..255.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from invert_jax._util import checks

Image = jax.Array
"""float32 `[H, W, C]`, intensity 0..255."""

Features = jax.Array
"""float32 `[F...]`, whatever a representation returns."""

Params = Any
"""A pytree of arrays."""

Loss = Callable[[Features, Features, jax.Array | None], jax.Array]
"""`loss(features, target, mask) -> scalar`; `mask` is boolean `[F...]` or None for all."""

Schedule = Callable[[jax.Array], jax.Array]
"""`schedule(step) -> learning rate`, as in optax."""

OptimizerFactory = Callable[[Any], Any]
"""`factory(learning_rate) -> optax.GradientTransformation` for a scalar rate, as `optax.adam` and `optax.sgd` are."""


_STATIC = {"static": True}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Representation:
    """A function of an image, with its weights: what is to be inverted.

    Attributes:
      apply: `apply(params, image [H, W, C]) -> features [F...]`; static, hashable by value.
      params: pytree of arrays that `apply` needs (leaves: new weights never retrace).
      center: the intensity, 0..255, about which images are regularized: a scalar, `[C]` or `[H, W, C]`.
    """

    apply: Callable[[Params, Image], Features] = dataclasses.field(metadata=_STATIC)
    params: Params
    center: jax.Array

    def __call__(self, image: Image) -> Features:
        """Features `[F...]` of one image `[H, W, C]`, 0..255.

        Raises:
          ValueError: not `[H, W, C]`, a shape that the representation cannot take, or non-finite values.
        """
        checks.require_image(image)
        checks.require_finite(image, "image")
        return _apply(self, jax.numpy.asarray(image, "float32"))

    def feature_shape(self, image_shape: tuple[int, int, int]) -> tuple[int, ...]:
        """Shape of the features of an image of shape `[H, W, C]`, without computing them."""
        features = _apply.eval_shape(self, jax.ShapeDtypeStruct(tuple(image_shape), "float32"))
        if not isinstance(features, jax.ShapeDtypeStruct):
            raise TypeError(
                f"A representation returns one array of features; got {type(features).__name__}: choose one."
            )
        if not jax.numpy.issubdtype(features.dtype, jax.numpy.floating):
            raise TypeError(f"Features are {features.dtype}, which have no gradient; return real floating-point ones.")
        return features.shape


@jax.jit
def _apply(representation, image):
    return representation.apply(representation.params, image)


class Parameterization(NamedTuple):
    """How an image is spelled by the variable `z` that is optimized; pure functions.

    The image is handed over as `x = (image - center) / sigma`, of about unit Euclidean norm. What it shows may depend
    on the stage of the descent, an int32 from 0, which may be traced; from some stage on it shows everything.

    Attributes:
      init: `init(key, image_shape) -> z`, a random start.
      encode: `encode(x, center, sigma) -> z`, so that at the last stage `decode(encode(x))` is `x`.
      decode: `decode(z, center, sigma, stage) -> x [H, W, C]`.
      hidden: `hidden(z, stage) -> scalar`, the Euclidean norm of what the stage holds back, in gray levels.
      num_stages: how many stages it takes to show everything.
    """

    init: Callable[[jax.Array, tuple[int, ...]], Any]
    encode: Callable[[jax.Array, jax.Array, jax.Array], Any]
    decode: Callable[[Any, jax.Array, jax.Array, jax.Array], jax.Array]
    hidden: Callable[[Any, jax.Array], jax.Array]
    num_stages: int = 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to invert: eq. 3's terms and the descent, as data. Change a field with `dataclasses.replace`.

    Numbers are leaves (a new value does not retrace); what shapes the computation is static.

    Attributes:
      rates: learning rate of each stage.
      steps: number of steps of each stage, at most, if there is a tolerance (static).
      lambda_tv: weight of TV^beta in eq. 3's units, where the image has about unit norm.
      lambda_alpha: weight of the alpha-norm in the same units; None follows the balancing rule of section 2.
      sigma: Euclidean norm of a typical centered image; None is 68.92 sqrt(H W C).
      alpha: exponent of the alpha-norm (static).
      beta: exponent of TV^beta (static).
      loss: compares features with their target (static).
      optimizer: makes the optax transformation from the stage's rate, a scalar, as `optax.adam` does; its state goes on
        from stage to stage, but `momentum_descent` drops its momentum where the rate changes (static, compared by
        identity: build a `functools.partial(optax.adam, b1=0.8)` once, at module level, or each one compiles anew).
      parameterization: how the image is spelled (static).
      prior_shares: of the alpha-norm's and TV's weights in each stage; None is all of them in every stage.
      lambda_compactness: weight of what the parameterization holds back, in the features' unit per gray level; 0 for
        pixels.
      tolerance: a stage ends early when `patience` steps lowered the mean energy by less than this fraction of it; None
        makes all steps.
      patience: how many steps that is (static).
    """

    rates: tuple[float, ...]
    steps: tuple[int, ...] = dataclasses.field(metadata=_STATIC)
    lambda_tv: float
    lambda_alpha: float | None
    sigma: float | None
    alpha: float = dataclasses.field(metadata=_STATIC)
    beta: float = dataclasses.field(metadata=_STATIC)
    loss: Loss = dataclasses.field(metadata=_STATIC)
    optimizer: OptimizerFactory = dataclasses.field(metadata=_STATIC)
    parameterization: Parameterization = dataclasses.field(metadata=_STATIC)
    prior_shares: tuple[float, ...] | None = None
    lambda_compactness: float = 0.0
    tolerance: float | None = None
    patience: int = dataclasses.field(default=50, metadata=_STATIC)

    @property
    def num_steps(self) -> int:
        """T, the number of steps of all stages."""
        return sum(self.steps)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Preimage:
    """What an inversion found. Many restarts carry a leading axis `R` on every field.

    Attributes:
      image: `[H, W, C]`, intensity 0..255, not clipped.
      features: `[F...]`, the representation of `image`.
      error: relative error `|m (features - target)| / |m target|`, a scalar.
      energy: `[T, 4]`: total, loss, alpha-norm term, TV term, each before the step of that row; the last one repeated
        from where the descent stopped. The total also holds the compactness term of a parameterization that has one.
      finite: whether image, features and every energy are finite; leave out a restart that is not.
      evaluations: how often the gradient was evaluated before the descent stopped, int32: T without a tolerance.
    """

    image: jax.Array
    features: jax.Array
    error: jax.Array
    energy: jax.Array
    finite: jax.Array
    evaluations: jax.Array
