"""Names that results are kept under: equal for equal settings in another process, different for everything else."""

import dataclasses
import functools
import os
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest

import invert_jax as ij
from invert_jax._util import hashing

_PROGRAM = """
import jax, optax, invert_jax as ij
print(hashing.content_hash((ij.alexnet(layer="conv3"), ij.recipes.for_layer("fc8"), jax.random.key(3), ij.hog())))
"""


def test_another_process_gives_the_same_name():
    environment = {**os.environ, "PYTHONHASHSEED": "7", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", _PROGRAM], env=environment, capture_output=True, text=True, check=True)
    here = hashing.content_hash((ij.alexnet(layer="conv3"), ij.recipes.for_layer("fc8"), jax.random.key(3), ij.hog()))
    assert done.stdout.split()[-1] == here


def test_whatever_differs_has_another_name():
    recipe = ij.recipes.shallow()
    weights = ij.weights.bundled()
    nudged = {**weights, "conv1": {**weights["conv1"], "bias": np.asarray(weights["conv1"]["bias"]) + 1e-3}}
    values = [
        None,
        0,
        0.0,
        False,
        "0",
        b"0",
        (),
        (0,),
        (0, (0,)),
        ((0, 0),),
        {"a": 1, "b": 2},
        {"a": 2, "b": 1},
        np.zeros(3, np.float32),
        np.zeros(3, np.float64),
        np.zeros((3, 1), np.float32),
        np.array([0, 0, 1], np.float32),
        jax.random.key(0),
        jax.random.key(1),
        jax.random.key_data(jax.random.key(0)),
        optax.adam,
        optax.sgd,
        functools.partial(optax.sgd, momentum=0.9),
        functools.partial(optax.sgd, momentum=0.8),
        recipe,
        dataclasses.replace(recipe, lambda_tv=5.5),
        dataclasses.replace(recipe, optimizer=optax.adam),
        ij.hog(),
        ij.hog(binning="bilinear"),
        ij.hog(variant="released"),
        ij.dsift(),
        ij.alexnet(layer="conv1"),
        ij.alexnet(layer="relu1"),
        ij.alexnet(layer="conv1", precision="bfloat16"),
        ij.alexnet(nudged, layer="conv1"),
    ]
    names = [hashing.content_hash(value) for value in values]
    assert len(set(names)) == len(values)
    assert all(len(name) == 16 and set(name) <= set("0123456789abcdef") for name in names)


def test_parts_do_not_run_into_each_other():
    assert hashing.content_hash(("ab", "c")) != hashing.content_hash(("a", "bc"))
    assert hashing.content_hash((b"1", b"2")) != hashing.content_hash((b"12",))


def test_order_of_a_mapping_and_where_an_array_lives_do_not_count():
    assert hashing.content_hash({"a": 1, "b": 2}) == hashing.content_hash({"b": 2, "a": 1})
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert (
        hashing.content_hash(array)
        == hashing.content_hash(jax.numpy.asarray(array))
        == hashing.content_hash(array.T.copy().T)
    )


@pytest.mark.parametrize("value", [lambda x: x, object(), {1, 2}])
def test_what_has_no_lasting_name_is_refused(value):
    with pytest.raises(TypeError, match=r"no (lasting name|fingerprint)"):
        hashing.content_hash(value)
