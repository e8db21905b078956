"""Runs a sweep in its folder: what is missing, batch by batch, by one process or several.

Photographs and restarts share a batch, one program for each case and size of photograph. A finished batch is written
at once; a killed run makes the batch under way again, from the same starts to the same bits.
"""

import dataclasses
import errno
import functools
import math
import os
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from invert_jax import sampling
from invert_jax._util import checks, hashing, paths
from invert_jax.sweeps import cost, spec, store

_EVERY = 20  # steps between reports, at which a run may also be stopped
_POLL, _GRACE = 1.0, 60.0  # seconds between looks at the other processes, and for each to start
_DISK = {errno.ENOSPC: "is full", errno.EDQUOT: "is full for this user", errno.EROFS: "cannot be written to"}


class Status(NamedTuple):
    """Where a sweep is: the batch under way, then the restarts on disk."""

    case: str
    restarts: int  #: how many the batch has; 0 when it is finished
    step: int
    num_steps: int  #: at most
    energy: float  #: mean total of the batch's finite restarts at their last step; NaN before the first
    finished: int  #: restarts on disk: all that were at the start, and those that this process has made since
    wanted: int  #: these, and all that this process has to make
    programs: int  #: compiled so far for descents


class Callbacks(NamedTuple):
    """Functions that a run calls: with a `Status` every 20 steps, with sentences, and to ask whether to stop."""

    on_progress: Callable[[Status], None] = lambda status: None
    on_message: Callable[[str], None] = print
    should_stop: Callable[[], bool] = lambda: False


class StoppedError(Exception):
    """The sweep was asked to stop, and has; finished batches are saved."""


def run(
    sweep: spec.Sweep,
    workdir: str | os.PathLike,
    *,
    chunk_size: int | None = None,
    mesh: Mesh | None = None,
    extend: bool = False,
    allow_changed_code: bool = False,
    callbacks: Callbacks | None = None,
) -> store.SweepResults:
    """Makes every restart of a sweep that its folder does not hold yet.

    Several processes (see `initialize_distributed`) each make a share; all must see the folder, and wait for all.

    Args:
      sweep: what to do, from `make_sweep`.
      workdir: the folder, made if need be.
      chunk_size: restarts at a time on each device, one of `CHUNK_SIZES`; None is `auto_chunk_size`. A folder is
        resumed with its own.
      mesh: this process's devices, a mesh with the one axis "restarts"; None is all that it drives.
      extend: whether the folder may have been made for fewer restarts.
      allow_changed_code: whether to be silent about other versions, and to accept other names inside of libraries.
      callbacks: None prints sentences, warns of other versions, and reports nothing else.

    Returns:
      The results, as `load_sweep` reads them.

    Raises:
      ValueError: the folder holds a sweep with other settings, or the mesh has other axes.
      BlockingIOError: another run is at work in the folder.
      OSError: the folder cannot be written to, or the disk is full; what is there stays whole.
      ChildProcessError: another process ended before its share was finished.
      MemoryError: one restart is too much for the device.
      StoppedError: `callbacks.should_stop` asked for it.
    """
    if chunk_size is not None and chunk_size not in spec.CHUNK_SIZES:
        raise ValueError(f"chunk_size is {chunk_size!r}; it must be one of {', '.join(map(str, spec.CHUNK_SIZES))}.")
    warn = callbacks.on_message if callbacks else functools.partial(warnings.warn, stacklevel=2)
    path, callbacks = paths.expand(workdir), callbacks or Callbacks()
    mesh = sampling.make_mesh() if mesh is None else sampling.require_mesh(mesh)
    if hashing.is_deterministic() is False:
        flag = "XLA_FLAGS=--xla_gpu_deterministic_ops=true"
        callbacks.on_message(f"On a GPU the last bits may differ from run to run; {flag} makes them the same.")
    size = chunk_size or cost.auto_chunk_size(sweep)
    try:
        path.mkdir(parents=True, exist_ok=True)
        folder = store.open_folder(path, sweep, size, extend, allow_changed_code, callbacks.on_message)
        with sampling.outside_any_mesh(), folder as folder:
            for change in folder.changes:
                warn(change)
            if chunk_size and chunk_size != folder.chunk_sizes[-1]:
                callbacks.on_message(f"{path} stays at {folder.chunk_sizes[-1]} restarts at a time, not {chunk_size}.")
            _Run(sweep, folder, mesh, callbacks).finish()
    except OSError as error:
        if error.errno not in _DISK:
            raise
        what = f"The disk of {path} {_DISK[error.errno]}; make space or allow writing, and start the command again"
        raise OSError(error.errno, f"{what}: finished batches are saved.") from None
    results = store.load_sweep(path)
    finite, failed_at = (
        np.concatenate([getattr(r, field) for r in results.values()]) for field in ("finite", "failed_at")
    )
    sentence = checks.divergence(finite, failed_at)
    if sentence:
        warn(sentence)
    return results


