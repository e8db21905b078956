"""A few hundred damaged files of every kind that is read; `python -m tests.fuzz` has thousands, in processes."""

import signal

import fuzz
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def alarm():
    def stop(*_):
        raise fuzz.TooLongError

    before = signal.signal(signal.SIGALRM, stop)
    yield
    signal.signal(signal.SIGALRM, before)


@pytest.mark.slow
@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_damaged_files_are_read_or_refused_or_made_again(kind):
    ends = [fuzz.try_case(kind, number, seed=0) for number in range(20)]
    bugs = {number: end for number, end in enumerate(ends) if end[0] not in fuzz.GOOD}
    assert not bugs
    assert kind == "results" or {end for end, _ in ends} & {"refused", "healed"}


def test_damage_is_repeatable_and_does_damage():

    good = fuzz.good_file("png")
    first, second = ([fuzz.damage(good, np.random.default_rng((i, n))) for n in range(50)] for i in (0, 0))
    assert first == second and sum(data != good for data in first) > 40
