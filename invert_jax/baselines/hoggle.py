"""HOGgles: HOG inverted by a pair of dictionaries, one of HOG windows and one of gray patches, that share a code.

A window is a few cells square; its patch is the pixels of those cells. Learning finds atoms for which one sparse code
explains both. Inversion encodes every window with the HOG atoms, decodes the code with the gray atoms, and averages the
patches where they overlap: fast, without a descent, but details on which windows disagree are blurred.

Source: Vondrick, Khosla, Malisiewicz & Torralba, "HOGgles: Visualizing Object Detection Features", ICCV 2013, section
3.4. No learned dictionaries are included; `experiments/learn_hoggle.py` learns them from photographs.
"""

import os
import warnings
import zipfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from invert_jax._util import arrays, checks, paths, reprs
from invert_jax._util.reprs import short_repr
from invert_jax.types import Representation

__all__ = ["Dictionaries", "invert", "learn", "load", "save"]

_NOISE = 5.0  # gray levels: patches of less contrast weigh less, because their HOG says little about them
_NUM_WINDOWS = 40000
_BATCH_SIZE = 256
_MAX_SWEEPS = 200  # sweeps of coordinate descent per code
_NUM_CALIBRATION = 20  # photographs on which the contrast of the patches is calibrated


class Dictionaries(NamedTuple):
    """A learned pair, `A` atoms; a window is `w x w` cells of `s x s` pixels and `K` channels."""

    patches: np.ndarray  #: [A, w s, w s], U: gray levels that one unit of an atom adds
    windows: np.ndarray  #: [A, w, w, K], V: what one unit of an atom adds to a normalized window
    mean_patch: np.ndarray  #: [w s, w s], gray levels about the intensity
    mean_window: np.ndarray  #: [w, w, K], of normalized windows
    intensity: float  #: mean gray level of the photographs, 0..255
    sparsity: float  #: weight of the code's L1 norm in eq. 6, in units of normalized windows
    representation: str = ""  #: content hash of the representation of the windows; "" if unknown
    digest: str = ""  #: content hash of the photographs and settings of the learning; "" if unknown

    __repr__ = short_repr


