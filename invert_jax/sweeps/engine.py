"""Runs a sweep: batches of restarts, one compiled program for each problem and size of photograph, resumable.

Photographs and restarts share the batch. What is finished is written at once; what is under way, every so often.
"""

import dataclasses
import errno
import itertools
import math
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from invert_jax import batching, checks, fingerprints, objective
from invert_jax.sweeps import checkpoints, manifests, plan, results, store

_MEETINGS = itertools.count()  # no two may have one name
_LONGEST_READING = 24 * 3_600_000  # milliseconds that the others wait while the first reads what is there
_EVERY = 20  # steps between looks at the clock, and between reports
_DISK = {errno.ENOSPC: "is full", errno.EDQUOT: "is full for you", errno.EROFS: "cannot be written to"}


class Status(NamedTuple):
    """Where a sweep stands, told every few steps.

    Attributes:
      problem: the one at work.
      restarts: how many the batch has.
      step: steps that it has made.
      num_steps: steps that it makes at most.
      energy: mean total of its finite restarts at their last step; NaN before the first.
      finished: restarts on disk, of those that were there at the start and this process's share.
      wanted: how many these are.
      programs: programs compiled so far for descents.
    """

    problem: str
    restarts: int
    step: int
    num_steps: int
    energy: float
    finished: int
    wanted: int
    programs: int


class Hooks(NamedTuple):
    """What a sweep tells, and asks, the one who runs it.

    Attributes:
      watch: told where the sweep stands, every 20 steps.
      tell: told in a sentence what the user should know.
      stop: asked every 20 steps whether to stop.
    """

    watch: Callable[[Status], None] = lambda status: None
    tell: Callable[[str], None] = print
    stop: Callable[[], bool] = lambda: False


class StoppedError(Exception):
    """The sweep was asked to stop, and has; what was under way is kept."""


def run(
    sweep: plan.Sweep,
    workdir: str | os.PathLike,
    *,
    chunk_size: int,
    mesh: Mesh | None = None,
    extend: bool = False,
    checkpoint_seconds: float = 300.0,
    hooks: Hooks | None = None,
) -> results.SweepResults:
    """Makes every restart of a sweep that its folder does not hold yet.

    Under `jax.distributed` each process makes and writes its own share; all must see the one folder.

    Args:
      sweep: what to do, from `plan.make`.
      workdir: the folder, made if need be.
      chunk_size: restarts at a time on each device, one of `plan.CHUNK_SIZES`; a folder goes on with its own.
      mesh: this process's devices, a mesh with the one axis "restarts"; None is all that it drives.
      extend: whether the folder may have been made for fewer restarts.
      checkpoint_seconds: how often what is under way is kept: a killed process loses no more work, but for 20 steps.
      hooks: what is told, and asked, on the way; None prints sentences, and tells and asks nothing else.

    Returns:
      The results, as `load_sweep` reads them.

    Raises:
      ValueError: the folder holds a sweep with other settings, or a mesh of other axes.
      BlockingIOError: another run is at work in the folder.
      OSError: the folder cannot be written to, or its disk is full; what is there stays whole.
      StoppedError: `hooks.stop` asked for it.
    """
    if chunk_size not in plan.CHUNK_SIZES:
        raise ValueError(f"chunk_size is {chunk_size!r}; it must be one of {', '.join(map(str, plan.CHUNK_SIZES))}.")
    checks.require_positive(checkpoint_seconds, "checkpoint_seconds")
    path, hooks = pathlib.Path(workdir), hooks or Hooks()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with store.claimed(path, jax.process_index(), jax.process_count()):
            mesh = batching.mesh_of(None) if mesh is None else batching.require_mesh(mesh)
            _work(sweep, path, chunk_size, mesh, extend, checkpoint_seconds, hooks)
    except OSError as error:
        if error.errno in _DISK:
            raise OSError(
                error.errno,
                f"The disk of {path} {_DISK[error.errno]}; mend that, then give the same command to go on: what is "
                f"finished is kept.",
            ) from None
        raise
    return results.load_sweep(path)


class _Share(NamedTuple):
    """What one process makes of a group.

    Attributes:
      group: the program.
      num_there: how many of its restarts are on disk.
      jobs: those to begin.
      lanes: the batch under way, if the process had one of this group.
      images: photographs that nobody else adds to.
    """

    group: plan.Group
    num_there: int
    jobs: list[plan.Job]
    lanes: list[plan.Job | None]
    images: list[str]


