"""Sensitivity of a code close to one image: the extreme singular directions of the representation's Jacobian.

Restarts show how wide an invariance is; these directions are tangent to it.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from invert_jax._util import checks
from invert_jax._util.reprs import short_repr
from invert_jax.types import Representation

_EXTRA_LANCZOS_VECTORS = 24  # in addition to two for each direction


class SingularDirections(NamedTuple):
    """Extreme singular directions of a Jacobian, the most extreme first.

    The smallest singular values are accurate only to the root of the tolerance, relative to the largest.
    """

    direction: np.ndarray  # [K, H, W, C], of unit Euclidean norm, orthogonal to each other; signs are arbitrary
    singular_value: np.ndarray  # [K], |m J v| / |v|, in the features' unit per gray level
    residual: np.ndarray  # [K], |A v - singular_value^2 v| / largest singular_value^2, with A = J^T m J

    __repr__ = short_repr


def singular_directions(
    key: jax.Array,
    representation: Representation,
    image,
    *,
    least: bool = False,
    count: int = 4,
    num_frequencies: int | None = None,
    mask: jax.Array | None = None,
    tolerance: float = 1e-4,
    max_iterations: int = 100,
) -> SingularDirections:
    """The changes of an image to which its code is most, or least, sensitive, to first order.

    Eigenvectors of `A = J^T m J` by the implicitly restarted Lanczos method (ARPACK). A product `A v` is one forward-
    and one reverse-mode derivative. For almost every network the least sensitive directions are fine noise;
    `num_frequencies` restricts the search to smooth directions. If the null space has more than K dimensions, which of
    its vectors are returned depends on the key.

    Args:
      key: random key of the solver's start.
      representation: Phi.
      image: `[H, W, C]`, 0..255.
      least: the least sensitive directions instead of the most sensitive.
      count: K, the number of directions.
      num_frequencies: directions are combinations of this many lowest cosines (DCT-II) along either axis; None is all.
      mask: boolean `[F...]`, m, the neurons that count.
      tolerance: accuracy of eigenvalues, relative to the largest.
      max_iterations: largest number of restarts of the solver. Directions that have not converged by then are NaN, and
        last.

    Returns:
      A `SingularDirections`.

    Raises:
      ValueError: an image or mask that does not fit, a count out of range, or no converged direction.
      TypeError: not a random key.

    Source: Lehoucq, Sorensen & Yang, "ARPACK users' guide", 1998, in scipy's implementation.

    >>> from invert_jax import representations
    >>> linear = representations.from_function(lambda _, image: image[:2] * jnp.array([3.0, 2.0])[:, None, None])
    >>> result = singular_directions(jax.random.key(0), linear, np.zeros((9, 1, 1)), count=2)
    >>> np.round(result.singular_value, 4).tolist(), np.abs(result.direction[0, :3, 0, 0]).round(3).tolist()
    ([3.0, 2.0], [1.0, 0.0, 0.0])
    >>> least = singular_directions(jax.random.key(0), linear, np.zeros((9, 1, 1)), least=True, count=1)
    >>> float(least.singular_value[0]) < 0.05
    True
    """
    checks.require_key(key)
    checks.require_count(count, "count")
    checks.require_image(image)
    checks.require_finite(image, "image")
    image = jnp.asarray(image, jnp.float32)
    height, width, channels = image.shape
    shape = representation.feature_shape((height, width, channels))
    checks.require_one_array(shape)
    if mask is not None and np.shape(mask) != shape:
        raise ValueError(f"The mask has shape {np.shape(mask)}; the features of this image have {shape}.")
    bases = _cosines(height, num_frequencies), _cosines(width, num_frequencies)
    grid = (bases[0].shape[1], bases[1].shape[1], channels)
    size = int(np.prod(grid))
    if count > size - 2:
        raise ValueError(f"The count is {count}, in a space of dimension {size}; give a count of at most {size - 2}.")

    def gram(vector):
        coefficients = jnp.asarray(vector, jnp.float32).reshape(grid)
        return np.asarray(_gram(representation, image, mask, *bases, coefficients)).ravel()

    start = np.asarray(jax.random.normal(key, (size,)))
    solve = functools.partial(_largest_eigenvectors, start=start, tolerance=tolerance, max_iterations=max_iterations)
    vectors, largest = _extreme_eigenvectors(key, gram, solve, count, least=least, start=start)
    products = np.stack([gram(vector) for vector in vectors])
    # Rayleigh quotients: eigenvalues of the shifted matrix hold the small ones only to rounding of the largest.
    values = np.maximum(np.sum(vectors * products, axis=1), 0)
    residual = np.linalg.norm(products - values[:, None] * vectors, axis=1) / largest
    directions = np.stack([_synthesize(*bases, jnp.asarray(vector.reshape(grid))) for vector in vectors])

    def padded(array):
        return np.pad(array, [(0, count - len(array)), *[(0, 0)] * (array.ndim - 1)], constant_values=np.nan)

    return SingularDirections(padded(directions), padded(np.sqrt(values)), padded(residual))


def _extreme_eigenvectors(key, gram, solve, count, *, least, start):
    """Eigenvectors `[<= count, size]` of the Gram matrix, the most extreme first, and its largest eigenvalue."""
    # ARPACK fails on a zero matrix (a flat image under HOG): every direction is then a null direction.
    if not np.any(gram(start)):
        return np.linalg.qr(np.asarray(jax.random.normal(key, (start.size, count))))[0].T, 1.0
    largest = max(float(solve(gram, 1)[0][0]), 1e-30)
    if not least:
        return solve(gram, count)[1], largest
    # Lanczos finds the small eigenvalues of A only by solving with A, which is not available. They are the largest of
    # `1.01 largest - A`: a shift just above the largest makes all of these positive, in spite of its own tolerance.
    return solve(lambda vector: 1.01 * largest * vector.ravel() - gram(vector), count)[1], largest


def _largest_eigenvectors(product, count, *, start, tolerance, max_iterations):
    """Eigenvalues and eigenvectors of a symmetric matrix, descending; only the converged ones."""
    from scipy.sparse import linalg

    size, options = start.size, {"tol": tolerance, "maxiter": max_iterations, "v0": start, "which": "LA"}
    operator = linalg.LinearOperator((size, size), matvec=product, dtype=np.float32)  # pyright: ignore[reportCallIssue]
    try:
        values, vectors = linalg.eigsh(operator, count, ncv=min(size, 2 * count + _EXTRA_LANCZOS_VECTORS), **options)
    except linalg.ArpackNoConvergence as error:
        if not error.eigenvalues.size:
            message = f"No direction converged in {max_iterations} iterations; raise max_iterations or tolerance."
            raise ValueError(message) from None
        values, vectors = error.eigenvalues, error.eigenvectors
    return values[::-1], vectors.T[::-1]  # scipy's are ascending


@functools.cache
def _cosines(size, count):
    """`[size, count]`: the lowest orthonormal cosines (DCT-II); the identity if count is None."""
    if count is None:
        return np.eye(size, dtype=np.float32)
    checks.require_count(count, "num_frequencies")
    positions, frequencies = np.arange(size) + 0.5, np.arange(min(count, size))
    cosines = np.cos(np.pi * np.outer(positions, frequencies) / size)
    return (cosines / np.linalg.norm(cosines, axis=0)).astype(np.float32)


@jax.jit
def _synthesize(rows, columns, coefficients):
    """The image `[H, W, C]` of coefficients of two separable bases."""
    return jnp.einsum("ha,wb,abc->hwc", rows, columns, coefficients)


@jax.jit
def _gram(representation, image, mask, rows, columns, coefficients):
    """`J^T m J v` in coefficients: a forward-mode derivative, then a reverse-mode one."""

    def features(coefficients):
        changed = image + _synthesize(rows, columns, coefficients)
        code = representation.apply(representation.params, changed)
        return code if mask is None else jnp.where(mask, code, 0)

    _, forward = jax.jvp(features, (jnp.zeros_like(coefficients),), (coefficients,))
    _, reverse = jax.vjp(features, jnp.zeros_like(coefficients))
    return reverse(forward)[0]
