"""Inverts one photograph from many random starts: images that the representation does not distinguish.

    invert-jax
    invert-jax --image=dog.jpg --layer=pool5 --num_restarts=8
    invert-jax --weights=vgg16 --layer=conv4_3
    invert-jax --model=package.module:function --size=224       # your own network, as an ij.Representation
    invert-jax --representation=hogb --image=astronaut
    invert-jax --layer=conv1 --size=63 --stages=4e-3x20 --recipe=mahendran_vedaldi        # seconds

The network is that of --weights, the name of one or a weight file. Without it, it is torchvision's AlexNet if the extra
`pretrained` is installed and has the layer, else the small bundled one. Nothing is downloaded but what --weights names.
The recipe is `recipes.default(representation)`, unless --recipe names one of the papers'. Writes into --workdir:

    preimages.npz     images [R, H, W, C], errors, finite, evaluations [R], energy_total, energy_loss, ... [R, T]
    results.json      errors, settings, versions, device
    montage.png       the photograph and every restart, with its relative error |y - y0| / |y0|
    spread.png        standard deviation over restarts of every pixel: where the features do not determine it
    convergence.png   energy and its terms against step
    evolution.gif     the first restarts during the descent

and prints a table of errors; its "class rank" is the rank that the whole network gives to the photograph's class. The
first two files are written before any picture; an interrupted run has them for the restarts that are finished.
"""

import dataclasses
import functools
import importlib
import os
import pathlib
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import rich.progress
import rich.table
import rich.text
from absl import flags

import invert_jax as ij
from invert_jax._util import arrays, checks, command, paths
from invert_jax.networks import sequential
from invert_jax.types import Stage

FLAGS = flags.FLAGS
SHALLOW = ("hog", "hogb", "dsift")
RECIPES = ("default", "mahendran_vedaldi", "laplacian_pyramid")
NETWORKS = ij.networks.PRETRAINED
LOSSES = ("normalized_squared_l2", "normalized_l2", "normalized_l1", "inner_product", "activation")

_LARGEST_SIDE = 500  # of a photograph whose size is not given: that of the paper's gray ones
_START = time.monotonic()
_NUM_FRAMES = 40
_ANIMATED = 4  # restarts side by side in the animation
_FLAG_OWNERS = {
    **dict.fromkeys(("layer", "weights", "architecture", "precision"), ("alexnet",)),
    **dict.fromkeys(("cell_size", "num_orientations"), ("hog", "hogb")),
    "binning": ("hog",),
    **dict.fromkeys(("bin_size", "step"), ("dsift",)),
    **dict.fromkeys(("variant", "gradient"), SHALLOW),
}


# --- flags, and what they describe ---


def choice(*values: str) -> Callable[..., Any]:
    """Defines a flag that is one of some words."""
    return functools.partial(flags.DEFINE_enum, enum_values=values)


COUNT = functools.partial(flags.DEFINE_integer, lower_bound=1)
WEIGHT = functools.partial(flags.DEFINE_float, lower_bound=0.0)
SEED = functools.partial(flags.DEFINE_integer, lower_bound=0, upper_bound=2**31 - 1)

