"""Runs the fast tests on several versions of Python with the oldest and the newest packages, each in an environment.

    python -m tests.version_matrix --pythons=3.11,3.12,3.13
    python -m tests.version_matrix --packages=oldest tests/test_api.py

The oldest are the least versions of pyproject.toml. What follows the options goes to pytest. Versions of Python that
are not found are skipped, with a line. The environments stay in --folder, and are made by uv where that is installed.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import tomllib

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ("jax", "flax", "optax", "numpy")  # whose versions the table has


def oldest() -> list[str]:
    """The least version of every dependency, as lines of a constraints file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = [re.fullmatch(r"([\w.-]+)>=([\w.]+)", dependency) for dependency in project["dependencies"]]
    return [f"{bound[1]}=={bound[2]}" for bound in bounds if bound]


def find_python(version: str) -> str | None:
    """The interpreter of a version such as "3.12": on the path, or of pyenv."""
    root = pathlib.Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    pyenv = [str(path) for path in sorted(root.glob(f"versions/{version}.*/bin/python"))]
    for candidate in (*pyenv, shutil.which(f"python{version}")):
        if candidate and _run([candidate, "-c", ""]).returncode == 0:
            return candidate
    return None


def _run(command, **options):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **options)


def make(python: str, packages: str, folder: pathlib.Path) -> pathlib.Path:
    """The interpreter of an environment with the project in it; CalledProcessError if something cannot be installed."""
    uv, constraints = shutil.which("uv"), folder / "constraints.txt"
    folder.mkdir(parents=True, exist_ok=True)
    constraints.write_text("\n".join(oldest() if packages == "oldest" else []) + "\n")
    inside = folder / "environment" / "bin" / "python"
    _run(
        [uv, "venv", "--python", python, str(inside.parents[1])]
        if uv
        else [python, "-m", "venv", str(inside.parents[1])]
    )
    install = [uv, "pip", "install", "--python", str(inside)] if uv else [str(inside), "-m", "pip", "install"]
    _run([*install, "-q", "--upgrade", "--constraint", str(constraints), "--editable", ".[test]"], check=True)
    return inside


def main() -> int:
    """Runs the tests in every environment; the exit status is 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pythons", default="3.11,3.12,3.13,3.14")
    parser.add_argument("--packages", default="oldest,newest")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / ".venvs")
    parser.add_argument("--constraints", action="store_true", help="print the least versions, and do nothing else")
    arguments, pytest_arguments = parser.parse_known_args()
    if arguments.constraints:
        print("\n".join(oldest()))
        return 0
    rows = []
    for version in arguments.pythons.split(","):
        python = find_python(version)
        if python is None:
            print(f"Python {version} is not found, and is skipped.")
            continue
        for packages in arguments.packages.split(","):
            start = time.monotonic()
            try:
                inside = make(python, packages, arguments.folder / f"{version}-{packages}")
            except subprocess.CalledProcessError as error:
                end, versions = f"not installed: {error.stderr.strip().splitlines()[-1]}", ["-"] * len(PACKAGES)
            else:
                names = "; ".join(f"print(m.version({name!r}))" for name in PACKAGES)
                versions = _run([str(inside), "-c", f"import importlib.metadata as m; {names}"]).stdout.split()
                tests = subprocess.run([str(inside), "-m", "pytest", *pytest_arguments], cwd=ROOT)
                end = "passed" if tests.returncode == 0 else f"failed ({tests.returncode})"
            rows.append([version, packages, *versions, end, f"{time.monotonic() - start:.0f}"])
    header = ["Python", "packages", *PACKAGES, "tests", "seconds"]
    for line in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(line)} |")
    return int(any(not row[-2].startswith("passed") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
