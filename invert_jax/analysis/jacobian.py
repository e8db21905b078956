"""What a code feels, close to one image: the extreme singular directions of the representation's Jacobian there.

Where restarts show how wide an invariance is, this shows its tangent: the changes of an image that move its code most,
and those that hardly move it.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from invert_jax._util import checks
from invert_jax.types import Representation

_SUBSPACE = 24  # Lanczos vectors, beside twice those asked for


class SingularDirections(NamedTuple):
    """Extreme singular directions of a Jacobian, the most extreme first.

    Attributes:
      direction: `[K, H, W, C]`, of unit Euclidean norm, orthogonal to each other; signs are arbitrary.
      singular_value: `[K]`, `|m J v| / |v|`, the singular values: change of the code for a change of the image, in the features'
        unit per gray level. Those of the least are known to the root of the tolerance, of the largest.
      residual: `[K]`, `|A v - singular_value^2 v| / largest singular_value^2`, with `A = J^T m J`: how far from exact they are.
    """

    direction: np.ndarray
    singular_value: np.ndarray
    residual: np.ndarray


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

    Eigenvectors of `A = J^T m J` by scipy's implicitly restarted Lanczos method (ARPACK), `A v` being one forward- and
    one reverse-mode derivative. The least sensitive are the largest of `max - A`. Of all directions these are fine
    noise for almost every network; `num_frequencies` looks among smooth ones alone. Where more directions have no
    effect at all than are asked for, which of them come back is up to the key; so it is where none has any.

    Args:
      key: random key of the solver's start.
      representation: Phi.
      image: `[H, W, C]`, 0..255: where.
      least: the least sensitive instead of the most.
      count: K.
      num_frequencies: of the cosine transform along either axis, the lowest: directions are made of these; None is all.
      mask: boolean `[F...]`, m, the neurons that count.
      tolerance: relative accuracy of eigenvalues, of the largest in either case.
      max_iterations: restarts of the solver. What has not converged by then is NaN, after what has.

    Returns:
      `SingularDirections`.

    Raises:
      ValueError: an image or mask that does not fit, a count out of range, or nothing that converged.
      TypeError: not a random key.

    Source: Lehoucq, Sorensen & Yang, "ARPACK users' guide", 1998, as scipy has it.

    >>> from invert_jax import representations
    >>> double = representations.from_function(lambda _, image: image[:2] * jnp.array([3.0, 2.0])[:, None, None])
    >>> found = singular_directions(jax.random.key(0), double, np.zeros((9, 1, 1)), count=2)
    >>> np.round(found.singular_value, 4).tolist(), np.abs(found.direction[0, :3, 0, 0]).round(3).tolist()
    ([3.0, 2.0], [1.0, 0.0, 0.0])
    >>> float(singular_directions(jax.random.key(0), double, np.zeros((9, 1, 1)), least=True, count=1).singular_value[0]) < 0.05
    True
    """
    from scipy.sparse import linalg

    checks.require_key(key)
    checks.require_count(count, "count")
    checks.require_image(image)
    checks.require_finite(image, "image")
    image = jnp.asarray(image, jnp.float32)
    height, width, channels = image.shape
    shape = representation.feature_shape((height, width, channels))
    if mask is not None and np.shape(mask) != shape:
        raise ValueError(f"The mask has shape {np.shape(mask)}; the features of this image have {shape}.")
    bases = _cosines(height, num_frequencies), _cosines(width, num_frequencies)
    grid = (bases[0].shape[1], bases[1].shape[1], channels)
    size = int(np.prod(grid))
    if count > size - 2:
        raise ValueError(f"{count} directions are asked for, of a space of {size}; give a count of at most {size - 2}.")

    def gram(vector):
        return np.asarray(_gram(representation, image, mask, *bases, jnp.asarray(vector, jnp.float32).reshape(grid)))

    def largest(apply, count):
        operator: Any = linalg.aslinearoperator(_Matrix((size, size), np.dtype(np.float32), apply))
        subspace = min(size, 2 * count + _SUBSPACE)
        try:
            found = linalg.eigsh(
                operator,
                count,
                v0=start,
                ncv=subspace,
                which="LA",
                tol=tolerance,  # pyright: ignore[reportArgumentType]
                maxiter=max_iterations,
            )
        except linalg.ArpackNoConvergence as error:
            if not error.eigenvalues.size:
                raise ValueError(
                    f"No direction converged in {max_iterations} iterations; raise max_iterations or tolerance."
                ) from None
            found = error.eigenvalues, error.eigenvectors
        return found[0][::-1], found[1].T[::-1]

    start = np.asarray(jax.random.normal(key, (size,)))
    felt = np.any(gram(start))  # ARPACK has nothing to say of a matrix that is zero
    top = max(float(largest(gram, 1)[0][0]), 1e-30) if felt else 1.0
    if not felt:
        vectors = np.linalg.qr(np.asarray(jax.random.normal(key, (size, count))))[0].T
    elif least:
        _, vectors = largest(lambda vector: 1.01 * top * vector.ravel() - gram(vector).ravel(), count)
    else:
        _, vectors = largest(lambda vector: gram(vector).ravel(), count)
    moved = np.stack([gram(vector).ravel() for vector in vectors])
    values = np.maximum(np.sum(vectors * moved, axis=1), 0)
    whole = np.stack([_spread(*bases, jnp.asarray(vector.reshape(grid))) for vector in vectors])
    residual = np.linalg.norm(moved - values[:, None] * vectors, axis=1) / top
    lost = count - len(values)
    return SingularDirections(
        np.pad(whole, ((0, lost), (0, 0), (0, 0), (0, 0)), constant_values=np.nan),
        np.pad(np.sqrt(values), (0, lost), constant_values=np.nan),
        np.pad(residual, (0, lost), constant_values=np.nan),
    )


class _Matrix(NamedTuple):
    """A matrix by what it does to a vector, as scipy asks for it."""

    shape: tuple[int, int]
    dtype: np.dtype
    matvec: Callable


@functools.cache
def _cosines(size, count):
    """`[size, count]`: the lowest orthonormal cosines (DCT-II); everything, if count is None, as the identity."""
    if count is None:
        return np.eye(size, dtype=np.float32)
    checks.require_count(count, "num_frequencies")
    places, waves = np.arange(size) + 0.5, np.arange(min(count, size))
    cosines = np.cos(np.pi * np.outer(places, waves) / size)
    return (cosines / np.linalg.norm(cosines, axis=0)).astype(np.float32)


@jax.jit
def _spread(rows, columns, small):
    return jnp.einsum("ha,wb,abc->hwc", rows, columns, small)


@jax.jit
def _gram(representation, image, mask, rows, columns, small):
    def features(small):
        changed = image + _spread(rows, columns, small)
        found = representation.apply(representation.params, changed)
        return found if mask is None else jnp.where(mask, found, 0)

    _, change = jax.jvp(features, (jnp.zeros_like(small),), (small,))
    _, back = jax.vjp(features, jnp.zeros_like(small))
    return back(change)[0]
