"""Laws of the public interface. Every test lists all that breaks its law."""

import ast
import dataclasses
import inspect
import pathlib
import pkgutil
import re
import sys
import textwrap
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import invert_jax as ij
from invert_jax import types as records
from invert_jax._util.reprs import short_repr

ROOT = pathlib.Path(__file__).resolve().parents[1]
ENGINE = {"inversion", "sampling"}  # what `invert` and `sample` are made of; a docstring of one line is enough there
LOSS = ["features", "target", "mask"]  # the signature of losses, which their module's docstring explains
# Parameters that may be left out by position.
OPTIONAL = {"axis", "channels", "devices", "key", "layer", "mask", "name", "params", "recipe", "sha256", "variables"}


def _own(module):
    """Public functions and classes that a module defines or, in a package, exports."""
    names = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__
    ]
    named = ((name, getattr(module, name)) for name in names if not name.startswith("_"))
    return {name: value for name, value in named if callable(value)}


def _members(modules):
    return {f"{name}.{key}": value for name, module in modules.items() for key, value in _own(module).items()}


NAMESPACES = {name: getattr(ij, name) for name in ij.__all__ if isinstance(getattr(ij, name), types.ModuleType)}
PRIVATE = ("invert_jax._util", "invert_jax.cli")  # plumbing of the library and of the command line
MODULES = {n: m for n, m in sys.modules.items() if n.startswith("invert_jax.") and not n.startswith(PRIVATE)}
CLASSES = {value for value in _members(MODULES).values() if inspect.isclass(value)}
PUBLIC = {n: f for n, f in (_own(ij) | _members(NAMESPACES)).items() if not inspect.isclass(f)}
EVERYTHING = PUBLIC | {n: f for n, f in _members(MODULES).items() if not inspect.isclass(f)}
DOCUMENTED = {name: function for name, function in PUBLIC.items() if name.split(".")[0] not in ENGINE}


def _parameters(function):
    return list(inspect.signature(function).parameters.values())


def _section(function, title):
    """The text of a section of a docstring; None if there is none."""
    found = re.search(rf"\n{title}:\n(.*?)(?:\n\s*\n\S|\Z)", inspect.getdoc(function) or "", re.DOTALL)
    return found and found.group(1)


def test_signatures():
    """`key` first; what can be tuned by keyword only; no boolean by position; no `*args`."""
    offenders = []
    for name, function in EVERYTHING.items():
        parameters = _parameters(function)
        names = [p.name for p in parameters]
        if "key" in names[1:] and name.split(".")[-1] != "energy":  # eq. 3 has a key only where it is transformed
            offenders.append(f"{name}: key is not first")
        for p in parameters:
            by_position = p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
            passes_on = p.kind == p.VAR_KEYWORD and p.name == "options"  # keyword arguments of a user's model
            if (p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and not passes_on) or p.name in ("rng", "prng"):
                offenders.append(f"{name}: {p}")
            elif by_position and (isinstance(p.default, bool) or p.annotation in (bool, "bool")):
                offenders.append(f"{name}: boolean {p.name} by position")
            elif by_position and p.default is not p.empty and p.name not in OPTIONAL:
                offenders.append(f"{name}: {p.name} has a default and is not keyword-only")
    assert not offenders, "\n".join(offenders)
    assert len(PUBLIC) > 60 and len(EVERYTHING) > len(PUBLIC) + 20  # the law is about something


def test_docstrings_explain_arguments_and_results():
    """One-line summaries; Args name every parameter, in order; Returns or Yields where there is a result."""
    offenders = [
        f"{name}: no one-line summary"
        for name, value in EVERYTHING.items()
        if not (value.__doc__ or "").strip().split("\n\n")[0].rstrip().endswith((".", ":"))
    ]
    for name, function in DOCUMENTED.items():
        names = [p.name for p in _parameters(function)]
        arguments = _section(function, "Args")
        if arguments is None:
            if len(names) > 2 and names != LOSS:
                offenders.append(f"{name}: no Args")
            continue
        if (explained := re.findall(r"^  \**(\w+): ", arguments, re.MULTILINE)) != names:
            offenders.append(f"{name}: Args explain {explained}, the parameters are {names}")
        returns_none = inspect.signature(function).return_annotation in (None, "None")
        if not (returns_none or _section(function, "Returns") or _section(function, "Yields")):
            offenders.append(f"{name}: no Returns")
    assert not offenders, "\n".join(offenders)


def test_docstrings_show_an_example():
    shown_elsewhere = {"sweeps.initialize_distributed", "sweeps.run"}  # several processes; in `load_sweep`
    offenders = [name for name, f in DOCUMENTED.items() if ">>> " not in f.__doc__ and name not in shown_elsewhere]
    assert not offenders, "\n".join(offenders)


