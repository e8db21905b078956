"""What every refusal of a mistake is held to: one sentence, and nothing left behind."""

import contextlib
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import invert_jax as ij

KEY = jax.random.key(0)
SHAPE = (4, 4, 1)
TARGET = np.array([100.0, 200.0, 300.0], np.float32)
RECIPE = ij.recipes.mahendran_vedaldi(stages=((1e-3, 2),))


def three_sums(weights, image):
    return weights @ image.ravel()


SUMS = ij.from_function(three_sums, jnp.ones((3, 16)) / 16, center=128.0)


def _contents():
    return {path: path.read_bytes() for path in pathlib.Path().rglob("*") if path.is_file()}


@contextlib.contextmanager
def refused(*words, error=ValueError):
    """The block must raise `error` with one sentence that holds all the `words`, and touch no file."""
    before = _contents()
    with pytest.raises(error) as caught:
        yield
    message = str(caught.value)
    assert type(caught.value) is error
    assert "\n" not in message and 20 < len(message) < 400 and message.endswith("."), message
    assert len(re.findall(r"[a-z)]\. [A-Z]", message)) == 0, f"more than one sentence: {message}"
    for word in words:
        assert word in message, f"{word!r} is not in: {message}"
    assert _contents() == before


def both_refuse(*words, representation=SUMS, target=TARGET, recipe=RECIPE, image_shape=SHAPE, **kwargs):
    """Both ways in refuse it, and sample before anything has run."""
    with refused(*words):
        ij.invert(KEY, representation, target, recipe, image_shape=image_shape, **kwargs)
    seen = []
    with refused(*words):
        ij.sample(
            KEY,
            representation,
            target,
            recipe,
            image_shape=image_shape,
            num_restarts=2,
            callback=seen.append,
            **kwargs,
        )
    assert seen == []


def call_refused(match, function, *args, **kwargs):
    """The call must raise a ValueError of one line in which `match` is found."""
    with pytest.raises(ValueError, match=match) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
