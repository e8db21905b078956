"""Sensitivity of a code close to one image: the extreme singular directions of the representation's Jacobian.

Restarts show how wide an invariance is; these directions are tangent to it.
"""

import functools
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from invert_jax import losses
from invert_jax._util import checks
from invert_jax._util.reprs import short_repr
from invert_jax.types import Representation

_EXTRA_LANCZOS_VECTORS = 24  # in addition to two for each direction
_GUARDS = 8  # vectors that are iterated in addition to the least directions, which speeds up the slowest of these


class SingularDirections(NamedTuple):
    """Extreme singular directions of a Jacobian, the most extreme first.

    Every singular value is that of its direction. How far from it the true one may be, the residual says: a singular
    value of the Jacobian lies in `sqrt(singular_value^2 +- residual * largest^2)`, and where that reaches zero only
    `resolution` is known.
    """

    direction: np.ndarray  #: [K, H, W, C], of unit Euclidean norm, orthogonal to each other; signs are arbitrary
    singular_value: np.ndarray  #: [K], |m J v| / |v|, in the features' unit per gray level
    gain: np.ndarray  #: [K], |m J v| / |m Phi| for v of 1 gray level RMS: the code's relative change
    residual: np.ndarray  #: [K], |A v - singular_value^2 v| / largest^2, with A = J^T m J
    resolution: np.ndarray  #: [K], the gain below which there is a singular direction for certain

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
    tolerance: float = 1e-6,
    max_iterations: int = 100,
) -> SingularDirections:
    """The changes of an image to which its code is most, or least, sensitive, to first order.

    Eigenvectors of `A = J^T m J`. A product `A v` is one forward- and one reverse-mode derivative. The most sensitive
    are found by the implicitly restarted Lanczos method (ARPACK); the least sensitive by a block method (LOBPCG), since
    many have nearly one singular value, of which Lanczos finds some and passes over others. For almost every network
    these are fine noise; `num_frequencies` restricts the search to smooth directions. If the null space has more than K
    dimensions, which of its vectors are returned depends on the key.

    Args:
      key: random key of the solver's start.
      representation: Phi.
      image: `[H, W, C]`, 0..255.
      least: the least sensitive directions instead of the most sensitive.
      count: K, the number of directions.
      num_frequencies: directions are combinations of this many lowest cosines (DCT-II) along either axis; None is all.
      mask: boolean `[F...]`, m, the neurons that count.
      tolerance: accuracy of eigenvalues, relative to the largest; float32 has no more than the default.
      max_iterations: largest number of iterations of the solver. Of the most sensitive directions those that have not
        converged by then are NaN, and last; of the least sensitive the residual says how far they have.

    Returns:
      A `SingularDirections`.

    Raises:
      ValueError: an image or mask that does not fit, a count out of range, or no converged direction.
      TypeError: not a random key.

    Source: Lehoucq, Sorensen & Yang, "ARPACK users' guide", 1998; Knyazev, "Toward the optimal preconditioned
    eigensolver", 2001; in scipy's implementations.

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

    arguments = representation, image, mask, *bases

    def gram(vector):
        return np.asarray(_gram(*arguments, jnp.asarray(vector, jnp.float32).reshape(grid)), np.float64).ravel()

    def changes(vectors):
        """The changes of the code along vectors `[K, size]`: `[K, F]`."""
        parts = (_change(*arguments, jnp.asarray(vector, jnp.float32).reshape(grid)) for vector in vectors)
        return np.stack([np.asarray(part, np.float64).ravel() for part in parts])

    start = np.asarray(jax.random.normal(key, (size, 1 + count + _GUARDS)), np.float64)
    solver = {"tolerance": tolerance, "max_iterations": max_iterations}
    if not np.any(gram(start[:, 0])):  # a flat image under HOG: every direction is a null direction
        vectors, largest = np.linalg.qr(start[:, 1 : 1 + count])[0].T, 1.0
    else:
        largest = max(
            float(_largest_eigenvectors(gram, 1, start[:, 0], tolerance=1e-4, max_iterations=100)[0][0]), 1e-30
        )
        if least:
            vectors = _least_eigenvectors(gram, start[:, 1:], largest, **solver)
        else:
            vectors = _largest_eigenvectors(gram, count, start[:, 0], **solver)[1]
        # Within their span the directions and singular values are those of the code's own changes, which has twice the
        # digits of its square: small ones come in order.
        left, _, _ = np.linalg.svd(changes(vectors), full_matrices=False)
        vectors = (left.T @ vectors)[:: -1 if least else 1][:count]
    values = np.linalg.norm(changes(vectors), axis=1)
    products = np.stack([gram(vector) for vector in vectors])
    residual = np.linalg.norm(products - values[:, None] ** 2 * vectors, axis=1)
    unit = np.sqrt(image.size) / float(losses.target_norm(jnp.asarray(representation(image)), mask))
    resolution = unit * np.sqrt(values**2 + residual)
    directions = np.stack([_synthesize(*bases, jnp.asarray(vector.reshape(grid), jnp.float32)) for vector in vectors])

    def padded(array):
        return np.pad(array, [(0, count - len(array)), *[(0, 0)] * (array.ndim - 1)], constant_values=np.nan)

    return SingularDirections(*map(padded, (directions, values, unit * values, residual / largest, resolution)))


def _least_eigenvectors(product, start, largest, *, tolerance, max_iterations):
    """Eigenvectors `[K, size]` of the least eigenvalues of a symmetric matrix, a few more than are wanted."""
    from scipy.sparse import linalg

    def products(block):
        return np.stack([product(vector) for vector in block.T], axis=1)

    size = len(start)
    operator = linalg.LinearOperator((size, size), matvec=product, matmat=products, dtype=np.float64)  # pyright: ignore
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what has not converged, the residual says
        options = {"tol": tolerance * largest, "maxiter": max_iterations, "largest": False}
        _, vectors = linalg.lobpcg(operator, np.linalg.qr(start[:, : size // 2])[0], **options)[:2]
    return np.linalg.qr(vectors)[0].T


def _largest_eigenvectors(product, count, start, *, tolerance, max_iterations):
    """Eigenvalues and eigenvectors of a symmetric matrix, descending; only the converged ones."""
    from scipy.sparse import linalg

    size, options = start.size, {"tol": tolerance, "maxiter": max_iterations, "v0": start, "which": "LA"}
    operator = linalg.LinearOperator((size, size), matvec=product, dtype=np.float64)  # pyright: ignore[reportCallIssue]
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
def _change(representation, image, mask, rows, columns, coefficients):
    """`m J v` of the image whose coefficients are given, a forward-mode derivative."""
    features = functools.partial(_features, representation, image, mask, rows, columns)
    return jax.jvp(features, (jnp.zeros_like(coefficients),), (coefficients,))[1]


@jax.jit
def _gram(representation, image, mask, rows, columns, coefficients):
    """`J^T m J v` in coefficients: a forward-mode derivative, then a reverse-mode one."""
    features = functools.partial(_features, representation, image, mask, rows, columns)
    _, forward = jax.jvp(features, (jnp.zeros_like(coefficients),), (coefficients,))
    _, reverse = jax.vjp(features, jnp.zeros_like(coefficients))
    return reverse(forward)[0]


def _features(representation, image, mask, rows, columns, coefficients):
    code = representation.apply(representation.params, image + _synthesize(rows, columns, coefficients))
    return code if mask is None else jnp.where(mask, code, 0)
