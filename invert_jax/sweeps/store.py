"""The folder of a sweep: finished restarts, what they were made with, and which processes are at work.

    manifest.json                settings, versions and code, chunk sizes, number of restarts
    restarts/CASE/IMAGE.npz      all restarts of a photograph, once they are finished
    restarts/CASE/IMAGE+R.npz    some of them, from R on, until then
    quarantine/                  files that were damaged, or of another sweep
    .lock-P                      locked by process P while it runs

A restart is finished when a file, which is there whole or not at all, holds it: a run may be killed at any moment.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from invert_jax._util import arrays, atomic_io, hashing, locks, paths
from invert_jax._util.reprs import short_repr
from invert_jax.sweeps import spec
from invert_jax.types import Energy

_MANIFEST, _RESTARTS, _QUARANTINE, _LOCK = "manifest.json", "restarts", "quarantine", ".lock-"
_Pair = tuple[str, str]  # the names of a case and a photograph


class Restarts(NamedTuple):
    """Restarts of one photograph in one case."""

    restart: np.ndarray  #: [R], which ones, ascending
    image: np.ndarray  #: [R, H, W, C], 0..255, not clipped
    error: np.ndarray  #: [R], relative; NaN for a loss that measures no distance, and for a target of zero
    energy: Energy  #: of [R, T], each before the step of that column
    finite: np.ndarray  #: [R]; leave out the others
    evaluations: np.ndarray  #: [R], of the energy
    failed_at: np.ndarray  #: [R], step of the first energy not finite; all, if only the result is not; -1 for none
    chunk_size: np.ndarray  #: [R], restarts at a time on a device, on which the rounding depends
    seconds: np.ndarray  #: [R], of the batch, over the restarts in it; the first batch of a program compiles

    __repr__ = short_repr


class Folder(NamedTuple):
    """A sweep's folder, opened by a run."""

    path: pathlib.Path
    stamp: str  #: that every file in it carries
    chunk_sizes: list[int]
    changes: list[str]  #: sentences about other code and versions than those that it was made with
    scanned: dict  #: what `scan` has read
    on_message: Callable[[str], None]


@contextlib.contextmanager
def open_folder(path, sweep: spec.Sweep, chunk_size: int, extend, allow_changed_code, on_message) -> Iterator[Folder]:
    """Holds this process's place in the folder, whose manifest and files are then those of the sweep."""
    process = jax.process_index()
    with contextlib.ExitStack() as stack:
        with opening(path):
            others = at_work(path)
            if process in others or max(others, default=0) >= jax.process_count():
                raise BlockingIOError(f"Another run is at work in {path}; wait for it, or give another work folder.")
            stack.enter_context(locks.locked(path / f"{_LOCK}{process}"))
            folder = Folder(path, *_agree(path, sweep, chunk_size, extend, allow_changed_code), {}, on_message)
            if not others:  # the first to come tidies up for all
                for file in (*path.glob(".*.tmp"), *path.glob(f"{_RESTARTS}/*/.*.tmp")):
                    if re.fullmatch(r"\.[0-9a-f]{32}\.tmp", file.name):  # of a killed `atomic_io.write_bytes`
                        file.unlink(missing_ok=True)
                scan(folder, sweep, quarantine=True)
        yield folder


def opening(path: pathlib.Path):
    """Held by the one process that opens the folder, changes the manifest, or looks at who is at work."""
    return locks.locked(path / f"{_LOCK}folder", wait=True)


def at_work(path: pathlib.Path) -> set[int]:
    """The processes that hold their places in the folder; only while `opening`, since to look takes them."""
    names = (lock.name.removeprefix(_LOCK) for lock in path.glob(f"{_LOCK}*") if locks.is_locked(lock))
    return {int(name) for name in names if name.isdecimal()}


def _agree(path, sweep, chunk_size, extend, allow_changed_code) -> tuple[str, list[int], list[str]]:
    """Writes the manifest, or checks it and brings it up to date; returns what a `Folder` says of it."""
    settings, code = spec.describe(sweep)
    settings, now, wanted = settings | hashing.environment(), hashing.versions(code) | code, sweep.num_restarts
    stamp, changes = hashing.content_hash((settings, hashing.users_code(code))), []
    manifest = {"settings": settings, "versions": [now], "stamp": stamp, "chunk_sizes": [chunk_size]}
    if (path / _MANIFEST).exists():
        manifest = read_manifest(path)
        changes = _compare(path, manifest, settings, now, allow_changed_code)
        stamp, saved, versions = manifest["stamp"], manifest["num_restarts"], manifest["versions"]
        if wanted < saved or (wanted > saved and not extend):
            remedy = "give as many or more" if wanted < saved else "extend it with --extend"
            raise ValueError(f"{path} holds a sweep of {saved} restarts; {wanted} are asked for: {remedy}.")
        manifest["versions"] = [*versions, *([] if now in versions else [now])]
    _write_manifest(path, {**manifest, "num_restarts": wanted})
    return stamp, manifest["chunk_sizes"], changes


