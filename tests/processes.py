"""Commands as a user runs them, in processes of their own."""

import os
import pathlib

ROOT = pathlib.Path(__file__).parents[1]


def environment(devices: int = 1) -> dict[str, str]:
    """The environment of a process with this many CPU devices."""
    return {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}" if devices > 1 else "",
        "JAX_PLATFORMS": "cpu",
    }