def _work(sweep, path, chunk_size, mesh, extend, checkpoint_seconds, hooks):
    process, processes = jax.process_index(), jax.process_count()
    settings = {**plan.settings(sweep), **fingerprints.surroundings()}
    folder = store.Folder(path, manifests.stamp_of(settings), hooks.tell)
    if process == 0:
        manifest = manifests.agree(path, settings, num_restarts=sweep.num_restarts, extend=extend)
        own = manifest["chunk_sizes"][-1] if manifest["chunk_sizes"] else chunk_size
        if own != chunk_size:
            hooks.tell(f"{path} goes on as it was begun, {own} restarts at a time on a device, not {chunk_size}.")
        manifests.note_chunk_size(path, own)
        store.tidy(path)
        store.verify(folder, [(problem.name, image) for problem in sweep.problems for image in problem.images])
        checkpoints.prune(folder, [i for i in checkpoints.processes(folder) if i >= processes], num_devices=0)
    _meet("agreed")
    manifests.require_same(path, settings, sweep.num_restarts)
    checkpoints.prune(folder, [process], num_devices=mesh.size)
    _meet("pruned")
    chunk_size = manifests.read(path)["chunk_sizes"][-1]
    shares = _shares(sweep, folder, process, processes)
    _meet("read")  # nobody writes before all have read

    worker = _Worker(sweep, folder, mesh, checkpoint_seconds, hooks, chunk_size)
    worker.finished = sum(share.num_there for share in shares)
    worker.wanted = worker.finished + sum(
        len(share.jobs) + sum(job is not None for job in share.lanes) for share in shares
    )
    for share in sorted(shares, key=lambda share: not share.lanes):  # a process keeps one batch: that comes first
        worker.work_off(share)
    if processes > 1:
        worker.await_others()
        if process == 0:
            for problem in sweep.problems:
                for image in problem.images:
                    store.merge(folder, problem.name, image)