def _compare(path, manifest, settings, now, allow_changed_code) -> list[str]:
    """Sentences about other code and versions; raises ValueError, with all differences, if this is another sweep."""
    different = hashing.differences(manifest["settings"], settings)
    different[4:] = [f"{len(different) - 4} more settings differ"] if len(different) > 4 else []
    edited, renamed, upgraded = hashing.changes(manifest["versions"], now)
    if refused := edited + different + ([] if allow_changed_code else renamed):
        hint = "; allow_changed_code accepts other names in libraries, as after an upgrade" if renamed else ""
        remedy = f"undo that to resume it, or give another work folder{hint}"
        raise ValueError(f"{path} holds another sweep: {'; '.join(refused)}; {remedy}.")
    noted = "; ".join(renamed + ([] if allow_changed_code else upgraded))
    made = f"The restarts in {path} were made with other code: {noted}: numbers from now on may differ"
    return [f"{made} (allow_changed_code silences versions)."] if noted else []


def read_manifest(path: pathlib.Path) -> dict[str, Any]:
    """The manifest of a sweep's folder, checked."""
    file = path / _MANIFEST
    if not file.is_file():
        raise FileNotFoundError(f"{path} has no {_MANIFEST}: it is not the work folder of a sweep.")
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        manifest = json.loads(file.read_bytes())
        sizes, versions, num_restarts = manifest["chunk_sizes"], manifest["versions"], manifest["num_restarts"]
        is_valid = all(isinstance(text, str) for text in (manifest["stamp"], *dict.values(manifest["settings"])))
        is_valid &= bool(versions) and all(isinstance(version["python"], str) for version in versions)
        is_valid &= bool(sizes) and all(type(size) is int and size in spec.CHUNK_SIZES for size in sizes)
        if is_valid and type(num_restarts) is int and num_restarts > 0:
            return manifest
    remedy = "delete that file to resume with the restarts beside it, or give another work folder"
    raise ValueError(f"{file} is not the manifest of a sweep; {remedy}.")


def _write_manifest(path, manifest):
    atomic_io.write_bytes(path / _MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())


def note_chunk_size(path: pathlib.Path, chunk_size: int) -> None:
    """Adds a chunk size to the manifest, if it is smaller than those in it."""
    with opening(path):
        manifest = read_manifest(path)
        if chunk_size < min(manifest["chunk_sizes"]):
            _write_manifest(path, {**manifest, "chunk_sizes": [*manifest["chunk_sizes"], chunk_size]})


def scan(folder: Folder, sweep: spec.Sweep, *, quarantine: bool = False) -> dict[_Pair, set[int]]:
    """Which restarts of which photographs are finished, by reading every file that was not read before."""
    images = [(case, *image) for case in sweep.cases for image in case.images.items()]
    layouts = {(case.name, name): (np.shape(image), case.recipe.num_steps, sweep.dtype) for case, name, image in images}
    finished: dict[_Pair, set[int]] = {pair: set() for pair in layouts}
    for pair, path in ((pair, path) for pair, files in _index(folder.path).items() for path in files):
        try:
            key = path, path.lstat().st_mtime_ns
            if key not in folder.scanned:
                found = _read(folder.stamp, pair, path, sweep.num_restarts, layouts[pair]) if pair in layouts else None
                if found is None and quarantine:
                    _quarantine(folder, path)
                folder.scanned[key] = set() if found is None else set(found.restart.tolist())
        except FileNotFoundError:  # merged since it was listed: another file has its restarts, and is listed now
            time.sleep(0.1)
            return scan(folder, sweep, quarantine=quarantine)
        finished.get(pair, set()).update(folder.scanned[key])
    return finished


def _quarantine(folder, path):
    directory = folder.path / _QUARANTINE
    directory.mkdir(exist_ok=True)
    moved = path.rename(directory / f"{time.time_ns()}-{path.name}")
    folder.on_message(f"{path} is damaged or of another sweep; it is now {moved}, and its restarts are made again.")


def save(folder: Folder, pair: _Pair, restarts: Restarts, *, is_whole: bool = False) -> None:
    """Writes restarts of a photograph to a file: some of them, finished together, or the whole of them."""
    path = folder.path / _RESTARTS / f"{_name(pair)}{'' if is_whole else f'+{restarts.restart[0]}'}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    energy = {f"energy.{name}": term for name, term in restarts.energy._asdict().items()}
    plain = {name: array for name, array in restarts._asdict().items() if name != "energy"}
    stamped = {**plain, **energy, "stamp": np.array(f"{folder.stamp}/{_name(pair)}")}
    arrays.write_arrays(path, {**stamped, "digest": np.array(hashing.content_hash(stamped))})


def merge(folder: Folder) -> None:
    """Puts all restarts of each photograph into one file; no other process may write any."""
    num_restarts = read_manifest(folder.path)["num_restarts"]
    for pair, files in _index(folder.path).items():
        whole = folder.path / _RESTARTS / f"{_name(pair)}.npz"
        parts = [_read(folder.stamp, pair, path, num_restarts) for path in files if files != (whole,)]
        if parts and all(parts):  # one damaged just now is for the next run
            save(folder, pair, _together(parts), is_whole=True)
            for path in set(files) - {whole}:  # only now: a kill in between leaves every restart in some file
                path.unlink(missing_ok=True)


