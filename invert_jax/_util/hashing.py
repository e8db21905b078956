"""Short names for values and for code: the same settings have the same name on any day and machine.

Functions of users count by their code, so that an edit is noticed; functions of this library and of installed ones
count by name, so that an edited docstring or an upgrade leaves saved results usable (`versions` names those).
"""

import copyreg
import dataclasses
import functools
import hashlib
import importlib
import importlib.metadata
import os
import pathlib
import platform
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from invert_jax._util import user_code

# What stands before the name of a user's function, and after that of a setting, among the code of `in_words`.
_FUNCTION, _LIBRARY = "function ", ", library"
_LENGTH = 16
_PACKAGE = __name__.partition(".")[0]
_PLAIN = (type(None), type(...), bool, int, float, complex, str, bytes, np.dtype)


def content_hash(value: Any) -> str:
    """Sixteen hexadecimal digits of a SHA-256 over everything that a value holds.

    Arrays count by dtype, shape and content, records by type and fields, functions as `code_hash` says.

    Args:
      value: arrays, random keys, numbers, texts, None, functions, records, callable objects, Flax modules, pytrees, and
        tuples, lists, sets and mappings of them.

    Returns:
      16 digits.

    Raises:
      TypeError: something without lasting content, such as an open file.

    >>> content_hash({"lambda_tv": 5.0, "steps": (100, 200)})
    '7db97e9de89aff4b'
    >>> content_hash(np.zeros(3)) == content_hash(np.zeros((3, 1)))
    False
    """
    return _digest(_Walk().parts(value))


def code_hash(function: Callable) -> str:
    """Sixteen digits for what a function computes, whatever the name, comments, docstring or line numbers.

    Counted are instructions, constants, names, defaults, closures, nested functions, arguments of a
    `functools.partial`, members of classes and attributes of objects, and, with all that these refer to in turn, the
    variables and modules of users that the code refers to by name; not files, nor names made while it runs. The hash
    depends on Python's minor version.

    Args:
      function: a function, lambda, partial, method, class or callable object; of this or of an installed library, the
        name counts instead.

    Returns:
      16 digits.

    >>> code_hash(functools.partial(np.sum, axis=0)) == code_hash(functools.partial(np.sum, axis=1))
    False
    """
    return _digest(_Walk().parts(function))


def in_words(name: str, value: Any) -> tuple[dict[str, str], dict[str, str]]:
    """A setting, and the code that it names, as texts to compare and to show; what is None is absent.

    Args:
      name: of the setting.
      value: numbers, texts, and whatever `content_hash` takes; the library's records and tuples are shown part by part,
        without the fields that have the default value.

    Returns:
      Settings `{path: text}`, the text of a number as it is, else a name and 16 digits. What users' functions compute
      and the private names of libraries do not count there, but in the second: `{"function NAME": code hash}` and,
      with the modules and in the order in which they were met, `{"path, library": names}`.

    >>> in_words("stages", (5, np.float32(5), None))[0]  # the numbers run the same program
    {'stages[0]': '5', 'stages[1]': '5'}
    >>> in_words("loss", np.mean)
    ({'loss': 'mean 0b80b48c5e789804'}, {'loss, library': 'numpy.mean'})
    """
    if value is None or isinstance(value, str):
        return ({} if value is None else {name: value}), {}
    if isinstance(value, int | float | np.generic | jax.Array) and np.ndim(value) == 0:
        return {name: f"{float(value):.9g}"}, {}
    entries = {}
    if type(value) is tuple:  # and no NamedTuple
        entries = {f"{name}[{i}]": entry for i, entry in enumerate(value)}
    elif dataclasses.is_dataclass(value) and not callable(value) and not user_code.is_users(type(value)):
        entries = {f"{name}.{field}": entry for field, entry in _fields(value).items()}
    settings: dict[str, str] = {}
    functions: dict[str, str] = {}
    if entries:
        for path, entry in entries.items():
            words, code = in_words(path, entry)
            settings |= words
            functions |= code
        return settings, functions
    names: list[str] = []
    label = "array" if isinstance(value, np.ndarray | jax.Array) else getattr(value, "__name__", type(value).__name__)
    digest = _digest(_Walk(functions, names).parts(value))
    code = {f"{_FUNCTION}{function}": text for function, text in functions.items()}
    if names:
        code[f"{name}{_LIBRARY}"] = ", ".join(names)
    return {name: digest if label.startswith("_") else f"{label} {digest}"}, code


