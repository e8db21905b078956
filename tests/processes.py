"""Commands as a user runs them, in processes of their own that share what they compile."""

import os
import pathlib
import tempfile

ROOT = pathlib.Path(__file__).parents[1]
_COMPILED = tempfile.TemporaryDirectory(prefix="invert_jax_compiled_")  # removed when the tests end


def environment(devices: int = 1) -> dict[str, str]:
    """The environment of a process with this many CPU devices."""
    return {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}" if devices > 1 else "",
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": _COMPILED.name,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
