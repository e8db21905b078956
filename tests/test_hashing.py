"""Names for values and code: equal for equal settings in another process, different for everything else."""

import dataclasses
import functools
import os
import re
import subprocess
import sys
import types

import jax
import numpy as np
import optax
import pytest
from flax import linen as nn

import invert_jax as ij
from invert_jax._util import hashing

SOURCE = '''
import dataclasses, jax
from flax import linen as nn
SCALE = 2.0
def helper(x, power=2):
    """Docstring."""
    return x**power * SCALE  # a comment
@jax.custom_vjp
def reversed_gradient(x):
    return helper(x)
reversed_gradient.defvjp(lambda x: (helper(x), None), lambda _, g: (-g,))
class Net(nn.Module):
    width: int = 3
    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.width)(helper(x))
@dataclasses.dataclass(frozen=True)
class Blur:
    sigma: float
    def __call__(self, params, image):
        return jitted(image) * self.sigma
@jax.jit
def jitted(x):
    def inner(y):
        return inner(y - 1) if y else reversed_gradient(x)
    return inner(3)
def texture(params, image):
    return sum(map(lambda x: x + SHIFT, [Blur(2.0)(params, image)]))
SHIFT = 1
'''
FUNCTIONS = ("helper", "reversed_gradient", "Net", "Blur", "jitted", "texture")


def hashes(old="", new=""):
    """Code hashes of the functions in the source, after an edit."""
    assert old in SOURCE
    sys.modules["of_a_user"] = module = types.ModuleType("of_a_user")  # where dataclasses look
    exec(SOURCE.replace(old, new), module.__dict__)
    return {name: hashing.code_hash(getattr(module, name)) for name in FUNCTIONS}


def test_an_edit_changes_the_functions_that_it_reaches():
    before, everything = hashes(), " ".join(FUNCTIONS)
    for old, new, changed in [
        ("Docstring.", "Another\n    one.", ""),
        ("  # a comment", "", ""),
        ("\nSCALE", "\n\n\nNEW = 3\nSCALE", ""),
        ("SHIFT = 1", "SHIFT = 2", "texture"),
        ("x + SHIFT", "x - SHIFT", "texture"),
        ("SCALE = 2.0", "SCALE = 2.5", everything),
        ("power=2", "power=3", everything),
        ("(-g,)", "(g,)", "reversed_gradient Blur jitted texture"),
        ("inner(3)", "inner(4)", "Blur jitted texture"),
        ("* self.sigma", "/ self.sigma", "Blur texture"),
        ("width: int = 3", "width: int = 4", "Net"),
        ("nn.Dense(self.width)(helper(x))", "nn.Dense(self.width)(x)", "Net"),
    ]:
        after = hashes(old, new)
        assert {name for name in FUNCTIONS if before[name] != after[name]} == set(changed.split()), new


IMPORTS = "import collections, dataclasses, enum, functools, logging, re, threading, types, jax, numpy as np\n"
COUNTS = """
S = [1] | def f(x): return x * S[0]
S = {"a": 1} | def f(x): return x * S["a"]
S = ({"a": 1},) | def f(x): return x * S[0]["a"]
S = {1, 3} | def f(x): return x * len(S)
S = [np.full(3, 1)] | def f(x): return x * S[0]
T = {"g": lambda x: x * 1} | def f(x): return T["g"](x)
Record = dataclasses.make_dataclass("Record", ["a"]); S = Record(1) | def f(x): return x * S.a
S = types.SimpleNamespace(a=1) | def f(x): return x * S.a
S = collections.deque([1]) | def f(x): return x * S[0]
S = re.compile("1") | def f(x): return x * bool(S.match("2"))
g = jax.vmap(lambda x, y: x, in_axes=(1, 0)) | def f(x): return g(x, x)
g = jax.jit(lambda x: x * 1) | def f(x): return g(x)
g = functools.partial(np.sum, axis=1) | def f(x): return g(x)
g = functools.lru_cache(lambda x: x * 1) | def f(x): return g(x)
class K: W = [1] | def f(x): return x * K.W[0]
class K: W = (1,) | class L(K): pass | def f(x): return x * L().W[0]
class K: __slots__ = ("a",) | k = K(); k.a = [1] | def f(x): return x * k.a[0]
class K: I = type("I", (), {"g": lambda x: x * 1}) | def f(x): return K.I.g(x)
class K: g = property(lambda self: 1) | def f(x): return x * K().g
class K: g = functools.cached_property(lambda self: 1) | def f(x): return x * K().g
class K: g = classmethod(lambda cls, x: x * 1) | def f(x): return K.g(x)
class K: g = lambda self, x: x * 1 | f = K().g
class K: |  def __init__(self): self.a = 1 | def f(x): return x * K().a
class K: a: list = dataclasses.field(default_factory=lambda: [1]) | dataclasses.dataclass(K) | def f(x): return K().a
class K(enum.Enum): A = 1 | def f(x): return x * K.A.value
def f(x, s=[1]): return x * s[0]
def f(x, *, s={"a": 1}): return x * s["a"]
def make(s): return lambda x: x * s[0] | f = make([1])
def make(s): return lambda x: x * s | f = functools.wraps(np.sum)(make(1))
def g(x): return h(x) if x else 1 | def h(x): return g(x - 1) | def f(x): return g(x)
def f(x): return [y * 1 for y in x]
""".strip().split("\n")
DOES_NOT_COUNT = """
def f(x): return x  # 1
S = [1] | def f(x): return x
def f(x): "Docstring 1."; return x
def f(x): |  class K: "Docstring 1."; a = 3 |  return K
lock = [threading.Lock() for _ in range(1)][0] | def f(x): return lock
log = logging.getLogger("a"); log.setLevel(1) | def f(x): return log.info(x)
class K: "Docstring 1." | def f(x): return K()
""".strip().split("\n")


