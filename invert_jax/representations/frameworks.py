"""How models of each framework are called: in evaluation mode, with their weights as arguments, at any layer.

An adapter is static and equal by value where the framework allows. `run(params, x, layers)` calls the model on its
input `x` and returns its output and `{name: output}` of the layers asked for, None being all of them. `batched` and
`channels_first` are the framework's conventions; None is whichever order of axes the model runs on.
"""

import contextlib
import dataclasses
import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from invert_jax._util import checks

Run = tuple[Any, dict[str, Any]]
# Keyword arguments that switch training off, by the name that a model's call gives them.
_EVALUATION = {"train": False, "training": False, "is_training": False}
_EVALUATION |= {"deterministic": True, "use_running_average": True, "inference": True}


def framework_of(model: Any) -> str | None:
    """The framework of a model, from the modules of its base classes; imports nothing."""
    roots = {"flax.linen": "linen", "flax.nnx": "nnx", "equinox": "equinox", "keras": "keras", "torch.nn": "torch"}
    for base in type(model).__mro__:
        for root, name in roots.items():
            if f"{base.__module__}.".startswith(f"{root}.") and base.__name__ in ("Module", "Layer"):
                return name
    return None


def adapt(model: Any, variables: Any, options: Mapping[str, Any]) -> tuple[Any, Any]:
    """The adapter of a model, and its params. TypeError for what is no model, or lacks its variables."""
    framework = framework_of(model)
    if framework is None:
        raise TypeError(
            f"from_model takes a Flax (Linen or NNX), Equinox, Keras or PyTorch model; got {type(model).__name__}: for "
            "a function use from_function(fn, params)."
        )
    if framework not in ("linen", "equinox") and variables is not None:
        raise TypeError(f"A {framework} model holds its own weights, but variables were given as well; leave them out.")
    adapter, params = _ADAPTERS[framework](model, variables, options)
    checks.require_arrays(params)
    return adapter, params


def _evaluation(call: Callable, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, and those that switch training off where the call has them and the user does not say."""
    known = inspect.signature(call).parameters
    return {**{name: off for name, off in _EVALUATION.items() if name in known}, **options}


@dataclasses.dataclass(frozen=True)
class _Static:
    """A value that may have no hash: compared by value if it can be, else by identity."""

    value: Any

    def __hash__(self) -> int:
        try:
            return hash(self.value)
        except TypeError:
            return id(self.value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Static):
            return NotImplemented
        return self.value is other.value or (hash(self) == hash(other) and bool(self.value == other.value))


def _frozen(options: Mapping[str, Any]) -> tuple[tuple[str, _Static], ...]:
    for name, value in options.items():
        if isinstance(value, jax.Array):
            raise TypeError(f"The keyword argument {name} is an array; make it part of the model or of a function.")
    return tuple((name, _Static(value)) for name, value in sorted(options.items()))


def _thawed(options):
    return {name: static.value for name, static in options}


# --- Flax Linen ---


@dataclasses.dataclass(frozen=True)
class _Linen:
    module: _Static
    options: tuple

    batched = True
    channels_first = False

    def run(self, params: Any, x: jax.Array, layers: tuple[str, ...] | None) -> Run:
        module, options = self.module.value, _thawed(self.options)
        from flax import errors

        try:
            if layers == ():
                return module.apply(params, x, **options), {}
            output, state = module.apply(params, x, capture_intermediates=True, mutable=["intermediates"], **options)
        except errors.ModifyScopeVariableError as error:
            raise ValueError(
                f"The model changes its variables when it is called ({_first_line(error)}); ask for evaluation mode, "
                "such as from_model(model, variables, train=False)."
            ) from None
        except errors.InvalidRngError as error:
            raise ValueError(
                f"The model draws random numbers when it is called ({_first_line(error)}); ask for evaluation mode, "
                "such as from_model(model, variables, train=False) or deterministic=True."
            ) from None
        except errors.FlaxError as error:
            raise ValueError(f"The model cannot be called on an input {x.shape}: {_first_line(error)}") from None
        found = {}
        for path, outputs in _nested(state.get("intermediates", {})):
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            found |= _calls("/".join(part for part in path if part != "__call__"), outputs)
        found.pop("", None)  # the model's own output
        return output, found


def _linen(module, variables, options):
    if variables is None:
        if module.scope is None:
            raise TypeError(
                "A Linen model needs its variables; give from_model(model, variables) what model.init returned."
            )
        module, variables = module.unbind()
    if not isinstance(variables, Mapping) or (variables and "params" not in variables):
        given = ", ".join(variables) if isinstance(variables, Mapping) else type(variables).__name__
        raise TypeError(f"variables are {given}; give what model.init returned, {{'params': ..., ...}}.")
    method = options.get("method")
    call = module.__call__ if method is None else getattr(module, method) if isinstance(method, str) else method
    return _Linen(_Static(module), _frozen(_evaluation(call, options))), dict(variables)


def _nested(tree, path=()):
    """Path and value of every entry of nested dicts, in order."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _nested(value, (*path, str(name)))
        else:
            yield (*path, str(name)), value


def _calls(name, outputs):
    """The outputs of a module's calls by name, with a number if there are several."""
    return {name if len(outputs) == 1 else f"{name}:{i}": value for i, value in enumerate(outputs)}


def _first_line(error):
    return str(error).splitlines()[0]


# --- Flax NNX ---


@dataclasses.dataclass(frozen=True)
class _NNX:
    graphdef: _Static
    options: tuple

    batched = True
    channels_first = False

    def run(self, params: Any, x: jax.Array, layers: tuple[str, ...] | None) -> Run:
        from flax import nnx

        model: Any = nnx.merge(self.graphdef.value, _with_keys(params))
        options = _thawed(self.options)
        if layers == ():
            return model(x, **options), {}
        output, state = nnx.capture(model, nnx.Intermediate, method_outputs=nnx.Intermediate)(x, **options)
        found = {}
        for path, outputs in _nested(nnx.to_pure_dict(state)):
            if path[-1] == "__call__" and len(path) > 1:
                found |= _calls("/".join(path[:-1]), outputs)
        return output, found


def _nnx(model, _, options):
    from flax import nnx

    copy = nnx.clone(model)
    copy.eval()
    graphdef, state = nnx.split(copy)
    # Random keys are no numbers, which weights are elsewhere; in evaluation mode they are not used.
    params = jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, state)
    return _NNX(_Static(graphdef), _frozen(_evaluation(type(copy).__call__, options))), params


