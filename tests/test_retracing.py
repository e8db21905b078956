"""Many restarts are traced once: new values, weights and equal representations run the same program."""

import dataclasses

import jax
import numpy as np
import pytest
from networks import FOURS, random_params
from restarts import (
    HOG,
    IMAGE,
    KEY,
    RECIPE,
    SHORT,
    SMALL,
    TARGET,
    Counter,
    assert_same,
    cache_sizes,
    hog_restarts,
    sample_small,
)

import invert_jax as ij

CHANGES = {
    "key": {"key": jax.random.key(99)},
    "target": {"target": np.full(6, 300.0, np.float32)},
    "lambda_tv": {"recipe": dataclasses.replace(SHORT, lambda_tv=0.7)},
    "lambda_alpha": {"recipe": dataclasses.replace(SHORT, lambda_alpha=0.9)},
    "sigma": {"recipe": dataclasses.replace(SHORT, sigma=150.0)},
    "rates": {"recipe": dataclasses.replace(SHORT, rates=(2e-2, 5e-3))},
    "num_restarts": {"num_restarts": 9},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_new_value_does_not_trace_again(change, counted):
    counter, before = counted
    first = counter.traces
    assert first > 0
    found = sample_small(counter.representation(), **CHANGES[change])
    assert counter.traces == first
    same = np.array_equal(found.energy[:3], before.energy)
    assert same == (change == "num_restarts"), "the new value should have been used"


def test_new_weights_do_not_trace_again(counted):
    counter, before = counted
    first = counter.traces
    found = sample_small(counter.representation(seed=1))
    assert counter.traces == first
    assert not np.array_equal(found.energy, before.energy)


def test_a_new_mask_or_initial_image_does_not_trace_again():
    counter = Counter()
    masks = np.arange(6) < 3, np.arange(6) > 2
    images = np.full(SMALL, 10.0, np.float32), np.full(SMALL, 200.0, np.float32)
    before = sample_small(counter.representation(), mask=masks[0], initial_image=images[0])
    first = counter.traces
    by_mask = sample_small(counter.representation(), mask=masks[1], initial_image=images[0])
    by_image = sample_small(counter.representation(), mask=masks[0], initial_image=images[1])
    assert counter.traces == first
    assert len({found.energy[0, 0, 1] for found in (before, by_mask, by_image)}) == 3


def test_what_shapes_the_graph_does_trace_again(counted):
    counter, _ = counted
    first = counter.traces
    sample_small(counter.representation(), recipe=dataclasses.replace(SHORT, steps=(4, 2)))
    assert counter.traces > first


def test_hog_built_twice_is_one_program():
    twin, expected = ij.hog(binning="bilinear"), hog_restarts(3)
    assert twin.apply is not HOG.apply
    before = cache_sizes()
    assert_same(ij.sample(KEY, twin, TARGET, RECIPE, image_shape=IMAGE.shape, num_restarts=3), expected)
    assert cache_sizes() == before


def test_alexnet_built_twice_is_one_program_and_new_weights_are_used():
    shape, params, recipe = (15, 19, 3), random_params(FOURS), ij.recipes.mahendran_vedaldi(stages=((1e-3, 2),))
    image = np.random.default_rng(0).uniform(0, 255, shape)
    found, sizes = [], []
    for scale in (1, 2):
        conv1 = ij.alexnet(jax.tree.map(lambda array, scale=scale: scale * array, params), layer="conv1")
        found.append(ij.sample(KEY, conv1, conv1(image), recipe, image_shape=shape, num_restarts=2))
        sizes.append(cache_sizes())
    assert sizes[0] == sizes[1]
    assert not np.array_equal(found[0].features, found[1].features)


def test_other_settings_are_another_representation():
    assert ij.hog().apply == ij.hog().apply and hash(ij.hog().apply) == hash(ij.hog().apply)
    assert ij.dsift().apply == ij.dsift().apply and hash(ij.dsift().apply) == hash(ij.dsift().apply)
    assert ij.dsift().apply != ij.dsift(step=10).apply
    assert ij.hog().apply != ij.hog(cell_size=4).apply
    assert ij.hog().apply != ij.hog(binning="bilinear").apply
    params = random_params(FOURS)
    assert ij.alexnet(params, layer="conv1").apply != ij.alexnet(params, layer="relu1").apply