def _index(path) -> dict[_Pair, tuple[pathlib.Path, ...]]:
    """The files with restarts of each photograph."""
    index: dict[_Pair, tuple[pathlib.Path, ...]] = {}
    for file in sorted((path / _RESTARTS).glob("*/*.npz")):
        pair = urllib.parse.unquote(file.parent.name), urllib.parse.unquote(file.stem.partition("+")[0])
        index[pair] = (*index.get(pair, ()), file)
    return index


def _name(pair):
    """The name of a file of restarts, which is also a part of the stamp in it: of which case and photograph it is."""
    return "/".join(map(spec.file_name, pair))


def _together(parts) -> Restarts:
    """The restarts of all parts, each once, ascending."""
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    _, first = np.unique(joined.restart, return_index=True)
    return jax.tree.map(lambda leaf: leaf[first], joined)


def _read(stamp, pair, path, num_restarts, expected=None) -> Restarts | None:
    """The restarts in a file; None if it is damaged, or not of that stamp, image shape, number of steps and dtype.

    What no run has written counts as damage: arrays of another hash, a restart that the sweep has not, or one that is
    finite with numbers that are not.
    """
    found = arrays.read_arrays(path)
    with contextlib.suppress(KeyError, IndexError, TypeError):  # not these arrays, or not of these axes
        if found is None:
            return None
        digest = found.pop("digest", None)  # older files have none
        if digest is not None and str(digest) != hashing.content_hash(found):
            return None
        if str(found.pop("stamp")) != f"{stamp}/{_name(pair)}":
            return None
        restart, image, terms = found["restart"], found["image"], [f"energy.{name}" for name in Energy._fields]
        shape, num_steps, dtype = expected or (image.shape[1:], found[terms[0]].shape[1], image.dtype.name)
        n = len(restart)
        layout = dict.fromkeys(("restart", "evaluations", "failed_at", "chunk_size"), ("int32", (n,)))
        layout |= dict.fromkeys(("error", "seconds"), ("float32", (n,))) | {"finite": ("bool", (n,))}
        layout |= dict.fromkeys(terms, ("float32", (n, num_steps))) | {"image": (dtype, (n, *shape))}
        fits = {name: (array.dtype.name, array.shape) for name, array in found.items()} == layout
        if fits and 0 <= restart[0] <= restart[-1] < num_restarts and np.all(np.diff(restart) > 0):
            restarts = Restarts(energy=Energy(*(found.pop(name) for name in terms)), **found)
            finite = jax.tree.map(lambda array: array[restarts.finite], (restarts.image, restarts.energy))
            if all(np.isfinite(array).all() for array in jax.tree.leaves(finite)):
                return restarts
    return None


@dataclasses.dataclass(frozen=True, repr=False)
class SweepResults(Mapping):
    """What a sweep has found so far: `results[case, image]` is a `Restarts`, read from the folder when asked for."""

    path: pathlib.Path
    manifest: Mapping[str, Any]
    index: Mapping[_Pair, tuple[pathlib.Path, ...]]

    __repr__ = short_repr

    def __iter__(self) -> Iterator[_Pair]:
        return iter(self.index)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, pair: _Pair) -> Restarts:
        if pair not in self.index:
            raise KeyError(f"{pair} has no restarts in {self.path}; there are: {', '.join(map(str, self.index))}.")
        of_sweep, num_restarts = (self.manifest["stamp"], pair), self.manifest["num_restarts"]
        try:
            parts = [_read(*of_sweep, path, num_restarts) for path in self.index[pair]]
        except FileNotFoundError:  # a sweep at work has merged these files since they were listed
            parts = [_read(*of_sweep, path, num_restarts) for path in _index(self.path)[pair]]
        if not any(parts):
            raise ValueError(f"The restarts of {pair} in {self.path} are damaged; run the sweep again.")
        return _together([part for part in parts if part])


def load_sweep(workdir: str | os.PathLike) -> SweepResults:
    """Opens the folder of a sweep, finished or still at work, which `sweeps.run` or a runner wrote.

    Raises:
      FileNotFoundError: it is not the folder of a sweep.
      ValueError: the manifest is damaged.

    >>> import tempfile
    >>> from invert_jax import recipes, representations, sweeps
    >>> recipe = recipes.mahendran_vedaldi(stages=((4e-3, 5),))
    >>> hog = sweeps.Case("hog", representations.hog(), recipe, {"ramp": np.linspace(0, 255, 256).reshape(16, 16, 1)})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = sweeps.run(sweeps.make_sweep([hog], num_restarts=2), folder, chunk_size=2)
    ...     load_sweep(folder)["hog", "ramp"].image.shape
    (2, 16, 16, 1)
    """
    path = paths.expand(workdir)
    return SweepResults(path, read_manifest(path), _index(path))