FLAG_TABLE: dict[str, tuple[Callable[..., Any], str]] = {
    "image": (flags.DEFINE_string, f"A file, or an example photograph: {', '.join(ij.images.EXAMPLES)}."),
    "size": (COUNT, "Side of the resized photographs; the network's if absent, else 160 in sweeps and tables."),
    "initial_image": (flags.DEFINE_string, "A file to start from instead of noise."),
    "representation": (choice("alexnet", *SHALLOW), "What to invert; hogb is HOG with bilinear binning."),
    "layer": (flags.DEFINE_string, "Layer of the network, such as conv4, or conv4_3 of vgg16."),
    "weights": (flags.DEFINE_string, f"What `alexnet` stands for: {', '.join(NETWORKS)}, or a weight file."),
    "architecture": (choice(*ij.networks.ARCHITECTURES), "Of a weight file; what it tells, or caffenet, if absent."),
    "model": (flags.DEFINE_string, "MODULE:FUNCTION that returns an ij.Representation, to invert instead."),
    "gray": (flags.DEFINE_bool, "Whether the photographs for --model are gray."),
    "precision": (choice("float32", "bfloat16"), "Arithmetic of alexnet between image and layer."),
    "cell_size": (COUNT, "Cell of hog and hogb, pixels."),
    "num_orientations": (COUNT, "Undirected orientations of hog and hogb."),
    "binning": (choice("hard", "bilinear", "approximate"), "How hog assigns gradients to orientations; see ij.hog."),
    "bin_size": (COUNT, "Spatial bin of dsift, pixels."),
    "step": (COUNT, "Pixels between dsift descriptors; the variant's own if absent."),
    "variant": (choice("vlfeat", "released"), "VLFeat's hog, hogb and dsift, or those of Mahendran & Vedaldi's code."),
    "gradient": (choice("exact", "straight_through"), "Derivative of hog, hogb and dsift where they are not smooth."),
    "recipe": (choice(*RECIPES), "How to invert: ij.recipes.default, or as in one of the papers."),
    "stages": (flags.DEFINE_list, "Descent, as 4e-3x100,4e-4x200; with a pyramid the first is each coarse stage."),
    "loss": (choice(*LOSSES), "What compares features with the photograph's; see ij.losses. The recipe's if absent."),
    "lambda_tv": (WEIGHT, "Weight of TV^beta in eq. 3; the recipe's own if absent."),
    "lambda_alpha": (WEIGHT, "Weight of the alpha-norm in eq. 3; the recipe's own, often a rule, if absent."),
    "beta": (WEIGHT, "Exponent of TV^beta; the recipe's own if absent. The paper's 1 needs --lambda_tv=1.845e-3."),
    "sigma": (flags.DEFINE_float, "Norm of a typical centered image, gray levels; 68.92 sqrt(H W C) if absent."),
    "mask": (flags.DEFINE_string, "Neurons that count: central:K, channels:GROUP/GROUPS (from 0), or a .npy file."),
    "num_restarts": (COUNT, "Random starts of every photograph."),
    "chunk_size": (COUNT, "Restarts at a time on a device, which bounds memory; chosen by the device if absent."),
    "seed": (SEED, "Seed of all random numbers."),
    "workdir": (flags.DEFINE_string, "Folder for the results."),
    "compilation_cache": (flags.DEFINE_string, "Folder that saves compiled programs between runs; none if absent."),
}
"""How each flag of the command line programs is defined, and its help; `experiments/lib/flags.py` adds to it."""


def define(name: str, **defaults: Any) -> None:
    """Defines --workdir, `out/<name>`, and a flag for every keyword, with its value as the default."""
    for flag, default in {"workdir": f"out/{name}", **defaults}.items():
        define_flag, text = FLAG_TABLE[flag]
        define_flag(name=flag, default=list(default) if isinstance(default, tuple) else default, help=text)


def define_flags() -> None:
    """Defines the flags of `invert-jax`."""
    absent = "image size initial_image weights architecture model step stages loss lambda_tv lambda_alpha beta sigma"
    absent += " mask chunk_size"
    words = {"representation": "alexnet", "layer": "conv4", "precision": "float32", "binning": "hard"}
    words |= {"variant": "vlfeat", "gradient": "exact", "recipe": "default"}
    counts = {"cell_size": 8, "num_orientations": 9, "bin_size": 5, "num_restarts": 4, "seed": 0}
    define("invert_image", **dict.fromkeys(absent.split()), **words, **counts, gray=False, compilation_cache=None)


def value(flag: str, default: Any = None) -> Any:
    """The value of a flag; `default` for a program that does not define it."""
    return FLAGS[flag].value if flag in FLAGS else default


def network_of(layer: str) -> str:
    """`--weights`; if absent, "alexnet" where the extra `pretrained` is installed and has the layer, else "bundled"."""
    if value("weights") is not None:
        return value("weights")
    return "alexnet" if layer in ij.networks.included_layers("alexnet") else "bundled"


_read_weights = functools.cache(ij.weights.read)


def _layer(name):
    """A layer of the network of `--weights`."""
    options: dict[str, Any] = {"layer": name, "precision": value("precision", "float32")}
    network = network_of(name)
    if network in NETWORKS:
        if value("architecture") is not None:
            raise ValueError(f"--architecture is for a weight file, and {network} has its own: drop it.")
        return ij.pretrained(network, **options)
    architecture, params = _weight_file(network)
    return sequential.tap(architecture, params, **options)


def _weight_file(path):
    """The architecture, by the flag or the file, and the params of a weight file."""
    file = _read_weights(path)
    return ij.networks.ARCHITECTURES[value("architecture") or file.architecture or "caffenet"], file.params


