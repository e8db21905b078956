"""invert_jax: given an encoding of an image, which images does the model consider the same?

A representation maps an image `[H, W, C]`, 0..255, to features; a recipe says how to invert it; `invert` finds one
image with given features, `sample` many:

    import jax
    import invert_jax as ij

    photograph = ij.load_image("dog.jpg", size=227)
    conv4 = ij.alexnet(layer="conv4")
    found = ij.sample(jax.random.key(0), conv4, conv4(photograph), image_shape=photograph.shape, num_restarts=8)
    found.image, found.error, found.energy.total  # [8, 227, 227, 3], [8], [8, steps]
"""

from invert_jax import (
    analysis,
    baselines,
    images,
    inversion,
    losses,
    masks,
    networks,
    optimizers,
    parameterizations,
    preprocess,
    pyramid,
    recipes,
    regularizers,
    sampling,
    sweeps,
    transforms,
    viz,
    weights,
)
from invert_jax.analysis import metrics
from invert_jax.images import example_image, load_image, save_image
from invert_jax.inversion import invert
from invert_jax.networks import alexnet, pretrained, random_alexnet_params, receptive_field
from invert_jax.representations import check, dsift, from_function, from_model, hog, layers_of, patch_sift
from invert_jax.sampling import sample
from invert_jax.sweeps import load_sweep
from invert_jax.types import Energy, Parameterization, Preimage, Prior, Recipe, Representation, Stage
from invert_jax.weights import fetch_params, load_params, save_params

__version__ = "0.1.0"

__all__ = [
    "Energy",
    "Parameterization",
    "Preimage",
    "Prior",
    "Recipe",
    "Representation",
    "Stage",
    "__version__",
    "alexnet",
    "analysis",
    "baselines",
    "check",
    "dsift",
    "example_image",
    "fetch_params",
    "from_function",
    "from_model",
    "hog",
    "images",
    "inversion",
    "invert",
    "layers_of",
    "load_image",
    "load_params",
    "load_sweep",
    "losses",
    "masks",
    "metrics",
    "networks",
    "optimizers",
    "parameterizations",
    "patch_sift",
    "preprocess",
    "pretrained",
    "pyramid",
    "random_alexnet_params",
    "receptive_field",
    "recipes",
    "regularizers",
    "sample",
    "sampling",
    "save_image",
    "save_params",
    "sweeps",
    "transforms",
    "viz",
    "weights",
]
