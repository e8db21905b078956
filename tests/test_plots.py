"""Plots draw anything without an error, within a size, and names as they are."""

import sys

import matplotlib
import numpy as np
import pytest

from invert_jax import viz
from invert_jax.types import Energy

ODD_NAME = r"a $\frac$ name_of $5"


def check(figure):
    assert figure.dtype == np.uint8 and figure.shape[2] == 3 and figure.std() > 1
    assert min(figure.shape[:2]) > 60 and max(figure.shape[:2]) < 2500
    border = [figure[:5], figure[-5:], figure[:, :5], figure[:, -5:]]
    assert all(np.all(edge == 255) for edge in border)  # nothing is cut off


@pytest.mark.parametrize("shape", [(1, 1), (3, 60)])
def test_heatmap(rng, shape):
    array = 1e4 * rng.random(shape)
    check(viz.heatmap(array, title="A title far wider than the map below it, " + ODD_NAME, label=ODD_NAME))
    array[0, 0] = np.nan
    check(viz.heatmap(array, rows=[ODD_NAME] * shape[0]))


def _energy(shape, **parts):
    steps = np.broadcast_to(np.exp(-np.arange(shape[-1]) / 9.0), shape)
    return Energy(**{"total": 2 * steps, "loss": steps, **dict.fromkeys(Energy._fields[2:], 0 * steps), **parts})


@pytest.mark.parametrize(("shape", "value"), [((1, 1), 0.0), ((3, 40), -1.0), ((40,), np.nan)])
def test_convergence(shape, value):
    check(viz.convergence(_energy(shape, other=np.full(shape, value)), title=ODD_NAME))


def test_convergence_marks_diverged_restarts():
    energy = _energy((4, 40))
    diverged = energy._replace(total=np.where(np.arange(4)[:, None] == 3, np.nan, energy.total))
    assert not np.array_equal(viz.convergence(Energy(*(part[:3] for part in energy))), viz.convergence(diverged))


@pytest.mark.parametrize(
    "name", ["$", "\\frac{$1$}", "new\nline", "\x07b\x00", "y" * 3000, "名前 🐶", "<b>&[final]% {}"]
)
def test_any_name_can_be_drawn(name):
    steps = np.arange(3)
    for figure in (
        viz.heatmap(np.eye(2), title=name, label=name),
        viz.bars({name: 2.0}, title=name, label=name, reference=1.0),
        viz.curves(steps, {name: steps + 1.0}, title=name, x_label=name, y_label=name),
        viz.montage([np.zeros((40, 40, 3))], labels=[name], title=name),
    ):
        assert figure.dtype == np.uint8 and max(figure.shape) < 6000


@pytest.mark.parametrize("x", [["conv1", ODD_NAME, "fc8"], [1, 8, 64]])
def test_curves_and_bars(x):
    series = {"rising": np.array([1.0, 2.0, 3.0]), ODD_NAME: np.array([3.0, np.nan, 1.0])}
    check(viz.curves(x, series, title=ODD_NAME, x_label="x", y_label="y"))
    check(viz.curves(x, series, intervals={"rising": [(0.5, 1.5), (1.5, 2.5), (2.5, 3.5)]}))
    check(viz.bars({"fast": 2.0, ODD_NAME: 0.5}, title=ODD_NAME, label="speed", reference=1.0))


INVALID = {
    "map": (viz.heatmap, [np.zeros(3)], {}),
    "names": (viz.heatmap, [np.eye(3)], {"columns": ["d", "e"]}),
    "energy": (viz.convergence, [_energy((0, 5))], {}),
    "parts": (viz.convergence, [_energy((2, 5), tv=np.zeros(5))], {}),
    "curves": (viz.curves, [["a"], {}], {}),
    "shape": (viz.curves, [[1, 2], {"wrong": [1.0, 2.0, 3.0]}], {}),
    "value": (viz.bars, [{}], {"title": "", "label": "", "reference": 1.0}),
}


@pytest.mark.parametrize("word", INVALID)
def test_invalid_arguments_are_refused(word):
    function, arguments, options = INVALID[word]
    with pytest.raises(ValueError, match=word):
        function(*arguments, **options)


def test_plots_leave_no_global_state_and_name_the_missing_package(monkeypatch):
    before = dict(matplotlib.rcParams), matplotlib.get_backend()
    viz.heatmap(np.eye(2))
    assert (dict(matplotlib.rcParams), matplotlib.get_backend()) == before
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="matplotlib"):
        viz.heatmap(np.eye(2))