def learn(
    key: jax.Array,
    photographs: Sequence,
    representation: Representation,
    *,
    cell_size: int = 8,
    window: int = 3,
    num_windows: int | None = None,
    num_atoms: int = 512,
    num_components: int = 250,
    num_passes: int = 1,
    sparsity: float = 0.1,
) -> Dictionaries:
    """Learns a pair of dictionaries from windows at random positions of photographs.

    With `x` a patch and `y` its window, both normalized, centered and of equal mean energy, over the windows

        min over U, V, c of  sum |x - U c|^2 / 2 + |y - V c|^2 / 2 + sparsity |c|_1,    |(u_a, v_a)| <= 1.

    Both are normalized to zero mean and unit contrast, because HOG carries neither brightness nor contrast, and
    projected on their principal components for speed. Finally the patches are scaled so that training photographs are
    reconstructed with their contrast. The windows of Vondrick et al. are 5 cells wide; from a few hundred photographs
    such windows blur more than those of 3 cells.

    Args:
      key: random key, for the positions of the windows and the order of learning.
      photographs: gray images `[H, W, 1]`, 0..255, of any sizes.
      representation: the representation to invert, such as `ij.hog()`; features `[Hc, Wc, K]`, one row per cell.
      cell_size: side of its cell, s, pixels.
      window: side of a window, w, cells.
      num_windows: number of windows to learn from; None is 40000, or all of them if there are fewer.
      num_atoms: number of atoms, A.
      num_components: number of principal components of the patches, and of the windows.
      num_passes: number of passes over the windows.
      sparsity: weight of the L1 norm of a code, where patches and windows have unit mean energy.

    Returns:
      The pair; the same key and photographs give the same pair on the same kind of machine.

    Raises:
      ValueError: photographs that are not gray, too small or too few, a setting out of its range, or a representation
        with other cells.
      TypeError: `key` is not a random key.
      ImportError: scikit-learn is not installed.

    Source: eq. 7 of Vondrick et al. 2013; the learning is scikit-learn's, after Mairal et al. 2009.

    >>> import invert_jax as ij
    >>> photographs = [ij.example_image(name, size=96, gray=True) for name in ("chelsea", "coffee")]
    >>> pair = learn(jax.random.key(0), photographs, ij.hog(), num_windows=100, num_atoms=8, num_passes=1)
    >>> pair.patches.shape, pair.windows.shape
    ((8, 24, 24), (8, 3, 3, 27))
    """
    _scikit_learn()  # before any work, so that a missing package is reported at once
    checks.require_key(key)
    counts = {"cell_size": cell_size, "window": window, "num_windows": 1 if num_windows is None else num_windows}
    counts |= {"num_atoms": num_atoms, "num_components": num_components, "num_passes": num_passes}
    for name, value in counts.items():
        checks.require_count(value, name)
    checks.require_positive(sparsity, "sparsity")
    side = cell_size * window
    if not len(photographs):
        raise ValueError("Dictionaries are learned from photographs, but there are none; give gray images [H, W, 1].")
    for photograph in photographs:
        checks.require_image(photograph, channels=1, min_side=side, what="learning of dictionaries")
        checks.require_finite(photograph, "photograph")
    _require_cells(representation, cell_size)
    grid = np.array([[length // cell_size - window + 1 for length in np.shape(p)[:2]] for p in photographs])
    available = int(grid.prod(axis=1).sum())
    num_windows = min(_NUM_WINDOWS, available) if num_windows is None else num_windows
    if not num_atoms <= num_windows <= available:
        raise ValueError(
            f"num_windows is {num_windows}, num_atoms {num_atoms}, and the {len(photographs)} photograph(s) have "
            f"{available} windows of {window} x {window} cells; give no more windows than that, and no more atoms."
        )

    sample_key, start_key, seed_key = jax.random.split(key, 3)
    seed = int(jax.random.randint(seed_key, (), 0, 2**31 - 1))  # for scikit-learn's generators
    chosen = np.sort(np.asarray(jax.random.choice(sample_key, available, (num_windows,), replace=False)))
    patches, windows = _windows_of(chosen, grid, photographs, representation, cell_size, window)
    intensity = float(np.mean(patches))

    mean_patch, patch_basis, patch_scale, patches = _principal(_normalize_patches(patches), num_components, seed)
    mean_window, window_basis, window_scale, windows = _principal(_normalize_windows(windows), num_components, seed)
    # Double precision: coding a window ends when its duality gap is small, and that gap is below float32's rounding.
    joint = np.concatenate([patches, windows], axis=1, dtype=np.float64)
    # Atoms start as random windows instead of scikit-learn's default, a singular value decomposition of all windows.
    initial = joint[np.asarray(jax.random.choice(start_key, num_windows, (num_atoms,), replace=False))]
    settings: dict[str, Any] = {
        "alpha": sparsity,
        "max_iter": num_passes,
        "batch_size": _BATCH_SIZE,
        "fit_algorithm": "cd",
        "dict_init": initial / np.maximum(np.linalg.norm(initial, axis=1, keepdims=True), 1e-6),
        "random_state": seed,
        "tol": 0.0,
        "max_no_improvement": None,
        "transform_max_iter": _MAX_SWEEPS,
    }
    learner = _scikit_learn().MiniBatchDictionaryLearning(num_atoms, **settings)
    with _unfinished_codes_allowed():
        atoms = learner.fit(joint).components_
    patch_atoms, window_atoms = np.split(atoms, [patches.shape[1]], axis=1)
    pair = Dictionaries(
        patches=np.float32(patch_scale * patch_atoms @ patch_basis).reshape(-1, side, side),
        windows=np.float32(window_scale * window_atoms @ window_basis).reshape(num_atoms, window, window, -1),
        mean_patch=np.float32(mean_patch).reshape(side, side),
        mean_window=np.float32(mean_window).reshape(window, window, -1),
        intensity=intensity,
        sparsity=float(sparsity * window_scale**2),  # in units of windows that are not rescaled
    )
    # Calibrate the contrast: the L1 penalty shrinks codes, and averaging cancels patches that disagree.
    calibration = photographs[:: -(-len(photographs) // _NUM_CALIBRATION)]
    contrast = np.mean([np.std(photograph) for photograph in calibration])
    restored = [np.std(_reconstruct(pair, representation(photograph))) for photograph in calibration]
    gain = contrast / max(np.mean(restored), 1e-6)
    return pair._replace(patches=np.float32(gain * pair.patches), mean_patch=np.float32(gain * pair.mean_patch))


def invert(dictionaries: Dictionaries, features) -> np.ndarray:
    """Inverts an array of HOG cells to a gray image with a pair of dictionaries.

    For every window `y` of the features, at every cell, the code, eq. 6, and its patch are

        c = argmin |y - mean - V c|^2 / 2 + sparsity |c|_1,    x = mean patch + U c.

    Patches are averaged with a weight that decreases smoothly from the middle of a patch. HOG carries neither
    brightness nor contrast: both are those of the training photographs.

    Args:
      dictionaries: a learned pair.
      features: `[Hc, Wc, K]`, at least one window high and wide.

    Returns:
      float32 `[Hc s, Wc s, 1]`, clipped to 0..255.

    Raises:
      ValueError: features of another shape, or not finite.
      ImportError: scikit-learn is not installed.

    >>> import invert_jax as ij
    >>> hog, cat = ij.hog(), ij.example_image("chelsea", size=96, gray=True)
    >>> pair = learn(jax.random.key(0), [cat], hog, num_windows=60, num_atoms=8, num_passes=1)
    >>> invert(pair, hog(cat)).shape
    (96, 96, 1)
    """
    _scikit_learn()  # before any work, so that a missing package is reported at once
    _, window, _, num_channels = dictionaries.windows.shape
    shape = np.shape(features)
    if len(shape) != 3 or shape[2] != num_channels or min(shape[:2]) < window:
        raise ValueError(
            f"The dictionaries invert features [Hc, Wc, {num_channels}] of {window} x {window} cells or more; "
            f"got shape {shape}: give features of the representation that the dictionaries were learned for."
        )
    checks.require_finite(features, "features")
    image = dictionaries.intensity + _reconstruct(dictionaries, features)
    return np.clip(image, 0, 255).astype(np.float32)[..., None]


def _reconstruct(pair, features) -> np.ndarray:
    """The image minus its intensity, `[Hc s, Wc s]`, not clipped."""
    num_atoms, window = pair.windows.shape[:2]
    windows = _all_windows(np.asarray(features, np.float32), window)
    normalized = _normalize_windows(windows.reshape(windows.shape[0] * windows.shape[1], -1))
    with _unfinished_codes_allowed():
        codes = _scikit_learn().sparse_encode(
            np.float64(normalized - pair.mean_window.reshape(1, -1)),
            np.float64(pair.windows.reshape(num_atoms, -1)),
            algorithm="lasso_cd",
            alpha=pair.sparsity,
            max_iter=_MAX_SWEEPS,
        )
    patches = np.tensordot(np.float32(codes), pair.patches, 1) + pair.mean_patch[None]
    return _overlap(patches.reshape(*windows.shape[:2], *patches.shape[1:]), window)


def _unfinished_codes_allowed():
    """Silences scikit-learn's warning about codes above its tolerance of 1e-8, which is far below what can be seen."""
    from sklearn.exceptions import ConvergenceWarning

    return warnings.catch_warnings(action="ignore", category=ConvergenceWarning)


def _scikit_learn():
    try:
        from sklearn import decomposition
    except ImportError as error:
        message = "HOGgles need scikit-learn, which is not installed; run pip install 'invert_jax[hoggle]'."
        raise ImportError(message) from error
    return decomposition


def _require_cells(representation, cell_size):
    """Raises ValueError unless cell (i, j) belongs to pixels `[i s, (i + 1) s) x [j s, (j + 1) s)`."""
    shape = representation.feature_shape((10 * cell_size, 12 * cell_size, 1))
    if len(shape) != 3 or shape[:2] != (10, 12):
        raise ValueError(
            f"Features of {10 * cell_size} x {12 * cell_size} pixels have shape {shape}, not [10, 12, K]; "
            "give a representation with cells, such as hog, and its cell_size."
        )


def _windows_of(chosen, grid, photographs, representation, cell_size, window):
    """Patches `[n, (w s)^2]` and windows `[n, w w K]`; windows are numbered through photographs of `grid` windows."""
    ends, side = np.cumsum(grid.prod(axis=1)), cell_size * window
    patches, windows = [], []
    for i, photograph in enumerate(photographs):
        start = ends[i] - grid[i].prod()
        rows, columns = np.divmod(chosen[(start <= chosen) & (chosen < ends[i])] - start, grid[i, 1])
        if len(rows):
            pixels = np.lib.stride_tricks.sliding_window_view(np.asarray(photograph, np.float32)[..., 0], (side, side))
            patches.append(pixels[rows * cell_size, columns * cell_size].reshape(len(rows), -1))
            features = _all_windows(np.asarray(representation(photograph)), window)
            windows.append(features[rows, columns].reshape(len(rows), -1))
    return np.concatenate(patches), np.concatenate(windows)


def _normalize_patches(patches) -> np.ndarray:
    """Patches of zero mean and about unit standard deviation."""
    patches = patches - patches.mean(axis=1, keepdims=True)
    return patches / np.sqrt(patches.var(axis=1, keepdims=True) + _NOISE**2)


def _normalize_windows(windows) -> np.ndarray:
    """Windows `[n, w w K]` of zero mean and unit norm; a constant window becomes zero."""
    windows = windows - windows.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(windows, axis=1, keepdims=True)
    return windows / np.where(norms > 0, norms, 1)


def _principal(part, num_components, seed):
    """Mean, principal components, scale; and the part projected on them, over the scale: of unit mean energy."""
    pca = _scikit_learn().PCA(min(num_components, *part.shape), random_state=seed)
    projected = pca.fit_transform(part)
    scale = max(float(np.sqrt(np.mean(np.sum(projected**2, axis=1)))), 1e-6)
    return np.asarray(pca.mean_), np.asarray(pca.components_), scale, projected / np.float32(scale)


def _all_windows(features, window) -> np.ndarray:
    """`[Hc, Wc, K]` -> `[Hc - w + 1, Wc - w + 1, w, w, K]`."""
    view = np.lib.stride_tricks.sliding_window_view(features, (window, window), axis=(0, 1))
    return np.ascontiguousarray(np.moveaxis(view, 2, 4))


def _overlap(patches, window) -> np.ndarray:
    """The weighted mean of patches `[n, m, w s, w s]` one cell apart: `[(n + w - 1) s, (m + w - 1) s]`."""
    num_rows, num_columns, side, _ = patches.shape
    cell = side // window
    bell = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 4
    weight = np.outer(bell, bell)
    total = np.zeros(((num_rows + window - 1) * cell, (num_columns + window - 1) * cell))
    weights = np.zeros_like(total)
    for row, column in np.ndindex(num_rows, num_columns):
        area = np.s_[row * cell : row * cell + side, column * cell : column * cell + side]
        total[area] += weight * patches[row, column]
        weights[area] += weight
    return total / weights


def save(path: str | os.PathLike, dictionaries: Dictionaries) -> None:
    """Writes a pair to an .npz archive of plain arrays, whole or not at all.

    Args:
      path: the file to write, ending in `.npz`; its folder must exist; an existing file is replaced.
      dictionaries: a learned pair.

    Raises:
      ValueError: another extension.
      FileNotFoundError: the folder of `path` does not exist.

    >>> import tempfile
    >>> pair = Dictionaries(*map(np.ones, [(2, 8, 8), (2, 1, 1, 27), (8, 8), (1, 1, 27)]), 128.0, 0.1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/pair.npz", pair)
    ...     load(f"{folder}/pair.npz").windows.shape
    (2, 1, 1, 27)
    """
    if not str(path).lower().endswith(".npz"):
        raise ValueError(f"Dictionaries are written as .npz, but the path is {path}; give a name that ends in .npz.")
    arrays.write_arrays(paths.expand(path), {name: np.asarray(value) for name, value in dictionaries._asdict().items()})


def load(path: str | os.PathLike) -> Dictionaries:
    """Reads a pair that `save` wrote.

    Args:
      path: the archive.

    Returns:
      The pair.

    Raises:
      FileNotFoundError: the file does not exist.
      ValueError: the file is damaged, or is not a pair of dictionaries.

    >>> import tempfile
    >>> pair = Dictionaries(*map(np.ones, [(2, 8, 8), (2, 1, 1, 27), (8, 8), (1, 1, 27)]), 128.0, 0.1, digest="a name")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/pair.npz", pair)
    ...     load(f"{folder}/pair.npz").digest
    'a name'
    """
    path = paths.require_file(path, "pair of dictionaries, from experiments.learn_hoggle")
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("not an .npz archive")
        with np.load(path, allow_pickle=False) as archive:
            return _checked({name: archive[name] for name in archive.files})
    except Exception as error:  # zipfile, zlib and NumPy's header parser raise many types
        raise ValueError(
            f"{path} does not hold a pair of HOGgle dictionaries ({reprs.reason(error)}); learn one with "
            f"experiments.learn_hoggle."
        ) from error


def _checked(found) -> Dictionaries:
    """The pair of the arrays; raises ValueError with a reason if they are not one."""
    if set(found) != set(Dictionaries._fields):
        raise ValueError(f"the arrays are {', '.join(sorted(found)) or 'none'}")
    (num_atoms, side, _), (_, window, _, channels) = found["patches"].shape, found["windows"].shape
    shapes = {
        "patches": (num_atoms, side, side),
        "windows": (num_atoms, window, window, channels),
        "mean_patch": (side, side),
        "mean_window": (window, window, channels),
    }
    for name, array in found.items():
        is_text = name in ("representation", "digest")
        is_valid = array.dtype.kind == "U" if is_text else array.dtype.kind in "fiu" and np.isfinite(array).all()
        if not is_valid or array.shape != shapes.get(name, ()):
            raise ValueError(f"{name} is {array.dtype} of shape {array.shape}, does not fit, or is not finite")
    if not min(num_atoms, side, window, channels) or side % window or found["sparsity"] <= 0:
        raise ValueError(f"patches {found['patches'].shape} and windows {found['windows'].shape} do not fit each other")
    return Dictionaries(**{name: array if array.ndim else array.item() for name, array in found.items()})
