"""Weight files of every format: `path -> params`."""

import os
import warnings

from invert_jax._util import paths
from invert_jax.types import Params
from invert_jax.weights.caffemodel import read_caffemodel
from invert_jax.weights.layout import WeightFile
from invert_jax.weights.matconvnet import read_mat
from invert_jax.weights.npz import read_npz
from invert_jax.weights.onnx import read_onnx
from invert_jax.weights.safetensors import read_safetensors
from invert_jax.weights.torch import read_torch

_READERS = {
    ".npz": lambda path: WeightFile(read_npz(path), None),
    ".mat": read_mat,
    ".onnx": read_onnx,
    ".safetensors": read_safetensors,
    ".pth": read_torch,
    ".pt": read_torch,
    ".caffemodel": read_caffemodel,
}


def read(path: str | os.PathLike) -> WeightFile:
    """Reads a weight file, and the architecture that it is of, where it tells.

    Args:
      path: as in `load_params`.

    Returns:
      A `WeightFile`: params, and a name of `networks.ARCHITECTURES` or None.

    Raises:
      FileNotFoundError: as in `load_params`.
      ValueError: as in `load_params`.

    >>> import tempfile, numpy as np
    >>> from invert_jax.weights import save_params
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_params(f"{folder}/a.npz", {"mean": np.array([104, 117, 123])})
    ...     read(f"{folder}/a.npz")
    WeightFile(params={mean: float32[3]}, architecture=None)
    """
    kinds = ", ".join(_READERS)
    path = paths.require_file(path, f"weight file ({kinds})")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path} has extension {path.suffix!r}, but weights are read from {kinds}; convert the file.")
    return reader(path)


def load_params(path: str | os.PathLike) -> Params:
    """Reads the weights of AlexNet or VGG-16 from a file, in the format that its extension names.

    * `.npz`: `NAME/kernel`, `NAME/bias` and `mean`, as `save_params` writes them; or the int8 layout `NAME/q`,
      `NAME/s`, `NAME/b`, where `kernel = q * s`.
    * `.onnx`: the model zoo's caffenet and bvlcalexnet, in float or 8 bits (QDQ), and exports of AlexNet and VGG-16.
    * `.pth`, `.pt`, `.safetensors`: torchvision's alexnet and vgg16, or `conv1.weight`, `conv1.bias`, ... in PyTorch's
      order of axes (`conv1.kernel` in Flax's).
    * `.caffemodel`: Caffe's CaffeNet, AlexNet and VGG-16.
    * `.mat`: MatConvNet's `imagenet-caffe-ref.mat`, `imagenet-caffe-alex.mat` and `places-caffe-ref-upgraded.mat`.

    No code in a file is run. A mean that the format does not hold is the published one.

    Args:
      path: the weight file.

    Returns:
      Params: nested dict of float32 NumPy arrays, kernels HWIO, conv1 and mean in BGR order for Caffe's networks.

    Raises:
      FileNotFoundError: the file does not exist.
      ValueError: a directory, an unknown extension, or a file that is damaged or holds something other than weights.

    Warns:
      UserWarning: a BVLC AlexNet, of the same shapes as CaffeNet but another order of layers.

    >>> import tempfile, numpy as np
    >>> from invert_jax.weights import save_params
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_params(f"{folder}/a.npz", {"mean": np.array([104, 117, 123])})
    ...     load_params(f"{folder}/a.npz")["mean"].tolist()
    [104.0, 117.0, 123.0]
    """
    file = read(path)
    if file.architecture == "bvlc_alexnet":
        warnings.warn(
            f"{path} is of BVLC AlexNet, which normalizes before it pools; params do not record that: give "
            "architecture='bvlc_alexnet' to ij.alexnet.",
            stacklevel=2,
        )
    return file.params