class _Run:
    """One process's run: its share, batch after batch, and then the wait for the others."""

    def __init__(self, sweep, folder, mesh, callbacks):
        self.sweep, self.folder, self.mesh, self.callbacks = sweep, folder, mesh, callbacks
        self.process, self.num_processes, self.status = jax.process_index(), jax.process_count(), None
        # By the first chunk size, which never changes: all processes divide the sweep alike, whenever they start.
        self.owners = spec.owners(sweep, self.num_processes, block=folder.chunk_sizes[0])
        self.chunk_size, self.finished, self.wanted = folder.chunk_sizes[-1], 0, 0
        self.partners_seen, self.zero_targets = set(), set()

    def missing(self):
        """`{(case, image, restart): process}` of all that no file holds."""
        saved = store.scan(self.folder, self.sweep)
        return {job: owner for job, owner in self.owners.items() if job[2] not in saved[job[:2]]}

    def finish(self):
        """Makes what is missing of this process's share, and waits for the others."""
        self.look_at_partners()
        missing, groups = self.missing(), spec.groups(self.sweep)
        self.finished = len(self.owners) - len(missing)
        self.wanted = self.finished + list(missing.values()).count(self.process)
        for case, images in groups:
            pairs = ((image, r) for image in images for r in range(self.sweep.num_restarts))
            jobs = [job for job in pairs if missing.get((case.name, *job)) == self.process]
            while jobs:
                slots, later = spec.assign_slots(jobs, images, self.chunk_size, self.mesh.size)
                try:
                    self.descend(case, slots)
                    jobs = later
                except jax.errors.JaxRuntimeError as error:
                    self.halve_chunk(case.name, error)
                self.look_at_partners()
        self.await_partners()
        if self.process == 0:
            store.merge(self.folder)

    def halve_chunk(self, case, error):
        """Makes the chunk half as large after a batch that did not fit into memory; raises any other error."""
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise error
        what = f"{case} does not fit into the device's memory"
        if self.chunk_size == 1:
            raise MemoryError(f"{what}, not even one restart; give smaller photographs.") from None
        self.chunk_size //= 2
        store.note_chunk_size(self.folder.path, self.chunk_size)
        self.callbacks.on_message(f"{what}; from now on {self.chunk_size} run at a time, and the rounding differs.")

    def descend(self, case, slots):
        """Descends from the starts of the restarts in the slots, and saves what they found."""
        start, jobs = time.monotonic(), [job for job in slots if job]
        filled = [job or jobs[0] for job in slots]  # an empty slot has a target and a key, but is never run
        targets, image_keys = {}, {}
        for image in dict.fromkeys(image for image, _ in jobs):
            problem, targets[image] = spec.make_problem(case, image)  # alike for all of them, but for the target
            self.look_at_target(case.name, image, targets[image], problem.mask)
            image_keys[image] = spec.restart_key(self.sweep.seed, case.images[image])
        keys = jnp.stack([jax.random.fold_in(image_keys[image], r) for image, r in filled])
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *[targets[image] for image, _ in filled])
        active = np.array([job is not None for job in slots])
        for step, states in sampling.descend(problem, keys, active, stacked, mesh=self.mesh, every=_EVERY):
            energies = sampling.last_energy(states).total[active]
            self.report(case, len(jobs), step, energies if step else energies[:0])
            if self.callbacks.should_stop():
                raise StoppedError
        found = sampling.finish_all(problem, states, mesh=self.mesh)
        if found.error is not None:  # an error that is relative to nothing has no place beside the others
            relative = np.array([(case.name, image) not in self.zero_targets for image, _ in filled])
            found = dataclasses.replace(found, error=np.where(relative, found.error, np.nan))
        self.save(case.name, slots, found, (time.monotonic() - start) / len(jobs))
        self.finished += len(jobs)
        self.report(case, 0, step, energies)

    def look_at_target(self, case, image, target, mask):
        """Remembers and announces a target that is zero."""
        sentence = checks.zero_target(target, mask)
        if sentence and (case, image) not in self.zero_targets:
            self.zero_targets.add((case, image))
            self.callbacks.on_message(f"{case}, photograph {image}: {sentence}")

    def report(self, case, num_restarts, step, energies):
        finite = energies[np.isfinite(energies)]
        energy = float(finite.mean()) if finite.size else math.nan
        counts = self.finished, self.wanted, sampling.num_compilations()
        self.status = Status(case.name, num_restarts, step, case.recipe.num_steps, energy, *counts)
        self.callbacks.on_progress(self.status)

    def save(self, case, slots, found, seconds):
        """Writes what the slots found, photograph by photograph."""
        most, width = np.finfo(self.sweep.dtype).max, len(slots)
        # Clipped, so that a finite image stays finite in half precision.
        image = np.where(np.isfinite(found.image), found.image.clip(-most, most), found.image)
        restart = np.array([job[1] if job else -1 for job in slots], np.int32)
        error = np.full(width, np.nan, np.float32) if found.error is None else found.error.astype(np.float32)
        batch = store.Restarts(
            *(restart, image.astype(self.sweep.dtype), error, found.energy, found.finite),
            *(found.evaluations, found.failed_at, np.full(width, self.chunk_size, np.int32)),
            np.full(width, seconds, np.float32),
        )
        for name in dict.fromkeys(job[0] for job in slots if job):
            rows = [i for i in np.argsort(batch.restart) if slots[i] and slots[i][0] == name]
            store.save(self.folder, (case, name), jax.tree.map(lambda array, rows=rows: array[rows], batch))

    def await_partners(self):
        """Waits until every restart is saved, or a process that has not finished is no longer at work."""
        start = time.monotonic()
        while True:
            at_work = self.look_at_partners()  # asked first, so that one that ends before the next line has finished
            unfinished = set(self.missing().values())
            if not unfinished:
                return
            late = time.monotonic() - start > _GRACE
            if gone := {p for p in unfinished - at_work if late or p in self.partners_seen | {self.process}}:
                what = f"Process {min(gone)} of {self.num_processes} ended before its share was finished"
                raise ChildProcessError(f"{what}; start the command again: what is saved stays.")
            if self.status:
                self.callbacks.on_progress(self.status)
            if self.callbacks.should_stop():
                raise StoppedError
            time.sleep(_POLL)

    def look_at_partners(self):
        """The other processes that are at work now."""
        with store.opening(self.folder.path):
            at_work = store.at_work(self.folder.path) - {self.process}
        self.partners_seen |= at_work
        return at_work
