"""Numbers as pictures: heat maps, curves and bars, drawn by matplotlib. Arrays in, uint8 `[H, W, 3]` out.

What is not finite is marked and counted, never drawn as if it were a number.
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

_WARNING = "#b00020"
_TERMS = ("total", "loss", r"$\alpha$-norm", "TV")
_TERM_COLORS = ("#000000", "#0072b2", "#e69f00", "#009e73")  # Okabe and Ito: apart for color-blind readers too


def heatmap(array, *, title: str = "", label: str = "") -> np.ndarray:
    """A map of values with a color bar; what is not finite is gray, and counted below the map.

    Args:
      array: `[H, W]`.
      title: above the map.
      label: beside the color bar: what the values are, and their unit.

    Returns:
      uint8 `[H, W, 3]`, the figure.

    Raises:
      ValueError: not two-dimensional, or empty.

    >>> heatmap(np.eye(3), title="Identity", label="weight").shape[2]
    3
    """
    from matplotlib import ticker
    from matplotlib.figure import Figure
    from mpl_toolkits.axes_grid1 import make_axes_locatable

    array = np.asarray(array, np.float64)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"A heat map shows one array [H, W]; got shape {array.shape}.")
    finite = np.isfinite(array)
    low, high = (array[finite].min(), array[finite].max()) if finite.any() else (0.0, 1.0)
    rows, columns = array.shape
    width = float(np.clip(4.4 * columns / rows, 2.4, 9.0))
    figure = Figure(figsize=(width + 1.4, float(np.clip(width * rows / columns, 1.6, 7.0)) + 0.8), dpi=150)
    axes = figure.add_subplot()
    axes.set_facecolor("0.75")
    shown = axes.imshow(
        np.ma.masked_where(~finite, array), cmap="viridis", vmin=low, vmax=high, interpolation="nearest"
    )
    beside = make_axes_locatable(axes).append_axes("right", size=0.17, pad=0.12)  # as high as the map
    figure.colorbar(shown, cax=beside, label=label)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    for spine in axes.spines.values():
        spine.set_linewidth(0.6)
    axes.set_title(_escaped(title), fontsize=11, wrap=True)
    if not finite.all():
        axes.set_xlabel(f"gray: {np.sum(~finite)} not finite", color=_WARNING)
    return _render(figure)


def convergence(energy, *, title: str = "") -> np.ndarray:
    """The descent of the objective and of its terms, on a log scale: restarts faint, their median bold.

    A value that is not positive has no place on a log scale and leaves a gap; a term that never is positive
    is named in the legend as zero. Restarts that go non-finite are left out, and counted.

    Args:
      energy: `[R, T, 4]`: total, loss, alpha-norm term, TV term, as in `Preimage`; or `[T, 4]`.
      title: above the curves.

    Returns:
      uint8 `[H, W, 3]`, the figure.

    Raises:
      ValueError: another shape.

    >>> steps = np.arange(1.0, 51.0)
    >>> convergence(np.stack([1 / steps] * 4, axis=-1)[None], title="Descent").shape[2]
    3
    """
    from matplotlib import ticker
    from matplotlib.figure import Figure

    energy = np.asarray(energy, np.float64)
    energy = energy[None] if energy.ndim == 2 else energy
    if energy.ndim != 3 or energy.shape[2] != len(_TERMS) or energy.size == 0:
        raise ValueError(f"Energies have the shape [R, T, 4] (total, loss, alpha, TV); got {energy.shape}.")
    finite = np.isfinite(energy).all(axis=(1, 2))
    kept = energy[finite]

    figure = Figure(figsize=(7.2, 4.4), dpi=150)
    axes = figure.add_subplot()
    steps = np.arange(energy.shape[1])
    few = {"marker": "o", "markersize": 3} if len(steps) < 10 else {}
    faint = max(0.06, 0.8 / np.sqrt(max(len(kept), 1)))
    for term, (name, color) in enumerate(zip(_TERMS, _TERM_COLORS, strict=True)):
        if not len(kept):
            break
        curves = np.where(kept[..., term] > 0, kept[..., term], np.nan)
        median = np.median(kept[..., term], axis=0)
        absent = "" if np.isfinite(curves).any() else " (zero)"
        if len(kept) > 1:
            axes.plot(steps, curves.T, color=color, linewidth=0.7, alpha=faint)
        axes.plot(steps, np.where(median > 0, median, np.nan), color=color, linewidth=2, label=name + absent, **few)
    if np.any(kept > 0):
        axes.set_yscale("log")
    else:
        axes.set_yticks([])
    axes.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
    axes.set_xlim(0, max(len(steps) - 1, 1))
    axes.set_xlabel("step")
    axes.set_ylabel("energy")
    axes.set_title(_escaped(title), fontsize=11, wrap=True)
    axes.grid(color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if len(kept):
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    note = f"median of {len(kept)} restarts" if len(kept) > 1 else ""
    if not finite.all():
        left_out = f"{np.sum(~finite)} of {len(energy)} restarts not finite, left out"
        note = f"{note}; {left_out}" if note else left_out
    if note:
        color = "0.35" if finite.all() else _WARNING
        place: dict[str, Any] = {
            "xycoords": "axes fraction",
            "textcoords": "offset points",
            "ha": "center",
            "va": "top",
        }
        axes.annotate(note, (0.5, 0), (0, -36), fontsize=9, color=color, **place)
    return _render(figure)


def bars(values: Mapping[str, float], *, title: str, label: str, reference: float) -> np.ndarray:
    """Horizontal bars, one for each named value, and a line to compare them with.

    Args:
      values: name to value, drawn from the top.
      title: a heading.
      label: what the values are.
      reference: where the line stands.

    Returns:
      uint8 `[H, W, 3]`.

    Raises:
      ValueError: no values.

    >>> bars({"ours": 2.0, "theirs": 1.0}, title="", label="speed", reference=1.0).dtype
    dtype('uint8')
    """
    if not values:
        raise ValueError("A bar chart needs one value or more; got none.")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 1 + 0.3 * len(values)), dpi=120)
    axes = figure.add_subplot()
    drawn = axes.barh([_escaped(name) for name in values], list(values.values()), color=_TERM_COLORS[1])
    axes.bar_label(drawn, fmt="%.2f", padding=3, fontsize=9)
    axes.axvline(reference, color="0.2", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel(_escaped(label))
    axes.set_title(_escaped(title), fontsize=11, wrap=True)
    axes.spines[["top", "right"]].set_visible(False)
    return _render(figure)


def _escaped(text: str) -> str:
    """A lone dollar sign would start a formula in matplotlib."""
    return text if text.count("$") % 2 == 0 else text.replace("$", r"\$")


def _render(figure) -> np.ndarray:
    stream = io.BytesIO()
    # Cropped to what was drawn, so that no label is cut off whatever its length.
    figure.savefig(stream, format="png", bbox_inches="tight", pad_inches=0.12)
    return np.array(Image.open(stream).convert("RGB"))
