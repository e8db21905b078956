"""Convolution, max pooling and local response normalization on `[N, H, W, C]`, with fast values and gradients.

Each operator has one definition; where XLA's own form is slow on a platform, an equivalent form is used there.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_EXACT = jax.lax.Precision.HIGHEST


def conv2d(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, *, stride: int = 1, padding: int = 0, groups: int = 1
) -> jax.Array:
    """Convolution (cross-correlation, as in Caffe) with channel groups.

    Args:
      x: `[N, H, W, I]`.
      kernel: `[h, w, I / groups, O]`.
      bias: `[O]`.
      stride: pixels between outputs, along rows and columns.
      padding: zeros added on every side.
      groups: number of channel groups; output block `g` depends on input block `g` only.

    Returns:
      `[N, (H + 2 padding - h) // stride + 1, (W + 2 padding - w) // stride + 1, O]`.

    >>> conv2d(jnp.ones((1, 5, 5, 4)), jnp.ones((3, 3, 2, 6)), jnp.zeros(6), padding=1, groups=2).shape
    (1, 5, 5, 6)
    """
    if padding == 0 and groups == 1 and kernel.shape[:2] == x.shape[1:3]:
        # A fully connected layer on an image of its own size: one matrix product.
        y = (x.reshape(x.shape[0], -1) @ kernel.reshape(-1, kernel.shape[-1]))[:, None, None, :]
    else:
        y = jax.lax.platform_dependent(
            x,
            kernel,
            cpu=functools.partial(_conv_by_products, stride=stride, padding=padding, groups=groups),
            default=functools.partial(_conv, stride=stride, padding=padding, groups=groups),
        )
    return y + bias.reshape(1, 1, 1, -1)


def _conv(x, kernel, *, stride, padding, groups):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=_LAYOUT, feature_group_count=groups
    )


def _conv_by_products(x, kernel, *, stride, padding, groups):
    # The CPU backend convolves fast, but not with groups, and not the gradient to the input inside a loop, which is
    # where an inversion needs it. Matrix products are fast on every path, and so are their gradients.
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    pairs = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
    ys = [_conv_by_rows(*(_space_to_depth(a, k, stride) if stride > 1 else (a, k))) for a, k in pairs]
    return ys[0] if groups == 1 else jnp.concatenate(ys, axis=-1)


def _conv_by_rows(x, kernel):
    """A convolution of stride 1 as one matrix product per kernel row, on the columns under the kernel concatenated."""
    (n, height, width, _), (rows, columns, _, channels) = x.shape, kernel.shape
    height, width = height - rows + 1, width - columns + 1
    x = jnp.concatenate([x[:, :, j : j + width] for j in range(columns)], axis=-1)
    y = sum(x[:, i : i + height].reshape(n * height * width, -1) @ kernel[i].reshape(-1, channels) for i in range(rows))
    return jnp.reshape(y, (n, height, width, channels))


def _space_to_depth(x, kernel, stride):
    """Input and kernel of the same convolution at stride 1, with blocks of `stride x stride` pixels as channels."""
    (n, *sides, channels), (*extents, _, out) = x.shape, kernel.shape
    spans = [-(-extent // stride) for extent in extents]
    blocks = [(side - extent) // stride + span for side, extent, span in zip(sides, extents, spans, strict=True)]
    padding = [max(block * stride - side, 0) for block, side in zip(blocks, sides, strict=True)]
    x = jnp.pad(x, ((0, 0), (0, padding[0]), (0, padding[1]), (0, 0)))[:, : blocks[0] * stride, : blocks[1] * stride]
    x = x.reshape(n, blocks[0], stride, blocks[1], stride, channels)
    padding = [span * stride - extent for span, extent in zip(spans, extents, strict=True)]
    kernel = jnp.pad(kernel, ((0, padding[0]), (0, padding[1]), (0, 0), (0, 0)))
    kernel = kernel.reshape(spans[0], stride, spans[1], stride, channels, out)
    depth = stride * stride * channels
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(n, *blocks, depth)
    return x, kernel.transpose(0, 2, 1, 3, 4, 5).reshape(*spans, depth, out)


def max_pool(x: jax.Array, *, size: int = 3, stride: int = 2, ceil: bool = False) -> jax.Array:
    """Maximum over `size x size` windows without padding.

    The gradient goes to one pixel of each window, the first maximum in row-major order. NaN propagates.

    Args:
      x: `[N, H, W, C]`.
      size: side of the window.
      stride: pixels between windows.
      ceil: whether the number of windows is rounded up, as in Caffe: the last one is clipped to the image.

    Returns:
      `[N, (H - size) // stride + 1, (W - size) // stride + 1, C]`, or one more where rounded up.

    >>> max_pool(jnp.arange(25.0).reshape(1, 5, 5, 1))[0, :, :, 0].tolist()
    [[12.0, 14.0], [22.0, 24.0]]
    """
    # One axis after the other, as elementwise comparisons: their gradient is a select, while that of
    # `lax.reduce_window` is a select-and-scatter, ten times slower on CPU.
    for axis in (2, 1):
        x = _pool_axis(x, axis, size, stride, ceil)
    return x


def _pool_axis(x, axis, size, stride, ceil):
    # Reshaped to blocks of `stride` entries, so that the members of all windows, and their gradients, are slices.
    span = x.shape[axis] - size
    count = (-(-span // stride) if ceil else span // stride) + 1
    blocks = max(-(-x.shape[axis] // stride), count + (size - 1) // stride)
    pads = [(0, 0)] * x.ndim
    pads[axis] = (0, blocks * stride - x.shape[axis])
    x = jnp.pad(x, pads, constant_values=-jnp.inf).reshape(*x.shape[:axis], blocks, stride, *x.shape[axis + 1 :])
    phases = [jax.lax.index_in_dim(x, phase, axis + 1, keepdims=False) for phase in range(stride)]
    windows = [
        jax.lax.slice_in_dim(phases[start % stride], start // stride, start // stride + count, axis=axis)
        for start in range(size)
    ]
    # `b > a` keeps the first maximum, so the gradient goes to one pixel; `b != b` lets NaN through.
    return functools.reduce(lambda a, b: jnp.where((b > a) | (b != b), b, a), windows)


def local_response_norm(
    x: jax.Array, *, size: int = 5, k: float = 1.0, alpha: float = 1e-4, beta: float = 0.75
) -> jax.Array:
    """Local response normalization across channels, `x_c / (k + alpha / size * sum_{|d - c| <= size // 2} x_d^2)^beta`.

    Args:
      x: `[N, H, W, C]`.
      size: channels in the window, odd; windows are clipped at the first and last channel.
      k: floor of the denominator.
      alpha: weight of the mean square.
      beta: exponent.

    Returns:
      `[N, H, W, C]`.

    Source: Krizhevsky et al. 2012, section 3.3, with Caffe's division of alpha by the window size.

    >>> y = local_response_norm(jnp.full((1, 1, 1, 8), 100.0))
    >>> [round(float(v), 2) for v in y[0, 0, 0, 2:4]]
    [59.46, 59.46]
    """
    channels = np.arange(x.shape[-1])
    band = jnp.asarray(np.abs(channels[:, None] - channels) <= size // 2, x.dtype)
    # The sum over the window as a product with a band matrix, in float32 whatever x is: 0 and 1 are exact in every
    # precision, so only the squares are rounded.
    total = jax.lax.dot_general(
        x * x, band, (((3,), (0,)), ((), ())), precision=_EXACT, preferred_element_type=jnp.float32
    )
    scale = (k + (alpha / size) * total).astype(x.dtype)
    if beta == 0.75:  # s^-3/4 = s^-1/2 s^-1/4: two reciprocal roots instead of a general power
        root = jax.lax.rsqrt(scale)
        return x * (root * jnp.sqrt(root))
    return x * scale**-beta
