"""AlexNet at its named layers: Caffe's reference network (the paper's CNN-A), BVLC's and torchvision's."""

import math

import jax
import jax.numpy as jnp

from invert_jax import weights
from invert_jax._util import checks
from invert_jax.networks import sequential
from invert_jax.networks.architectures import ARCHITECTURES, CAFFENET
from invert_jax.types import Params, Representation

_NAMES = ("caffenet", "bvlc_alexnet", "torchvision")
_WIDTHS = tuple(layer.width for layer in CAFFENET.convolutions)


def alexnet(
    params: Params | None = None, *, layer: str = "fc8", architecture: str = "caffenet", precision: str = "float32"
) -> Representation:
    """AlexNet at one of its layers.

    Args:
      params: `{"conv1": {"kernel", "bias"}, ..., "mean"}`, from `load_params` or `random_alexnet_params`; kernels are
        `[height, width, in, out]`, and what comes after the layer may be missing. None is the bundled small CaffeNet
        (not the paper's: see its model card). In torchvision's, `mean` and `std` `[3]`, gray levels, may be missing.
      layer: conv1, relu1, ..., fc8: one of the architecture's `layer_names`.
      architecture: `caffenet`, the paper's CNN-A, which pools and then normalizes; `bvlc_alexnet`, which normalizes
        and then pools; or `torchvision`, of other widths, without groups and normalization.
      precision: `float32`, or `bfloat16` to compute the network in bfloat16, which is faster on accelerators; image,
        features, energy and update stay float32.

    Returns:
      A representation of RGB images `[H, W, 3]`, 0..255, 227x227 for Caffe's and 224x224 for torchvision's; features
      `[h, w, c]` (`[1, 1, c]` at fc6..fc8 at that size). Its center is the network's mean, in RGB.

    Raises:
      ValueError: an unknown layer, architecture or precision, weights that end before the layer, or weights with a
        missing, unexpected, misshapen or non-finite array.

    Source: Mahendran & Vedaldi 2015, Table 2; Jia et al. 2014; Krizhevsky et al. 2012; Krizhevsky 2014.

    >>> alexnet(layer="conv3")(jnp.zeros((227, 227, 3))).shape
    (13, 13, 384)
    """
    checks.require_choice(architecture, _NAMES, "architecture")
    checks.require_choice(layer, ARCHITECTURES[architecture].layer_names, f"layer of {architecture}")
    if params is None:
        if architecture != "caffenet":
            name = "alexnet" if architecture == "torchvision" else architecture
            raise ValueError(
                f"No weights of {architecture} are bundled; give some, or ij.pretrained({name!r}, layer={layer!r})."
            )
        params = weights.bundled()
    return sequential.tap(ARCHITECTURES[architecture], params, layer=layer, precision=precision)


def random_alexnet_params(key: jax.Array, *, widths: tuple[int, ...] = _WIDTHS) -> Params:
    """Untrained CaffeNet weights: He-normal kernels, zero biases, Caffe's mean color.

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
    rows = CAFFENET.convolutions
    if len(widths) != len(rows):
        raise ValueError(
            f"CaffeNet has {len(rows)} layers with weights, conv1..conv5 and fc6..fc8; got {len(widths)} widths: "
            "give one width per layer."
        )
    for width in widths:
        checks.require_count(width, "A layer's width")
    # `expected_shapes` reads widths off kernels; a shape alone is enough.
    given = {
        r.name: {"kernel": jax.ShapeDtypeStruct((0, 0, 0, w), "float32")} for r, w in zip(rows, widths, strict=True)
    }
    expected = sequential.expected_shapes(CAFFENET, given, "fc8")
    kernels = {row.name: expected[row.name]["kernel"].shape for row in rows}
    # One draw for all kernels, sliced afterwards: a draw per shape would take seconds to compile.
    noise = jax.random.normal(key, (sum(map(math.prod, kernels.values())),), jnp.float32)
    params, start = {}, 0
    for name, shape in kernels.items():
        size = math.prod(shape)
        kernel = noise[start : start + size].reshape(shape) * math.sqrt(2 / math.prod(shape[:3]))
        params[name] = {"kernel": kernel, "bias": jnp.zeros(shape[-1], jnp.float32)}
        start += size
    return {**params, "mean": jnp.asarray(CAFFENET.mean, jnp.float32)}