def last_layer() -> str:
    """The last layer that the weights of `--weights` have, of those that need no download for an earlier one."""
    network = network_of("fc8")
    if network in NETWORKS:
        return (ij.networks.included_layers(network) or ("fc8",))[-1]
    return ij.networks.available_layers(*_weight_file(network))[-1]


def make_model(flag: str = "model") -> ij.Representation:
    """What the function that a flag names returns."""
    module, _, function = value(flag).partition(":")
    if not (all(map(str.isidentifier, module.split("."))) and function.isidentifier()):
        raise ValueError(f"--{flag} is {value(flag)!r}; give MODULE:FUNCTION, such as my_network:conv4.")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` does, and a console script does not
    try:
        make = getattr(importlib.import_module(module), function, None)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and imports another one that is not
        raise ValueError(
            f"--{flag} names the module {module}, which is neither installed nor in this folder."
        ) from None
    if not callable(make):
        raise ValueError(f"--{flag} names {function}, but {module} has no such function; give one without arguments.")
    made = make()
    if not isinstance(made, ij.Representation):
        raise TypeError(
            f"{value(flag)} returned {type(made).__name__}; return an ij.Representation: see ij.from_model."
        )
    return made


def make_representation(name: str, *, variant: str | None = None) -> ij.Representation:
    """A layer of the network of `--weights`, "hog", "hogb" or "dsift" by the flags or `variant`, or `--model`."""
    if name == "model":
        return make_model()
    options = {"variant": variant or value("variant", "vlfeat"), "gradient": value("gradient", "exact")}
    if name == "dsift":
        return ij.dsift(bin_size=value("bin_size", 5), step=value("step"), **options)
    if name in SHALLOW:
        return ij.hog(
            cell_size=value("cell_size", 8),
            num_orientations=value("num_orientations", 9),
            binning="bilinear" if name == "hogb" else value("binning", "hard"),
            **options,
        )
    return _layer(name)


def make_recipe(name: str, representation: ij.Representation) -> ij.Recipe:
    """The recipe of `--recipe`'s words for a representation, with the changes that the flags give."""
    layer = ij.networks.layer_of(representation)
    if name == "default":
        recipe = ij.recipes.default(representation)
    elif name == "laplacian_pyramid":
        recipe = ij.recipes.laplacian_pyramid(layer)
    else:
        recipe = ij.recipes.shallow() if layer is None else ij.recipes.for_layer(layer)
    weights = {"tv": value("lambda_tv"), "alpha_norm": value("lambda_alpha")}
    recipe = recipe.reweight(**{prior: weight for prior, weight in weights.items() if weight is not None})
    changes: dict[str, Any] = {"sigma": value("sigma"), "loss": value("loss") and getattr(ij.losses, value("loss"))}
    if value("beta") is not None:
        tv = ij.regularizers.TotalVariation(value("beta"))
        changes["priors"] = tuple(dataclasses.replace(p, function=tv) if p.name == "tv" else p for p in recipe.priors)
    recipe = dataclasses.replace(recipe, **{field: new for field, new in changes.items() if new is not None})
    return restage(recipe)


def restage(recipe: ij.Recipe) -> ij.Recipe:
    """The recipe with the stages that `--stages` gives, if any.

    A pyramid has coarse stages, which leave levels out of the image: the first entry stands for each of them, the
    others for the fine stages, whose prior weights stay in their order.
    """
    texts = value("stages")
    if texts is None:
        return recipe
    try:
        pairs = [(float(rate), int(steps)) for rate, steps in (text.split("x") for text in texts)]
    except ValueError:
        raise ValueError(f"--stages is {','.join(texts)!r}; give RATExSTEPS,... such as 4e-3x100,4e-4x200.") from None
    num_coarse = recipe.parameterization.num_stages - 1
    if num_coarse and len(pairs) < 2:
        raise ValueError(
            f"--stages is {','.join(texts)!r}; with laplacian_pyramid give one for each coarse stage and then one or "
            f"more for the fine stages, such as 0.1x100,0.1x300."
        )
    fine = recipe.stages[num_coarse:]
    stages = [Stage(*pairs[0])] * num_coarse
    for i, pair in enumerate(pairs[1:] if num_coarse else pairs):
        stages.append(Stage(*pair, fine[min(i, len(fine) - 1)].prior_weight))
    return dataclasses.replace(recipe, stages=tuple(stages))


def make_mask(shape: Any) -> Any:
    """The boolean mask that `--mask` describes, for features of this shape; None is all neurons."""
    text = value("mask")
    if text is None:
        return None
    checks.require_one_array(shape)
    kind, _, rest = text.partition(":")
    group, _, num_groups = rest.partition("/")
    if kind == "central" and rest.isdecimal():
        return ij.masks.central(shape, size=int(rest))
    if kind == "channels" and group.isdecimal() and num_groups.isdecimal():
        return ij.masks.channel_group(shape, group=int(group), num_groups=int(num_groups))
    if not text.endswith(".npy"):
        raise ValueError(f"--mask is {text!r}; give central:K, channels:GROUP/GROUPS (groups from 0) or a .npy file.")
    path = paths.require_file(text, "mask")
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, MemoryError):
        raise ValueError(f"{text} is not a .npy array; write the mask with numpy.save, as booleans.") from None


def read_photograph(path: str | None, *, size: int | tuple[int, int] | None, gray: bool) -> tuple[str, Any]:
    """A name and the photograph `[H, W, C]`: a file, or one of `ij.images.EXAMPLES`; None is chelsea, a cat.

    Without a size, a photograph with a side of more than 500 pixels is reduced to that, with a message.
    """
    if path is None or (path in ij.images.EXAMPLES and not os.path.exists(path)):
        name = path or "chelsea"
        load, shape = functools.partial(ij.example_image, name), ij.example_image(name).shape
    else:
        name, load, shape = pathlib.Path(path).stem, functools.partial(ij.load_image, path), ij.images.image_shape(path)
    height, width = shape[:2]
    if size is None and max(height, width) > _LARGEST_SIDE:
        factor = _LARGEST_SIDE / max(height, width)
        size = max(round(height * factor), 1), max(round(width * factor), 1)
        command.say(f"{name} is {height} x {width}; reduced to {size[0]} x {size[1]} (--size sets another).")
    return name, load(size=size, gray=gray)


# --- the program ---


def main() -> None:
    """Runs `invert-jax`, the console script, and exits."""
    command.run(invert_photograph, define_flags, usage=__doc__)


def invert_photograph() -> int:
    """Inverts the photograph that the flags name; returns the exit status, 1 if every restart diverged."""
    _require_flags_fit()
    word = "model" if FLAGS.model else FLAGS.layer if FLAGS.representation == "alexnet" else FLAGS.representation
    representation, deep = make_representation(word), word not in ("model", *SHALLOW)
    gray = FLAGS.gray if word == "model" else not deep
    architecture = ij.networks.architecture_of(representation)
    size = FLAGS.size or (architecture.image_size if architecture else None)
    name, image = read_photograph(FLAGS.image, size=size, gray=gray)
    start = FLAGS.initial_image and read_photograph(FLAGS.initial_image, size=image.shape[:2], gray=gray)[1]
    target, shape = representation(image), representation.feature_shape(image.shape)
    recipe, options = make_recipe(FLAGS.recipe, representation), {"image_shape": image.shape}
    options |= {"mask": make_mask(shape)}
    ij.inversion.make_problem(representation, target, recipe, **options)  # a mistake ends before a folder is made
    if start is not None and FLAGS.num_restarts > 1:
        raise ValueError("--initial_image starts every restart alike; give --num_restarts=1 with it.")
    workdir = command.make_workdir(FLAGS.workdir)
    about = {"image": name, "representation": describe(word)}
    title = ", ".join(about.values())
    command.say(
        f"{title}, {image.shape[0]} x {image.shape[1]}: {FLAGS.num_restarts} restarts from features "
        f"{shape}, {recipe.num_steps} steps at most"
    )

    inputs = representation, target, recipe
    found, frames = _sample(workdir, about, image, *inputs, initial_image=start, **options)
    zero = None if found.error is None else checks.zero_target(target, options["mask"])
    if zero:
        command.say(zero, style="yellow")
        found = dataclasses.replace(found, error=None)
    ranks = _class_ranks(word, image, found.image) if deep else None
    numbers = _write_numbers(workdir, {**about, "class_ranks": ranks}, found, image)
    _draw(workdir, title, image, found, frames)
    command.console.print(_table(numbers, title))
    return _conclude(workdir, numbers)


def describe(word: str) -> str:
    """What a title calls a layer, "hog", "hogb", "dsift" or "model"."""
    if word == "model":
        return value("model")
    network = network_of(word)
    return word if word in SHALLOW else f"{network if network in NETWORKS else pathlib.Path(network).stem} {word}"


def _require_flags_fit():
    if FLAGS.gray and not FLAGS.model:
        raise ValueError("--gray is for --model: drop it.")
    if FLAGS.model and FLAGS["representation"].present:
        raise ValueError(f"--model and --representation={FLAGS.representation} were given: give one.")
    for flag, owners in _FLAG_OWNERS.items():
        given = "--model" if FLAGS.model else FLAGS.representation
        if FLAGS[flag].present and given not in owners:
            raise ValueError(f"--{flag} is for {' and '.join(owners)}, not for {given}: drop it.")


def _sample(workdir, about, image, *inputs, **options):
    """All restarts, and frames of the first ones; whatever ends the run, those that are finished are written."""
    parts, frames, num_written = [], [], 0

    def write():
        found = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
        _write_numbers(workdir, about, found, image)
        return found

    columns = (*rich.progress.Progress.get_default_columns(), "{task.fields[energy]}")
    try:
        with rich.progress.Progress(*columns, console=command.console) as bar:
            for part in _chunks(bar, frames, *inputs, **options):
                parts.append(part)
                if len(parts) > 2 * num_written:  # not each time, which would be quadratic
                    write()
                    num_written = len(parts)
    except BaseException:
        if len(parts) > num_written:
            write()
        raise
    return write(), frames


def _chunks(bar, frames, representation, target, recipe, **options) -> Iterator[ij.Preimage]:
    """The restarts of `ij.sample`, chunk by chunk, so that those that are finished can be saved."""
    key, num_restarts = jax.random.key(FLAGS.seed), FLAGS.num_restarts
    chunk_size = FLAGS.chunk_size or ij.sampling.default_chunk_size(ij.sampling.make_mesh())
    options |= {"chunk_size": chunk_size, "progress": False}
    task = bar.add_task("compiling", total=recipe.num_steps * num_restarts, energy="")

    def show(progress):
        first, last = progress.restarts[0], progress.restarts[-1]
        completed = recipe.num_steps * first + progress.step * len(progress.restarts)
        energy = np.median(progress.energy.total)
        energy = f"energy {energy:.4f}" if progress.step else ""
        bar.update(task, description=f"restarts {first}-{last}", completed=completed, energy=energy)
        if first == 0:
            frames.append((progress.step, progress.image[:_ANIMATED]))

    for first in range(0, num_restarts, chunk_size):
        bar.update(task, completed=recipe.num_steps * first)  # the chunk before may have converged early
        options |= {"num_restarts": min(chunk_size, num_restarts - first), "first_restart": first}
        options |= {"callback": show, "callback_every": max(recipe.num_steps // _NUM_FRAMES, 1)}
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # `_conclude` reports divergence
            yield ij.sample(key, representation, target, recipe, **options)
    bar.update(task, completed=recipe.num_steps * num_restarts)


def _write_numbers(workdir, about, found, image):
    """Writes the arrays and results.json of the restarts so far; returns the numbers."""
    energies = {f"energy_{term}": values for term, values in found.energy._asdict().items()}
    errors = np.full(len(found.finite), np.nan) if found.error is None else found.error
    scalars = {"errors": errors, "finite": found.finite, "evaluations": found.evaluations}
    arrays.write_arrays(workdir / "preimages.npz", {"images": found.image, **scalars, **energies}, compressed=True)
    finite = errors[found.finite & np.isfinite(errors)]
    clipped = np.clip(found.image, 0, 255)
    numbers = {
        **about,
        **scalars,
        "complete": len(errors) == FLAGS.num_restarts,
        "mean_error": finite.mean() if finite.size else None,
        "final_energies": {term: values[:, -1] for term, values in found.energy._asdict().items()},
        "psnr": [ij.metrics.psnr(restart, image) for restart in clipped] if image.shape[2] == 3 else None,
        "diverged": int(np.sum(~found.finite)),
        "failed_at": found.failed_at,
        "remaining_fall": ij.metrics.remaining_fall(found.energy.total),
        "seconds": round(time.monotonic() - _START, 1),
    }
    command.write_results(workdir, numbers)
    return numbers


def _conclude(workdir, numbers):
    diverged, count = numbers["diverged"], len(numbers["errors"])
    command.say(f"{numbers['seconds']:.0f} s; pictures, preimages.npz and results.json are in {workdir}")
    if np.any((numbers["remaining_fall"] > ij.metrics.FALLING) & np.isfinite(numbers["errors"])):
        command.say("† The descent has not converged: its last tenth lowered the energy by more than 5 %.")
    sentence = checks.divergence(numbers["finite"], numbers["failed_at"], default="--recipe=default")
    if sentence:
        command.say(sentence, style="yellow" if diverged < count else "red")
    return int(diverged == count)


def _class_ranks(layer, image, restarts):
    """Rank, from 1, that fc8 gives the photograph's class in each restart; None where the network has no answer."""
    network = network_of(layer)
    included = ij.networks.included_layers(network) if network in NETWORKS else ()
    if layer in included and "fc8" not in included:  # it is not downloaded for a rank
        return None

    def scores(image):
        return np.asarray(fc8(image)).mean((0, 1))

    try:
        fc8 = _layer("fc8")
        winner = scores(image).argmax()
    except (ValueError, KeyError):  # the image is smaller than fc8's receptive field, or the weights end below fc8
        return None
    found = [scores(restart) if np.isfinite(restart).all() else None for restart in restarts]
    return [None if values is None else 1 + int(np.sum(values > values[winner])) for values in found]


def _draw(workdir, title, image, found, frames):
    """Draws the pictures independently: one that fails does not prevent the others."""
    # HOG and DSIFT are blind to contrast, so their restarts are shown stretched to the full range.
    stretched = image.shape[2] == 1
    note = " (restarts stretched to full contrast)" if stretched else ""

    def montage():
        errors = [""] * len(found.image) if found.error is None else [f": error {100 * e:.1f} %" for e in found.error]
        labels = ["photograph", *(f"restart {r}{error}" for r, error in enumerate(errors))]
        modes = ["clip", *["stretch" if stretched else "clip"] * len(found.image)]
        heading = f"{title}: the same features, other images{note}"
        return ij.viz.montage([image, *found.image], labels=labels, title=heading, mode=modes)

    def spread():
        deviation = ij.analysis.std_map(found.image[found.finite])
        heading = f"{title}: spread of {found.finite.sum()} restarts"
        return ij.viz.heatmap(deviation, title=heading, label="standard deviation, gray levels")

    pictures = {"montage.png": montage}
    if found.finite.sum() > 1:
        pictures["spread.png"] = spread
    if found.finite.any():
        pictures["convergence.png"] = lambda: ij.viz.convergence(found.energy, title=title)
    for name, draw in pictures.items():
        command.attempt(name, lambda name=name, draw=draw: ij.save_image(workdir / name, draw()))
    command.attempt("evolution.gif", lambda: _animate(workdir / "evolution.gif", image, frames))


def _animate(path, image, frames):
    sheets = [
        ij.viz.montage([image, *images], labels=["photograph", f"step {step}", *[""] * (len(images) - 1)], height=160)
        for step, images in frames
    ]
    ij.images.save_animation(path, [*sheets, *sheets[-1:] * 10], seconds_per_frame=0.1)


def _table(numbers, title):
    table = rich.table.Table(title=rich.text.Text(title))  # as Text, brackets in a name are no markup
    for column in ("restart", "error, %", "loss", "alpha-norm", "TV", "PSNR, dB", "class rank"):
        table.add_column(column, justify="right")
    final = [numbers["final_energies"][term] for term in ("loss", "alpha_norm", "tv")]
    absent = ["-"] * len(numbers["errors"])
    ranks = numbers["class_ranks"] or absent
    decibels = absent if numbers["psnr"] is None else [f"{value:.1f}" for value in numbers["psnr"]]
    for r, (error, finite) in enumerate(zip(numbers["errors"], numbers["finite"], strict=True)):
        terms = (f"{energies[r]:.4f}" for energies in final)
        mark = "†" if numbers["remaining_fall"][r] > ij.metrics.FALLING else ""
        cells = (f"{100 * error:.1f}{mark}" if np.isfinite(error) else "-", *terms, decibels[r], str(ranks[r]))
        table.add_row(str(r), *(cells if finite else ("not finite", *["-"] * 5)))
    return table
