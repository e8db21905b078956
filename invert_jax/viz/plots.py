"""Numbers as pictures: heat maps, curves and bars, drawn by matplotlib. Arrays in, uint8 `[H, W, 3]` out.

What is not finite is marked and counted, never drawn as if it were a number.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

_WARNING = "#b00020"
_TERMS = ("total", "loss", r"$\alpha$-norm", "TV")
_COLORS = ("#000000", "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9")
# Okabe and Ito: apart for color-blind readers too, as are the markers
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def heatmap(
    array,
    *,
    title: str = "",
    label: str = "",
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
) -> np.ndarray:
    """A map of values with a color bar; what is not finite is gray, and counted below the map.

    Args:
      array: `[H, W]`.
      title: above the map.
      label: beside the color bar: what the values are, and their unit.
      rows: `[H]` names beside the map; None is numbers.
      columns: `[W]` names below it; None is numbers.

    Returns:
      uint8 `[H, W, 3]`, the figure.

    Raises:
      ValueError: not two-dimensional, or empty, or another number of names.

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
    height, breadth = array.shape
    width = float(np.clip(4.4 * breadth / height, 2.4, 9.0))
    figure = Figure(figsize=(width + 1.4, float(np.clip(width * height / breadth, 1.6, 7.0)) + 0.8), dpi=150)
    axes = figure.add_subplot()
    axes.set_facecolor("0.75")
    shown = axes.imshow(
        np.ma.masked_where(~finite, array), cmap="viridis", vmin=low, vmax=high, interpolation="nearest"
    )
    beside = make_axes_locatable(axes).append_axes("right", size=0.17, pad=0.12)  # as high as the map
    figure.colorbar(shown, cax=beside, label=label)
    for axis, names, count in ((axes.yaxis, rows, height), (axes.xaxis, columns, breadth)):
        if names is None:
            axis.set_major_locator(ticker.MaxNLocator(6, integer=True))
        elif len(names) == count:
            turned = 90 if axis is axes.xaxis else 0
            axis.set_ticks(np.arange(count), [_escaped(str(name)) for name in names], fontsize=8, rotation=turned)
        else:
            raise ValueError(f"There are {len(names)} names for {count} places of the map; give one for each.")
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
    for term, (name, color) in enumerate(zip(_TERMS, _COLORS, strict=False)):
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
    drawn = axes.barh([_escaped(name) for name in values], list(values.values()), color=_COLORS[1])
    axes.bar_label(drawn, fmt="%.2f", padding=3, fontsize=9)
    axes.axvline(reference, color="0.2", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel(_escaped(label))
    axes.set_title(_escaped(title), fontsize=11, wrap=True)
    axes.spines[["top", "right"]].set_visible(False)
    return _render(figure)


def curves(
    x: Sequence[float] | Sequence[str],
    series: Mapping[str, Any],
    *,
    intervals: Mapping[str, Any] | None = None,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
) -> np.ndarray:
    """Values against numbers, on a scale of powers of two, or against names; with their intervals as bands and bars.

    Values that are not finite leave gaps.

    Args:
      x: `[N]` positive numbers, or names.
      series: `{name: [N]}`, up to seven.
      intervals: `{name: [N, 2]}`, low and high, of those that have them.
      title: above the curves.
      x_label: below them.
      y_label: beside them.

    Returns:
      uint8 `[H, W, 3]`, the figure.

    Raises:
      ValueError: no curve, more than seven, or one whose length is not that of `x`.

    >>> curves(["conv1", "conv2"], {"error": [1.0, 2.0]}, intervals={"error": [(0.5, 1.5), (1.0, 3.0)]}).shape[2]
    3
    """
    from matplotlib.figure import Figure

    if not 1 <= len(series) <= len(_COLORS):
        raise ValueError(f"A plot has one curve to {len(_COLORS)}; got {len(series)}.")
    named = isinstance(x[0], str)
    places = np.arange(len(x)) if named else np.asarray(x, np.float64)
    figure = Figure(figsize=(7.2, 4.4), dpi=150)
    axes = figure.add_subplot()
    for (name, values), color, marker in zip(series.items(), _COLORS, _MARKERS, strict=False):
        values = np.asarray(values, np.float64)
        if values.shape != (len(x),):
            raise ValueError(f"The curve {name} has shape {values.shape}, for {len(x)} places.")
        axes.plot(places, values, color=color, marker=marker, markersize=4, linewidth=1.8, label=_escaped(name))
        if intervals and name in intervals:
            low, high = np.asarray(intervals[name], np.float64).T
            axes.fill_between(places, low, high, color=color, alpha=0.18, linewidth=0)
            axes.vlines(places, low, high, color=color, linewidth=1)  # of a place between gaps, too
    if named:
        axes.set_xticks(places, [_escaped(str(name)) for name in x], rotation=45, ha="right")
    else:
        axes.set_xscale("log", base=2)
        axes.set_xticks(places, [f"{value:g}" for value in places])
        axes.minorticks_off()
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    axes.set_xlabel(_escaped(x_label))
    axes.set_ylabel(_escaped(y_label))
    axes.set_title(_escaped(title), fontsize=11, wrap=True)
    axes.grid(color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return _render(figure)


def _escaped(text: str) -> str:
    """A lone dollar sign would start a formula in matplotlib."""
    return text if text.count("$") % 2 == 0 else text.replace("$", r"\$")


def _render(figure) -> np.ndarray:
    stream = io.BytesIO()
    # Cropped to what was drawn, so that no label is cut off whatever its length.
    figure.savefig(stream, format="png", bbox_inches="tight", pad_inches=0.12)
    return np.array(Image.open(stream).convert("RGB"))