def versions(code: Mapping[str, str] | None = None) -> dict[str, str]:
    """Versions of this library and of those that numbers pass through, and the CPU, all of which may be upgraded.

    Args:
      code: as `in_words` returns it: the packages whose functions it names are included.

    Returns:
      `{package: version}`.

    >>> sorted(versions({"loss, library": "scipy.special._basic.comb"}))
    ['cpu', 'flax', 'invert_jax', 'jax', 'jaxlib', 'optax', 'python', 'scipy']
    """
    try:  # `platform.processor` is empty on Linux
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    texts = [text for key, text in (code or {}).items() if key.endswith(_LIBRARY)]
    roots = {name.partition(".")[0] for text in texts for name in text.split(", ")}
    return {
        _PACKAGE: importlib.import_module(_PACKAGE).__version__,
        **_installed({"jax", "jaxlib", "flax", "optax", *roots} - {_PACKAGE}),
        "python": platform.python_version(),
        "cpu": cpu,
    }


def changes(saved: Sequence[Mapping[str, str]], now: Mapping[str, str]) -> tuple[list[str], list[str], list[str]]:
    """What differs from the records of `versions` and code that were saved before, in words.

    Args:
      saved: the records, of which one that is equal settles it; else the last of the same Python counts.
      now: the present one.

    Returns:
      Users' functions that were edited; names in libraries that differ; what may change numbers only by an upgrade.

    >>> changes([{"python": "3.11.7", "function f": "12"}], {"python": "3.11.9", "function f": "34"})
    (['the function f has changed, in what it computes or refers to'], [], ['python 3.11.7, now 3.11.9'])
    >>> changes([{"python": "3.11.7", "function f": "12"}], {"python": "3.12.1", "function f": "34"})[2]
    ['the function f, whose bytecode other versions of Python cannot compare', 'python 3.11.7, now 3.12.1']
    """
    minor = now["python"].rpartition(".")[0]
    same_python = [record for record in saved if record["python"].rpartition(".")[0] == minor]
    before = now if now in saved else (same_python or saved)[-1]
    edited, renamed, upgraded = [], [], []
    for key in _different(before, now):
        is_in_both = key in before and key in now  # or a setting differs, too
        if users_code({key: ""}):
            name = key.rpartition(_FUNCTION)[2]
            if is_in_both and same_python:
                edited.append(f"the function {name} has changed, in what it computes or refers to")
            elif is_in_both:
                upgraded.append(f"the function {name}, whose bytecode other versions of Python cannot compare")
        elif key.endswith(_LIBRARY):
            renamed.extend([f"{key}: {now[key]}, saved {before[key]}"] if is_in_both else [])
        else:
            upgraded.append(f"{key} {before.get(key)}, now {now.get(key)}")
    return edited, renamed, upgraded


def differences(saved: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs between settings, in words.

    >>> differences({"seed": "0", "dtype": "float32"}, {"seed": "1"})
    ['dtype is absent, saved float32', 'seed is 1, saved 0']
    """
    return [f"{key} is {now.get(key, 'absent')}, saved {saved.get(key, 'absent')}" for key in _different(saved, now)]


def _different(saved, now):
    return sorted(key for key in {**saved, **now} if saved.get(key) != now.get(key))


def users_code(record: Mapping[str, str]) -> dict[str, str]:
    """The hashes of users' functions in a record of code, whatever names a prefix puts before them."""
    return {key: text for key, text in record.items() if key.rpartition(": ")[2].startswith(_FUNCTION)}


def _installed(roots):
    """The versions of the distributions that have these packages."""
    found = {}
    for root in sorted(roots):
        try:
            found[root] = importlib.metadata.version(root)
        except importlib.metadata.PackageNotFoundError:  # another name, such as scikit-learn for sklearn
            for name in importlib.metadata.packages_distributions().get(root, ()):
                found[name] = importlib.metadata.version(name)
    return found


def is_deterministic() -> bool | None:
    """Whether `XLA_FLAGS` makes a GPU's operations deterministic; None where there is no GPU."""
    if jax.default_backend() != "gpu":
        return None
    flags = re.findall(r"--xla_gpu_deterministic_ops(?:=(\w+))?(?=\s|$)", os.environ.get("XLA_FLAGS", ""))
    return bool(flags) and flags[-1].lower() in ("", "true", "1")


def environment() -> dict[str, str]:
    """What results depend on besides their settings: device, precision and random generator, in words.

    On a GPU also whether XLA's operations are deterministic, without which no two runs need have the same bits.

    >>> sorted(environment())
    ['device', 'precision', 'random generator']
    """
    config = jax.config.values
    gpu = {} if is_deterministic() is None else {"deterministic operations": str(is_deterministic())}
    return {
        **gpu,
        "device": f"{jax.default_backend()}, {jax.local_devices()[0].device_kind}",
        "precision": f"{config['jax_default_matmul_precision']}, x64 {config['jax_enable_x64']}",
        "random generator": f"{config['jax_default_prng_impl']}, partitionable {config['jax_threefry_partitionable']}",
    }


def _digest(parts):
    digest = hashlib.sha256()
    for part in parts:  # the length before each, so that no part runs into the next
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:_LENGTH]


