"""Weights of CNN-A (Caffe's AlexNet): readers `path -> params`, and the check that params fit a network.

Params are a nested dict, `{"conv1": {"kernel": [11, 11, 3, 96], "bias": [96]}, ..., "mean": [3]}`: float32 kernels in
HWIO (input channels per group), with conv1's input channels and the mean in BGR order, as in Caffe. No pickle is ever
loaded.
"""

import os
import pathlib

from invert_jax.types import Params
from invert_jax.weights.matconvnet import read_mat
from invert_jax.weights.npz import read_npz, save_params
from invert_jax.weights.registry import bundled, verify
from invert_jax.weights.validation import validate_params

__all__ = ["bundled", "load_params", "save_params", "validate_params", "verify"]

_READERS = {".npz": read_npz, ".mat": read_mat}


def load_params(path: str | os.PathLike) -> Params:
    """Reads the weights of CNN-A from a file, in the format that its extension names.

    * `.npz`: `NAME/kernel`, `NAME/bias` and `mean`, as `save_params` writes them; or the int8 layout
      `NAME/q`, `NAME/s`, `NAME/b`, where `kernel = q * s` (see `npz.read_npz`).
    * `.mat`: MatConvNet's `imagenet-caffe-ref.mat`, `imagenet-caffe-alex.mat` and
      `places-caffe-ref-upgraded.mat` (see `matconvnet.read_mat`).

    Args:
      path: the weight file.

    Returns:
      Params: nested dict of float32 NumPy arrays, kernels HWIO, conv1 and mean in BGR order.

    Raises:
      FileNotFoundError: the file does not exist.
      ValueError: a directory, an unknown extension, or a file that is damaged or holds something other than weights.

    >>> import tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_params(f"{folder}/a.npz", {"mean": np.array([104, 117, 123])})
    ...     load_params(f"{folder}/a.npz")["mean"].tolist()
    [104.0, 117.0, 123.0]
    """
    path = pathlib.Path(path)
    kinds = " or ".join(_READERS)
    if path.is_dir():
        raise ValueError(f"{path} is a directory; give the path of a {kinds} weight file.")
    if not path.exists():
        raise FileNotFoundError(f"The weight file {path} does not exist; give the path of a {kinds} file.")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path} has extension {path.suffix!r}, but weights are read from {kinds}; convert the file.")
    return reader(path)
