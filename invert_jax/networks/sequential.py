"""A network that is a stack of layers: the Flax module that runs any `Architecture`, and its named taps."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from invert_jax import weights
from invert_jax._util import checks
from invert_jax.networks import architectures, ops
from invert_jax.networks.architectures import Architecture
from invert_jax.types import Features, Image, Params, Representation

_PRECISIONS = ("float32", "bfloat16")


class Sequential(nn.Module):
    """An architecture on one RGB image: `image [H, W, 3], 0..255 -> {tap name: features [h, w, c]}`.

    The fully connected layers are convolutions of full size, so larger images give larger maps. The order of channels,
    mean and standard deviation of the network are applied inside.

    Attributes:
      architecture: the layers.
      widths: output channels of each convolution.
      mean_shape: shape of the mean, `(3,)` or `(H, W, 3)`.
      until: the last tap to compute.
      precision: `float32`, or `bfloat16` for everything between the centered image and the taps.
    """

    architecture: Architecture
    widths: tuple[int, ...]
    mean_shape: tuple[int, ...]
    until: str
    precision: str = "float32"

    @nn.compact
    def __call__(self, image: Image) -> dict[str, Features]:
        """Returns every tap up to `until`."""
        mean = self.param("mean", nn.initializers.zeros, self.mean_shape)
        image = image[..., ::-1] if self.architecture.bgr else image
        x = (image - mean.reshape((1,) * (3 - mean.ndim) + mean.shape))[None]
        if self.architecture.std is not None:
            x /= self.param("std", nn.initializers.ones, (3,)).reshape(1, 1, 1, 3)
        x = x.astype(self.precision)
        widths, taps, before_relu = iter(self.widths), {}, None
        for layer in self.architecture.layers_up_to(self.until):
            pool = functools.partial(ops.max_pool, size=layer.size, stride=layer.stride, ceil=layer.ceil)
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
    """One named output of a network: what its `Representation.apply` is."""

    module: Sequential
    layer: str

    def __call__(self, params: Params, image: Image) -> Features:
        """Returns the features of the tap."""
        return self.every(params, image)[self.layer]

    def every(self, params: Params, image: Image) -> dict[str, Features]:
        """Returns the features of this tap and of all taps before it, by name, from one pass."""
        name, mean_shape = self.module.architecture.name, self.module.mean_shape
        min_side = architectures.smallest_input(self.module.architecture.layers_up_to(self.layer))
        checks.require_image(image, channels=3, min_side=min_side, what=f"{name} at {self.layer}")
        if len(mean_shape) == 3 and image.shape != mean_shape:
            raise ValueError(
                f"The weights of {name} hold a mean image of shape {mean_shape}, but the image has shape "
                f"{image.shape}; resize the image to the size of the mean."
            )
        taps: Any = self.module.apply({"params": params}, image)
        return taps


def tap(architecture: Architecture, params: Params, *, layer: str, precision: str = "float32") -> Representation:
    """A layer of any architecture as a representation, its weights checked: see `alexnet` and `vgg16`."""
    checks.require_choice(layer, architecture.layer_names, f"layer of {architecture.name}")
    checks.require_choice(precision, _PRECISIONS, "precision")
    if isinstance(params, Mapping) and architecture.std is not None:
        params = {"mean": np.array(architecture.mean), "std": np.array(architecture.std), **params}
    validated: Any = _validate(architecture, params, layer)
    widths = tuple(_width(row, params) for row in architecture.convolutions)
    module = Sequential(architecture, widths, validated["mean"].shape, layer, precision)
    # Only the weights below the tap: the others would be copied to every device and hashed for nothing.
    needed = [row.name for row in architecture.layers_up_to(layer) if row.kind == "conv"]
    needed += ["mean"] if architecture.std is None else ["mean", "std"]
    center = validated["mean"][..., ::-1] if architecture.bgr else validated["mean"]
    return Representation(Tap(module, layer), {name: validated[name] for name in needed}, center)


def layer_of(representation: Representation) -> str | None:
    """The layer that a representation computes, if it is of a network of `ARCHITECTURES`; None for any other.

    Args:
      representation: any.

    Returns:
      One of the architecture's `layer_names`, or None.

    >>> from invert_jax import networks
    >>> layer_of(networks.alexnet(layer="conv3"))
    'conv3'
    """
    return representation.apply.layer if isinstance(representation.apply, Tap) else None


def architecture_of(representation: Representation) -> Architecture | None:
    """The architecture of a representation that is a layer of one of `ARCHITECTURES`; None for any other.

    Args:
      representation: any.

    Returns:
      An `Architecture`, or None.

    >>> from invert_jax import networks
    >>> architecture_of(networks.alexnet(layer="conv3")).name
    'caffenet'
    """
    return representation.apply.module.architecture if isinstance(representation.apply, Tap) else None


def available_layers(architecture: Architecture, params: Params) -> tuple[str, ...]:
    """The layers that can be computed: those before the first whose weights are missing.

    Args:
      architecture: the network.
      params: its weights, by layer.

    Returns:
      Some of its `layer_names`, from the first on.

    >>> available_layers(architectures.CAFFENET, {"conv1": {}})
    ('conv1', 'relu1', 'pool1', 'norm1')
    """
    ends = [i for i, row in enumerate(architecture.layers) if row.kind == "conv" and row.name not in params]
    return architecture.layer_names[: ends[0] if ends else None]


def expected_shapes(architecture: Architecture, params: Params, layer: str) -> dict[str, Any]:
    """The arrays that a layer needs, and those that must fit if given: a tree of `jax.ShapeDtypeStruct`.

    Widths are free, and read off the kernels. What comes after the layer may be missing.
    """
    inputs: int | None = 3
    needed, tree = [row.name for row in architecture.layers_up_to(layer)], {}
    for row in architecture.convolutions:
        if row.name not in needed and row.name not in params:
            inputs = None  # what follows has any number of inputs
            continue
        width, groups, kernel = _width(row, params), row.groups, _shape(params, row.name, "kernel")
        channels = kernel[2] * groups if inputs is None and len(kernel) == 4 else inputs or groups
        if channels % groups or width % groups:
            raise ValueError(
                f"{architecture.name}'s {row.name} has {groups} groups, which do not divide its {channels} input and "
                f"{width} output channels; give widths that are multiples of {groups}."
            )
        arrays = {"kernel": (row.size, row.size, channels // groups, width), "bias": (width,)}
        tree[row.name] = {name: jax.ShapeDtypeStruct(shape, "float32") for name, shape in arrays.items()}
        inputs = width
    mean = _shape(params, "mean")
    tree["mean"] = jax.ShapeDtypeStruct(mean if len(mean) == 3 and mean[-1] == 3 else (3,), "float32")
    return tree if architecture.std is None else {**tree, "std": jax.ShapeDtypeStruct((3,), "float32")}


def _validate(architecture, params, layer):
    """The weights as `validate_params` returns them; what else they may be is said in its error."""
    if not isinstance(params, Mapping):
        return weights.validate_params(params, {})
    for row in architecture.convolutions:
        shape = _shape(params, row.name, "kernel")
        if len(shape) == 4 and shape[2:] == (row.size, row.size) and shape[:2] != shape[2:]:
            raise ValueError(
                f"{row.name}/kernel has shape {shape}, which is PyTorch's order [out, in, height, width]; give "
                f"[height, width, in, out]: kernel.transpose(2, 3, 1, 0)."
            )
    available = available_layers(architecture, params)
    given = [row.name for row in architecture.convolutions if row.name in params]
    if given and given[-1] in available and layer not in available:
        raise ValueError(
            f"The weights end at {given[-1]}, before {layer}; choose a layer up to {available[-1]}, or give weights "
            "that have the layers between."
        )
    try:
        return weights.validate_params(params, expected_shapes(architecture, params, layer))
    except ValueError as error:
        other = next((name for name, network in architectures.ARCHITECTURES.items() if _fits(network, params)), None)
        if other is None or other == architecture.name:
            raise
        call = "networks.vgg16(params)" if other == "vgg16" else f"architecture={other!r}"
        raise ValueError(f"{error} Their shapes are those of {other}: give {call}.") from None


def _fits(architecture, params):
    """Whether some layers of an architecture have weights of the shapes that it expects."""
    first = architecture.convolutions[0].name
    try:
        expected = expected_shapes(architecture, params, first)
    except ValueError:
        return False
    names = [row.name for row in architecture.convolutions if row.name in params]
    shapes = {name: {key: _shape(params, name, key) for key in ("kernel", "bias")} for name in names}
    return first in params and shapes == {name: {k: leaf.shape for k, leaf in expected[name].items()} for name in names}


def _width(layer, params):
    """A layer's output channels, read off its kernel; the published ones where that is missing."""
    return (_shape(params, layer.name, "kernel") or (layer.width,))[-1]


def _shape(params, *names):
    """The shape of an array of the weights; `()` where it is missing."""
    for name in names:
        params = params.get(name) if isinstance(params, Mapping) else None
    return tuple(np.shape(params)) if params is not None else ()
