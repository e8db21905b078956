"""The layer table against Caffe's reference network written down apart, and its sizes against brute force."""

import pytest
from oracles import alexnet as oracle

from invert_jax.networks import architectures

WIDTHS = {"conv1": 96, "conv2": 256, "conv3": 384, "conv4": 384, "conv5": 256, "fc6": 4096, "fc7": 4096, "fc8": 1000}
SIDES = (55, 55, 27, 27, 27, 27, 13, 13, 13, 13, 13, 13, 13, 13, 6, 1, 1, 1, 1, 1)


def test_table_is_caffes_reference_network():
    rows = [(row.name, row.kind, row.size, row.stride, row.padding, row.groups) for row in architectures.CNN_A]
    assert rows == list(oracle.GEOMETRY)
    assert {row.name: row.width for row in architectures.CNN_A if row.kind == "conv"} == WIDTHS
    assert all(row.width == 0 for row in architectures.CNN_A if row.kind != "conv")


def test_names_are_the_twenty_taps_in_order():
    assert list(architectures.LAYER_NAMES) == [row[0] for row in oracle.GEOMETRY]
    assert len(set(architectures.LAYER_NAMES)) == 20


@pytest.mark.parametrize("index", range(20))
def test_each_stack_of_layers(index):
    stack = architectures.layers_up_to(architectures.LAYER_NAMES[index])
    assert stack == architectures.CNN_A[: index + 1]
    assert architectures.output_size(stack, 227) == SIDES[index]
    need = architectures.smallest_input(stack)
    fits = [size for size in range(1, 260) if architectures.output_size(stack, size) >= 1]
    assert fits == list(range(need, 260))


@pytest.mark.parametrize(("size", "fc"), [(226, 0), (227, 1), (258, 1), (259, 2), (291, 3), (323, 4)])
def test_larger_images_give_larger_fully_connected_maps(size, fc):
    assert max(architectures.output_size(architectures.CNN_A, size), 0) == fc
