"""Every Python example of the documentation runs, and shows what its comments say."""

import ast
import importlib.util
import os
import pathlib
import re
import types

import jax
import numpy as np
import pytest

import invert_jax as ij

os.environ["KERAS_BACKEND"] = "jax"
DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs"
BLOCK = re.compile(r"(?:<!-- needs: (\w+) -->\n)?^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "least"), [("your_own_network.md", 8), ("recipes.md", 3), ("invariance.md", 8), ("index.md", 1)]
)
def test_examples_run_and_show_what_they_say(page, least):
    namespace, num_compared = {}, 0
    with jax.numpy_rank_promotion("allow"):  # on which other people's models rely
        for needed, source in BLOCK.findall((DOCS / page).read_text()):
            if needed and importlib.util.find_spec(needed) is None:
                print(f"{needed} is not installed: one example of {page} is left out")
                continue
            lines = source.splitlines()
            for statement in ast.parse(source).body:
                shown = re.search(r"  # (.*)$", lines[statement.end_lineno - 1])
                code = compile(ast.Module([statement], []), page, "exec")
                if not isinstance(statement, ast.Expr):
                    exec(code, namespace)
                    continue
                value = eval(compile(ast.Expression(statement.value), page, "eval"), namespace)
                if shown and shown.group(1)[0] in "({":
                    text = shown.group(1).partition(": top")[0]
                    assert value == ast.literal_eval(text), (page, statement.lineno, value)
                    num_compared += 1
    assert num_compared >= least
    assert np.all(namespace["found"].finite) and np.all(namespace["found"].error < 0.5)


def test_every_public_name_has_its_place_in_the_reference():
    """A page for each namespace, whose members autodoc finds, and a line for each name of the package itself."""
    index = (DOCS / "reference" / "index.md").read_text()
    pages = {path.stem for path in (DOCS / "reference").glob("*.md")} - {"index"}
    names = set(ij.__all__) - {"__version__"}
    namespaces = {name for name in names if isinstance(getattr(ij, name), types.ModuleType)}
    assert pages == namespaces
    assert all(
        f".. automodule:: invert_jax.{name}\n" in (DOCS / "reference" / f"{name}.md").read_text() for name in pages
    )
    assert set(re.findall(r":: invert_jax\.(\w+)", index)) == names - namespaces
    assert set(re.findall(r"^\w+$", index, re.MULTILINE)) == namespaces
