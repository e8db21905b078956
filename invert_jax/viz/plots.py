"""Numbers as pictures: heat maps, curves and bars, drawn by matplotlib. Arrays go in, uint8 `[H, W, 3]` comes out.

Values that are not finite are marked and counted, never drawn as if they were numbers.
"""

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from invert_jax._util import reprs

_WARNING = "#b00020"
_ENERGY = {  # fields of Energy: label and color
    "total": ("total", "#000000"),
    "loss": ("loss", "#0072b2"),
    "alpha_norm": ("alpha-norm", "#e69f00"),
    "tv": ("TV", "#009e73"),
    "other": ("other priors", "#d55e00"),
    "compactness": ("compactness", "#cc79a7"),
}
# Okabe and Ito: distinct for color-blind readers too, as are the markers
_COLORS = ("#000000", "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def heatmap(
    array,
    *,
    title: str = "",
    label: str = "",
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
) -> np.ndarray:
    """A map of values with a color bar; values that are not finite are gray, and counted below the map.

    Args:
      array: `[H, W]`.
      title: above the map.
      label: of the color bar: the quantity and its unit.
      rows: `[H]` names beside the map; None is numbers.
      columns: `[W]` names below the map; None is numbers.

    Returns:
      uint8 `[H, W, 3]`, the figure.

    Raises:
      ValueError: not two-dimensional, or empty, or another number of names.
      ImportError: matplotlib is not installed.

    >>> heatmap(np.eye(3), title="Identity", label="weight").shape[2]
    3
    """
    array = np.asarray(array, np.float64)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"A heat map shows one array [H, W]; got shape {array.shape}.")
    finite = np.isfinite(array)
    low, high = (array[finite].min(), array[finite].max()) if finite.any() else (0.0, 1.0)
    height, breadth = array.shape
    width = float(np.clip(4.4 * breadth / height, 2.4, 9.0))
    figure, axes = _figure(width + 1.4, float(np.clip(width * height / breadth, 1.6, 7.0)) + 0.8)
    from matplotlib import ticker
    from mpl_toolkits.axes_grid1 import make_axes_locatable

    axes.set_facecolor("0.75")
    image = axes.imshow(np.ma.masked_invalid(array), cmap="viridis", vmin=low, vmax=high, interpolation="nearest")
    color_axes = make_axes_locatable(axes).append_axes("right", size=0.17, pad=0.12)  # as high as the map
    figure.colorbar(image, cax=color_axes, label=_plain(label))
    for axis, names, count in ((axes.yaxis, rows, height), (axes.xaxis, columns, breadth)):
        if names is None:
            axis.set_major_locator(ticker.MaxNLocator(6, integer=True))
        elif len(names) == count:
            rotation = 90 if axis is axes.xaxis else 0
            axis.set_ticks(np.arange(count), [_plain(name) for name in names], fontsize=8, rotation=rotation)
        else:
            raise ValueError(f"There are {len(names)} names for {count} positions of the map; give one for each.")
    axes.spines[:].set_linewidth(0.6)
    if not finite.all():
        axes.set_xlabel(f"gray: {np.sum(~finite)} not finite", color=_WARNING)
    return _render(figure, axes, title)


def convergence(energy, *, title: str = "") -> np.ndarray:
    """The energy and its parts against steps, on a log scale: restarts faint, their median bold.

    Parts that are zero throughout are not drawn; single values that are not positive leave gaps. Restarts that are
    not finite are left out, and counted.

    Args:
      energy: an `Energy` of arrays `[R, T]` or `[T]`, as in `Preimage`.
      title: above the curves.

    Returns:
      uint8 `[H, W, 3]`, the figure.

    Raises:
      ValueError: another shape, or parts of different shapes.
      ImportError: matplotlib is not installed.

    >>> from invert_jax.types import Energy
    >>> steps, zero = np.arange(1.0, 51.0), np.zeros(50)
    >>> convergence(Energy(2 / steps, 1 / steps, zero, 1 / steps, zero, zero), title="Descent").shape[2]
    3
    """
    parts = {name: np.array(part, np.float64, ndmin=2) for name, part in energy._asdict().items()}
    shapes = sorted({np.shape(part) for part in energy})
    if len(shapes) != 1 or parts["total"].ndim != 2 or parts["total"].size == 0:
        raise ValueError(f"The parts of an energy are [R, T] or [T], of one shape; got {shapes}.")
    finite = np.all([np.isfinite(part).all(axis=1) for part in parts.values()], axis=0)
    num_restarts, num_steps = int(finite.sum()), parts["total"].shape[1]
    parts = {name: part[finite] for name, part in parts.items() if name == "total" or np.any(part[finite])}

    figure, axes = _figure(7.2, 4.4)
    from matplotlib import ticker

    steps, markers = np.arange(num_steps), {"marker": "o", "markersize": 3} if num_steps < 10 else {}
    for name, part in parts.items() if num_restarts else ():
        label, color = _ENERGY[name]
        positive, median = np.where(part > 0, part, np.nan), np.median(part, axis=0)
        if num_restarts > 1:
            faint = max(0.06, 0.8 / np.sqrt(num_restarts))
            axes.plot(steps, positive.T, color=color, linewidth=0.7, alpha=faint)
        axes.plot(steps, np.where(median > 0, median, np.nan), color=color, linewidth=2, label=label, **markers)
    if any(np.any(part > 0) for part in parts.values()):
        axes.set_yscale("log")
    else:
        axes.set_yticks([])
    axes.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
    axes.set_xlim(0, max(num_steps - 1, 1))
    notes = [f"median of {num_restarts} restarts"] * (num_restarts > 1)
    notes += [f"{np.sum(~finite)} of {len(finite)} restarts not finite, left out"] * (not finite.all())
    place = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "center", "va": "top", "fontsize": 9}
    axes.annotate("; ".join(notes), (0.5, 0), (0, -36), color="0.35" if finite.all() else _WARNING, **place)
    return _render(figure, axes, title, "step", "energy", legend=num_restarts > 0)