def _fields(record):
    """`{name: value}` of a dataclass or NamedTuple; of a library's, without defaults, which an upgrade may add."""
    if isinstance(record, tuple):
        fields, defaults = record._asdict(), record._field_defaults  # pyright: ignore[reportAttributeAccessIssue]
    else:
        # What a record leaves out of its text, such as a Flax module's parent, is not content.
        shown = [field for field in dataclasses.fields(record) if field.repr]
        fields = {field.name: getattr(record, field.name) for field in shown}
        defaults = {field.name: field.default for field in shown if field.default is not dataclasses.MISSING}
    if user_code.is_users(type(record)):
        return fields
    # In words, since 1 and 1.0 are the same setting.
    is_default = {name: in_words("", fields[name]) == in_words("", default) for name, default in defaults.items()}
    return {name: value for name, value in fields.items() if not is_default.get(name)}


class _ContentError(TypeError):
    """Something has no lasting content."""


class _Walk:
    """One walk over a value, which yields the bytes that say everything about it, in order.

    `parts` takes values, `_object_parts` objects and `_code_parts` functions and classes.
    """

    def __init__(self, functions: dict[str, str] | None = None, names: list[str] | None = None):
        self._functions = functions  # None: users' functions count by code; else by name, and hashes are put in here
        self._names = names  # None: a library's names count; else public ones without modules; all are put in here
        self._open: list[int] = []  # what the walk is inside of: an object may hold itself
        self._seen: dict[int, Any] = {}  # users' functions and classes: those that call one another are walked once
        self._in_code = False  # what code refers to may have no lasting content, such as a lock: its type counts

    def parts(self, value: Any) -> Iterator[bytes]:
        """The bytes that say everything about a value."""
        # Before arrays, since NumPy cannot read a key.
        if isinstance(value, jax.Array) and jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key):
            yield str(value.dtype).encode()
            value = jax.random.key_data(value)
        is_tracer = isinstance(value, Tracer)  # in a user's cache: an array, but without values
        if isinstance(value, np.ndarray | np.generic | jax.Array) and not is_tracer:
            array = np.ascontiguousarray(value)
            yield f"array {array.dtype.name} {np.shape(value)}".encode()
            yield from self.parts(array.tolist()) if array.dtype.hasobject else (array.tobytes(),)
        elif isinstance(value, _PLAIN):
            yield f"{type(value).__name__} {value!r}".encode()
        elif id(value) in self._open:  # after constants, which Python may store once for all uses
            yield f"open {self._open[::-1].index(id(value))}".encode()
        else:
            self._open.append(id(value))
            try:
                yield from self._container_parts(value)
            finally:
                self._open.pop()

    def _container_parts(self, value):
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            yield from self.parts((type(value), _fields(value)))
        elif isinstance(value, tuple | list):
            yield f"{type(value).__name__} {len(value)}".encode()
            for entry in value:
                yield from self.parts(entry)
        elif isinstance(value, dict | types.MappingProxyType):  # a mapping of another type may be a cache
            yield f"mapping {len(value)}".encode()
            for key in sorted(value, key=self._digest_alone):
                yield from self.parts(key)
                yield from self.parts(value[key])
        elif isinstance(value, set | frozenset):
            yield from self.parts(("set", *sorted(map(self._digest_alone, value))))
        else:
            yield from self._object_parts(value)

    def _digest_alone(self, value):
        """The digest of a value whatever was seen before it, for what has no order."""
        seen, self._seen = self._seen, {}
        try:
            return _digest(self.parts(value))
        finally:
            self._seen = seen

    def _object_parts(self, value):
        if isinstance(value, types.ModuleType):
            yield from self._name_parts("", value.__name__, user_code.is_users(value))
        elif isinstance(value, type | types.FunctionType):  # before records: `is_dataclass` is true of the class, too
            yield from self._code_parts(value)
        elif name := user_code.global_name(value):  # before what is inside, which an upgrade may change
            yield from self._name_parts(*name, user_code.is_python(name[0]))
        elif dataclasses.is_dataclass(value):  # before pickle, which would take a Flax module's parent, too
            yield from self.parts((type(value), _fields(value)))
        elif hasattr(value, "__wrapped__") and not user_code.is_users(type(value)):
            # By `jax.jit`, `jax.custom_vjp` or Flax: the user's function is inside, and rules of differentiation are.
            rules = {key: part for key, part in getattr(value, "__dict__", {}).items() if callable(part)}
            yield from self.parts((value.__wrapped__, {key: rules[key] for key in rules if not key.startswith("__")}))
        else:
            # A library's object counts wholly or by its type alone: what is in a console differs from run to run.
            in_code, self._in_code = self._in_code, self._in_code and user_code.is_users(type(value))
            num_names = len(self._names or ())
            try:
                digest = _digest(self.parts(_pickled(value)))
            except Exception as error:  # whatever `__reduce__` may raise
                if not in_code:
                    raise error if isinstance(error, _ContentError) else _no_content(value) from error
                del (self._names or [])[num_names:]
                digest = _digest(self.parts(type(value)))
            finally:
                self._in_code = in_code
            yield digest.encode()

    def _code_parts(self, value):
        """The name of a function or class of a library; else the code, or, where those are collected, the name."""
        is_function = isinstance(value, types.FunctionType)
        if not user_code.is_users(value):
            # `functools.wraps` copies the name and module of the wrapped function, but not those in code and globals.
            name = value.__code__.co_qualname if is_function else value.__qualname__
            module = value.__globals__["__name__"] if is_function else value.__module__
            is_local = is_function and "<" in name
            if name.endswith("<lambda>"):  # which stands for any; not by bytecode, which changes with Python
                name = " ".join((name, *value.__code__.co_names))
            yield from self._name_parts(module, name, user_code.is_python(module))
            if is_local:  # the name stands for as many functions as were made of it
                closure = list(user_code.closure(value).values())
                yield from self._lenient_parts((value.__defaults__, value.__kwdefaults__, closure))
        elif self._functions is not None:
            name, code = value.__qualname__.rpartition("<locals>.")[2], _digest(_Walk(names=self._names).parts(value))
            known = self._functions.get(name, "")
            self._functions[name] = known if code in known else known + code  # two lambdas share a name
            yield name.encode()
        elif id(value) in self._seen:
            yield f"seen {value.__qualname__}".encode()
        else:
            self._seen[id(value)] = value
            yield from self._lenient_parts(user_code.content(value))

    def _lenient_parts(self, value):
        in_code, self._in_code = self._in_code, True
        try:
            yield from self.parts(value)
        finally:
            self._in_code = in_code

    def _name_parts(self, module, name, is_lasting):
        """A name; of a library, if names are collected, only a public one, since an upgrade may rename the others."""
        full = f"{module}.{name}".strip(".")
        if is_lasting or self._names is None:
            yield full.encode()
        else:
            self._names.append(full)
            if not any(part.startswith(("_", "<")) for part in name.split(".")):
                yield name.encode()


def _no_content(value):
    advice = "give arrays, numbers, texts, functions or records"
    return _ContentError(f"{type(value).__name__} has no lasting content; {advice}.")


def _pickled(value):
    """What pickle would save of an object: a global's name, or what to call, the arguments, and the state."""
    if type(value) is object:  # a mark, of which only the identity matters
        raise _no_content(value)
    reduce = copyreg.dispatch_table.get(type(value))
    saved: Any = reduce(value) if reduce else value.__reduce_ex__(2)
    if isinstance(saved, str):  # of a global
        return type(value), saved
    function, arguments, state, *items = (*saved, None)[: max(len(saved), 3)]
    if isinstance(state, dict):  # without the docstring, by `functools.wraps`, of a wrapped function
        state = {key: part for key, part in state.items() if key not in functools.WRAPPER_ASSIGNMENTS}
    return function, arguments, state, [list(iterator) for iterator in items if iterator is not None]
