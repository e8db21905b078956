"""CNN-A's table against Caffe's, its sizes against brute force, and the receptive fields against gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import alexnet as oracle
from refusals import refused

from invert_jax.networks import architectures, receptive_field

WIDTHS = {"conv1": 96, "conv2": 256, "conv3": 384, "conv4": 384, "conv5": 256, "fc6": 4096, "fc7": 4096, "fc8": 1000}
SIDES = (55, 55, 27, 27, 27, 27, 13, 13, 13, 13, 13, 13, 13, 13, 6, 1, 1, 1, 1, 1)
SIZES = (11, 11, 19, 19, 51, 51, 67, 67, 99, 99, 131, 131, 163, 163, 195, 355, 355, 355, 355, 355)
STRIDES = (4, 4, 8, 8, 8, 8, 16, 16, 16, 16, 16, 16, 16, 16, 32, 32, 32, 32, 32, 32)
LENGTH = 1300

# --- the table ---


def test_table_is_caffes_reference_network():
    rows = [
        (row.name, row.kind, row.size, row.stride, row.padding, row.groups) for row in architectures.CAFFENET.layers
    ]
    assert rows == list(oracle.GEOMETRY)
    assert list(architectures.CAFFENET.layer_names) == [row[0] for row in oracle.GEOMETRY]
    assert {row.name: row.width for row in architectures.CAFFENET.layers if row.kind == "conv"} == WIDTHS
    assert all(row.width == 0 for row in architectures.CAFFENET.layers if row.kind != "conv")


def test_sizes_of_every_stack_of_layers():
    for index, name in enumerate(architectures.CAFFENET.layer_names):
        stack = architectures.CAFFENET.layers_up_to(name)
        assert stack == architectures.CAFFENET.layers[: index + 1]
        assert architectures.output_size(stack, 227) == SIDES[index]
        fits = [size for size in range(1, 260) if architectures.output_size(stack, size) >= 1]
        assert fits == list(range(architectures.smallest_input(stack), 260))
    # Caffe rounds pooled sizes up: 199 pixels give 48, 24, 12 and 6.
    for size, side in ((198, 0), (199, 1), (227, 1), (230, 1), (231, 2), (259, 2)):
        assert max(architectures.output_size(architectures.CAFFENET.layers, size), 0) == side


# --- receptive fields ---


def test_sizes_and_strides_are_those_of_table_2():
    rows = receptive_field.alexnet()
    assert tuple(row.name for row in rows) == architectures.CAFFENET.layer_names
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

    size = jax.eval_shape(network, jnp.ones(LENGTH)).size
    return size, jax.jit(lambda neurons: jax.vjp(network, jnp.ones(LENGTH))[1](neurons)[0])


def pixels_seen(depth, neurons):
    """First and one past the last pixel that any of these neurons depends on."""
    count, pull = responses(depth)
    chosen = np.zeros(count, np.float32)
    chosen[list(neurons)] = 1
    moved = np.flatnonzero(pull(chosen))
    assert np.array_equal(moved, np.arange(moved[0], moved[-1] + 1))
    return moved[0], moved[-1] + 1


@pytest.mark.parametrize("depth", [1, 3, 5, 9, *(pytest.param(n, marks=pytest.mark.slow) for n in range(10, 21))])
def test_field_and_box_are_the_pixels_with_a_gradient(depth):
    field = receptive_field.alexnet()[depth - 1]
    middle = responses(depth)[0] // 2
    for neuron in (middle - 1, middle, middle + 1):
        first, end = pixels_seen(depth, [neuron])
        assert first > 0 and end < LENGTH, "the border should not cut the field"
        assert (first, end - first) == (field.offset + field.stride * neuron, field.size)
    first, end = pixels_seen(depth, [0])  # cut at the border
    assert first == max(field.offset, 0) == 0 and end == field.offset + field.size
    rows, columns = (middle, middle + 2), (middle - 2, middle - 1)
    top, bottom = pixels_seen(depth, range(*rows))
    left, right = pixels_seen(depth, range(*columns))
    assert receptive_field.pixel_box(field, rows, columns) == (top, left, bottom, right)
    mask = np.zeros((rows[1] + 3, rows[1] + 4, 2), bool)
    mask[rows[0] : rows[1], columns[0] : columns[1], 1] = True
    assert receptive_field.mask_box(field, mask) == (top, left, bottom, right)


def test_another_stack_of_layers():
    table = (architectures.Layer("a", "conv", size=3, padding=1), architectures.Layer("b", "pool", size=2, stride=2))
    rows = receptive_field.receptive_fields((*table, architectures.Layer("c", "conv", size=3, padding=1)))
    assert rows == (("a", 3, 1, -1), ("b", 4, 2, -1), ("c", 8, 2, -3))
    assert receptive_field.receptive_fields(()) == ()


def test_masks_without_a_box():
    for mask in (np.zeros((3, 3, 2), bool), np.ones((3, 3), bool)):
        with refused("neuron"):
            receptive_field.mask_box(receptive_field.alexnet()[0], mask)
