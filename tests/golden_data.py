"""Reads the recorded reference data of tests/golden (see the README there)."""

import pathlib

import numpy as np

_FOLDER = pathlib.Path(__file__).resolve().parent / "golden"


def load(name: str) -> dict[str, np.ndarray]:
    """The arrays of `tests/golden/<name>.npz`, by their names."""
    with np.load(_FOLDER / f"{name}.npz", allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}
