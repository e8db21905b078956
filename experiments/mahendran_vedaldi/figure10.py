"""Figure 10: images from either half of the channels of conv1, norm1 and norm2, CNN-A's two streams.

    python -m experiments.mahendran_vedaldi.figure10 --images=first.jpg,second.jpg

Took 3 minutes on two CPU cores that had other work, without flags.

One restart for each half, lambda_V = 0.5 at all three layers as in the released code; clipped to 0..255. The paper's
network separates the halves from conv1 to norm2, and one is tuned to color, the other to edges and luminance; it
gives no number. Ours are what is preserved of either: the correlation with the photograph of the luminance (the mean of
red, green and blue), and of the color (the difference from it), over all pixels. Beside them stands the saturation,
the standard deviation across a pixel's red, green and blue, averaged, in gray levels; noise raises it too. Another
network need not have divided its work so.
"""

import functools

import numpy as np

import invert_jax as ij
from experiments.lib.figure import Case, Figure, Measure

_RECIPE = ij.recipes.mahendran_vedaldi(lambda_tv=0.5)


def _case(layer, group):
    return Case(f"{layer}, group {group}", layer, _RECIPE, functools.partial(ij.masks.channel_group, group=group))


def _split(image):
    """Luminance and color of the image, clipped to 0..255, each without its mean."""
    image = np.clip(image, 0, 255)
    luminance = image.mean(axis=2, keepdims=True)
    color = image - luminance
    return luminance - luminance.mean(), color - color.mean(axis=(0, 1), keepdims=True)


def correlation(part: int, image: np.ndarray, photograph: np.ndarray, *_) -> float:
    """Correlation with the photograph of the luminance (part 0) or of the color (part 1)."""
    a, b = _split(image)[part], _split(photograph)[part]
    return float(np.sum(a * b) / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-6))  # 0 for an image of one color


def saturation(image: np.ndarray, *_) -> float:
    """Standard deviation across red, green and blue, averaged over the pixels of the image clipped to 0..255."""
    return float(np.clip(image, 0, 255).std(axis=2).mean())


FIGURE = Figure(
    name="figure10",
    title="Figure 10: halves of the channels, correlation of color and luminance,",
    cases=lambda layer: [_case(layer, group) for group in (0, 1)],
    layers=("conv1", "norm1", "norm2"),
    num_images=2,
    measures={
        "color": Measure("color", functools.partial(correlation, 1), 2, "color"),
        "luminance": Measure("luminance", functools.partial(correlation, 0), 2, "luminance"),
        "saturation": Measure("saturation, gray levels", saturation, of_photograph=True),
    },
)

if __name__ == "__main__":
    FIGURE.run()
