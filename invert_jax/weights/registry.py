"""Files with a known hash: the bundled network and MatConvNet's published ones."""

import functools
import hashlib
import importlib.resources
import os
import re

import jax

from invert_jax._util import paths
from invert_jax.types import Params
from invert_jax.weights.npz import read_npz

_BUNDLED = "cnn_a_small_int8.npz"
_BUNDLED_SHA256 = "9796a95a506313996846ee2acee12750a6ec375e0133e69fcafa91f36d23df6e"

# Source: MatConvNet's page "Pretrained models", section "File checksums" (files of beta 17 and later). MD5 detects a
# damaged or a different file, not a forged one.
PUBLISHED_MD5 = {
    "imagenet-caffe-alex.mat": "ed49ef44caf18496291ce0c3257b0596",
    "imagenet-caffe-ref.mat": "6d69dfa6e549012c94546658737c5885",
}


def bundled() -> Params:
    """The weights of the small CNN-A that comes with the library.

    It has CNN-A's geometry with fc6 and fc7 of width 512. It is trained, but it is not the paper's network, and a weak
    classifier (8 % top-1); its model card is `invert_jax/data/MODEL_CARD.md`.

    The file is read, and checked against its sha256, once per process. Every call returns a new dict of the same
    read-only arrays.

    Returns:
      Params: nested dict of float32 NumPy arrays, kernels HWIO; "mean" is [3], BGR.

    Raises:
      ValueError: the installed file is damaged.

    >>> bundled()["conv1"]["kernel"].shape
    (11, 11, 3, 96)
    """
    return jax.tree.map(lambda array: array, _read_bundled())  # new dicts around the cached arrays


@functools.cache
def _read_bundled() -> Params:
    with importlib.resources.as_file(importlib.resources.files("invert_jax") / "data" / _BUNDLED) as path:
        verify(path, _BUNDLED_SHA256)
        params = read_npz(path)
    for array in jax.tree.leaves(params):
        array.setflags(write=False)
    return params


def verify(path: str | os.PathLike, sha256: str | None = None) -> None:
    """Raises unless the file has the expected hash; returns nothing.

    Args:
      path: the file.
      sha256: its expected SHA-256, 64 hexadecimal digits. None compares with the MD5 that MatConvNet publishes for a
        file of this name (imagenet-caffe-ref.mat and imagenet-caffe-alex.mat, since beta 17).

    Raises:
      FileNotFoundError: the file does not exist.
      ValueError: the hash differs, `sha256` is malformed, or it is None and no hash is known for the file's name.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     verify(file.name, hashlib.sha256(b"").hexdigest())
    """
    path = paths.expand(path)
    if sha256 is None:
        algorithm, expected = "md5", PUBLISHED_MD5.get(path.name, "")
        if not expected:
            raise ValueError(
                f"No hash is known for {path.name} (only for {', '.join(PUBLISHED_MD5)}); give its sha256."
            )
    else:
        algorithm, expected = "sha256", sha256.lower()
        if not re.fullmatch("[0-9a-f]{64}", expected):
            raise ValueError(f"sha256 is {sha256!r}, but must be 64 hexadecimal digits; copy all of it.")
    digest = digest_of(path, algorithm=algorithm)
    if digest != expected:
        raise ValueError(f"{path} has {algorithm} {digest}; expected {expected}: download the file again.")


def digest_of(path: str | os.PathLike, *, algorithm: str = "sha256") -> str:
    """The hash of a file, in hexadecimal digits."""
    with open(paths.require_file(path), "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
