"""A learned pair of dictionaries, as a record and as a file."""

import io
import os
import zipfile
from typing import Any, NamedTuple

import numpy as np

from invert_jax import files


class Dictionaries(NamedTuple):
    """A learned pair, `A` atoms; a window is `w x w` cells of `s x s` pixels and `K` channels.

    Attributes:
      patches: `[A, w s, w s]`, U: gray levels that one unit of an atom adds.
      windows: `[A, w, w, K]`, V: what the same unit adds to a normalized window.
      mean_patch: `[w s, w s]`, gray levels about `intensity`.
      mean_window: `[w, w, K]`, of normalized windows.
      intensity: mean gray level of the photographs, 0..255.
      sparsity: weight of the code's L1 norm in eq. 6, in units of normalized windows.
      representation: fingerprint of the representation whose windows these are; "" if nobody said.
      digest: names what the pair was learned from; "" if nobody said.
    """

    patches: np.ndarray
    windows: np.ndarray
    mean_patch: np.ndarray
    mean_window: np.ndarray
    intensity: float
    sparsity: float
    representation: str = ""
    digest: str = ""


def save(path: str | os.PathLike, dictionaries: Dictionaries) -> None:
    """Writes a pair to an .npz archive of plain arrays, whole or not at all.

    Args:
      path: ends in `.npz`; its folder must exist; an existing file is replaced.
      dictionaries: a learned pair.

    Raises:
      ValueError: another extension.
      FileNotFoundError: the folder does not exist.

    >>> import tempfile
    >>> pair = Dictionaries(*map(np.ones, [(2, 8, 8), (2, 1, 1, 27), (8, 8), (1, 1, 27)]), 128.0, 0.1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/pair.npz", pair)
    ...     load(f"{folder}/pair.npz").windows.shape
    (2, 1, 1, 27)
    """
    if not str(path).lower().endswith(".npz"):
        raise ValueError(f"Dictionaries are written as .npz; got {path}: give a name that ends in .npz.")
    stream = io.BytesIO()
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in dictionaries._asdict().items()}
    np.savez(stream, **arrays)
    files.write(path, stream.getvalue())


def load(path: str | os.PathLike) -> Dictionaries:
    """Reads a pair that `save` wrote.

    Args:
      path: the archive.

    Returns:
      The pair.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: damaged, or something other than a pair of dictionaries.

    >>> import tempfile
    >>> pair = Dictionaries(*map(np.ones, [(2, 8, 8), (2, 1, 1, 27), (8, 8), (1, 1, 27)]), 128.0, 0.1, digest="a name")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/pair.npz", pair)
    ...     load(f"{folder}/pair.npz").digest
    'a name'
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no file {path}; learn dictionaries with experiments.learn_hoggle.")
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("not an .npz archive")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return _checked(arrays)
    except Exception as error:  # zipfile, zlib and NumPy's header parser raise many kinds
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise ValueError(
            f"{path} does not hold a pair of HOGgle dictionaries ({reason}); learn one with experiments.learn_hoggle."
        ) from error


def _checked(arrays) -> Dictionaries:
    if set(arrays) != set(Dictionaries._fields):
        raise ValueError(f"it has {', '.join(sorted(arrays)) or 'nothing'}")
    texts = {name: arrays.pop(name) for name in ("representation", "digest")}
    for name, text in texts.items():
        if text.dtype.kind != "U" or text.ndim:
            raise ValueError(f"its {name} is not a text")
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise ValueError(f"{name} is not an array of finite numbers")
    intensity, sparsity = arrays["intensity"], arrays["sparsity"]
    patches, windows = arrays["patches"].shape, arrays["windows"].shape
    fits = (
        len(patches) == 3
        and len(windows) == 4
        and all((*patches, *windows))
        and patches[0] == windows[0]
        and patches[1] == patches[2] == patches[1] // windows[1] * windows[1]
        and windows[1] == windows[2]
        and arrays["mean_patch"].shape == patches[1:]
        and arrays["mean_window"].shape == windows[1:]
        and intensity.shape == sparsity.shape == ()
        and sparsity > 0
    )
    if not fits:
        raise ValueError(f"its arrays {patches} and {windows} do not fit each other")
    numbers = {"intensity": float(intensity), "sparsity": float(sparsity)}
    return Dictionaries(**{**arrays, **numbers, **{name: str(text) for name, text in texts.items()}})
