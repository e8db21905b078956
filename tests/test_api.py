"""The shape of the public interface, by `inspect`: what is named, how it is called, and that it is explained."""

import dataclasses
import inspect
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import invert_jax as ij
from invert_jax import representations
from invert_jax import types as records
from invert_jax._util import checks, safe_math
from invert_jax.networks import ops
from invert_jax.weights import matconvnet, npz, registry, validation

MODULES = [getattr(ij, name) for name in ij.__all__ if isinstance(getattr(ij, name), types.ModuleType)]
INNER = [checks, safe_math, ops, records, npz, validation, matconvnet, registry]
INNER += [getattr(representations, name) for name in ("function", "models", "dsift", "hog", "gradient_histograms")]
INNER = [module if inspect.ismodule(module) else inspect.getmodule(module) for module in INNER]

# Positional parameters that may be left out, beside those of a loss and of a metric, which share one signature.
POSITIONAL_DEFAULTS = {
    ("alexnet", "params"),  # None is the bundled network
    ("from_function", "params"),  # () for a function without weights
    ("norm", "axis"),  # as in NumPy
    ("laplacian_pyramid", "layer"),  # None is any other representation
    ("sample_image", "name"),
    ("verify", "sha256"),  # None is the published hash
}
MASKED = {"squared_distance", "distance", "l1_distance", "inner_product", "activation", "relative_error", "scale"}

# Without an example of their own: `invert`, whose parts they are, has it; or they need a file that is not here.
WITHOUT_EXAMPLE = {
    "current_image",
    "ended",
    "energies",  # this, `place` and the other parts of `batching` are what `sample` is made of
    "finish",
    "init",
    "make",  # shown by `evaluate`
    "num_evaluations",
    "place",
    "of",  # shown by `receptive_field.alexnet`
    "num_programs",
    "read_mat",
    "restore",
    "run",
    "step",
}


def _functions(modules):
    """`{dotted name: function}` of the public functions that the modules define."""
    return {
        f"{module.__name__.removeprefix('invert_jax.')}.{name}": function
        for module in modules
        for name, function in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(function) or isinstance(function, jax.custom_jvp | jax.custom_vjp))
        and function.__module__ == module.__name__
    }


FACADE = {
    name: getattr(ij, name)
    for name in ij.__all__
    if callable(getattr(ij, name)) and not inspect.isclass(getattr(ij, name))
}
PUBLIC = {**_functions(MODULES), **FACADE}
ALL = {**_functions(INNER), **PUBLIC}


def _parameters(function):
    return inspect.signature(function).parameters.values()


def _is_positional(parameter):
    return parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)


def test_the_lists_below_are_about_something():
    assert len(PUBLIC) > 40 and len(ALL) > 50
    assert {"metrics.psnr", "recipes.shallow", "sample", "numerics.norm", "ops.conv2d", "checks.is_concrete"} <= set(
        ALL
    )


def test_exceptions_are_needed():
    short = {name.split(".")[-1]: function for name, function in ALL.items()}
    for name, parameter in POSITIONAL_DEFAULTS:
        found = inspect.signature(short[name]).parameters[parameter]
        assert _is_positional(found) and found.default is not inspect.Parameter.empty
    for name in WITHOUT_EXAMPLE:
        assert ">>>" not in short[name].__doc__, name


def test_the_facade_names_everything_public():
    assert sorted(ij.__all__) == sorted(set(ij.__all__))
    assert re.fullmatch(r"\d+\.\d+\.\d+", ij.__version__)
    hidden = {"baselines", "checks", "decoding", "fingerprints", "numerics", "ops", "representations", "types"}
    visible = {name for name in vars(ij) if not name.startswith("_") and name != "data"}
    assert visible - hidden == set(ij.__all__) - {"__version__"}


@pytest.mark.parametrize("name", ALL)
def test_what_can_be_tuned_is_keyword_only(name):
    function, short = ALL[name], name.split(".")[-1]
    for parameter in _parameters(function):
        assert parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if not _is_positional(parameter) or parameter.default is parameter.empty:
            continue
        allowed = (short, parameter.name) in POSITIONAL_DEFAULTS or (short in MASKED and parameter.name == "mask")
        assert allowed, f"{name}({parameter.name}={parameter.default!r}) can be given by position"


@pytest.mark.parametrize("name", ALL)
def test_no_boolean_by_position(name):
    for parameter in _parameters(ALL[name]):
        boolean = parameter.annotation in (bool, "bool") or isinstance(parameter.default, bool)
        assert not (boolean and _is_positional(parameter)), f"{name}({parameter.name})"


