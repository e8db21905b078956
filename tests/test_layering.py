"""The floors and fences of the design, read from the imports by `ast`, and that importing computes nothing."""

import ast
import os
import pathlib
import subprocess
import sys

import pytest

import invert_jax as ij

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "invert_jax"
EXPERIMENTS = ROOT / "experiments"

FLOORS = (
    # layers is a table of plain data, which receptive_field reads
    ("checks", "files", "fingerprints", "numerics", "layers"),
    ("types", "decoding", "intervals"),
    (
        "ops",
        "images",
        "losses",
        "regularizers",
        "optimizers",
        "pyramid",
        "receptive_field",
        "figures",
        "plots",
        "weights",
    ),
    ("representations", "parameterizations", "masks", "metrics"),
    ("objective",),
    ("inversion",),
    ("batching", "recipes", "baselines", "invariance", "coupled", "sensitivity"),
    ("sampling", "sweeps"),
    ("__init__",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

FENCES = {
    "flax": ("representations",),
    "optax": ("optimizers", "inversion", "recipes"),
    "absl": (),
}
INSIDE_FUNCTIONS_ONLY = (
    "scipy",
    "sklearn",
    "torch",
    "torchvision",
    "onnx",
    "safetensors",
    "matplotlib",
    "mpl_toolkits",
    "orbax",
    "jinja2",
)
SHARED_BY_RUNNERS = (
    "experiments.common",
    "experiments.described",
    "experiments.kept",
    "experiments.layer_by_layer",
    "experiments.plain_forms",
    "experiments.reproduction",
    "experiments.invariance_sheet",
    "experiments.restart_statistics",
    "experiments.sweeping",
)
OPTIONAL_FILES = ("experiments.torch_reference",)  # whole files that need an optional package: imported in functions
EXPERIMENTS_MAY_IMPORT = ("absl", "rich", "numpy", "jax", "PIL", "invert_jax", "experiments")


def _files(folder):
    return sorted(folder.rglob("*.py"))


def _name(path):
    """`invert_jax.weights.archive` for its file; a package's `__init__.py` is the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for path in _files(PACKAGE)}


def _room(module):
    """The file or folder, right inside the package, that a module belongs to."""
    return module.split(".")[1] if "." in module else "__init__"


def _imports(source, modules=MODULES):
    """`(module, line, at the top level)` of every import, `from package import module` being that module."""
    tree = ast.parse(source)
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules else node.module for name in whole]
        else:
            continue
        yield from ((name, node.lineno, id(node) not in inside) for name in names)


def _within(name, package):
    return name == package or name.startswith(package + ".")


def test_the_reader_of_imports_sees_every_kind():
    source = (
        "import scipy.io\nfrom invert_jax import checks, sample\nfrom invert_jax.weights import archive\n"
        "def f():\n    from matplotlib import ticker\n"
    )
    assert list(_imports(source)) == [
        ("scipy.io", 1, True),
        ("invert_jax.checks", 2, True),
        ("invert_jax", 2, True),
        ("invert_jax.weights.archive", 3, True),
        ("matplotlib", 5, False),
    ]


def test_every_file_has_a_floor():
    assert {_room(module) for module in MODULES} == set(FLOOR)


@pytest.mark.parametrize("module", MODULES)
def test_imports_only_from_lower_floors(module):
    for name, line, _ in _imports(MODULES[module].read_text()):
        if not _within(name, "invert_jax") or (_room(module) == _room(name) and _room(module) != "__init__"):
            continue
        assert FLOOR[_room(name)] < FLOOR[_room(module)], f"{module}, line {line}, imports {name}"


def test_no_cycles_between_siblings():
    graph = {
        module: {name for name, _, _ in _imports(path.read_text()) if name in MODULES and name != "invert_jax"}
        for module, path in MODULES.items()
    }
    # A package's __init__ runs before its modules, so a module that imports its own package goes in a circle.
    done = set()
    while len(done) < len(graph):
        free = {module for module, needs in graph.items() if module not in done and needs <= done}
        assert free, f"a cycle among {sorted(set(graph) - done)}"
        done |= free


@pytest.mark.parametrize("module", MODULES)
def test_fences(module):
    for name, line, at_top in _imports(MODULES[module].read_text()):
        package = name.split(".")[0]
        where = f"{module}, line {line}, imports {name}"
        assert package not in FENCES or _room(module) in FENCES[package], where
        assert package not in INSIDE_FUNCTIONS_ONLY or not at_top, f"{where} at the top level"
        assert package != "experiments" and package != "tests", where


def test_fences_are_about_something():
    used = {name.split(".")[0] for path in MODULES.values() for name, _, _ in _imports(path.read_text())}
    assert {"flax", "optax", "scipy", "sklearn", "matplotlib"} <= used


def test_restarts_are_batched_in_one_place():
    users = {
        module
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("vmap", "pmap", "shard_map")
    }
    assert users == {"invert_jax.batching"}


def _private_reach(tree):
    """Dotted names, rooted at the library, that are private or not in its `__all__`."""
    roots = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots |= {a.asname or a.name: "" for a in node.names if a.name == "invert_jax"}
        elif isinstance(node, ast.ImportFrom) and node.module == "invert_jax":
            roots |= {a.asname or a.name: f"{a.name}." for a in node.names}
            yield from (a.name for a in node.names if a.name not in ij.__all__)
    for node in ast.walk(tree):
        parts, base = [], node
        while isinstance(base, ast.Attribute):
            parts.insert(0, base.attr)
            base = base.value
        if parts and isinstance(base, ast.Name) and base.id in roots:
            dotted = roots[base.id] + ".".join(parts)
            private = any(part.startswith("_") and not part.startswith("__") for part in dotted.split("."))
            if private or dotted.split(".")[0] not in ij.__all__:
                yield dotted


def test_the_reader_of_names_sees_private_ones():
    source = "import invert_jax as ij\nfrom invert_jax import sampling, checks\nij.sample; ij.checks.a; sampling._run"
    assert set(_private_reach(ast.parse(source))) == {"checks", "checks.a", "sampling._run"}


@pytest.mark.parametrize("path", _files(EXPERIMENTS), ids=lambda path: path.stem)
def test_experiments_use_only_what_is_public(path):
    source = path.read_text()
    assert list(_private_reach(ast.parse(source))) == []
    optional = _name(path) in OPTIONAL_FILES
    for name, line, at_top in _imports(source, modules=(*SHARED_BY_RUNNERS, *OPTIONAL_FILES)):
        package, where = name.split(".")[0], f"{path.name}, line {line}, imports {name}"
        allowed = (*EXPERIMENTS_MAY_IMPORT, *INSIDE_FUNCTIONS_ONLY, *sys.stdlib_module_names)
        assert package in allowed, where
        if package == "invert_jax":
            assert name == "invert_jax", f"{where}: take it from the package itself"
        if package == "experiments":
            assert name in (*SHARED_BY_RUNNERS, *OPTIONAL_FILES), where
        if package in INSIDE_FUNCTIONS_ONLY or name in OPTIONAL_FILES:
            assert optional or not at_top, f"{where} at the top level"


# jax_num_cpu_devices can be set only while no backend is up, and a computation brings one up.
_IMPORT = """
import sys
import invert_jax, jax
if len(sys.argv) > 1: jax.numpy.zeros(())
jax.config.update("jax_num_cpu_devices", 3)
assert len(jax.devices()) == 3
heavy = [name for name in ("matplotlib", "sklearn", "torch", "onnx", "safetensors", "absl.app") if name in sys.modules]
assert not heavy, heavy
"""


def _in_a_new_process(*arguments):
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", _IMPORT, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_importing_computes_nothing():
    done = _in_a_new_process()
    assert done.returncode == 0, done.stderr


def test_a_computation_would_be_noticed():
    done = _in_a_new_process("compute")
    assert done.returncode != 0 and "jax_num_cpu_devices" in done.stderr, done.stderr
