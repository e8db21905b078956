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


def channel(shape: tuple[int, ...], *, index: int) -> np.ndarray:
    """One channel of a feature map, or one entry of a vector such as the score of a class.

    Args:
      shape: feature shape `[..., c]`.
      index: the channel, from 0.

    Returns:
      Boolean `[..., c]`.

    Raises:
      ValueError: there is no such channel.

    >>> channel((1, 1, 1000), index=281).sum().item()
    1
    """
    if not shape or isinstance(index, bool) or not 0 <= index < shape[-1]:
        raise ValueError(f"Features {tuple(shape)} have no channel {index!r}; give one of the last axis, from 0.")
    mask = np.zeros(shape, bool)
    mask[..., int(index)] = True
    return mask


def neuron(shape: tuple[int, ...], *, channel: int, position: tuple[int, int] | None = None) -> np.ndarray:
    """One neuron of a feature map: a channel at one position.

    Args:
      shape: feature shape `[h, w, c]`.
      channel: from 0.
      position: `(row, column)`; None is the middle.

    Returns:
      Boolean `[h, w, c]`.

    Raises:
      ValueError: `shape` is not `[h, w, c]`, or there is no such neuron.

    >>> np.argwhere(neuron((13, 13, 256), channel=7)).tolist()
    [[6, 6, 7]]
    """
    _require_map(shape)
    row, column = (shape[0] // 2, shape[1] // 2) if position is None else position
    if not (0 <= row < shape[0] and 0 <= column < shape[1] and 0 <= channel < shape[2]):
        raise ValueError(
            f"Features {tuple(shape)} have no neuron ({row}, {column}, {channel}); count each index from 0."
        )
    mask = np.zeros(shape, bool)
    mask[row, column, channel] = True
    return mask


def _require_map(shape):
    if len(shape) != 3:
        raise ValueError(
            f"This mask is for feature maps [h, w, c]; got shape {tuple(shape)}: build a boolean array of that shape."
        )