@pytest.mark.parametrize("name", ALL)
def test_key_is_first(name):
    names = [parameter.name for parameter in _parameters(ALL[name])]
    assert not {"rng", "seed", "prng"} & set(names)
    assert "key" not in names or names[0] == "key"


def test_something_has_a_key():
    assert {name for name, function in PUBLIC.items() if "key" in inspect.signature(function).parameters} >= {
        "invert",
        "sample",
        "random_alexnet_params",
        "inversion.init",
    }


@pytest.mark.parametrize("name", PUBLIC)
def test_public_functions_are_explained_by_an_example(name):
    function = PUBLIC[name]
    lines = (function.__doc__ or "").strip().splitlines()
    assert lines and lines[0].rstrip().endswith((".", ":")), f"{name} has no one-line summary"
    if name.split(".")[-1] not in WITHOUT_EXAMPLE:
        assert ">>> " in function.__doc__, f"{name} has no example"


@pytest.mark.parametrize("name", PUBLIC)
def test_docstrings_name_every_argument_and_nothing_else(name):
    function = PUBLIC[name]
    section = re.search(r"\n    Args:\n(.*?)(?:\n\s*\n    \S|\Z)", function.__doc__, re.DOTALL)
    if section is None:
        assert len(inspect.signature(function).parameters) <= 2 or name.split(".")[-1] in MASKED, name
        return
    explained = re.findall(r"^      (\w+): ", section.group(1), re.MULTILINE)
    assert explained == [parameter.name for parameter in _parameters(function)]


@pytest.mark.parametrize("module", MODULES + INNER + [ij], ids=lambda module: module.__name__)
def test_modules_are_explained(module):
    assert module.__doc__ and module.__doc__.strip().splitlines()[0].endswith((".", "?", ":", ",")), module.__name__


# --- the names that outside checks rely on ---

NEEDED = {
    "load_image": "(path, *, size=None, gray=False)",
    "save_image": "(path, image)",
    "hog": "(*, cell_size=8, num_orientations=9, binning='hard', variant='vlfeat')",
    "dsift": "(*, bin_size=5, step=5, variant='vlfeat')",
    "patch_sift": "(*, patch_size=16, stride=8, color=False)",
    "alexnet": "(params=None, *, layer='fc8', precision='float32')",
    "from_function": "(fn, params=(), *, center=0.0)",
    "load_params": "(path)",
    "recipes.for_layer": "(layer)",
    "recipes.shallow": "(*, lambda_tv=5.0)",
    "recipes.default": "(representation_or_layer)",
    "invert": "(key, representation, target, recipe, *, image_shape, mask=None, initial_image=None)",
    "receptive_field.alexnet": "()",
    "metrics.normalized_errors": "(features, targets, *, scale=None)",
}
# Names, kinds and defaults that are needed; more may follow by keyword.
NEEDED_AT_LEAST = {
    "recipes.mahendran_vedaldi": (
        (),
        {"lambda_tv": 5.0, "beta": 2.0, "stages": ((4e-3, 100), (4e-4, 200), (4e-5, 100))},
    ),
    "sample": (
        ("key", "representation", "target", "recipe"),
        {
            "image_shape": inspect.Parameter.empty,
            "num_restarts": inspect.Parameter.empty,
            "mask": None,
            "chunk_size": None,
            "mesh": None,
        },
    ),
    "metrics.relative_error": (("features", "target"), {}),
}


def _bare_signature(function):
    signature = inspect.signature(function)
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(parameters))


@pytest.mark.parametrize("name", NEEDED)
def test_needed_signature(name):
    assert _bare_signature(PUBLIC[name]) == NEEDED[name]


@pytest.mark.parametrize("name", NEEDED_AT_LEAST)
def test_needed_parameters(name):
    positional, keyword = NEEDED_AT_LEAST[name]
    parameters = inspect.signature(PUBLIC[name]).parameters
    found = [p.name for p in parameters.values() if _is_positional(p)]
    assert tuple(found[: len(positional)]) == positional
    for wanted, default in keyword.items():
        assert parameters[wanted].kind == inspect.Parameter.KEYWORD_ONLY
        assert parameters[wanted].default == default
    required = {p.name for p in parameters.values() if p.default is p.empty}
    assert required <= {*positional, *keyword}


def test_preimage_fields():
    assert [field.name for field in dataclasses.fields(ij.Preimage)] == [
        "image",
        "features",
        "error",
        "energy",
        "finite",
        "evaluations",
    ]


def test_receptive_field_has_table_2s_rows():
    rows = ij.receptive_field.alexnet()
    assert len(rows) == 20 and rows[0].name == "conv1" and rows[-1].name == "fc8"


