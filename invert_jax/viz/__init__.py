"""Pictures of restarts: labeled montages, and plots."""

from invert_jax.viz.montage import display, draw_box, montage
from invert_jax.viz.plots import bars, convergence, curves, heatmap

__all__ = ["bars", "convergence", "curves", "display", "draw_box", "heatmap", "montage"]