def _shares(sweep, folder, process, processes):
    """What is left to this process, group by group."""
    under_way, shares = checkpoints.under_way(folder), []
    for group in (group for problem in sweep.problems for group in plan.groups(problem)):
        there = store.finished(folder, group.problem.name, group.images)
        every = [(image, r) for image in group.images for r in range(sweep.num_restarts)]
        left = [(image, r) for image, r in every if r not in there[image]]
        begun = {
            which: about["lanes"]
            for which, about in under_way.items()
            if about["problem"] == group.problem.name and {job[0] for job in about["lanes"] if job} <= set(group.images)
        }
        taken = {job for lanes in begun.values() for job in lanes if job}
        fresh = [job for job in left if job not in taken]
        jobs = fresh[process * len(fresh) // processes : (process + 1) * len(fresh) // processes]
        lanes = begun.get(process, [])
        mine = {*jobs, *lanes}
        ours, others = ({image for image, r in left if ((image, r) in mine) is own} for own in (True, False))
        images = [image for image in group.images if image not in others and (image in ours or process == 0)]
        shares.append(_Share(group, len(every) - len(left), jobs, lanes, images))
    return shares


def _meet(where):
    """Waits for the other processes at the coordinator; devices would have to talk, and give up sooner."""
    if jax.process_count() > 1:
        from orbax.checkpoint import multihost

        multihost.get_barrier_sync_fn()(key=f"sweep: {where}, {next(_MEETINGS)}", timeout_ms=_LONGEST_READING)


@dataclasses.dataclass
class _Worker:
    """Makes batches, and knows how far the whole has come."""

    sweep: plan.Sweep
    folder: store.Folder
    mesh: Mesh
    checkpoint_seconds: float
    hooks: Hooks
    chunk_size: int
    finished: int = 0
    wanted: int = 0
    last: Status | None = None

    def work_off(self, share):
        """Makes a share, first the batch that was under way; halves the batch when the memory is too small for it."""
        group, jobs, lanes = share.group, share.jobs, share.lanes
        while jobs or lanes:
            later, leaves, seconds = jobs, None, 0.0
            if lanes:
                about, leaves = checkpoints.read(self.folder, jax.process_index())
                seconds = about["seconds"]
            else:
                lanes, later = plan.seat(jobs, group.images, self.chunk_size, self.mesh.size)
            try:
                self.make(group, lanes, leaves, seconds)
                jobs = later
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error) or self.chunk_size == 1:
                    raise
                jobs = [job for job in lanes if job] + later
                self._halve(group.problem.name)
            lanes = []
        for image in share.images:
            store.merge(self.folder, group.problem.name, image)

    def await_others(self):
        """Waits until all restarts are there, for as long as the others take."""
        missing = [(problem.name, image) for problem in self.sweep.problems for image in problem.images]
        while missing := [
            (problem, image)
            for problem, image in missing
            if len(store.finished(self.folder, problem, [image])[image]) < self.sweep.num_restarts
        ]:
            if self.last:
                self.hooks.watch(self.last)
            if self._stops():
                raise StoppedError
            time.sleep(1.0)

    def _stops(self):
        """Whether this process was asked to stop, or another one was, which takes all along."""
        if self.hooks.stop():
            store.ask_to_stop(self.folder)
        return store.asked_to_stop(self.folder)

    def _halve(self, problem):
        self.chunk_size //= 2
        checkpoints.drop(self.folder, jax.process_index())
        manifests.note_chunk_size(self.folder.path, self.chunk_size)
        self.hooks.tell(
            f"{problem} does not fit into the device's memory; the rest of the sweep runs {self.chunk_size} restarts "
            f"at a time, at which the rounding differs."
        )

    def make(self, group, lanes, leaves, seconds):
        """Descends from these restarts' starts, or from where they were, and writes what they found."""
        began = time.monotonic() - seconds
        problem, phi = group.problem, group.problem.representation
        jobs = [job for job in lanes if job]
        seated = [job or jobs[0] for job in lanes]
        targets = {image: phi(problem.images[image]) for image in dict.fromkeys(image for image, _ in jobs)}
        for target in targets.values():  # each is checked; all but their targets is the same
            eq3 = objective.make(phi, target, problem.recipe, image_shape=group.shape, mask=problem.mask)
        eq3 = dataclasses.replace(eq3, target=np.stack([targets[image] for image, _ in seated]))
        eq3, recipe = batching.place(self.mesh, eq3, problem.recipe)
        key_of = {image: plan.restart_key(self.sweep.seed, problem.images[image]) for image in targets}
        keys = [jax.random.fold_in(key_of[image], r) for image, r in seated]
        active = np.array([job is not None for job in lanes])
        states = batching.init(jnp.stack(keys), active, eq3, recipe, mesh=self.mesh)
        if leaves is not None:
            states = batching.restore(leaves, states)

        kept_at = time.monotonic()
        while int(states.step) < recipe.num_steps and not batching.ended(recipe, states):
            self._report(problem, active, recipe, states)
            stop = self._stops()
            if stop or time.monotonic() - kept_at >= self.checkpoint_seconds:
                about = {"problem": problem.name, "lanes": lanes, "seconds": time.monotonic() - began}
                leaves = jax.tree.leaves(states)
                checkpoints.write(self.folder, jax.process_index(), about, leaves, num_devices=self.mesh.size)
                kept_at = time.monotonic()
            if stop:
                raise StoppedError
            states = batching.run(eq3, recipe, states, min(int(states.step) + _EVERY, recipe.num_steps), mesh=self.mesh)
        found = batching.finish(eq3, recipe, states, mesh=self.mesh)
        found = jax.device_get(dataclasses.replace(found, features=None))
        self._keep(problem.name, lanes, found, (time.monotonic() - began) / len(jobs))
        checkpoints.drop(self.folder, jax.process_index())
        self.finished += len(jobs)
        self._report(problem, active, recipe, states)

    def _report(self, problem, active, recipe, states):
        energy = batching.energies(recipe, states)[active, 0]
        energy = energy[np.isfinite(energy)] if int(states.step) else energy[:0]
        self.last = Status(
            problem.name,
            int(active.sum()),
            int(states.step),
            recipe.num_steps,
            float(energy.mean()) if energy.size else math.nan,
            self.finished,
            self.wanted,
            batching.num_programs(),
        )
        self.hooks.watch(self.last)

    def _keep(self, problem, lanes, found: Any, seconds):
        """Writes what the lanes found, photograph by photograph."""
        bad = ~np.isfinite(found.energy[..., 0])
        failed_at = np.where(bad.any(1), bad.argmax(1), np.where(found.finite, -1, found.evaluations))
        most = np.finfo(self.sweep.dtype).max  # a finite picture stays one in half precision
        picture = np.where(np.isfinite(found.image), found.image.clip(-most, most), found.image)
        chunk_size = len(lanes) // self.mesh.size
        for image in dict.fromkeys(job[0] for job in lanes if job):
            its = sorted((job[1], lane) for lane, job in enumerate(lanes) if job and job[0] == image)
            restarts, own = np.array(its, np.int32).T
            store.keep(
                self.folder,
                problem,
                image,
                store.Restarts(
                    restart=restarts,
                    image=picture[own].astype(self.sweep.dtype),
                    error=found.error[own],
                    energy=found.energy[own],
                    finite=found.finite[own],
                    evaluations=found.evaluations[own],
                    failed_at=failed_at[own].astype(np.int32),
                    chunk_size=np.full(len(own), chunk_size, np.int32),
                    seconds=np.full(len(own), seconds, np.float32),
                ),
            )