def _is_key(leaf):
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _with_keys(state):
    """Wraps what were random keys again: the variables of type RngKey."""
    from flax import nnx

    def wrap(variable):
        is_key = isinstance(variable, nnx.RngKey) and not _is_key(variable[...])
        return variable.replace(jax.random.wrap_key_data(variable[...])) if is_key else variable

    return jax.tree.map(wrap, state, is_leaf=lambda node: isinstance(node, nnx.Variable))


# --- Equinox ---


@dataclasses.dataclass(frozen=True)
class _Equinox:
    static: "_Tree"
    stateful: bool
    options: tuple

    batched = False
    channels_first = None

    def run(self, params: Any, x: jax.Array, layers: tuple[str, ...] | None) -> Run:
        import equinox as eqx

        model, state = params if self.stateful else (params, None)
        model, found = eqx.combine(model, self.static.value), {}
        for name, where in [] if layers == () else _submodules(model):
            if layers is None or name in layers:
                model = eqx.tree_at(where, model, replace_fn=functools.partial(_Recorder, name, found, self.stateful))
        output = model(x, *([state] if self.stateful else []), **_thawed(self.options))
        return (output[0] if self.stateful else output), found


class _Recorder:
    """Stands for a submodule, and saves what it returns."""

    def __init__(self, name, found, stateful, inner):
        self.name, self.found, self.stateful, self.inner = name, found, stateful, inner

    def __call__(self, *args, **options):
        output = self.inner(*args, **options)
        passes_state = self.stateful and isinstance(output, tuple) and len(output) == 2
        self.found[self.name] = output[0] if passes_state else output
        return output

    def __getattr__(self, name):
        return getattr(self.inner, name)


@dataclasses.dataclass(frozen=True)
class _Tree:
    """A pytree without arrays, compared by its structure and leaves."""

    value: Any

    @functools.cached_property
    def _key(self):
        leaves, structure = jax.tree.flatten(self.value)
        return structure, tuple(_Static(leaf) for leaf in leaves)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Tree) and self._key == other._key


def _equinox(model, state, options):
    import equinox as eqx

    arrays, static = eqx.partition(eqx.nn.inference_mode(model), eqx.is_array)
    options = _evaluation(type(model).__call__, options)
    key = inspect.signature(type(model).__call__).parameters.get("key")
    if key is not None and key.default is key.empty and "key" not in options:
        options["key"] = None
    return _Equinox(_Tree(static), state is not None, _frozen(options)), arrays if state is None else (arrays, state)


def _submodules(model):
    """Name, and function from the model to the part, of every module and function in a model, innermost first."""

    def walk(node, path, where):
        children = []
        if isinstance(node, list | tuple):
            children = [
                (str(i), functools.partial(lambda w, i, m: w(m)[i], where, i), part) for i, part in enumerate(node)
            ]
        elif isinstance(node, dict):
            children = [
                (str(k), functools.partial(lambda w, k, m: w(m)[k], where, k), part) for k, part in node.items()
            ]
        elif dataclasses.is_dataclass(node):
            fields = (field.name for field in dataclasses.fields(node) if not field.metadata.get("static"))
            children = [
                (name, functools.partial(lambda w, name, m: getattr(w(m), name), where, name), getattr(node, name))
                for name in fields
                if hasattr(node, name)
            ]
        for name, child, part in children:
            yield from walk(part, (*path, name), child)
        if path and callable(node):
            yield "/".join(path), where

    return list(walk(model, (), lambda m: m))