def test_normalized_errors_are_named():
    errors = ij.metrics.normalized_errors(np.zeros((2, 3)), np.eye(2, 3))
    assert errors.text.shape == errors.squared.shape == (2,)


# --- factories and records ---


def _mean(params, image):
    return image.mean() * params


class _Flax(nn.Module):
    def __call__(self, image):
        return image.mean((0, 1))


FACTORIES = {
    "hog": (lambda: ij.hog(), (16, 16, 1)),
    "hogb": (lambda: ij.hog(binning="bilinear"), (16, 16, 1)),
    "dsift": (lambda: ij.dsift(), (21, 21, 1)),
    "alexnet": (lambda: ij.alexnet(layer="conv1"), (11, 11, 3)),
    "from_function": (lambda: ij.from_function(_mean, jnp.ones(()), center=3.0), (2, 2, 1)),
    "from_flax": (lambda: ij.from_flax(_Flax(), {}), (2, 2, 1)),
}


@pytest.mark.parametrize("name", FACTORIES)
def test_factories_return_representations_that_are_equal_by_value(name):
    make, image_shape = FACTORIES[name]
    first, second = make(), make()
    assert type(first) is ij.Representation
    assert first.apply == second.apply and hash(first.apply) == hash(second.apply)
    assert jax.tree.structure(first) == jax.tree.structure(second)
    leaves = jax.tree.leaves(first)
    assert leaves and all(isinstance(leaf, jax.Array) and leaf.dtype == jnp.float32 for leaf in leaves)
    features = first.feature_shape(image_shape)
    assert jax.eval_shape(first.apply, first.params, jnp.zeros(image_shape)).shape == features


RECORDS = (ij.Representation, ij.Recipe, ij.Preimage, ij.objective.Objective)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_records_are_frozen_pytrees_that_check_nothing(record):
    fields = [field.name for field in dataclasses.fields(record)]
    made = record(**dict.fromkeys(fields, 1.0))  # a pytree is rebuilt around anything at all
    for field in fields:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, field, 2.0)
    assert not hasattr(record, "__post_init__")
    leaves, structure = jax.tree.flatten(made)
    again = jax.tree.unflatten(structure, leaves)
    assert leaves and all(getattr(again, field) == getattr(made, field) for field in fields)
    static = [field.name for field in dataclasses.fields(record) if field.metadata.get("static")]
    assert len(leaves) == len(fields) - len(static)
    hash(structure)


def test_what_may_change_is_a_leaf_and_what_shapes_the_graph_is_not():
    def static(record):
        return {field.name for field in dataclasses.fields(record) if field.metadata.get("static")}

    assert static(ij.Representation) == {"apply"}
    assert static(ij.Preimage) == set()
    assert static(ij.Recipe) == {
        "steps",
        "alpha",
        "beta",
        "loss",
        "optimizer",
        "parameterization",
        "patience",
    }
    assert static(ij.objective.Objective) == {"alpha", "beta", "loss"}


@pytest.mark.parametrize("name", ["mahendran_vedaldi", "shallow", "for_layer", "default", "laplacian_pyramid"])
def test_recipes_are_hashable_data(name):
    arguments = ("conv1",) if name in ("for_layer", "default") else ()
    first, second = (getattr(ij.recipes, name)(*arguments) for _ in range(2))
    assert type(first) is ij.Recipe and first == second and hash(first) == hash(second)


SMALL_RECORDS = (
    ij.inversion.State("z", "optimizer_state", "step", "energy", "stage", "began"),
    ij.networks.CNN_A[0],
    ij.parameterizations.pixels,
    ij.receptive_field.alexnet()[0],
    ij.sampling.Progress(1, range(1), 0, np.zeros((1, 4)), np.zeros((1, 2, 2, 1))),
)


@pytest.mark.parametrize("record", SMALL_RECORDS, ids=lambda record: type(record).__name__)
def test_small_records_cannot_be_changed(record):
    with pytest.raises(AttributeError):
        setattr(record, record._fields[0], None)


def test_classes_are_few():
    # Frozen records, named tuples, Linen modules: nothing with a life of its own.
    modules = MODULES + INNER
    for module in modules:
        for name, value in vars(module).items():
            if inspect.isclass(value) and value.__module__ == module.__name__:
                frozen = dataclasses.is_dataclass(value) and value.__dataclass_params__.frozen
                linen = issubclass(value, nn.Module)
                plain = issubclass(value, tuple | Exception)
                assert frozen or linen or plain, f"{module.__name__}.{name}"
