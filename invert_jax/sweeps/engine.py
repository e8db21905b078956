"""Runs a sweep in its folder: what there is, who makes what is left, and that all processes agree on it.

Photographs and restarts share the batch, one compiled program for each problem and size of photograph. What is finished
is written at once; what is under way, every so often.
"""

import errno
import itertools
import os
import pathlib

import jax
from jax.sharding import Mesh

from invert_jax import batching
from invert_jax._util import checks, hashing
from invert_jax.sweeps import checkpoints, manifests, plan, results, store, work

_MEETINGS = itertools.count()  # no two may have one name
_LONGEST_READING = 24 * 3_600_000  # milliseconds that the others wait while the first reads what is there
_DISK = {errno.ENOSPC: "is full", errno.EDQUOT: "is full for you", errno.EROFS: "cannot be written to"}


def run(
    sweep: plan.Sweep,
    workdir: str | os.PathLike,
    *,
    chunk_size: int,
    mesh: Mesh | None = None,
    extend: bool = False,
    checkpoint_seconds: float = 300.0,
    hooks: work.Hooks | None = None,
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
    path, hooks = pathlib.Path(workdir), hooks or work.Hooks()
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


def _work(sweep, path, chunk_size, mesh, extend, checkpoint_seconds, hooks):
    process, processes = jax.process_index(), jax.process_count()
    settings = {**plan.settings(sweep), **hashing.environment()}
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

    worker = work.Worker(sweep, folder, mesh, checkpoint_seconds, hooks, chunk_size)
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
        shares.append(work.Share(group, len(every) - len(left), jobs, lanes, images))
    return shares


def _meet(where):
    """Waits for the other processes at the coordinator; devices would have to talk, and give up sooner."""
    if jax.process_count() > 1:
        from orbax.checkpoint import multihost

        multihost.get_barrier_sync_fn()(key=f"sweep: {where}, {next(_MEETINGS)}", timeout_ms=_LONGEST_READING)