# --- Keras ---


@dataclasses.dataclass(frozen=True)
class _Keras:
    model: Any = dataclasses.field(repr=False)  # compared by identity, as Keras does; not part of a content hash
    structure: tuple  # which is, in any process
    options: tuple

    batched = True
    channels_first = False

    def run(self, params: Any, x: jax.Array, layers: tuple[str, ...] | None) -> Run:
        import keras

        model = self.model
        options = {"training": False, **_thawed(self.options)}
        output, _ = model.stateless_call(*params, x, **options)
        if layers == ():
            return output, {}
        names = [layer.name for layer in _keras_layers(model) if layers is None or layer.name in layers]
        if not names:  # but keys of the output
            return output, {}
        inner = keras.Model(model.inputs, {name: model.get_layer(name).output for name in names})
        # Of the same layers, so its variables are among the model's own.
        own = (*model.trainable_variables, *model.non_trainable_variables)
        values = {id(variable): value for variable, value in zip(own, (*params[0], *params[1]), strict=True)}
        parts = ([values[id(v)] for v in part] for part in (inner.trainable_variables, inner.non_trainable_variables))
        found = inner.stateless_call(*parts, x, **options)[0]
        return output, {name: found[name] for name in names}


def _keras_layers(model):
    if not getattr(model, "inputs", None):
        raise ValueError(
            f"The layers of the Keras model {model.name} have no symbolic outputs; choose a layer of a Sequential or "
            "functional model, or build a model that returns it."
        )
    return [layer for layer in model.layers if type(layer).__name__ != "InputLayer"]


def _keras(model, _, options):
    backend = sys.modules["keras"].config.backend()
    if backend != "jax":
        raise TypeError(f"Keras runs on {backend}; set KERAS_BACKEND=jax in the environment before Keras is imported.")
    if not model.built:
        raise ValueError(f"The Keras model {model.name} has no weights yet; call it on an image, or give it an Input.")
    params = tuple([v.value for v in part] for part in (model.trainable_variables, model.non_trainable_variables))
    symbolic = getattr(model, "inputs", None)
    structure = type(model), model.to_json() if symbolic else model.name
    return _Keras(model, structure, _frozen(options)), params


# --- PyTorch ---


@dataclasses.dataclass(frozen=True, eq=False)
class _Torch:
    module: Any = dataclasses.field(repr=False)
    call: Callable = dataclasses.field(repr=False)
    original: Any = dataclasses.field(repr=False)  # by which adapters are equal
    structure: tuple  # the part of a content hash that is the same in any process
    options: tuple

    batched = True
    channels_first = True

    def __hash__(self) -> int:
        return hash((id(self.original), self.options))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Torch) and (self.original, self.options) == (other.original, other.options)

    def run(self, params: Any, x: jax.Array, layers: tuple[str, ...] | None) -> Run:
        from torchax import interop  # pyright: ignore[reportMissingImports]

        found, handles = {}, []

        def record(name, module, inputs, output):
            found[name] = interop.jax_view(output)

        for name, module in self.module.named_modules():
            if name and layers != () and (layers is None or name.replace(".", "/") in layers):
                hook = functools.partial(record, name.replace(".", "/"))
                handles.append(module.register_forward_hook(hook))
        try:
            with warnings.catch_warnings():  # of PyTorch's 64-bit indices, which JAX makes 32-bit
                warnings.filterwarnings("ignore", "Explicitly requested dtype", UserWarning)
                return self.call(params, (x,), _thawed(self.options)), found
        finally:
            for handle in handles:
                handle.remove()


def _torch(model, _, options):
    import copy

    try:
        with _named_dimensions():
            import torchax  # pyright: ignore[reportMissingImports]

            torchax.default_env()
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "PyTorch models run in JAX through torchax, which is not installed; pip install 'invert_jax[torch]' "
            "installs it."
        ) from error
    module = copy.deepcopy(model).eval().requires_grad_(False)
    params, call = torchax.extract_jax(module)
    return _Torch(module, call, model, (type(model), repr(model)), _frozen(options)), dict(params)


@contextlib.contextmanager
def _named_dimensions():
    """Lets torchax 0.0.13 list operators by named dimension, which PyTorch 2.13 has dropped, in its tables."""
    packet = sys.modules["torch"]._ops.OpOverloadPacket
    original = packet.__getattr__

    def found_or_placeholder(self, name):
        try:
            return original(self, name)
        except AttributeError:
            if "imname" in name or "names" in name:
                return object()  # equal to no operator, so that its entry is never used
            raise

    packet.__getattr__ = found_or_placeholder
    try:
        yield
    finally:
        packet.__getattr__ = original


_ADAPTERS = {"linen": _linen, "nnx": _nnx, "equinox": _equinox, "keras": _keras, "torch": _torch}
