"""Masks: the neurons of Figures 9 and 10."""

import numpy as np
import pytest
from refusals import refused

from invert_jax import masks


@pytest.mark.parametrize(("side", "first", "last"), [(55, 25, 29), (27, 11, 15), (13, 4, 8), (6, 0, 4)])
def test_central_five_of_each_layer_of_the_paper(side, first, last):
    mask = masks.central((side, side, 3))
    expected = np.zeros((side, side, 3), bool)
    expected[first : last + 1, first : last + 1] = True
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("shape", [(7, 4, 2), (1, 1, 4), (3, 2, 1), (5, 5, 1), (2, 9, 1)])
def test_central_is_clipped_to_the_map(shape):
    mask = masks.central(shape, size=3)
    assert mask.sum() == min(shape[0], 3) * min(shape[1], 3) * shape[2]
    for axis in (0, 1):
        first = max(shape[axis] - 3, 0) // 2
        expected = np.arange(shape[axis])[first : first + 3]
        assert np.flatnonzero(mask.any((1 - axis, 2))).tolist() == expected.tolist()


@pytest.mark.parametrize("num_groups", [1, 2, 3, 6])
def test_channel_groups_partition_the_channels(num_groups):
    parts = [masks.channel_group((2, 3, 6), group=group, num_groups=num_groups) for group in range(num_groups)]
    np.testing.assert_array_equal(np.sum(parts, 0), np.ones((2, 3, 6)))
    first_channels = [int(np.flatnonzero(part[0, 0])[0]) for part in parts]
    assert first_channels == list(range(0, 6, 6 // num_groups))


def test_masks_combine():
    both = masks.central((7, 7, 4), size=3) & masks.channel_group((7, 7, 4), group=1)  # halves by default
    assert both.sum() == 3 * 3 * 2 and (~both | both).all() and not both[..., :2].any()


def test_neurons_and_channels():
    assert np.argwhere(masks.neuron((6, 7, 3), channel=2)).tolist() == [[3, 3, 2]]
    assert np.argwhere(masks.neuron((6, 7, 3), channel=0, position=(5, 0))).tolist() == [[5, 0, 0]]
    mask = masks.channel((4, 5, 3), index=1)
    assert mask.sum() == 20 and mask[..., 1].all()
    assert np.flatnonzero(masks.channel((10,), index=9)).tolist() == [9]
    for position, channel in (((6, 0), 0), ((0, 7), 0), ((-1, 0), 0), (None, 3)):
        with refused("neuron"):
            masks.neuron((6, 7, 3), channel=channel, position=position)
    for shape, index in (((4, 4, 3), 3), ((4, 4, 3), -1), ((10,), 10), ((), 0)):
        with refused("channel"):
            masks.channel(shape, index=index)


@pytest.mark.parametrize("shape", [(4096,), (5, 5), (1, 5, 5, 3)])
def test_only_feature_maps(shape):
    for make in (masks.central, lambda shape: masks.channel_group(shape, group=0)):
        with refused(str(shape)):
            make(shape)


@pytest.mark.parametrize("count", [0, -1, 2.5, True])
def test_counts(count):
    with refused("size"):
        masks.central((7, 7, 1), size=count)
    with refused("num_groups"):
        masks.channel_group((2, 2, 6), group=0, num_groups=count)


@pytest.mark.parametrize(("group", "num_groups"), [(2, 2), (-1, 2), (0, 4), (0, 7)])
def test_group_must_exist(group, num_groups):
    with refused(f"group {group} of {num_groups}"):
        masks.channel_group((2, 2, 6), group=group, num_groups=num_groups)
