"""What every command line program shares: mistakes as sentences, signals, the work folder, results.json."""

import functools
import json
import math
import os
import pathlib
import signal
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import rich.console
from absl import app, flags, logging

from invert_jax._util import atomic_io, hashing, paths

FLAGS = flags.FLAGS
console = rich.console.Console()
_EXTRAS = {"matplotlib": "experiments", "jinja2": "experiments", "sklearn": "hoggle"}  # of packages that runners import


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a program as Ctrl-C does."""


def say(text: Any, style: str | None = None) -> None:
    """Prints a sentence. Names of files are data: brackets in them are not markup."""
    console.print(str(text), style=style, markup=False, highlight=False, soft_wrap=True)


def run(
    main: Callable[..., int | None],
    define_flags: Callable[[], None],
    *,
    usage: str | None = None,
    max_arguments: int = 0,
) -> None:
    """Runs `main(*arguments that are not flags)` under absl and exits with what it returns, 0 for None.

    A mistake ends in its sentence (--verbosity=1 shows the traceback). --help prints `usage`, by default the docstring
    of the module that runs, above all flags.
    """
    define_flags()
    if usage is not None:
        sys.modules["__main__"].__doc__ = usage
    for flag in defined_flags():  # --help lists the key flags of the main module only
        FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    app.run(functools.partial(_exit_status, main, max_arguments))


def defined_flags() -> list[flags.Flag]:
    """The program's own flags, without absl's."""
    modules = FLAGS.flags_by_module_dict().items()
    return [flag for module, defined in modules if not module.startswith("absl") for flag in defined]


def _exit_status(main, max_arguments, argv):
    if not FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # JAX reports absent accelerators as INFO
    if len(argv) > 1 + max_arguments:
        say(f"Unknown argument {argv[1 + max_arguments]!r}; see --help.", style="red")
        return 2
    use_compilation_cache()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return main(*argv[1:])
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        if logging.get_verbosity() >= logging.DEBUG:
            raise
        say(sentence(error), style="red")
        return 1
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        say("The device is out of memory; take smaller photographs or fewer restarts at a time.", style="red")
        return 1
    except (RuntimeError, AssertionError):
        if (reason := _no_device()) is None or logging.get_verbosity() >= logging.DEBUG:
            raise
        say(reason, style="red")
        return 1
    except KeyboardInterrupt as stop:
        terminated = isinstance(stop, Terminated)
        say(f"{'Terminated' if terminated else 'Interrupted'}; every file that was written is complete.", style="red")
        return 143 if terminated else 130


def _no_device() -> str | None:
    """A sentence if JAX has no device to compute on, which it says in many ways, some of them empty."""
    try:
        jax.devices()
    except Exception:
        platforms = jax.config.values["jax_platforms"]
        return (
            f"JAX cannot use the platform {platforms!r} on this machine; install what it needs, such as "
            f"'invert_jax[cuda]', or unset JAX_PLATFORMS."
        )
    return None


def _terminate(*_):
    raise Terminated


def use_compilation_cache() -> None:
    """Saves compiled programs where `--compilation_cache` says, if a program has that flag."""
    if "compilation_cache" in FLAGS and FLAGS.compilation_cache:
        jax.config.update("jax_compilation_cache_dir", str(paths.expand(FLAGS.compilation_cache)))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def sentence(error: BaseException) -> str:
    """An error as one sentence; a missing optional package with the command that installs it."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        extra = _EXTRAS.get(error.name.partition(".")[0])
        name = error.name if extra is None else f"'invert_jax[{extra}]'"
        return f"The package {error.name} is not installed; pip install {name} installs it."
    if isinstance(error, OSError) and error.filename is None and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def attempt(what: str, action: Callable[[], Any]) -> None:
    """Runs `action()`, which draws a picture; a failure is reported, since the numbers are already saved."""
    try:
        action()
    except Exception as error:
        say(f"{what} was not drawn: {sentence(error)}", style="yellow")


def make_workdir(path: str | os.PathLike) -> pathlib.Path:
    """Creates the work folder; one sentence if that fails."""
    workdir = paths.expand(path)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"The work folder {workdir} cannot be made ({error.strerror}); give another --workdir.") from None
    if not os.access(workdir, os.W_OK):
        raise OSError(f"The work folder {workdir} cannot be written to; give another --workdir.")
    return workdir


def write_results(workdir: pathlib.Path, numbers: dict[str, Any]) -> None:
    """Writes results.json: the numbers with the settings, versions and device that they came from.

    Arrays become lists, and numbers that are not finite null.
    """
    device = jax.devices()[0]
    results = {
        **numbers,
        "command": [os.path.basename(sys.argv[0]), *sys.argv[1:]],
        "settings": {flag.name: flag.value for flag in defined_flags()},
        "versions": {**hashing.versions(), "numpy": np.__version__},
        "device": {"platform": jax.default_backend(), "kind": device.device_kind, "count": jax.device_count()},
    }
    write_text(workdir / "results.json", json.dumps(_plain(results), indent=2, allow_nan=False) + "\n")


def _plain(value):
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | jax.Array | np.generic):
        return _plain(np.asarray(value).tolist())
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    atomic_io.write_bytes(path, text.encode())
