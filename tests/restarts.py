"""Runs of many restarts that several files of tests look at, and how they are compared."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from oracles import pictures

import invert_jax as ij
from invert_jax import batching

KEY = jax.random.key(11)
HOG = ij.hog(binning="bilinear")
IMAGE = pictures.textured(16, 24)[..., None]
TARGET = HOG(IMAGE)
RECIPE = ij.recipes.mahendran_vedaldi(stages=((4e-3, 30), (4e-4, 10)))
FIELDS = tuple(field.name for field in dataclasses.fields(ij.Preimage))


def mesh_of(count):
    return Mesh(np.array(jax.devices()[:count]), ("restarts",))


@functools.cache
def hog_restarts(num_restarts, chunk_size=None, devices=None):
    mesh = None if devices is None else mesh_of(devices)
    return ij.sample(
        KEY,
        HOG,
        TARGET,
        RECIPE,
        image_shape=IMAGE.shape,
        num_restarts=num_restarts,
        chunk_size=chunk_size,
        mesh=mesh,
    )


def assert_same(found, expected):
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field), err_msg=field, strict=True)


def first_of(found, count):
    return jax.tree.map(lambda leaf: leaf[:count], found)


class Counter:
    """A linear representation that counts how often it is traced; each test makes its own."""

    def __init__(self):
        self.traces = 0

    def __call__(self, params, image):
        self.traces += 1
        return params["weights"] @ image.ravel()

    def representation(self, seed=0):
        weights = np.random.default_rng(seed).normal(size=(6, 12)).astype(np.float32)
        return ij.from_function(self, {"weights": jnp.asarray(weights)}, center=100.0)


SMALL = (2, 2, 3)
TARGET_OF_SIX = np.arange(100.0, 700.0, 100.0, dtype=np.float32)
SHORT = dataclasses.replace(
    ij.recipes.mahendran_vedaldi(lambda_tv=0.1, lambda_alpha=0.1, stages=((1e-2, 4), (1e-3, 3))), sigma=300.0
)


def sample_small(representation, *, key=KEY, target=None, recipe=SHORT, num_restarts=3, **kwargs):
    target = TARGET_OF_SIX if target is None else target
    return ij.sample(key, representation, target, recipe, image_shape=SMALL, num_restarts=num_restarts, **kwargs)


def cache_sizes():
    programs = (batching._init, batching._run, batching._finish, batching.current_images)
    return [program._cache_size() for program in programs]
