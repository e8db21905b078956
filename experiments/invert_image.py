"""Inverts one photograph from many random starts: images that the representation does not tell apart.

    python -m experiments.invert_image
    python -m experiments.invert_image --image=dog.jpg --layer=fc8 --num_restarts=8
    python -m experiments.invert_image --representation=hogb --image=astronaut

Eq. 3 of Mahendran & Vedaldi 2015, by momentum descent on the pixels; with --recipe=pyramid eq. 7 of Singh & Namboodiri
2015 on a Laplacian pyramid. Writes into --workdir:

    montage.png       the photograph and every restart, with its relative error |y - y0| / |y0|
    spread.png        standard deviation over restarts of every pixel: where the code does not care
    convergence.png   energy and its terms against step
    evolution.gif     the first restarts while they descend
    preimages.npz     images [R, H, W, C], errors [R], energies [R, T, 4], finite [R]
    results.json      errors, settings, versions, device

and prints a table of errors; its "class rank" is the rank that the whole network gives to the photograph's class.
"""

import time

import jax
import numpy as np
import rich.progress
import rich.table
from absl import flags

import invert_jax as ij
from experiments.lib import common

FLAGS = flags.FLAGS

_FRAMES = 40
_ANIMATED = 4  # restarts side by side in the animation


def _define_flags():
    flags.DEFINE_string("image", None, f"A file, or a sample photograph: {', '.join(ij.images.EXAMPLES)}.")
    flags.DEFINE_integer(
        "size", None, "Side to which the photograph is resized; 227 for alexnet, else its own, if absent."
    )
    flags.DEFINE_string("initial_image", None, "A file to start from instead of noise.")
    flags.DEFINE_string("workdir", "out/invert_image", "Folder for the results.")
    common.define_cache_flag()
    common.define_inversion_flags(layer="conv4", num_restarts=4)
    flags.adopt_module_key_flags(common)


def main() -> None:
    """Runs the experiment that the flags describe."""
    deep = FLAGS.representation == "alexnet"
    size = FLAGS.size if FLAGS.size is not None else (227 if deep else None)
    name, image = common.photograph(FLAGS.image, size=size, gray=not deep)
    start = None
    if FLAGS.initial_image is not None:
        _, start = common.photograph(FLAGS.initial_image, size=image.shape[:2], gray=not deep)
    representation, recipe = common.representation(FLAGS), common.recipe(FLAGS)
    target = representation(image)
    mask = common.mask(FLAGS.mask, target.shape)
    # A mistake is told before a folder is made or a line shown.
    if start is not None and FLAGS.num_restarts > 1:
        raise ValueError("--initial_image starts every restart alike; give --num_restarts=1 with it.")
    ij.objective.make(representation, target, recipe, image_shape=image.shape, mask=mask)
    workdir = common.make_workdir(FLAGS.workdir)
    what = f"{FLAGS.representation} {FLAGS.layer}" if deep else FLAGS.representation
    common.console.print(
        f"{name}, {image.shape[0]} x {image.shape[1]}: {FLAGS.num_restarts} restarts from {what} "
        f"{tuple(target.shape)}, {recipe.num_steps} steps each",
        highlight=False,
    )

    began = time.monotonic()
    found, frames = _sample_with_progress(representation, target, recipe, image.shape, mask, start)
    seconds = time.monotonic() - began

    class_ranks = _class_ranks(image, found.image) if deep else None
    _write_pictures(workdir, f"{name}, {what}", image, found, frames)
    common.write_arrays(
        workdir / "preimages.npz", images=found.image, errors=found.error, energies=found.energy, finite=found.finite
    )
    good = found.error[found.finite]
    numbers = {
        "image": name,
        "representation": what,
        "errors": found.error,
        "mean_error": good.mean() if good.size else None,
        "final_energies": dict(zip(("total", "loss", "alpha", "tv"), found.energy[:, -1].T, strict=True)),
        "psnr": [ij.metrics.psnr(np.clip(restart, 0, 255), image) for restart in found.image] if deep else None,
        "class_ranks": class_ranks,
        "finite": found.finite,
        "seconds": round(seconds, 1),
    }
    common.write_results(workdir, numbers)
    common.console.print(_table(numbers))
    common.console.print(f"{seconds:.0f} s; pictures and results.json are in {workdir}", highlight=False)


