"""HOGgles: HOG inverted by a pair of dictionaries, one of HOG windows and one of gray patches, that share a code.

A window is a few cells square; its patch is the pixels of those cells. Learning finds atoms for which one sparse code
explains both. Inverting codes every window with the HOG atoms, decodes it with the gray ones, and averages the patches
where they overlap. It descends on nothing and so is fast, and it blurs what the windows disagree about.

Source: Vondrick, Khosla, Malisiewicz & Torralba, "HOGgles: Visualizing Object Detection Features", ICCV 2013, section
3.4. Nothing learned comes along; `experiments/learn_hoggle.py` learns from photographs of your own.
"""

import contextlib
import io
import os
import warnings
import zipfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from invert_jax._util import atomic_io, checks
from invert_jax.types import Representation

__all__ = ["Dictionaries", "invert", "learn", "load", "save"]

_NOISE = 5.0  # gray levels: a patch of less contrast than this counts for less, as its HOG says little about it
_NUM_WINDOWS = 40000
_BATCH_SIZE = 256
_MAX_SWEEPS = 200  # of coordinate descent for one code
_NUM_SHOWN = 20  # photographs that the contrast of pictures is measured on


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
    """Learns a pair of dictionaries from windows at random places of photographs.

    With `x` a patch and `y` its window, both normalized, centered and of equal mean energy, over the windows

        min over U, V, c of  sum |x - U c|^2 / 2 + |y - V c|^2 / 2 + sparsity |c|_1,    |(u_a, v_a)| <= 1.

    The mean of each patch is taken away and its contrast divided out, and the same with each window: HOG does not
    carry either. Both are projected on their principal components while learning, for speed. At last the patches are
    scaled so that photographs that were learned from come back with their contrast, which the penalty and the
    averaging take away.

    The windows of Vondrick et al. are 5 cells wide; from a few hundred photographs such windows blur more than those of
    3 cells.

    Args:
      key: a random key, for the places and for the order of learning.
      photographs: gray images `[H, W, 1]`, 0..255, of any sizes.
      representation: what will be inverted, such as `ij.hog()`; features `[Hc, Wc, K]`, one for each cell.
      cell_size: side of its cell, s, pixels.
      window: side of a window, w, cells.
      num_windows: how many windows to learn from; None takes 40000, or all if there are fewer.
      num_atoms: size of either dictionary, A.
      num_components: principal components to keep of patches, and of windows.
      num_passes: how often each window is visited.
      sparsity: weight of the L1 norm of a code, where patch and window have unit mean energy each.

    Returns:
      The pair; the same key and photographs give the same one on the same kind of machine.

    Raises:
      ValueError: photographs that are not gray, too small or too few, or a representation with other cells.
      ImportError: scikit-learn is not installed.

    Source: eq. 7 of Vondrick et al. 2013; the learning is scikit-learn's, after Mairal et al. 2009.

    >>> import invert_jax as ij
    >>> photographs = [ij.example_image(name, size=96, gray=True) for name in ("chelsea", "coffee")]
    >>> pair = learn(jax.random.key(0), photographs, ij.hog(), num_windows=100, num_atoms=8, num_passes=1)
    >>> pair.patches.shape, pair.windows.shape
    ((8, 24, 24), (8, 3, 3, 27))
    """
    _scikit_learn()  # a missing one is told first
    checks.require_key(key)
    for name, value in (("cell_size", cell_size), ("window", window), ("num_windows", num_windows)):
        if value is not None:
            checks.require_count(value, name)
    for name, value in (("num_atoms", num_atoms), ("num_components", num_components), ("num_passes", num_passes)):
        checks.require_count(value, name)
    checks.require_positive(sparsity, "sparsity")
    _require_photographs(photographs, cell_size * window)
    if num_windows is None:
        num_windows = min(_NUM_WINDOWS, int(_counts(photographs, cell_size, window).sum()))
    if num_windows < num_atoms:
        raise ValueError(f"num_atoms is {num_atoms} for {num_windows} windows; give at least as many windows as atoms.")
    _require_cells(representation, cell_size)

    sample_key, start_key, seed_key = jax.random.split(key, 3)
    seed = int(jax.random.randint(seed_key, (), 0, 2**31 - 1))  # of scikit-learn's own generators
    places = _places(sample_key, photographs, cell_size, window, num_windows)
    patches, windows = _sample(photographs, representation, places, cell_size, window)
    intensity = float(np.mean(patches))
    patches = _normalize_patches(patches)
    windows = _normalize_windows(windows)

    patch_part, window_part = (_principal(part, num_components, seed) for part in (patches, windows))
    # In double precision: the duality gap that ends the coding of a window drowns in float32's rounding.
    joint = np.concatenate([patch_part.balanced, window_part.balanced], axis=1, dtype=np.float64)
    first = joint[np.asarray(jax.random.choice(start_key, num_windows, (num_atoms,), replace=False))]
    settings: dict[str, Any] = {
        "alpha": sparsity,
        "max_iter": num_passes,
        "batch_size": _BATCH_SIZE,
        "fit_algorithm": "cd",
        "dict_init": first / np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-6),
        "random_state": seed,
        "tol": 0.0,
        "max_no_improvement": None,
        "transform_max_iter": _MAX_SWEEPS,
    }
    learner = _scikit_learn().MiniBatchDictionaryLearning(num_atoms, **settings)
    with _unfinished_codes_allowed():
        atoms = learner.fit(joint).components_
    split = patch_part.balanced.shape[1]
    side, num_channels = cell_size * window, windows.shape[1] // window**2
    pair = Dictionaries(
        patches=np.float32(patch_part.expand(atoms[:, :split])).reshape(-1, side, side),
        windows=np.float32(window_part.expand(atoms[:, split:])).reshape(-1, window, window, num_channels),
        mean_patch=np.float32(patch_part.mean).reshape(side, side),
        mean_window=np.float32(window_part.mean).reshape(window, window, num_channels),
        intensity=intensity,
        sparsity=float(sparsity * window_part.scale**2),
    )
    shown = photographs[:: -(-len(photographs) // _NUM_SHOWN)]
    contrast = np.mean([np.std(photograph) for photograph in shown])
    gain = contrast / max(np.mean([np.std(_restore(pair, representation(photograph))) for photograph in shown]), 1e-6)
    return pair._replace(patches=np.float32(gain * pair.patches), mean_patch=np.float32(gain * pair.mean_patch))


def invert(dictionaries: Dictionaries, features) -> np.ndarray:
    """The gray image that the pair of dictionaries makes of an array of HOG cells.

    For every window `y` of the features, at every cell: the code, eq. 6, and its patch,

        c = argmin |y - mean - V c|^2 / 2 + sparsity |c|_1,    x = mean patch + U c,

    averaged over the windows with a weight that falls off smoothly from the middle of a patch. HOG knows neither
    brightness nor contrast: they are those of the photographs that were learned from.

    Args:
      dictionaries: a learned pair.
      features: `[Hc, Wc, K]`, at least a window high and wide.

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
    _scikit_learn()  # a missing one is told first
    _, window, _, num_channels = dictionaries.windows.shape
    shape = np.shape(features)
    if len(shape) != 3 or shape[2] != num_channels or min(shape[:2]) < window:
        raise ValueError(
            f"The dictionaries invert features [Hc, Wc, {num_channels}] of {window} x {window} cells or more; "
            f"got shape {shape}: give those of the representation that they were learned for."
        )
    checks.require_finite(features, "features")
    image = dictionaries.intensity + _restore(dictionaries, features)
    return np.clip(image, 0, 255).astype(np.float32)[..., None]


def _restore(pair, features) -> np.ndarray:
    """The image about its intensity, `[Hc s, Wc s]`, not clipped."""
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


@contextlib.contextmanager
def _unfinished_codes_allowed():
    """Silences the word on codes not at scikit-learn's tolerance, 1e-8, which is far below what can be seen."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _scikit_learn():
    try:
        from sklearn import decomposition
    except ImportError as error:
        raise ImportError("HOGgles need scikit-learn; install it with: pip install 'invert_jax[hoggle]'.") from error
    return decomposition


def _require_photographs(photographs, side):
    if not len(photographs):
        raise ValueError("Dictionaries are learned from photographs; got none: give gray images [H, W, 1].")
    for photograph in photographs:
        checks.require_image(photograph, channels=1, min_side=side, what="learning of dictionaries")
        checks.require_finite(photograph, "photograph")


def _require_cells(representation, cell_size):
    """Cell (i, j) must be that of pixels `[i s, (i + 1) s) x [j s, (j + 1) s)`."""
    shape = representation.feature_shape((10 * cell_size, 12 * cell_size, 1))
    if len(shape) != 3 or shape[:2] != (10, 12):
        raise ValueError(
            f"Features of {10 * cell_size} x {12 * cell_size} pixels have shape {shape}, not [10, 12, K]; "
            f"give a representation by cells, such as hog, and its cell_size."
        )


def _counts(photographs, cell_size, window) -> np.ndarray:
    """How many windows each photograph has."""
    return np.array([[side // cell_size - window + 1 for side in np.shape(p)[:2]] for p in photographs]).prod(axis=1)


def _places(key, photographs, cell_size, window, num_windows) -> np.ndarray:
    """Which windows to learn from, `[num_windows, 3]`: photograph, row, column; none twice, ordered."""
    columns = np.array([np.shape(p)[1] // cell_size - window + 1 for p in photographs])
    counts = _counts(photographs, cell_size, window)
    if counts.sum() < num_windows:
        raise ValueError(
            f"The {len(photographs)} photograph(s) have {counts.sum()} windows of {window} x {window} cells, "
            f"num_windows is {num_windows}; give more or larger photographs, or ask for fewer windows."
        )
    chosen = np.sort(np.asarray(jax.random.choice(key, int(counts.sum()), (num_windows,), replace=False)))
    which = np.searchsorted(np.cumsum(counts), chosen, side="right")
    within = chosen - (np.cumsum(counts) - counts)[which]
    return np.stack([which, within // columns[which], within % columns[which]], axis=1)


def _sample(photographs, representation, places, cell_size, window) -> tuple[np.ndarray, np.ndarray]:
    """Patches `[n, (w s)^2]` and windows `[n, w w K]` at the places, float32."""
    patches, windows, side = [], [], cell_size * window
    for number in np.unique(places[:, 0]):
        pixels = np.asarray(photographs[number], np.float32)
        features = np.asarray(representation(pixels))
        for _, row, column in places[places[:, 0] == number]:
            top, left = row * cell_size, column * cell_size
            patches.append(pixels[top : top + side, left : left + side].ravel())
            windows.append(features[row : row + window, column : column + window].ravel())
    return np.stack(patches), np.stack(windows)


def _normalize_patches(patches) -> np.ndarray:
    """Patches of zero mean and about unit contrast (standard deviation)."""
    patches = patches - patches.mean(axis=1, keepdims=True)
    return patches / np.sqrt(patches.var(axis=1, keepdims=True) + _NOISE**2)


def _normalize_windows(windows) -> np.ndarray:
    """Windows `[n, w w K]` of zero mean and unit norm; one without any gradient stays zero."""
    windows = windows - windows.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(windows, axis=1, keepdims=True)
    return windows / np.where(norms > 0, norms, 1)


class _Part(NamedTuple):
    """One half of the joint windows, projected and of unit mean energy; `expand` undoes it for atoms."""

    mean: np.ndarray
    basis: np.ndarray
    scale: float
    balanced: np.ndarray

    def expand(self, atoms):
        return self.scale * atoms @ self.basis


def _principal(part, num_components, seed) -> _Part:
    pca = _scikit_learn().PCA(min(num_components, *part.shape), random_state=seed)
    projected = pca.fit_transform(part)
    scale = max(float(np.sqrt(np.mean(np.sum(projected**2, axis=1)))), 1e-6)
    return _Part(np.asarray(pca.mean_), np.asarray(pca.components_), scale, projected / np.float32(scale))


def _all_windows(features, window) -> np.ndarray:
    """`[Hc, Wc, K]` -> `[Hc - w + 1, Wc - w + 1, w, w, K]`."""
    view = np.lib.stride_tricks.sliding_window_view(features, (window, window), axis=(0, 1))
    return np.ascontiguousarray(np.moveaxis(view, 2, 4))


def _overlap(patches, window) -> np.ndarray:
    """The weighted mean of patches `[n, m, w s, w s]` that lie a cell apart: `[(n + w - 1) s, (m + w - 1) s]`."""
    num_rows, num_columns, side, _ = patches.shape
    cell = side // window
    bell = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 4
    weight = np.outer(bell, bell)
    total = np.zeros(((num_rows + window - 1) * cell, (num_columns + window - 1) * cell))
    weights = np.zeros_like(total)
    for row in range(num_rows):
        for column in range(num_columns):
            here = np.s_[row * cell : row * cell + side, column * cell : column * cell + side]
            total[here] += weight * patches[row, column]
            weights[here] += weight
    return total / weights


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
    atomic_io.write_bytes(path, stream.getvalue())


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
