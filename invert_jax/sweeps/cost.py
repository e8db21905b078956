"""What a sweep costs, from shapes alone: memory of a restart, the batch that fits a device, operations of a step."""

import jax
import jax.numpy as jnp
import numpy as np

from invert_jax import inversion, objective
from invert_jax.sweeps import plan

_PICTURES = 14  # that a step holds beside what its gradient keeps: state, patches for convolutions; see BUILD.md


def memory_of_restart(problem: plan.Problem) -> int:
    """An estimate of the bytes that one restart takes on the device, from shapes alone: nothing is compiled.

    What reverse-mode differentiation keeps from the forward pass, some pictures, the energies and the target.

    Args:
      problem: what is inverted; its largest photograph counts.

    Returns:
      Bytes.

    >>> from invert_jax import recipes, representations
    >>> hog = plan.Problem("hog", representations.hog(), recipes.shallow(), {"gray": np.full((64, 64, 1), 128.0)})
    >>> memory_of_restart(hog) > 64 * 64 * 4
    True
    """
    image = jax.ShapeDtypeStruct(max((np.shape(image) for image in problem.images.values()), key=np.prod), np.float32)
    phi = problem.representation

    def kept(x):
        return jax.vjp(lambda x: phi.apply(phi.params, x), x)

    features, residuals = jax.eval_shape(kept, image)
    shared = sum(np.size(leaf) * 4 for leaf in jax.tree.leaves(phi.params))
    backward = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(residuals)) - shared
    pictures = _PICTURES * image.size * 4 + problem.recipe.num_steps * 16
    return max(backward, 0) + pictures + features.size * 8


def chunk_size_for(sweep: plan.Sweep, *, memory: float, most: int) -> int:
    """The largest of `CHUNK_SIZES` whose restarts fit, in every problem, into a device's memory.

    Args:
      sweep: the sweep; how many restarts or photographs it has does not matter, so that more of them are the same.
      memory: bytes of a device.
      most: the largest to choose.

    Returns:
      Restarts at a time on a device, 1 or more.

    >>> from invert_jax import recipes, representations
    >>> hog = plan.Problem("hog", representations.hog(), recipes.shallow(), {"gray": np.full((64, 64, 1), 128.0)})
    >>> chunk_size_for(plan.make([hog], num_restarts=8), memory=1e12, most=4)
    4
    """
    few = [size for size in plan.CHUNK_SIZES if size <= most]
    needed = max(memory_of_restart(problem) for problem in sweep.problems) if len(few) > 1 else 0
    return max([size for size in few if size * needed <= memory], default=1)


def operations_of_step(problem: plan.Problem) -> float:
    """Floating-point operations of one step of one restart, from shapes alone.

    Args:
      problem: what is inverted; its largest photograph counts.

    Returns:
      A number of operations, as XLA counts them.

    >>> from invert_jax import recipes, representations
    >>> hog = plan.Problem("hog", representations.hog(), recipes.shallow(), {"gray": np.full((64, 64, 1), 128.0)})
    >>> operations_of_step(hog) > 64 * 64
    True
    """
    shape = max((np.shape(image) for image in problem.images.values()), key=np.prod)
    phi = problem.representation
    like = jnp.ones(phi.feature_shape(shape), jnp.float32)
    eq3 = objective.make(phi, like, problem.recipe, image_shape=shape)
    recipe = inversion.as_arrays(problem.recipe)
    state = jax.eval_shape(lambda: inversion.init(jax.random.key(0), eq3, recipe))
    cost = jax.jit(inversion.step).lower(eq3, recipe, state).cost_analysis() or {}
    return float(cost.get("flops", 0.0))
