"""What code consists of, as values to hash: instructions, and whatever they refer to."""

import contextlib
import dataclasses
import dis
import functools
import importlib
import importlib.util
import pathlib
import sys
import types
from typing import Any

_PACKAGE = __name__.partition(".")[0]
_INSTALLED = {"site-packages", "dist-packages"}
# Written by `dataclasses`, of the fields, which are counted otherwise.
_GENERATED = {"__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__", "__replace__"}


def is_python(module: str) -> bool:
    """Whether a module is of Python itself."""
    return module.partition(".")[0] in sys.stdlib_module_names


def is_users(value: Any) -> bool:
    """Whether a function, class or module is neither of this library, nor of Python's, nor of an installed one."""
    if isinstance(value, types.FunctionType):
        name = str(value.__globals__.get("__name__", ""))  # `__module__` may be copied from a wrapped function
    else:
        name = str(value.__name__ if isinstance(value, types.ModuleType) else value.__module__)
    root = name.partition(".")[0]
    modules = sys.modules.get(name), sys.modules.get(root)  # a compiled part may give a name that is no module's
    file = next((path for module in modules if (path := getattr(module, "__file__", None))), "")
    return root != _PACKAGE and not is_python(name) and _INSTALLED.isdisjoint(pathlib.Path(file).parts)


def global_name(value: Any) -> tuple[str, str] | None:
    """The module and name of an object that a library or Python defines in a module, such as a compiled function."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", getattr(value, "__name__", None))
    if not (isinstance(module, str) and isinstance(name, str)) or is_users(type(value)):
        return None
    is_there = getattr(sys.modules.get(module), name, None) is value
    return (module, name) if is_there and not is_users(sys.modules[module]) else None


def content(value: Any) -> tuple:
    """Everything that a user's function or class consists of and refers to, as nested tuples and dictionaries."""
    if isinstance(value, type):
        return value.__bases__, _members(value)
    # By `functools.wraps`; the code of the wrapper may reach the function by a path that nothing shows.
    wrapped = getattr(value, "__wrapped__", None)
    return instructions(value.__code__), value.__defaults__, value.__kwdefaults__, _references(value), wrapped


def closure(function: types.FunctionType) -> dict[str, Any]:
    """The variables of surrounding functions that a function uses."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # the variable has no value yet
            found[name] = cell.cell_contents
    return found


def instructions(code: types.CodeType) -> tuple:
    """What code does, whatever the comments, docstrings and line numbers; a constant counts by its value."""
    arguments = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & 0xFF
    found, steps = [], _steps(code)
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if not (_sets_docstring(step) or _sets_docstring(following)):  # loading the docstring, and storing it
            nested = isinstance(step.argval, types.CodeType)
            found.append((step.opname, instructions(step.argval) if nested else step.argval))
    return arguments, tuple(found), code.co_exceptiontable  # which `try` covers which instructions


def _steps(code):
    return [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]


def _sets_docstring(step):
    """Whether an instruction in the body of a class sets what changes nothing that the class computes."""
    return step is not None and step.opname == "STORE_NAME" and step.argval in ("__doc__", "__firstlineno__")


def _members(cls):
    """`{name: content}` of all that a class defines, but for what Python or `dataclasses` adds."""
    found: dict[str, Any] = {}
    for name, member in vars(cls).items():
        code = getattr(member, "__code__", None)
        if name in _GENERATED and code is not None and code.co_filename == "<string>" and dataclasses.is_dataclass(cls):
            continue
        if isinstance(member, property):
            found[name] = member.fget, member.fset, member.fdel
        elif isinstance(member, staticmethod | classmethod):
            found[name] = type(member).__name__, member.__func__
        elif isinstance(member, functools.cached_property):
            found[name] = member.func
        elif code is not None or not _is_special(name):
            found[name] = member
    fields = dataclasses.fields(cls) if "__dataclass_fields__" in vars(cls) else ()
    missing = dataclasses.MISSING  # a factory, unlike a default, is no member of the class
    return found | {f"{f.name}()": f.default_factory for f in fields if f.default_factory is not missing}


def _references(function):
    """`{name: value}` of the variables outside of a function that its code, nested functions included, refers to.

    Without them, an edit of a table or of a helper in another file would return old results. Of a user's module, every
    variable counts whose name is anywhere in the code, since `m = package.part; m.g(x)` does not say whose `g` it is.
    One too many is harmless until somebody edits it.
    """
    variables = {**function.__globals__, **closure(function)}
    names, modules = _names(function.__code__, variables.get("__package__"))
    found = {name: variables[name] for name in names if name in variables}
    modules += [value for value in found.values() if isinstance(value, types.ModuleType)]
    for module in modules:  # which grows: `package.part.g` is in a module of a module
        if is_users(module):
            new = {f"{module.__name__}.{name}": vars(module)[name] for name in names & vars(module).keys()}
            modules += [value for key, value in new.items() if isinstance(value, types.ModuleType) and key not in found]
            found |= new
    return found


def _names(code, package):
    """The names in code, nested functions included, and the modules of users that it imports."""
    names = {name for name in (*code.co_names, *code.co_freevars) if not _is_special(name)}  # `__file__` varies
    modules, steps = [], _steps(code)
    for i, step in enumerate(steps):
        if step.opname == "IMPORT_NAME":  # after the number of leading dots and the names to import
            modules.append(_module("." * steps[i - 2].argval + step.argval, package))
        elif isinstance(step.argval, types.CodeType):
            inner_names, inner_modules = _names(step.argval, package)
            names |= inner_names
            modules += inner_modules
    return names, [module for module in modules if module]


def _is_special(name):
    return name.startswith("__") and name.endswith("__")


def _module(name, package):
    """A user's module of that name, imported as the code will do: a hash must not depend on what has already run."""
    with contextlib.suppress(ImportError, ValueError):
        name = importlib.util.resolve_name(name, package)
        root = name.partition(".")[0]
        if root not in sys.modules and not is_python(name):
            spec = importlib.util.find_spec(root)  # executes nothing
            if spec is None or not _INSTALLED.isdisjoint(pathlib.Path(spec.origin or "").parts):
                return None
        if root in sys.modules and not is_users(sys.modules[root]):
            return None
        return importlib.import_module(name)
    return None
