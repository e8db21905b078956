"""Norms, powers and angles with derivative zero where the usual derivative is undefined or infinite.

Flat images, zero targets and empty patches evaluate these functions at the origin, where JAX's own derivatives are NaN.
Forward and reverse mode both work.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

FLOOR = 1e-10
"""Vectors of two components that are shorter count as zero: far below the resolution of gray levels in float32."""

_LARGEST = float(np.finfo(np.float32).max)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def safe_norm(x: jax.Array, axis: int | tuple[int, ...] | None = None) -> jax.Array:
    """Euclidean norm over `axis` (all axes if None); its gradient is `x / |x|`, and 0 where `|x|` is 0.

    >>> float(safe_norm(jnp.array([3.0, 4.0])))
    5.0
    >>> jax.grad(safe_norm)(jnp.zeros(2)).tolist()
    [0.0, 0.0]
    """
    return jnp.sqrt(jnp.sum(x * x, axis=axis))


@safe_norm.defjvp
def _safe_norm_jvp(axis, primals, tangents):
    (x,), (dx,) = primals, tangents
    y = safe_norm(x, axis)
    # The inner `where` matters: 1 / 0 in a branch that is not taken still makes second derivatives NaN.
    inverse = jnp.where(y > 0, 1 / jnp.where(y > 0, y, 1), 0)
    return y, jnp.sum(x * dx, axis=axis) * inverse


@jax.custom_jvp
def safe_hypot(gx: jax.Array, gy: jax.Array) -> jax.Array:
    """`sqrt(gx^2 + gy^2)`, elementwise; 0, with gradient 0, if that is less than `FLOOR`.

    >>> float(safe_hypot(jnp.array(3.0), jnp.array(4.0)))
    5.0
    """
    square = gx * gx + gy * gy
    return jnp.sqrt(jnp.where(square < FLOOR**2, 0, square))


@safe_hypot.defjvp
def _safe_hypot_jvp(primals, tangents):
    (gx, gy), (dx, dy) = primals, tangents
    m = safe_hypot(gx, gy)
    inverse = jnp.where(m > 0, 1 / jnp.where(m > 0, m, 1), 0)
    return m, (gx * dx + gy * dy) * inverse


@jax.custom_jvp
def safe_angle(gx: jax.Array, gy: jax.Array) -> jax.Array:
    """Angle of `(gx, gy)` in (-pi, pi], from +x towards +y; its gradient is 0 if the vector is shorter than `FLOOR`.

    >>> float(safe_angle(jnp.array(0.0), jnp.array(2.0)) / jnp.pi)
    0.5
    """
    return jnp.arctan2(gy, gx)


@safe_angle.defjvp
def _safe_angle_jvp(primals, tangents):
    (gx, gy), (dx, dy) = primals, tangents
    square = gx * gx + gy * gy
    is_long = square >= FLOOR**2
    inverse = jnp.where(is_long, 1 / jnp.where(is_long, square, 1), 0)
    return safe_angle(gx, gy), (gx * dy - gy * dx) * inverse


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def safe_power(v: jax.Array, exponent: float) -> jax.Array:
    """`v ** exponent` for `v >= 0` and `exponent > 0`; its gradient is 0 where `v` is 0.

    For `exponent < 1` the derivative is unbounded near 0; the value 0 is used at 0 itself.

    >>> safe_power(jnp.array([0.0, 4.0]), 0.5).tolist()
    [0.0, 2.0]
    >>> jax.vmap(jax.grad(lambda v: safe_power(v, 0.5)))(jnp.array([0.0, 4.0])).tolist()
    [0.0, 0.25]
    """
    return v if exponent == 1 else v**exponent


@safe_power.defjvp
def _safe_power_jvp(exponent, primals, tangents):
    (v,), (dv,) = primals, tangents
    if exponent == 1:
        return v, dv
    safe = jnp.where(v > 0, v, 1)
    slope = jnp.where(v > 0, exponent * safe ** (exponent - 1), 0)
    return safe_power(v, exponent), slope * dv


@jax.custom_jvp
def safe_abs(x):
    """`|x|`, elementwise; its gradient is `sign(x)`: 0 at 0, where the gradient of `jnp.abs` is 1.

    >>> float(jax.grad(safe_abs)(0.0))
    0.0
    """
    return jnp.abs(x)


@safe_abs.defjvp
def _safe_abs_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    return safe_abs(x), jnp.sign(x) * dx


@jax.custom_jvp
def straight_through(value: jax.Array, surrogate: jax.Array) -> jax.Array:
    """The value, bit for bit, with the derivative of a surrogate of the same shape.

    >>> jax.value_and_grad(lambda x: straight_through(jnp.round(x), 2 * x))(1.2)
    (Array(1., dtype=float32, weak_type=True), Array(2., dtype=float32, weak_type=True))
    """
    del surrogate
    return value


@straight_through.defjvp
def _straight_through_jvp(primals, tangents):
    return straight_through(*primals), tangents[1]


def saturated(x: jax.Array, exponent: float) -> jax.Array:
    """`x`, cut where the sum of powers of its differences would leave float32; the derivative is 1 everywhere.

    So a prior of a descent that diverges, and its gradient, stay finite and huge, until the image itself does not.

    >>> float(jnp.sum(saturated(jnp.array([1e30, 2.0]), 6.0) ** 6)) < np.inf
    True
    """
    limit = (_LARGEST / (2 * max(np.size(x), 1))) ** (1 / max(exponent, 1)) / 4
    return straight_through(jnp.clip(x, -limit, limit), x)
