"""Plots by their pixels: what color they are, what is marked, and that nothing is cut off."""

import matplotlib
import numpy as np
import pytest

from invert_jax import viz


def _count(picture, color):
    return int(np.sum(np.all(picture == np.array(color, np.uint8), axis=-1)))


def _has_white_border(picture, pixels=5):
    return all(np.all(edge == 255) for edge in (picture[:pixels], picture[-pixels:], picture[:, :pixels],
                                                picture[:, -pixels:]))  # fmt: skip


def _viridis(value):
    return matplotlib.colormaps["viridis"](value, bytes=True)[:3]


def test_heatmap_extremes_have_the_colors_at_the_ends():
    array = np.zeros((10, 10))
    array[:5] = -7.0
    array[5:] = 3.0
    figure = viz.heatmap(array, title="Map", label="value")
    assert figure.dtype == np.uint8 and figure.shape[2] == 3
    low, high = (np.argwhere(np.all(figure == _viridis(v), axis=-1)) for v in (0.0, 1.0))
    assert len(low) > 50_000 and abs(len(low) - len(high)) < 0.02 * len(low)
    assert np.median(low[:, 0]) < np.median(high[:, 0])  # row 0 is at the top


def test_heatmap_has_room_for_names():
    plain = viz.heatmap(np.eye(3))
    named = viz.heatmap(np.eye(3), rows=["a layer", "b", "c"], columns=["d", "e", "f"])
    assert named.shape[1] > plain.shape[1] + 20 and _has_white_border(named)
    with pytest.raises(ValueError, match="2 names for 3 places"):
        viz.heatmap(np.eye(3), columns=["d", "e"])


def test_heatmap_counts_what_is_not_finite():
    array = np.ones((4, 4))
    array[0, 0] = 2.0
    clean = viz.heatmap(array)
    array[1:3, 1:3] = np.nan
    gray = viz.heatmap(array)
    assert _count(gray, (191, 191, 191)) > 20_000 > 100 > _count(clean, (191, 191, 191))
    assert len(gray) > len(clean)  # the note below


@pytest.mark.parametrize("shape", [(1, 1), (13, 13), (160, 100), (3, 60), (60, 3)])
def test_heatmap_cuts_nothing_off(rng, shape):
    figure = viz.heatmap(1e4 * rng.random(shape), title="A title far wider than the map it stands over", label="x")
    assert _has_white_border(figure)
    assert min(figure.shape[:2]) > 60 and max(figure.shape[:2]) < 2000


@pytest.mark.parametrize("value", [0.0, np.nan, -np.inf])
def test_heatmap_of_one_value(value):
    assert _has_white_border(viz.heatmap(np.full((5, 5), value), title="costs $5"))


@pytest.mark.parametrize("shape", [(3,), (2, 2, 1), (0, 3)])
def test_heatmap_errors(shape):
    with pytest.raises(ValueError, match="heat map"):
        viz.heatmap(np.zeros(shape))


def _descent(restarts=3, steps=40):
    t = np.arange(steps)
    terms = np.stack([np.exp(-t / 9) + 0.3, np.exp(-t / 9), 0.1 + t / 400, 0.2 - t / 400], axis=-1)
    return terms[None] * (1 + 0.2 * np.arange(restarts))[:, None, None]


def _colors(figure):
    wanted = {"total": (0, 0, 0), "loss": (0, 114, 178), "alpha": (230, 159, 0), "tv": (0, 158, 115)}
    return {name: _count(figure, color) for name, color in wanted.items()}


def test_convergence_draws_every_term():
    assert all(count > 1000 for count in _colors(viz.convergence(_descent())).values())
    assert _has_white_border(viz.convergence(_descent(), title="A long title, " * 12))


def test_convergence_of_one_restart_with_or_without_its_axis():
    energy = _descent(1)
    np.testing.assert_array_equal(viz.convergence(energy), viz.convergence(energy[0]))


def test_a_term_that_is_zero_has_no_curve():
    energy = _descent()
    whole = _colors(viz.convergence(energy))
    energy[..., 3] = 0
    without = _colors(viz.convergence(energy))
    assert without["tv"] < whole["tv"] / 3  # only the line in the legend
    assert without["loss"] > 0.7 * whole["loss"]


def test_a_restart_that_is_not_finite_is_left_out_and_told():
    energy = _descent(3)
    broken = np.concatenate([energy, energy[:1] * 100])
    broken[3, 20:, 0] = np.nan
    clean, noted = viz.convergence(energy), viz.convergence(broken)
    red = (noted[..., 0].astype(int) - noted[..., 1] > 120) & (noted[..., 2] < 80) & (noted[..., 1] < 40)
    assert red.sum() > 100  # the note
    height = int(0.8 * len(clean))
    np.testing.assert_array_equal(clean[:height], noted[:height])  # the curves are as without it


@pytest.mark.parametrize("energy", [np.zeros((2, 5, 4)), np.full((2, 5, 4), np.nan), np.ones((1, 1, 4))])
def test_convergence_of_nothing_to_draw(energy):
    assert _has_white_border(viz.convergence(energy))


@pytest.mark.parametrize("shape", [(3, 5, 3), (4,), (0, 5, 4), (2, 0, 4)])
def test_convergence_errors(shape):
    with pytest.raises(ValueError, match=r"\[R, T, 4\]"):
        viz.convergence(np.zeros(shape))


def test_plots_leave_no_global_state():
    before = dict(matplotlib.rcParams), matplotlib.get_backend()
    viz.heatmap(np.eye(2))
    viz.convergence(_descent())
    assert (dict(matplotlib.rcParams), matplotlib.get_backend()) == before


@pytest.mark.parametrize("x", [["conv1", "conv2", "fc8"], [1, 8, 64]])
def test_curves_show_each_series_and_its_interval(x):
    rising, falling = np.array([1.0, 2.0, 3.0]), np.array([3.0, np.nan, 1.0])
    intervals = {"rising": np.stack([rising - 0.5, rising + 0.5], axis=1)}
    bare = viz.curves(x, {"rising": rising, "falling": falling}, title="costs $5", x_label="x", y_label="y")
    banded = viz.curves(x, {"rising": rising, "falling": falling}, intervals=intervals)
    assert _has_white_border(bare) and _has_white_border(banded)
    assert _count(bare, (0, 0, 0)) > 500 and _count(bare, (0, 114, 178)) > 100
    band = 255 - round(255 * 0.18)  # black at 0.18 on white
    assert _count(banded, (band,) * 3) > 10_000 > _count(bare, (band,) * 3)
    black = np.argwhere(np.all(bare == 0, axis=-1))
    left, right = (black[np.abs(black[:, 1] - at) < 5][:, 0] for at in np.quantile(black[:, 1], [0.3, 0.7]))
    assert np.median(left) > np.median(right)  # up is up


def test_curves_errors():
    with pytest.raises(ValueError, match="one curve to 7; got 0"):
        viz.curves(["a"], {})
    with pytest.raises(ValueError, match=r"The curve wrong has shape \(3,\), for 2 places"):
        viz.curves([1, 2], {"wrong": [1.0, 2.0, 3.0]})
