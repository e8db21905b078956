"""Convolution, pooling and normalization against lax's own forms and NumPy loops, forwards and backwards."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import alexnet as oracle
from oracles import differences

from invert_jax.networks import ops


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(actual, expected, tolerance=1e-5):
    """Within `tolerance` of the largest value."""
    expected = np.asarray(expected)
    assert np.shape(actual) == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max(initial=1e-30))


def value_and_gradients(function, *args):
    """The value, and the gradients by every argument of its sum with fixed random weights; one compilation."""

    @jax.jit
    def both(*args):
        value, pull = jax.vjp(function, *args)
        return value, pull(weights(value.shape))

    return both(*args)


def weights(shape):
    return jnp.asarray(normal(9, *shape))


# --- convolution ---

CONVOLUTIONS = {
    "stride 4": ((1, 23, 19, 3), (11, 11, 3, 4), {"stride": 4}),
    "padding": ((2, 7, 7, 4), (5, 5, 4, 3), {"padding": 2}),
    "two groups": ((2, 7, 6, 4), (5, 5, 2, 6), {"padding": 2, "groups": 2}),
    "three groups, stride": ((1, 8, 8, 6), (3, 3, 2, 3), {"stride": 2, "groups": 3}),
    "full size": ((3, 6, 6, 4), (6, 6, 4, 7), {}),
    "full size, wide": ((2, 3, 5, 4), (3, 5, 4, 7), {}),
    "full size, padding": ((2, 3, 3, 2), (3, 3, 2, 4), {"padding": 1}),
    "full size, groups": ((2, 3, 3, 4), (3, 3, 2, 4), {"groups": 2}),
    "full size in a larger map": ((1, 8, 7, 4), (6, 6, 4, 3), {}),
    "one pixel": ((1, 1, 1, 3), (1, 1, 3, 2), {}),
    "one pixel, padding": ((1, 1, 1, 2), (3, 3, 2, 2), {"padding": 1}),
}


def plain_conv(x, kernel, bias, *, stride=1, padding=0, groups=1):
    y = jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding), (padding, padding)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
        precision=jax.lax.Precision.HIGHEST,
    )
    return y + bias[None, None, None, :]


QUICK = ("two groups", "full size")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CONVOLUTIONS]
)
def test_conv2d_and_its_gradients_are_those_of_the_plain_convolution(name):
    x_shape, kernel_shape, options = CONVOLUTIONS[name]
    args = normal(0, *x_shape), normal(1, *kernel_shape), normal(2, kernel_shape[-1])
    value, gradients = value_and_gradients(functools.partial(ops.conv2d, **options), *args)
    wanted, wanted_gradients = value_and_gradients(functools.partial(plain_conv, **options), *args)
    settings = {"stride": 1, "padding": 0, "groups": 1} | options
    close(value, np.stack([oracle.convolve(image, *args[1:], **settings) for image in args[0]]))
    close(value, wanted)
    conv = functools.partial(ops.conv2d, **options)
    close(jax.jit(jax.vmap(lambda image: conv(image[None], *args[1:])[0]))(args[0]), wanted)
    for actual, expected in zip(gradients, wanted_gradients, strict=True):
        close(actual, expected)


def test_conv2d_gradient_is_finite_differences():
    x, kernel, bias = normal(0, 5, 5, 4), normal(1, 3, 3, 2, 4), normal(2, 4)
    options = {"stride": 2, "padding": 1, "groups": 2}
    value, (actual, *_) = value_and_gradients(functools.partial(ops.conv2d, **options), x[None], kernel, bias)
    weight = np.asarray(weights(value.shape))[0]
    expected = differences.gradient(lambda a: np.sum(oracle.convolve(a, kernel, bias, **options) * weight), x)
    close(actual[0], expected)


# --- max pooling ---


def plain_pool(x, *, size, stride):
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, size, size, 1), (1, stride, stride, 1), "VALID")


POOLS = [(9, 10, 3, 2), (7, 7, 2, 3)]
POOLS += [
    pytest.param(*pool, marks=pytest.mark.slow) for pool in [(7, 5, 3, 1), (6, 7, 2, 2), (9, 4, 4, 3), (3, 3, 3, 2)]
]


@pytest.mark.parametrize(("height", "width", "size", "stride"), POOLS)
def test_max_pool_and_its_gradient_are_those_of_reduce_window(height, width, size, stride):
    # Distinct values, and zeros and ones: then most windows have several maxima, as after a relu.
    distinct = normal(0, 3, height, width, 4)
    tied = np.random.default_rng(1).integers(0, 2, distinct.shape).astype(np.float32)
    x = np.concatenate([distinct, tied])
    value, (gradient,) = value_and_gradients(functools.partial(ops.max_pool, size=size, stride=stride), x)
    wanted, (wanted_gradient,) = value_and_gradients(functools.partial(plain_pool, size=size, stride=stride), x)
    np.testing.assert_array_equal(value, wanted)
    pool = functools.partial(ops.max_pool, size=size, stride=stride)
    np.testing.assert_array_equal(jax.jit(jax.vmap(lambda image: pool(image[None])[0]))(x), wanted)
    close(gradient, wanted_gradient)


def test_max_pool_gradient_of_a_flat_image_goes_to_the_first_pixel_of_each_window():
    _, (gradient,) = value_and_gradients(ops.max_pool, jnp.ones((1, 5, 5, 1)))
    expected = np.zeros((5, 5))
    expected[0:4:2, 0:4:2] = weights((1, 2, 2, 1))[0, :, :, 0]
    np.testing.assert_array_equal(gradient[0, :, :, 0], expected)


@pytest.mark.parametrize(("side", "size", "stride"), [(9, 3, 2), (6, 3, 2), (2, 3, 2), (7, 3, 3), (8, 4, 3), (7, 2, 2)])
def test_max_pool_rounds_up_as_caffe_does(side, size, stride):
    x = normal(0, 1, side, side + 1, 2)
    pool = functools.partial(ops.max_pool, size=size, stride=stride, ceil=True)
    value, (gradient,) = value_and_gradients(pool, x)
    np.testing.assert_array_equal(value[0], oracle.pool(x[0], size, stride, round_up=True))
    weight = np.asarray(weights(value.shape))
    expected = differences.gradient(
        lambda a: np.sum(oracle.pool(a[0], size, stride, round_up=True) * weight[0]), x, step=1e-4
    )
    close(gradient, expected)


def test_max_pool_shows_nan_in_every_window_that_holds_it():
    x = np.stack([normal(0, 5, 5, 1)] * 25)
    for image, at in zip(x, np.ndindex(5, 5), strict=True):
        image[at] = np.nan
    actual = np.asarray(jax.jit(ops.max_pool)(x))
    for image, pooled in zip(x, actual, strict=True):
        for i, j in np.ndindex(2, 2):
            assert np.isnan(pooled[i, j]) == np.isnan(image[2 * i : 2 * i + 3, 2 * j : 2 * j + 3]).any()


# --- local response normalization ---

NORMALIZATIONS = [(8, {}), (4, {"size": 7, "k": 2.0, "alpha": 0.5}), (2, {"beta": 1.0})]
EXTREMES = [(3, {}), (1, {}), (4, {"beta": 0.3, "size": 3, "alpha": 2.0}), (3, {"size": 1, "alpha": 1.0})]
NORMALIZATIONS += [pytest.param(*case, marks=pytest.mark.slow) for case in EXTREMES]


@pytest.mark.parametrize(("channels", "options"), NORMALIZATIONS, ids=str)
def test_local_response_norm_is_the_loop_over_channels(channels, options):
    scale = np.float32(2 if "alpha" in options else 200)  # so that the sum matters beside k
    x = scale * normal(0, 1, 2, 3, channels)
    value, (gradient,) = value_and_gradients(functools.partial(ops.local_response_norm, **options), x)
    np.testing.assert_allclose(value, oracle.normalize(x, **options), rtol=1e-5)
    norm = functools.partial(ops.local_response_norm, **options)
    close(jax.jit(jax.vmap(lambda image: norm(image[None])[0]))(x), value, 1e-6)
    weight = np.asarray(weights(x.shape))
    expected = differences.gradient(lambda a: np.sum(oracle.normalize(a, **options) * weight), x, step=1e-3 * scale)
    close(gradient, expected)


def test_local_response_norm_of_zeros_and_of_one_pixel():
    value, (gradient,) = value_and_gradients(ops.local_response_norm, jnp.zeros((1, 1, 1, 6)))
    np.testing.assert_array_equal(value, np.zeros((1, 1, 1, 6)))
    np.testing.assert_allclose(gradient, weights((1, 1, 1, 6)), rtol=1e-6)
    pixel = 300 * normal(0, 1, 1, 1, 6)
    np.testing.assert_allclose(ops.local_response_norm(pixel), oracle.normalize(pixel), rtol=1e-5)