def module(text, name="of_a_user"):
    """A user's module, in which | ends a line."""
    sys.modules[name] = made = types.ModuleType(name)
    made.__dict__["__package__"] = name.rpartition(".")[0]
    exec(re.sub(r" \| ", "\n", text), made.__dict__)
    return made


@pytest.mark.parametrize("text", [*COUNTS, *DOES_NOT_COUNT])
def test_what_a_function_refers_to_counts(text):
    first, same, edited = (hashing.code_hash(module(IMPORTS + t).f) for t in (text, text, text.replace("1", "2")))
    assert first == same and (first == edited) == (text in DOES_NOT_COUNT)


@pytest.mark.parametrize(
    "text",
    [
        "import package.part | def f(x): return package.part.g(x)",
        "import package | def f(x): p = package.part; return p.g(x)",
        "from package import part | def f(x): return part.g(x)",
        "def f(x): import package.part as p; return p.g(x)",
        "def f(x): from package.part import g; return g(x)",
        "def f(x): from package import part; return part.g(x)",
        "def f(x): from .part import g; return g(x)",
        "def f(x): from . import part; return (lambda: part.g)()(x)",
        "def make(part): return lambda x: part.g(x) | import package.part; f = make(package.part)",
    ],
)
@pytest.mark.parametrize("part", ["def g(x): return x * 1", "S = [1] | def g(x): return S"])
def test_what_is_in_other_modules_of_the_user_counts(text, part, monkeypatch):
    def code_hash(part, unrelated=1):
        package = module("")
        monkeypatch.setitem(sys.modules, "package", package)
        monkeypatch.setitem(sys.modules, "package.part", module(f"other = {unrelated} | {part}", "package.part"))
        vars(package).update(__name__="package", __path__=[], part=sys.modules["package.part"])
        return hashing.code_hash(module(text, "package.main").f)

    assert code_hash(part) == code_hash(part, 2) != code_hash(part.replace("1", "2"))


def test_private_names_and_new_defaults_of_libraries_are_no_settings():
    def words(optimizer):
        return hashing.in_words("optimizer", optimizer)

    names = [words(optimizer)[1]["optimizer, library"] for optimizer in (optax.adam, optax.sgd)]
    assert words(optax.adam)[0] != words(optax.sgd)[0] and names[0] == "optax._src.alias.adam" != names[1]
    pixels = ij.parameterizations.pixels
    renamed = types.FunctionType(pixels.encode.__code__.replace(co_qualname="_encode"), vars(ij.losses))
    (before, code), (after, new_code) = words(pixels), words(pixels._replace(encode=renamed))
    assert before == after and code != new_code and hashing.versions(code)["jax"] == jax.__version__
    assert "flax" in hashing.in_words("net", nn.Dense(2))[1]["net, library"]
    assert hashing.in_words("net", nn.Dense(2)) == hashing.in_words("net", nn.Dense(2, use_bias=True))
    assert "recipe.patience" not in hashing.in_words("recipe", ij.recipes.shallow())[0]


