"""What a descent asks of any optax transformation beside its updates."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib


def init(make_optimizer: Callable[[Any], Any], rate: Any, z: Any) -> Any:
    """The state of the optimizer of a rate at a variable."""
    with jax.numpy_dtype_promotion("standard"):  # on which optax relies
        return _transformation(make_optimizer, rate).init(z)


def update(
    make_optimizer: Callable[[Any], Any], rate: Any, z: Any, state: Any, gradient: Any, value: Any, value_fn: Any
) -> tuple[Any, Any]:
    """The variable and the state after one update; line searches use the value and its function, others ignore them."""
    with jax.numpy_dtype_promotion("standard"):
        more = {"value": value, "grad": gradient, "value_fn": value_fn}
        updates, state = _transformation(make_optimizer, rate).update(gradient, state, z, **more)
        return optax.apply_updates(z, updates), state


def _transformation(make_optimizer, rate):
    return optax.with_extra_args_support(make_optimizer(rate))


def num_extra_evaluations(state: Any) -> jax.Array | int:
    """How often a line search of optax evaluated the energy in its last update, beside the gradient of the step."""
    return sum(found.num_linesearch_steps for found in _parts(state, "num_linesearch_steps"))


def evaluation_point(state: Any, z: Any) -> Any:
    """The variable to read out: for a schedule-free optimizer of optax its average, else `z` itself."""
    found = [part for part in _parts(state, "b1") if isinstance(part, optax.contrib.ScheduleFreeState)]
    return optax.contrib.schedule_free_eval_params(found[0], z) if found else z


def _parts(state, field):
    """The records inside of an optimizer's state that have a field."""
    parts = jax.tree.leaves(state, is_leaf=lambda part: hasattr(part, field))
    return [part for part in parts if hasattr(part, field)]


def require_descent(make_optimizer: Callable[[Any], Any], z: Any) -> None:
    """Raises TypeError unless the optimizers that a factory makes can descend on a variable like `z`.

    An update takes gradients, and may take `value`, `grad` and `value_fn`; its state is like the one before.
    """
    name = getattr(make_optimizer, "__name__", None) or getattr(make_optimizer, "func", make_optimizer)

    def one_update(z):
        rate = value = jnp.zeros((), jnp.float32)
        state = init(make_optimizer, rate, z)
        return (z, state), update(make_optimizer, rate, z, state, z, value, lambda z: value)

    try:
        before, after = jax.eval_shape(one_update, z)
    except Exception as error:  # whatever a user's optimizer raises when it is not given what it needs
        reason = str(error).partition("\n")[0].rstrip(".")
        raise TypeError(
            f"The optimizer {name} cannot descend here ({type(error).__name__}: {reason}); give a factory of an optax "
            "transformation that needs gradients alone, or value, grad and value_fn as well, such as optax.adam."
        ) from error
    if _signature(before) != _signature(after):
        raise TypeError(
            f"The optimizer {name} changes the shape or type of its state or of the image; give another one, such as "
            "optax.adam."
        )


def _signature(tree):
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(leaf.dtype, leaf.shape) for leaf in leaves]
