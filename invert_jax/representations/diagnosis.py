"""Whether a representation can be inverted: what is wrong with it, in sentences."""

import jax
import jax.numpy as jnp
import numpy as np

from invert_jax import images
from invert_jax._util import checks
from invert_jax.types import Representation

_PHOTOGRAPHS = ("chelsea", "astronaut", "coffee", "rocket")
_MANY_DEAD = 0.5  # ReLU layers of trained networks leave half of the features at zero on one photograph, not on four
_SAME = 1e-4  # relative; rounding differs between batch sizes


def check(representation: Representation, image_shape: tuple[int, int, int]) -> list[str]:
    """What would keep a representation from being inverted: one sentence for each finding.

    Tried on four photographs: whether features are finite, of full precision, the same at a second call and in a batch,
    and different for different photographs; how many are always zero; and whether the gradient is finite and not zero.

    Args:
      representation: what is to be inverted.
      image_shape: `(H, W, C)` of an image.

    Returns:
      The sentences; none if nothing was found.

    Raises:
      TypeError: features that have no gradient.
      ValueError: an image shape that the representation does not take.

    >>> from invert_jax.representations import from_function
    >>> check(from_function(lambda params, image: jnp.round(image.mean((0, 1)))), (16, 16, 3))
    ['The gradient is zero everywhere; a descent cannot move: remove rounding, argmax and stop_gradient.']
    """
    shape = checks.require_image_shape(image_shape)
    representation.abstract_features(shape)  # a sentence for what has no gradient
    photographs = jnp.stack([_photograph(name, shape) for name in _PHOTOGRAPHS])
    params = representation.params
    encode = jax.jit(representation.apply)
    codes = [_flat(encode(params, image)) for image in photographs]
    findings = []
    if bad := sum(int(np.sum(~np.isfinite(code))) for code in codes):
        findings.append(f"{bad} features of four photographs are NaN or infinite; check the weights and preprocessing.")
        return findings
    leaves = jax.tree.leaves(encode(params, photographs[0]))
    if coarse := sorted({str(leaf.dtype) for leaf in leaves} - {"float32", "float64"}):
        findings.append(f"Features are {', '.join(coarse)}, which rounds differences away; return float32.")
    if not np.array_equal(codes[0], _flat(encode(params, photographs[0]))):
        findings.append("Two calls on one image differ; switch off dropout and other randomness.")
    batch = jax.device_get(jax.jit(jax.vmap(representation.apply, in_axes=(None, 0)))(params, photographs))
    for i, code in enumerate(codes):
        if _distance(code, _flat(jax.tree.map(lambda leaf, i=i: leaf[i], batch))) > _SAME:
            findings.append("Features depend on the other images of a batch; use batch norm's running averages.")
            break
    if max(_distance(codes[0], code) for code in codes[1:]) < 1e-6:
        findings.append("Features of four different photographs are the same; check the layer and the preprocessing.")
        return findings
    dead = float(np.mean(np.all(np.array(codes) == 0, axis=0)))
    if dead > _MANY_DEAD:
        findings.append(f"{100 * dead:.0f} % of the features are zero on four photographs; check the preprocessing.")
    gradient = np.asarray(_gradient(representation, photographs[0], encode(params, photographs[1])))
    if not np.isfinite(gradient).all():
        findings.append("The gradient is NaN or infinite; look for a square root, norm or division at zero.")
    elif not gradient.any():
        findings.append(
            "The gradient is zero everywhere; a descent cannot move: remove rounding, argmax and stop_gradient."
        )
    return findings


@jax.jit
def _gradient(representation, image, target):
    """Of half the squared distance to the features of another photograph."""

    def distance(image):
        features = representation.apply(representation.params, image)
        return sum(
            jnp.sum((a - b) ** 2) for a, b in zip(jax.tree.leaves(features), jax.tree.leaves(target), strict=True)
        )

    return jax.grad(distance)(image) / 2


def _photograph(name, shape):
    """A photograph of this size, gray or in color; of other numbers of channels the colors are repeated."""
    image = images.example_image(name, size=shape[:2], gray=shape[2] == 1)
    return jnp.asarray(np.tile(image, -(-shape[2] // image.shape[2]))[..., : shape[2]])


def _flat(features):
    return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in jax.tree.leaves(features)])


def _distance(first, second):
    return np.linalg.norm(first - second) / max(np.linalg.norm(first), 1e-30)
