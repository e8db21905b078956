"""Pictures of restarts: labeled montages and plots. Arrays go in, uint8 `[H, W, 3]` comes out.

`invert_jax.viz.report` writes the page of a sweep.
"""

from invert_jax.viz.montage import draw_box, montage
from invert_jax.viz.plots import bars, convergence, curves, heatmap

__all__ = ["bars", "convergence", "curves", "draw_box", "heatmap", "montage"]
