"""What every refusal of a user's mistake is held to."""

import contextlib

import pytest


@contextlib.contextmanager
def refused(noun="", error=ValueError):
    """The block must raise exactly `error`, with one short sentence that contains `noun`."""
    with pytest.raises(error) as caught:
        yield caught
    message = str(caught.value)
    assert type(caught.value) is error and noun in message, message
    assert "\n" not in message and 20 < len(message) < 700 and message.endswith("."), message
