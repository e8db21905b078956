"""Masks: which neurons of Figures 9 and 10."""

import numpy as np
import pytest

from invert_jax import masks


@pytest.mark.parametrize(("side", "first", "last"), [(55, 25, 29), (27, 11, 15), (13, 4, 8), (6, 0, 4)])
def test_central_five_of_each_layer_of_the_paper(side, first, last):
    mask = masks.central((side, side, 3))
    expected = np.zeros((side, side, 3), bool)
    expected[first : last + 1, first : last + 1] = True
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, expected)


def test_central_of_an_oblong_map():
    mask = masks.central((7, 4, 2), size=3)
    assert np.flatnonzero(mask.any((1, 2))).tolist() == [2, 3, 4]
    assert np.flatnonzero(mask.any((0, 2))).tolist() == [0, 1, 2]
    assert mask.sum() == 3 * 3 * 2


@pytest.mark.parametrize("shape", [(1, 1, 4), (3, 2, 1), (5, 5, 1), (2, 9, 1)])
def test_central_is_clipped_to_the_map(shape):
    assert masks.central(shape).sum() == min(shape[0], 5) * min(shape[1], 5) * shape[2]


@pytest.mark.parametrize("num_groups", [1, 2, 3, 6])
def test_channel_groups_partition_the_channels(num_groups):
    parts = [masks.channel_group((2, 3, 6), group=group, num_groups=num_groups) for group in range(num_groups)]
    np.testing.assert_array_equal(np.sum(parts, 0), np.ones((2, 3, 6)))
    assert [int(part[0, 0].sum()) for part in parts] == [6 // num_groups] * num_groups
    first_channels = [int(np.flatnonzero(part[0, 0])[0]) for part in parts]
    assert first_channels == list(range(0, 6, 6 // num_groups))


def test_channel_groups_are_halves_unless_told_otherwise():
    assert masks.channel_group((1, 1, 6), group=0)[0, 0].tolist() == [True] * 3 + [False] * 3


def test_masks_combine():
    both = masks.central((7, 7, 4), size=3) & masks.channel_group((7, 7, 4), group=1)
    assert both.sum() == 3 * 3 * 2
    assert (~both | both).all()
    assert not both[..., :2].any()


@pytest.mark.parametrize("make", [masks.central, lambda shape: masks.channel_group(shape, group=0)])
@pytest.mark.parametrize("shape", [(4096,), (5, 5), (1, 5, 5, 3)])
def test_only_feature_maps(make, shape):
    with pytest.raises(ValueError, match=r"feature maps \[h, w, c\]; got shape \(.*\)"):
        make(shape)


@pytest.mark.parametrize("size", [0, -1, 2.5, True])
def test_size_is_a_count(size):
    with pytest.raises(ValueError, match="mask size"):
        masks.central((7, 7, 1), size=size)


@pytest.mark.parametrize(("group", "num_groups"), [(2, 2), (-1, 2), (0, 4), (0, 7)])
def test_group_must_exist(group, num_groups):
    with pytest.raises(ValueError, match=f"6 channels have no group {group} of {num_groups}"):
        masks.channel_group((2, 2, 6), group=group, num_groups=num_groups)


@pytest.mark.parametrize("num_groups", [0, -2])
def test_number_of_groups_is_a_count(num_groups):
    with pytest.raises(ValueError, match="num_groups"):
        masks.channel_group((2, 2, 6), group=0, num_groups=num_groups)