def test_of_code_and_versions_that_differ_some_is_edited_some_renamed_some_upgraded():
    saved = {"python": "3.11.7", "jax": "1", "a: function f": "1", "a: x, library": "jax._f"}
    for now, counts in [
        ({}, (0, 0, 0)),
        ({"jax": "2"}, (0, 0, 1)),
        ({"a: function f": "2"}, (1, 0, 0)),
        ({"a: function f": "2", "python": "3.11.8"}, (1, 0, 1)),
        ({"a: function f": "2", "python": "3.12.0"}, (0, 0, 2)),
        ({"a: x, library": "jax._g"}, (0, 1, 0)),
        ({"b: function g": "2"}, (0, 0, 0)),  # another setting, which differs itself
    ]:
        assert tuple(map(len, hashing.changes([saved], {**saved, **now}))) == counts
    other = {**saved, "python": "3.12.0", "a: function f": "2"}
    assert hashing.changes([saved, other], saved) == ([], [], [])
    assert len(hashing.changes([saved, other], {**other, "a: function f": "3"})[0]) == 1


def test_functions_are_found_by_name_in_whatever_holds_them():
    def texture(params, image):
        return image

    held = ij.Representation(functools.partial(jax.jit(texture)), (), np.zeros(()))
    assert hashing.in_words("representation", held)[1]["function texture"] == hashing.code_hash(texture)


@pytest.mark.slow
def test_another_process_gives_the_same_name():
    program = """if True:
        import jax, optax, invert_jax as ij
        from invert_jax._util import hashing
        value = ij.alexnet(layer="conv3"), ij.recipes.for_layer("fc8"), jax.random.key(3), {1, "a"}, optax.adam
        print(hashing.content_hash((value, lambda x: {1, "b"})))"""
    command, options = [sys.executable, "-c", program], {"capture_output": True, "text": True, "check": True}
    environments = ({**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONHASHSEED": seed} for seed in "78")
    assert len({subprocess.run(command, env=variables, **options).stdout for variables in environments}) == 1


def test_whatever_differs_has_another_name():
    recipe, weights = ij.recipes.shallow(), ij.weights.bundled()
    nudged = {**weights, "conv1": {**weights["conv1"], "bias": np.asarray(weights["conv1"]["bias"]) + 1e-3}}
    values = [
        *(None, 0, 0.0, False, "0", b"0", (), (0,), (0, (0,)), ((0, 0),), {1, 2}, {1, 3}),
        *({"a": 1, "b": 2}, {"a": 2, "b": 1}, ("ab", "c"), ("a", "bc"), (b"1", b"2"), (b"12",)),
        *(np.zeros(3, np.float32), np.zeros(3), np.zeros((3, 1), np.float32), np.array([0, 0, 1], np.float32)),
        *(jax.random.key(0), jax.random.key(1), jax.random.key_data(jax.random.key(0))),
        *(optax.adam, optax.sgd, optax.adam(0.1), optax.adam(0.2)),
        *(functools.partial(optax.sgd, momentum=0.9), functools.partial(optax.sgd, momentum=0.8)),
        *(nn.relu, nn.Dense(2), nn.Dense(3), jax.numpy.add, jax.numpy.multiply, np.add),
        *(recipe, recipe.reweight(tv=5.5), dataclasses.replace(recipe, optimizer=optax.adam)),
        *(ij.hog(), ij.hog(binning="bilinear"), ij.hog(variant="released"), ij.dsift()),
        *(ij.alexnet(layer="conv1"), ij.alexnet(layer="relu1"), ij.alexnet(nudged, layer="conv1")),
    ]
    names = {hashing.content_hash(value) for value in values}
    assert len(names) == len(values) and all(len(name) == 16 for name in names)


def test_order_of_a_mapping_and_where_an_array_lives_do_not_count():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    equal = [array, jax.numpy.asarray(array), array.T.copy().T]
    assert len({hashing.content_hash({"a": 1, "b": value}) for value in equal}) == 1
    assert hashing.content_hash({"a": 1, "b": 2}) == hashing.content_hash({"b": 2, "a": 1})


def test_what_has_no_lasting_content_is_refused(tmp_path):
    with open(tmp_path / "file", "w") as file:
        for value in (object(), file, np.array([object()])):
            with pytest.raises(TypeError, match="content"):
                hashing.content_hash(value)
