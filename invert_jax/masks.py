"""Masks: which neurons the loss counts, as boolean arrays of the features' shape; combine them with `&`, `|`, `~`."""

import numpy as np

from invert_jax._util import checks


def central(shape: tuple[int, ...], *, size: int = 5) -> np.ndarray:
    """The central `size x size` neurons of every channel (Figure 9).

    Args:
      shape: feature shape `[h, w, c]`.
      size: side of the block, neurons; clipped to the map. Where it cannot be centered it starts half a neuron early.

    Returns:
      Boolean `[h, w, c]`.

    Raises:
      ValueError: `shape` is not `[h, w, c]`, or `size` is below 1.

    >>> np.flatnonzero(central((13, 13, 1))[6, :, 0]).tolist()
    [4, 5, 6, 7, 8]
    """
    _require_map(shape)
    checks.require_count(size, "mask size")
    mask = np.zeros(shape, bool)
    rows, columns = (slice(max(n - size, 0) // 2, max(n - size, 0) // 2 + size) for n in shape[:2])
    mask[rows, columns] = True
    return mask


def channel_group(shape: tuple[int, ...], *, group: int, num_groups: int = 2) -> np.ndarray:
    """One of `num_groups` equal blocks of channels (Figure 10 uses the halves).

    Args:
      shape: feature shape `[h, w, c]`.
      group: index of the block, from 0.
      num_groups: number of blocks; must divide the channels.

    Returns:
      Boolean `[h, w, c]`.

    Raises:
      ValueError: `shape` is not `[h, w, c]`, or the block does not exist.

    >>> channel_group((1, 1, 4), group=1)[0, 0].tolist()
    [False, False, True, True]
    """
    _require_map(shape)
    checks.require_count(num_groups, "num_groups")
    if shape[2] % num_groups or not 0 <= group < num_groups:
        raise ValueError(
            f"{shape[2]} channels have no group {group} of {num_groups}; give a num_groups that divides the "
            "channels and a group from 0 to num_groups - 1."
        )
    width = shape[2] // num_groups
    mask = np.zeros(shape, bool)
    mask[..., group * width : (group + 1) * width] = True
    return mask


def _require_map(shape):
    if len(shape) != 3:
        raise ValueError(
            f"This mask is for feature maps [h, w, c]; got shape {tuple(shape)}: build a boolean array of that shape."
        )