def bars(values: Mapping[str, float], *, title: str, label: str, reference: float) -> np.ndarray:
    """Horizontal bars, one for each named value, and a reference line.

    Args:
      values: name to value, drawn from the top.
      title: above the bars.
      label: the quantity and its unit.
      reference: position of the line.

    Returns:
      uint8 `[H, W, 3]`, the figure.

    Raises:
      ValueError: no values.
      ImportError: matplotlib is not installed.

    >>> bars({"here": 2.0, "elsewhere": 1.0}, title="", label="speed", reference=1.0).dtype
    dtype('uint8')
    """
    if not values:
        raise ValueError("A bar chart needs one value or more; got none.")
    figure, axes = _figure(6, 1 + 0.3 * len(values), dpi=120)
    container = axes.barh([_plain(name) for name in values], list(values.values()), color=_COLORS[1])
    axes.bar_label(container, fmt="%.2f", padding=3, fontsize=9)
    axes.axvline(reference, color="0.2", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel(_plain(label))
    axes.spines[["top", "right"]].set_visible(False)
    return _render(figure, axes, title)


def curves(
    x: Sequence[float] | Sequence[str],
    series: Mapping[str, Any],
    *,
    intervals: Mapping[str, Any] | None = None,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
) -> np.ndarray:
    """Curves against numbers (on a scale of powers of two) or names, with intervals as bands and bars.

    Values that are not finite leave gaps.

    Args:
      x: `[N]` positive numbers, or names.
      series: `{name: [N]}`, up to seven.
      intervals: `{name: [N, 2]}`, low and high, of the series that have intervals.
      title: above the curves.
      x_label: below the horizontal axis.
      y_label: beside the vertical axis.

    Returns:
      uint8 `[H, W, 3]`, the figure.

    Raises:
      ValueError: no curve, more than seven, or a curve whose length is not that of `x`.
      ImportError: matplotlib is not installed.

    >>> curves(["conv1", "conv2"], {"error": [1.0, 2.0]}, intervals={"error": [(0.5, 1.5), (1.0, 3.0)]}).shape[2]
    3
    """
    if not 1 <= len(series) <= len(_COLORS):
        raise ValueError(f"A plot has one to {len(_COLORS)} curves; got {len(series)}.")
    named = isinstance(x[0], str)
    positions = np.arange(len(x)) if named else np.asarray(x, np.float64)
    figure, axes = _figure(7.2, 4.4)
    for (name, values), color, marker in zip(series.items(), _COLORS, _MARKERS, strict=False):
        values = np.asarray(values, np.float64)
        if values.shape != (len(x),):
            raise ValueError(f"The curve {name} has shape {values.shape}, for {len(x)} positions.")
        axes.plot(positions, values, color=color, marker=marker, markersize=4, linewidth=1.8, label=_plain(name))
        if intervals and name in intervals:
            low, high = np.asarray(intervals[name], np.float64).T
            axes.fill_between(positions, low, high, color=color, alpha=0.18, linewidth=0)
            axes.vlines(positions, low, high, color=color, linewidth=1)  # a band has no width at a point between gaps
    if named:
        axes.set_xticks(positions, [_plain(name) for name in x], rotation=45, ha="right")
    else:
        axes.set_xscale("log", base=2)
        axes.set_xticks(positions, [f"{value:g}" for value in positions])
        axes.minorticks_off()
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    return _render(figure, axes, title, x_label, y_label)


def _figure(width, height, dpi=150):
    try:
        from matplotlib.figure import Figure
    except ImportError:
        message = "Plots need matplotlib, which is not installed; run: pip install 'invert_jax[experiments]'."
        raise ImportError(message) from None
    figure = Figure(figsize=(width, height), dpi=dpi)  # not pyplot: no global state, no display
    return figure, figure.add_subplot()


def _plain(text) -> str:
    """Names are data: dollar signs begin no formula."""
    return reprs.label_text(text).replace("$", r"\$")


def _render(figure, axes, title, x_label=None, y_label="", *, legend=True) -> np.ndarray:
    """The figure as pixels; curves have labels of both axes, a grid and a legend."""
    axes.set_title(_plain(title), fontsize=11, wrap=True)
    if x_label is not None:
        axes.set(xlabel=_plain(x_label), ylabel=_plain(y_label))
        axes.grid(color="0.9", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        if legend:
            axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # letters that the font lacks are boxes
        # Cropped to the drawing, so that no label is cut off.
        figure.savefig(stream, format="png", bbox_inches="tight", pad_inches=0.12)
    return np.array(Image.open(stream).convert("RGB"))
