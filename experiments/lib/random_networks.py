"""Ten networks with random weights, for `--model=experiments.lib.random_networks:NAME` and `compare_recipes`.

They differ in all that a recipe must not depend on: framework, depth, normalization, activation, the range of their
inputs and the scale of their features.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, nnx

import invert_jax as ij

_KEY = jax.random.key(20)
_UNIT, _SIGNED = (lambda image: image / 255), (lambda image: image / 127.5 - 1)
_SHAPE = (1, 64, 64, 3)


class _Layers(linen.Module):
    """Convolutions of 3 x 3, each with a normalization and an activation, a stride of 2 at every third of the depth."""

    depth: int
    width: int
    norm: str = ""
    activation: Callable[[jax.Array], jax.Array] = linen.relu
    separable: bool = False
    residual: bool = False
    num_classes: int = 0

    @linen.compact
    def __call__(self, x):
        norms = {
            "batch": functools.partial(linen.BatchNorm, use_running_average=True),
            "group": functools.partial(linen.GroupNorm, num_groups=4),
            "layer": linen.LayerNorm,
        }
        for i in range(self.depth):
            stride = 2 if i and i % max(self.depth // 3, 2) == 0 and x.shape[1] > 8 else 1
            y = x
            if self.separable and i:
                y = linen.Conv(y.shape[-1], (3, 3), stride, feature_group_count=y.shape[-1])(y)
                y = linen.Conv(self.width, (1, 1))(y)
            else:
                y = linen.Conv(self.width, (3, 3), stride)(y)
            y = norms[self.norm]()(y) if self.norm else y
            y = self.activation(y)
            x = x + y if self.residual and x.shape == y.shape else y
        return linen.Dense(self.num_classes)(x.mean((1, 2))) if self.num_classes else x


class _Attention(nnx.Module):
    """Patches of 8 x 8, and blocks of attention and a perceptron."""

    def __init__(self, depth, *, rngs):
        self.patches = nnx.Conv(3, 48, (8, 8), strides=8, rngs=rngs)
        self.blocks = nnx.List(
            [
                nnx.Dict(
                    norm=nnx.LayerNorm(48, rngs=rngs),
                    attention=nnx.MultiHeadAttention(4, 48, decode=False, rngs=rngs),
                    inner=nnx.Linear(48, 96, rngs=rngs),
                    outer=nnx.Linear(96, 48, rngs=rngs),
                )
                for _ in range(depth)
            ]
        )

    def __call__(self, x):
        x = self.patches(x)
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        for block in self.blocks:
            x = x + block["attention"](block["norm"](x))
            x = x + block["outer"](jax.nn.gelu(block["inner"](x)))
        return x


class _Plain(nnx.Module):
    """Convolutions with batch normalization, and logits."""

    def __init__(self, widths, *, rngs):
        sizes = [3, *widths]
        self.convs = nnx.List(
            [nnx.Conv(a, b, (3, 3), strides=2, rngs=rngs) for a, b in zip(sizes, widths, strict=False)]
        )
        self.norms = nnx.List([nnx.BatchNorm(width, rngs=rngs) for width in widths])
        self.logits = nnx.Linear(widths[-1], 10, rngs=rngs)

    def __call__(self, x):
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = jax.nn.silu(norm(conv(x)))
        return self.logits(x.mean((1, 2)))


def _linen(preprocess, **fields) -> ij.Representation:
    model = _Layers(**fields)
    return ij.from_model(model, model.init(_KEY, jnp.zeros(_SHAPE)), preprocess=preprocess)


def _nnx(preprocess, model: Any) -> ij.Representation:
    return ij.from_model(model, preprocess=preprocess)


NETWORKS: dict[str, Callable[[], ij.Representation]] = {
    "two_convolutions": lambda: _linen(_UNIT, depth=2, width=16, num_classes=10),
    "plain": lambda: _linen(_UNIT, depth=5, width=32),
    "batch_norm": lambda: _linen(_SIGNED, depth=12, width=24, norm="batch"),
    "group_norm": lambda: _linen("imagenet", depth=16, width=16, norm="group", residual=True),
    "resnet": lambda: _linen("imagenet", depth=50, width=16, norm="batch", residual=True, num_classes=100),
    "separable": lambda: _linen(_SIGNED, depth=14, width=32, norm="batch", activation=linen.relu6, separable=True),
    "unscaled": lambda: _linen("none", depth=6, width=24, activation=linen.tanh),
    "layer_norm": lambda: _linen("none", depth=10, width=24, norm="layer", activation=linen.gelu),
    "attention": lambda: _nnx(_UNIT, _Attention(6, rngs=nnx.Rngs(0))),
    "nnx_logits": lambda: _nnx(_SIGNED, _Plain((16, 32, 64, 64), rngs=nnx.Rngs(0))),
}
"""By name; each returns a representation of images of 64 x 64."""


def __getattr__(name: str) -> Callable[[], ij.Representation]:
    """A network by its name, as `--model` looks for it."""
    if name in NETWORKS:
        return NETWORKS[name]
    raise AttributeError(name)
