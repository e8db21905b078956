"""The site: `python -m sphinx -W --keep-going -b html docs docs/_build` (Sphinx, MyST, the theme furo)."""

import importlib.metadata
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

project, author = "invert_jax", "The invert_jax developers"
release = importlib.metadata.version("invert_jax")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme, html_title = "furo", "invert_jax"
exclude_patterns = ["_build"]

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3

default_role = "code"  # docstrings set code in single backquotes
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_rtype, napoleon_use_ivar, napoleon_attr_annotations = False, True, False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the text of an argument says what it is, with its shape
autodoc_default_options = {"members": True, "undoc-members": False}
nitpicky = True
# Types of other libraries, whose documentation is not read, so that the build needs no network.
nitpick_ignore_regex = [("py:class", r"(jax|jaxlib|numpy|np|optax|flax|PIL|collections|typing|os|pathlib|types)\..*")]


def setup(app):
    """Shows comments of fields and constants as they are; napoleon takes what precedes a colon for a type."""
    texts = {}

    def keep(app, what, name, value, options, lines):
        if what in ("attribute", "data"):
            # What Python says of a named tuple's fields is nothing. Bars are those of norms.
            texts[name] = [line.replace("|", r"\|") for line in lines if not line.startswith("Alias for field")]

    def restore(app, what, name, value, options, lines):
        if what in ("attribute", "data"):
            lines[:] = texts[name]

    app.connect("autodoc-process-docstring", keep, priority=400)  # before napoleon, whose priority is 500
    app.connect("autodoc-process-docstring", restore, priority=600)
