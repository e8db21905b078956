"""What the tests of sweeps share."""

import pytest


@pytest.fixture(scope="session")
def three(tmp_path_factory):
    """What the small sweep finds, three restarts of every photograph, undisturbed."""
    import small_sweeps  # here, since it computes when imported

    return small_sweeps.run(tmp_path_factory.mktemp("three"))
