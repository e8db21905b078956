"""Which folder may import which, what importing costs, and which words are not used; every test lists all offenders."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "invert_jax"
RUNNERS = [path for folder in ("experiments", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
FOLDERS = ("analysis", "baselines", "networks", "representations", "sweeps", "viz", "weights")
ABOVE = ("analysis", "baselines", "cli", "sweeps", "viz")
DESCENT = ("inversion", "recipes", "sampling")

# Arrows that must not be drawn: what a folder must not import; "core" is the modules beside the folders.
FORBIDDEN = {
    "_util": ("core", *FOLDERS, "cli"),
    "core": (*ABOVE, "representations", "weights"),
    "weights": (*ABOVE, *DESCENT, "representations"),
    "networks": (*ABOVE, *DESCENT, "representations"),
    "representations": (*ABOVE, *DESCENT, "networks", "weights"),
    "analysis": ("baselines", "cli", "representations", "sweeps", "viz"),
    "viz": (*DESCENT, "baselines", "cli"),  # the report shows a sweep
    "sweeps": ("analysis", "baselines", "cli", "representations", "viz"),
    "baselines": ("analysis", "cli", "sweeps", "viz", *DESCENT),
}
OPTIONAL = {"matplotlib", "jinja2", "skimage", "sklearn", "scipy", "torch", "torchvision", "onnx", "equinox", "keras"}
TERMINAL = ("invert_jax.cli", "invert_jax._util.command", "invert_jax._util.progress_bar")
BANNED = (
    "eq3|lanes?|spell(s|ed|ing)?|stand(s|ing)? still|g(o|oes|oing|one) on with|taken up|felt|told|kept|lost|"
    "arrived?|rooms?|hidden|theirs|set aside|seats?"
)


def _module(path):
    """`invert_jax.weights.npz` for its file; a package's `__init__.py` is the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def _folder(module):
    """Where in the package a module is: one of FOLDERS, "_util", "cli", "core"; "" for the package itself."""
    part = module.split(".")[1] if "." in module else ""
    return part if part in (*FOLDERS, "_util", "cli", "") else "core"


def _imports(source):
    """`(module, line, at the top level)` of every import; `from package import module` is that module."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in whole]
        else:
            continue
        yield from ((name, node.lineno, id(node) not in inside) for name in names)


def test_no_import_against_the_layers():
    offenders = []
    for module, path in MODULES.items():
        folder = _folder(module)
        for name, line, at_top in _imports(path.read_text()):
            package, where = name.split(".")[0], f"{module}, line {line}, imports {name}"
            targets = {_folder(name), name.split(".")[1]} if "." in name and package == "invert_jax" else set()
            if targets & set(FORBIDDEN.get(folder, ())) and _folder(name) != folder:
                offenders.append(where)
            if package in ("experiments", "benchmarks", "tests") or (name == "invert_jax" and folder != "cli"):
                offenders.append(where)
            if package in OPTIONAL and at_top:
                offenders.append(f"{where} at the top level")
            if package in ("absl", "rich") and module not in TERMINAL:
                offenders.append(where)
    assert not offenders, "\n".join(offenders)


def test_no_cycles():
    graph = {
        module: {name for name, _, at_top in _imports(path.read_text()) if at_top and name in MODULES}
        for module, path in MODULES.items()
    }
    while ready := {module for module, needs in graph.items() if not needs & set(graph)}:
        graph = {module: needs for module, needs in graph.items() if module not in ready}
    assert not graph, f"a cycle among {sorted(graph)}"


def test_restarts_are_batched_in_one_place():
    mapped = re.compile(r"\.(vmap|pmap|shard_map)\(")
    users = {m for m, path in MODULES.items() if _folder(m) == "core" and mapped.search(path.read_text())}
    assert users == {"invert_jax.sampling"}


def test_runners_reach_for_nothing_private():
    """Runners use public names, and the modules of `_util`."""
    offenders = []
    for path in RUNNERS:
        source = path.read_text()
        private = re.compile(r"\b(?:ij|invert_jax)\.(?:\w+\.)*(_[a-z]\w*)")
        offenders += [f"{path.name}: {m.group()}" for m in private.finditer(source) if m.group(1) != "_util"]
        for name, line, at_top in _imports(source):
            if name.split(".")[0] in OPTIONAL and at_top and path.parent.name != "benchmarks":
                offenders.append(f"{path.name}, line {line}, imports {name} at the top level")
    assert RUNNERS and not offenders, "\n".join(offenders)


def test_plain_words():
    """Names, docstrings, messages, flags and documents use the field's words (DESIGN.md, "Words")."""
    banned = re.compile(rf"(?<![A-Za-z])({BANNED})(?![A-Za-z])", re.IGNORECASE)
    assert [bool(banned.search(text)) for text in ("its eq3_terms", "planes told", "explanes, seating")] == [1, 1, 0]
    texts = [*MODULES.values(), *RUNNERS, *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("e*/**/*.md")]
    texts = [path for path in texts if path.name != "CHANGELOG.md"]  # which lists old names
    offenders = []
    for path in [*texts, *PACKAGE.rglob("*.jinja"), *PACKAGE.rglob("*.md")]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            offenders += [f"{path.relative_to(ROOT)}:{number}: {found.group()}" for found in banned.finditer(line)]
    assert not offenders, f"{len(offenders)} places:\n" + "\n".join(offenders)


# jax_num_cpu_devices can be set only while no backend is up, and a computation brings one up.
_IMPORT = """
import sys
import invert_jax, jax
if len(sys.argv) > 1: jax.numpy.zeros(())
jax.config.update("jax_num_cpu_devices", 3)
assert len(jax.devices()) == 3
heavy = {"matplotlib", "sklearn", "skimage", "torch", "onnx", "jinja2", "absl.app", "scipy.io"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.slow
@pytest.mark.parametrize("compute", [False, True])
def test_importing_computes_nothing(compute):
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", _IMPORT, *["compute"] * compute]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == compute, done.stderr
    assert ("jax_num_cpu_devices" in done.stderr) == compute, done.stderr