def _sample_with_progress(representation, target, recipe, image_shape, mask, start):
    """The restarts, and images `[frame][restart]` of the first ones along the way."""
    every = max(recipe.num_steps // _FRAMES, 1)
    frames = []
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("energy {task.fields[energy]}"),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TextColumn("left"),
        rich.progress.TimeRemainingColumn(),
    )
    with rich.progress.Progress(*columns, console=common.console) as bar:
        task = bar.add_task("compiling", total=None, energy="-")

        def report(progress):
            first, count = progress.restarts.start, len(progress.restarts)
            bar.update(
                task,
                description=f"restarts {first}-{first + count - 1}",
                total=recipe.num_steps * progress.num_restarts,
                completed=recipe.num_steps * first + progress.step * count,
                energy=f"{np.median(progress.energy[:, 0]):.4f}" if progress.step else "-",
            )
            if first == 0:
                frames.append((progress.step, progress.image[:_ANIMATED]))

        found = ij.sample(
            jax.random.key(FLAGS.seed),
            representation,
            target,
            recipe,
            image_shape=image_shape,
            num_restarts=FLAGS.num_restarts,
            mask=mask,
            initial_image=start,
            chunk_size=FLAGS.chunk_size,
            callback=report,
            callback_every=every,
        )
    return found, frames


def _class_ranks(image, restarts):
    """Rank, from 1, that each restart gives the photograph's class at fc8; None if the network cannot say."""
    scores = ij.alexnet(common.alexnet_params(FLAGS.weights), layer="fc8")
    try:
        winner = np.asarray(scores(image)).mean((0, 1)).argmax()
    except ValueError:  # an image smaller than fc8's receptive field
        return None
    ranks = []
    for restart in restarts:
        if np.isfinite(restart).all():
            values = np.asarray(scores(restart)).mean((0, 1))
            ranks.append(1 + int(np.sum(values > values[winner])))
        else:
            ranks.append(None)
    return ranks


def _write_pictures(workdir, title, image, found, frames):
    labels = ["photograph", *(f"restart {r}: error {100 * e:.1f} %" for r, e in enumerate(found.error))]
    # HOG and DSIFT are blind to contrast, so their restarts are shown stretched to the full range.
    stretched = image.shape[2] == 1
    note = " (restarts stretched to full contrast)" if stretched else ""
    sheet = ij.viz.montage(
        [image, *found.image],
        labels=labels,
        title=f"{title}: the same code, other images{note}",
        mode=["clip", *["stretch" if stretched else "clip"] * len(found.image)],
    )
    ij.save_image(workdir / "montage.png", sheet)
    if found.finite.any():
        spread = found.image[found.finite].std(0).mean(-1)
        ij.save_image(
            workdir / "spread.png",
            ij.viz.heatmap(
                spread,
                title=f"{title}: spread of {found.finite.sum()} restarts",
                label="standard deviation, gray levels",
            ),
        )
        ij.save_image(workdir / "convergence.png", ij.viz.convergence(found.energy, title=title))
    animation = [
        ij.viz.montage([image, *images], labels=["photograph", f"step {step}", *[""] * (len(images) - 1)], height=160)
        for step, images in frames
    ]
    ij.images.save_animation(workdir / "evolution.gif", [*animation, *animation[-1:] * 10], seconds_per_frame=0.1)


def _table(numbers):
    table = rich.table.Table(title=f"{numbers['image']}, {numbers['representation']}")
    for column in ("restart", "error, %", "loss", "alpha", "TV", "PSNR, dB", "class rank"):
        table.add_column(column, justify="right")
    final = numbers["final_energies"]
    for r, error in enumerate(numbers["errors"]):
        if not numbers["finite"][r]:
            table.add_row(str(r), "not finite", *["-"] * 5)
            continue
        psnr = "-" if numbers["psnr"] is None else f"{float(numbers['psnr'][r]):.1f}"
        rank = "-" if numbers["class_ranks"] is None else str(numbers["class_ranks"][r])
        terms = (f"{final[term][r]:.4f}" for term in ("loss", "alpha", "tv"))
        table.add_row(str(r), f"{100 * error:.1f}", *terms, psnr, rank)
    return table


if __name__ == "__main__":
    _define_flags()
    common.run(main)