def test_docstrings_say_what_is_raised():
    """A public function that raises, or calls a check of user input, has a Raises section."""
    offenders = []
    for name, function in DOCUMENTED.items():
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
        nodes = list(ast.walk(tree))
        raises = any(isinstance(node, ast.Raise) for node in nodes)
        checks = any(isinstance(n, ast.Attribute) and n.attr.startswith("require_") for n in nodes)
        if (raises or checks) and _section(function, "Raises") is None:
            offenders.append(name)
    assert not offenders, "\n".join(offenders)


def test_names():
    """`__all__` names whatever is visible and no module but the namespaces; modules have a summary."""
    offenders = [name for name in ij.__all__ if not hasattr(ij, name)]
    plumbing = {info.name for info in pkgutil.iter_modules(ij.__path__)} - set(ij.__all__)
    offenders += [n for n in vars(ij) if not n.startswith("_") and n not in ij.__all__ and n not in plumbing]
    assert list(ij.__all__) == sorted(set(ij.__all__)) and re.fullmatch(r"\d+\.\d+\.\d+", ij.__version__)
    for path in (ROOT / "invert_jax").rglob("*.py"):
        if not (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].endswith((".", "?")):
            offenders.append(f"{path.name}: no summary")
    assert not offenders, "\n".join(offenders)


def test_records_with_arrays_print_shapes():
    """A record with arrays has `short_repr`, and not a text of all its numbers."""
    offenders = []
    for record in CLASSES:
        fields = getattr(record, "__annotations__", {})
        holds_arrays = any(re.match(r".*(ndarray|Array)", str(k)) and "Callable" not in str(k) for k in fields.values())
        is_record = dataclasses.is_dataclass(record) or hasattr(record, "_fields")
        if is_record and holds_arrays and record.__repr__ is not short_repr and not record.__name__.startswith("_"):
            offenders.append(f"{record.__module__}.{record.__name__}")
    assert not offenders, "\n".join(offenders)


def test_records_are_frozen_and_check_nothing():
    """Classes are frozen dataclasses, tuples, exceptions or Flax modules, and a pytree is rebuilt around anything."""
    offenders = []
    for record in CLASSES:
        if not record.__module__.startswith("invert_jax"):
            continue
        is_data = dataclasses.is_dataclass(record)
        frozen = is_data and record.__dataclass_params__.frozen
        if not (frozen or issubclass(record, tuple | BaseException) or hasattr(record, "apply")):
            offenders.append(f"{record.__module__}.{record.__name__} can be changed")
        if is_data and hasattr(record, "__post_init__") and not hasattr(record, "apply"):
            offenders.append(f"{record.__module__}.{record.__name__} validates in __post_init__")
    for record in (ij.Representation, ij.Recipe, ij.Preimage, ij.inversion.Problem, records.Stage, records.Prior):
        fields = [field.name for field in dataclasses.fields(record)]
        leaves, structure = jax.tree.flatten(record(**dict.fromkeys(fields, 1.0)))
        static = [field.name for field in dataclasses.fields(record) if field.metadata.get("static")]
        hash(structure)
        if len(leaves) != len(fields) - len(static) or jax.tree.unflatten(structure, leaves) is None:
            offenders.append(f"{record.__name__} is no pytree")
    assert not offenders, "\n".join(offenders)


# --- values that everything else relies on ---


def _mean(params, image):
    return image.mean() * params


REPRESENTATIONS = {
    "hog": (lambda: ij.hog(), (16, 16, 1)),
    "dsift": (lambda: ij.dsift(), (21, 21, 1)),
    "patch_sift": (lambda: ij.patch_sift(), (21, 21, 1)),
    "alexnet": (lambda: ij.alexnet(layer="conv1"), (11, 11, 3)),
    "vgg16": (lambda: ij.pretrained("vgg16", layer="pool1"), (8, 8, 3)),
    "from_function": (lambda: ij.from_function(_mean, jnp.ones(()), center=3.0), (2, 2, 1)),
}


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_representations_are_equal_by_value(name):
    make, image_shape = REPRESENTATIONS[name]
    first, second = make(), make()
    assert first.apply == second.apply and hash(first.apply) == hash(second.apply)
    assert jax.tree.structure(first) == jax.tree.structure(second)
    leaves = jax.tree.leaves(first)
    assert leaves and all(isinstance(leaf, jax.Array) and leaf.dtype == jnp.float32 for leaf in leaves)
    assert jax.eval_shape(first.apply, first.params, jnp.zeros(image_shape)).shape == first.feature_shape(image_shape)
    assert len(repr(first)) < 500  # not its weights


@pytest.mark.parametrize("name", ["mahendran_vedaldi", "shallow", "for_layer", "default", "laplacian_pyramid"])
def test_recipes_are_hashable_data(name):
    arguments = {"for_layer": ("conv1",), "default": (ij.hog(),)}.get(name, ())
    first, second = (getattr(ij.recipes, name)(*arguments) for _ in range(2))
    assert type(first) is ij.Recipe and first == second and hash(first) == hash(second)
    assert len(repr(first)) < 1000 and all(np.isscalar(leaf) for leaf in jax.tree.leaves(first))
