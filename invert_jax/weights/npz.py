"""The library's weight file: an .npz archive of plain arrays, float32 or int8 with scales."""

import io
import math
import os
import zipfile

import jax
import numpy as np

from invert_jax._util import atomic_io, checks, paths, reprs
from invert_jax.types import Params
from invert_jax.weights import mat5
from invert_jax.weights.validation import by_name

_CAFFE_MEAN = (104.0, 117.0, 123.0)  # ImageNet's mean color, BGR: int8 files without a mean were trained with it

_LAYOUT = "NAME/kernel and NAME/bias (or NAME/q, NAME/s and NAME/b) for each layer, and mean"


def read_npz(path: str | os.PathLike) -> Params:
    """Reads params from an .npz archive of plain arrays.

    A layer has one of two layouts. Float: `NAME/kernel` HWIO, `NAME/bias` [out]. Int8: `NAME/q` (int8, HWIO), `NAME/s`
    (scale, [out]), `NAME/b` (bias, [out]), with `kernel = q * s`. `mean` is [3] or [H, W, 3], BGR; in an int8 archive
    without one it is Caffe's, (104, 117, 123).

    Args:
      path: the archive.

    Returns:
      Params: nested dict of float32 NumPy arrays.

    Raises:
      ValueError: not a zip archive, damaged, or holding Python objects or arrays of another layout.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     arrays = {"fc8/q": np.ones((1, 1, 2, 1), "int8"), "fc8/s": np.array([0.5]), "fc8/b": np.zeros(1)}
    ...     np.savez(f"{folder}/a.npz", **arrays)
    ...     read_npz(f"{folder}/a.npz")["fc8"]["kernel"].ravel().tolist()
    [0.5, 0.5]
    """
    path = paths.require_file(path, "weight file")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not an .npz archive, or is truncated; download or save it again.")
    try:
        # Without pickle, reading an archive runs no code from it.
        _require_sizes(path)
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            flat = {name: archive[name] for name in archive.files}
    except ValueError as error:
        raise ValueError(
            f"{path} holds something other than plain arrays ({reprs.reason(error)}); expected {_LAYOUT}: save it with "
            f"save_params."
        ) from error
    except Exception as error:  # zipfile, zlib and NumPy's header parser raise many types
        raise ValueError(f"{path} is damaged ({reprs.reason(error)}); download or save it again.") from error
    return _nested(flat, path)


def save_params(path: str | os.PathLike, params: Params) -> None:
    """Writes params to an .npz archive in the float layout; the same params give the same bytes.

    The file appears whole or not at all.

    Args:
      path: the file to write, ending in `.npz`; an existing file is replaced.
      params: nested dict `{NAME: {"kernel": ..., "bias": ...}, "mean": ...}` of arrays; stored as float32.

    Raises:
      ValueError: another extension, arrays under other names, or values that are not finite numbers.
      FileNotFoundError: the folder of `path` does not exist.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_params(f"{folder}/a.npz", {"fc8": {"kernel": np.ones((1, 1, 2, 3)), "bias": np.zeros(3)}})
    ...     read_npz(f"{folder}/a.npz")["fc8"]["kernel"].shape
    (1, 1, 2, 3)
    """
    path = paths.expand(path)
    if path.suffix.lower() != ".npz":
        raise ValueError(f"Weights are written as .npz, but the path is {path}; give a name that ends in .npz.")
    # The reader's own check, so that whatever is written can be read.
    floats = by_name(_nested({name: np.asarray(leaf) for name, leaf in by_name(params).items()}, "params"))
    for name, array in floats.items():
        checks.require_finite(array, f"array {name} to be saved")
    stream = io.BytesIO()
    np.savez(stream, **floats)
    atomic_io.write_bytes(path, stream.getvalue())


def _require_sizes(path):
    """Raises ValueError for members that would take far more memory than the file, before any is taken."""
    limit = mat5.inflation_limit(os.path.getsize(path))
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                newer = np.lib.format.read_magic(member) != (1, 0)
                read = np.lib.format.read_array_header_2_0 if newer else np.lib.format.read_array_header_1_0
                shape, _, dtype = read(member)
                size = math.prod(shape) * dtype.itemsize
                limit -= size
                if limit < 0 or (not dtype.hasobject and size > info.file_size):
                    raise OverflowError(f"{info.filename} of shape {shape} is far larger than the file")


def _nested(flat: dict[str, np.ndarray], source) -> Params:
    """Nested float32 params from flat names, dequantized; a ValueError names the arrays that do not belong."""
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, array in flat.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
            raise ValueError(f"{name} of {source} is not an array of real numbers; expected {_LAYOUT}: save it again.")
        if name != "mean":
            layer, _, part = name.rpartition("/")
            layers.setdefault(layer, {})[part] = array
    params: dict = {}
    for layer, parts in layers.items():
        if set(parts) == {"kernel", "bias"}:
            params[layer] = {"kernel": parts["kernel"], "bias": parts["bias"]}
        elif set(parts) == {"q", "s", "b"} and _is_quantized(parts["q"], parts["s"]):
            params[layer] = {"kernel": parts["q"] * parts["s"].astype("float32"), "bias": parts["b"]}
        else:
            given = ", ".join(
                f"{layer}/{part} {a.dtype}{list(a.shape)}".lstrip("/") for part, a in sorted(parts.items())
            )
            raise ValueError(
                f"{source} has {given}; expected {_LAYOUT}, with q int8 [H, W, in, out] and s [out]: "
                "rename the arrays and save again."
            )
    if "mean" in flat:
        params["mean"] = flat["mean"]
    elif any("q" in parts for parts in layers.values()):
        params["mean"] = np.asarray(_CAFFE_MEAN)
    if not params:
        raise ValueError(f"{source} holds no arrays; expected {_LAYOUT}.")
    # A number too large for float32 becomes infinite; `validate_params` and `save_params` refuse that with the name.
    with np.errstate(over="ignore"):
        return jax.tree.map(lambda array: np.asarray(array, "float32"), params)


def _is_quantized(q: np.ndarray, scale: np.ndarray) -> bool:
    return q.dtype == np.int8 and q.ndim == 4 and scale.shape == q.shape[-1:]
