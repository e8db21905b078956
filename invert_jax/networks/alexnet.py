"""CNN-A (AlexNet in Caffe's reference order) with its 20 named taps: Mahendran & Vedaldi, Table 2."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from invert_jax import weights
from invert_jax._util import checks
from invert_jax.networks import architectures, ops
from invert_jax.types import Features, Image, Params, Representation

_PRECISIONS = ("float32", "bfloat16")
_CONVOLUTIONS = tuple(layer for layer in architectures.CNN_A if layer.kind == "conv")


class AlexNet(nn.Module):
    """CNN-A on one RGB image: `image [H, W, 3], 0..255 -> {tap name: features [h, w, c]}`.

    The fully connected layers are convolutions of full size, so larger images give larger maps. Flipping to
    BGR and subtracting the mean happen inside.

    Attributes:
      widths: output channels of conv1..conv5 and fc6..fc8.
      mean_shape: shape of the mean, `(3,)` or `(H, W, 3)`, BGR.
      until: the last tap to compute.
      precision: `float32`, or `bfloat16` for everything between the centered image and the taps.
    """

    widths: tuple[int, ...] = tuple(layer.width for layer in _CONVOLUTIONS)
    mean_shape: tuple[int, ...] = (3,)
    until: str = "fc8"
    precision: str = "float32"

    @nn.compact
    def __call__(self, image: Image) -> dict[str, Features]:
        """Returns every tap up to `until`."""
        # The weights are Caffe's and so expect BGR; a mean of shape [3] is broadcast over the image.
        mean = self.param("mean", nn.initializers.zeros, self.mean_shape)
        x = (image[..., ::-1] - mean.reshape((1,) * (3 - mean.ndim) + mean.shape))[None]
        x = x.astype(self.precision)
        widths, taps, before_relu = iter(self.widths), {}, None
        for layer in architectures.layers_up_to(self.until):
            pool = functools.partial(ops.max_pool, size=layer.size, stride=layer.stride)
            if layer.kind == "conv":
                x = _Convolution(layer, next(widths), name=layer.name)(x)
            elif layer.kind == "pool" and before_relu is not None:
                # ReLU and maximum commute, in value and gradient, and the pooled map has a quarter of the entries. The
                # rectified map is still a tap, but XLA drops it when nobody reads it.
                x = jax.nn.relu(pool(before_relu))
            elif layer.kind == "pool":
                x = pool(x)
            elif layer.kind == "norm":
                x = ops.local_response_norm(x)
            before_relu, x = (x, jax.nn.relu(x)) if layer.kind == "relu" else (None, x)
            taps[layer.name] = x[0].astype(jnp.float32)
        return taps


class _Convolution(nn.Module):
    layer: architectures.Layer
    width: int

    @nn.compact
    def __call__(self, x):
        shape = (self.layer.size, self.layer.size, x.shape[-1] // self.layer.groups, self.width)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        return ops.conv2d(
            x,
            kernel.astype(x.dtype),
            bias.astype(x.dtype),
            stride=self.layer.stride,
            padding=self.layer.padding,
            groups=self.layer.groups,
        )


@dataclasses.dataclass(frozen=True)
class Tap:
    """One named output of a network: what `Representation.apply` holds for CNN-A."""

    module: AlexNet
    layer: str

    def __call__(self, params: Params, image: Image) -> Features:
        """Returns the features of the tap."""
        return self.every(params, image)[self.layer]

    def every(self, params: Params, image: Image) -> dict[str, Features]:
        """Returns the features of this tap and of all taps before it, by name, from one pass."""
        min_side = architectures.smallest_input(architectures.layers_up_to(self.layer))
        checks.require_image(image, channels=3, min_side=min_side, what=f"CNN-A at {self.layer}")
        if len(self.module.mean_shape) == 3 and image.shape != self.module.mean_shape:
            raise ValueError(
                f"The CNN-A weights hold a mean image of shape {self.module.mean_shape}, but the image has shape "
                f"{image.shape}; resize the image to the size of the mean."
            )
        taps: Any = self.module.apply({"params": params}, image)
        return taps


def alexnet(params: Params | None = None, *, layer: str = "fc8", precision: str = "float32") -> Representation:
    """CNN-A at one of its 20 layers.

    Args:
      params: `{"conv1": {"kernel", "bias"}, ..., "fc8": ..., "mean"}`, from `load_params` or
        `random_alexnet_params`; None selects the bundled small network (not the paper's: see its model card).
      layer: one of conv1, relu1, pool1, norm1, conv2, relu2, pool2, norm2, conv3, relu3, conv4, relu4, conv5, relu5,
        pool5, fc6, relu6, fc7, relu7, fc8.
      precision: `float32`, or `bfloat16` to compute the network in bfloat16, which is faster on accelerators; image,
        features, energy and update stay float32.

    Returns:
      A representation of RGB images `[H, W, 3]`, 0..255, 227x227 in the paper; features `[h, w, c]`
      (`[1, 1, c]` at fc6..fc8 of a 227x227 image). Its center is the network's mean, in RGB.

    Raises:
      ValueError: an unknown layer or precision, or weights with a missing, unexpected, misshapen or non-finite array.

    Source: Mahendran & Vedaldi 2015, Table 2; Jia et al. 2014.

    >>> alexnet(layer="conv3")(jnp.zeros((227, 227, 3))).shape
    (13, 13, 384)
    """
    checks.require_choice(layer, architectures.LAYER_NAMES, "CNN-A layer")
    checks.require_choice(precision, _PRECISIONS, "precision")
    if params is None:
        params = weights.bundled()
    widths, mean_shape = _read_shapes(params)
    network = AlexNet(widths, mean_shape)
    validated: Any = weights.validate_params(params, _expected(network))
    needed = [row.name for row in architectures.layers_up_to(layer) if row.kind == "conv"]
    tap = Tap(AlexNet(widths, mean_shape, until=layer, precision=precision), layer)
    # Only the weights below the tap: the others would be copied to every device and hashed for nothing.
    return Representation(tap, {name: validated[name] for name in [*needed, "mean"]}, validated["mean"][..., ::-1])


def layer_of(representation: Representation) -> str | None:
    """The layer of CNN-A that a representation computes; None for any other representation.

    Args:
      representation: any.

    Returns:
      One of `LAYER_NAMES`, or None.

    >>> layer_of(alexnet(layer="conv3"))
    'conv3'
    """
    return representation.apply.layer if isinstance(representation.apply, Tap) else None


def random_alexnet_params(key: jax.Array, *, widths: tuple[int, ...] = AlexNet.widths) -> Params:
    """Untrained CNN-A weights: He-normal kernels, zero biases, Caffe's mean color.

    Args:
      key: random key.
      widths: output channels of conv1..conv5 and fc6..fc8; the paper's by default (61 million numbers).

    Returns:
      Params for `alexnet`.

    Raises:
      ValueError: not eight widths, a width below 1, or one that the channel groups do not divide.

    >>> small = random_alexnet_params(jax.random.key(0), widths=(8, 8, 8, 8, 8, 8, 8, 8))
    >>> small["conv2"]["kernel"].shape
    (5, 5, 4, 8)
    """
    if len(widths) != len(_CONVOLUTIONS):
        raise ValueError(
            f"CNN-A has {len(_CONVOLUTIONS)} layers with weights, conv1..conv5 and fc6..fc8; got {len(widths)} widths: "
            "give one width per layer."
        )
    for width in widths:
        checks.require_count(width, "A layer's width")
    expected = _expected(AlexNet(tuple(widths)))
    params: dict = {}
    # One draw for all kernels, sliced afterwards: a draw per shape would take seconds to compile.
    kernels = {row.name: expected[row.name]["kernel"].shape for row in _CONVOLUTIONS}
    noise = jax.random.normal(key, (sum(map(math.prod, kernels.values())),), jnp.float32)
    start = 0
    for name, shape in kernels.items():
        size = math.prod(shape)
        kernel = noise[start : start + size].reshape(shape) * math.sqrt(2 / math.prod(shape[:3]))
        params[name] = {"kernel": kernel, "bias": jnp.zeros(shape[-1], jnp.float32)}
        start += size
    return {**params, "mean": jnp.asarray([104.0, 117.0, 123.0], jnp.float32)}


def _read_shapes(params) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Widths and mean shape read off the weights; the paper's where an array is missing."""
    # Nothing is refused here: `validate_params` compares the weights with the network these shapes imply and lists
    # every array that does not fit.

    def shape(layer, array):
        entry = params.get(layer) if isinstance(params, Mapping) else None
        return np.shape(entry[array]) if isinstance(entry, Mapping) and array in entry else ()

    widths = tuple((shape(layer.name, "kernel") or (layer.width,))[-1] for layer in _CONVOLUTIONS)
    mean_shape = tuple(np.shape(params["mean"])) if isinstance(params, Mapping) and "mean" in params else (3,)
    return widths, mean_shape


def _expected(network: AlexNet) -> Params:
    """Shapes of the arrays that a network of these widths takes, from abstract initialization."""
    for num_inputs, layer, width in zip(network.widths, _CONVOLUTIONS[1:], network.widths[1:], strict=False):
        if num_inputs % layer.groups or width % layer.groups:
            raise ValueError(
                f"CNN-A's {layer.name} has {layer.groups} groups, which do not divide its {num_inputs} input and "
                f"{width} output channels; give widths that are multiples of {layer.groups}."
            )
    tree = _initialized(network.widths)
    if len(network.mean_shape) == 3 and network.mean_shape[-1] == 3:
        return {**tree, "mean": jax.ShapeDtypeStruct(network.mean_shape, jnp.float32)}
    return tree


@functools.lru_cache(maxsize=8)
def _initialized(widths):
    """Shapes of a network of these widths, cached: tracing the network takes a third of a second."""
    side = architectures.smallest_input(architectures.CNN_A)
    image = jax.ShapeDtypeStruct((side, side, 3), jnp.float32)
    return jax.eval_shape(AlexNet(widths).init, jax.random.key(0), image)["params"]
