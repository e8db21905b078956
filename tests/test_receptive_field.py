"""Table 2 and the boxes against the pixels that actually move a neuron, found by gradients through ones-kernels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import alexnet as oracle

from invert_jax.networks import architectures, receptive_field

SIZES = (11, 11, 19, 19, 51, 51, 67, 67, 99, 99, 131, 131, 163, 163, 195, 355, 355, 355, 355, 355)
STRIDES = (4, 4, 8, 8, 8, 8, 16, 16, 16, 16, 16, 16, 16, 16, 32, 32, 32, 32, 32, 32)
LENGTH = 1300


def test_sizes_and_strides_are_those_of_table_2():
    rows = receptive_field.alexnet()
    assert tuple(row.name for row in rows) == architectures.LAYER_NAMES
    assert tuple(row.size for row in rows) == SIZES
    assert tuple(row.stride for row in rows) == STRIDES


@functools.cache
def responses(depth):
    """Output of the first `depth` layers on a line of pixels, every filter and window a sum, and its vjp."""

    def network(x):
        x = x[None, None, :]
        for _, _, side, stride, padding, _ in oracle.GEOMETRY[:depth]:
            x = jax.lax.conv_general_dilated(x, jnp.ones((1, 1, side)) / side, (stride,), [(padding, padding)])
        return x[0, 0]

    y, pull = jax.vjp(network, jnp.ones(LENGTH))
    return y.size, jax.jit(lambda neurons: pull(neurons)[0])


def pixels_seen(depth, neurons):
    """First and one past the last pixel that any of these neurons sees."""
    count, pull = responses(depth)
    chosen = np.zeros(count, np.float32)
    chosen[list(neurons)] = 1
    moved = np.flatnonzero(pull(chosen))
    assert np.array_equal(moved, np.arange(moved[0], moved[-1] + 1))
    return moved[0], moved[-1] + 1


@pytest.mark.parametrize("depth", range(1, 21))
def test_field_is_the_pixels_with_a_gradient(depth):
    field = receptive_field.alexnet()[depth - 1]
    middle = responses(depth)[0] // 2
    for neuron in (middle - 1, middle, middle + 1):
        first, end = pixels_seen(depth, [neuron])
        assert first > 0 and end < LENGTH, "the border should not cut the field"
        assert (first, end - first) == (field.offset + field.stride * neuron, field.size)


@pytest.mark.parametrize("depth", [1, 4, 5, 9, 15])
def test_the_first_neurons_field_is_cut_at_the_border(depth):
    field = receptive_field.alexnet()[depth - 1]
    first, end = pixels_seen(depth, [0])
    assert first == max(field.offset, 0) == 0
    assert end == field.offset + field.size


@pytest.mark.parametrize("depth", [1, 3, 7, 13])
def test_box_is_what_a_block_of_neurons_sees_together(depth):
    field = receptive_field.alexnet()[depth - 1]
    middle = responses(depth)[0] // 2
    rows, columns = (middle, middle + 5), (middle - 3, middle - 1)
    top, bottom = pixels_seen(depth, range(*rows))
    left, right = pixels_seen(depth, range(*columns))
    assert receptive_field.box(field, rows, columns) == (top, left, bottom, right)


def test_a_stack_of_ones_own():
    table = (architectures.Layer("a", "conv", size=3, padding=1), architectures.Layer("b", "pool", size=2, stride=2))
    rows = receptive_field.of((*table, architectures.Layer("c", "conv", size=3, padding=1)))
    assert rows == (("a", 3, 1, -1), ("b", 4, 2, -1), ("c", 8, 2, -3))
    assert receptive_field.of(()) == ()


def test_concentration_is_of_a_map_about_the_box():
    values = np.zeros((100, 100, 3))
    values[40:60, 40:60] = 1
    found = receptive_field.concentration(values, (30, 30, 70, 70))
    assert found.inside == 1 and found.area == 0.16
    assert found.side == 20  # 18 x 18 pixels hold 0.81 of them
    assert receptive_field.concentration(values, (30, 30, 70, 70), share=0.25).side == 10
    values[:20] = 0.1  # elsewhere
    assert receptive_field.concentration(values, (30, 30, 70, 70)).inside == pytest.approx(400 / 600)
    assert receptive_field.concentration(np.ones((100, 100, 3)), (-20, -20, 120, 120)).area == 1
    assert np.isnan(receptive_field.concentration(np.zeros((9, 9)), (0, 0, 4, 4)).inside)
    for wrong in (np.full((4, 4), -1.0), np.full((4, 4), np.nan), np.ones(4)):
        with pytest.raises(ValueError, match="finite and not negative"):
            receptive_field.concentration(wrong, (0, 0, 2, 2))
