"""What one process does of a sweep: batch after batch of restarts, told of, kept, and halved where memory is short."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from invert_jax import batching, objective
from invert_jax.sweeps import checkpoints, manifests, plan, store

_EVERY = 20  # steps between looks at the clock, and between reports


class Status(NamedTuple):
    """Where a sweep stands, told every few steps.

    Attributes:
      problem: the one at work.
      restarts: how many the batch has; 0 when it is finished.
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


class Share(NamedTuple):
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


@dataclasses.dataclass
class Worker:
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
                chunk_size = len(lanes) // self.mesh.size  # of a batch gone on with, it may be another than now
                if "RESOURCE_EXHAUSTED" not in str(error) or chunk_size == 1:
                    raise
                jobs = [job for job in lanes if job] + later
                self._shrink(group.problem.name, chunk_size // 2)
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

    def _shrink(self, problem, chunk_size):
        self.chunk_size = min(self.chunk_size, chunk_size)
        checkpoints.drop(self.folder, jax.process_index())
        manifests.note_chunk_size(self.folder.path, self.chunk_size)
        self.hooks.tell(
            f"{problem} does not fit into the device's memory; from now on this process runs {self.chunk_size} "
            f"restarts at a time, and so do runs that begin later; the rounding differs."
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
        self._report(problem, active, recipe, states, finished=True)

    def _report(self, problem, active, recipe, states, *, finished=False):
        energy = batching.energies(recipe, states)[active, 0]
        energy = energy[np.isfinite(energy)] if int(states.step) else energy[:0]
        self.last = Status(
            problem.name,
            0 if finished else int(active.sum()),
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
