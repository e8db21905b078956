"""What the runners share: flags that name a representation and a recipe, the work folder, results.json."""

import dataclasses
import functools
import importlib.metadata
import io
import json
import math
import os
import pathlib
import platform
import sys
import traceback

import jax
import numpy as np
import rich.console
from absl import app, flags, logging

import invert_jax as ij
from invert_jax._util import atomic_io

REPRESENTATIONS = ("alexnet", "hog", "hogb", "dsift")
LOSSES = {
    "squared_distance": ij.losses.normalized_squared_l2,
    "distance": ij.losses.normalized_l2,
    "l1_distance": ij.losses.normalized_l1,
    "inner_product": ij.losses.inner_product,
    "activation": ij.losses.activation,
}
RECIPES = {
    "pixels": lambda layer: ij.recipes.shallow() if layer is None else ij.recipes.for_layer(layer),
    "pyramid": lambda layer: ij.recipes.laplacian_pyramid(layer),
}
"""How to descend: `recipe(layer)`, None for anything but a layer of alexnet."""
_ONLY_FOR = {
    "layer": ("alexnet",),
    "weights": ("alexnet",),
    "precision": ("alexnet",),
    "cell_size": ("hog", "hogb"),
    "num_orientations": ("hog", "hogb"),
    "binning": ("hog",),
    "bin_size": ("dsift",),
    "step": ("dsift",),
    "variant": ("hog", "hogb", "dsift"),
}
LARGEST_SIDE = 500  # of a gray photograph whose size is not given: that of the paper's

console = rich.console.Console()


def define_inversion_flags(*, layer: str, num_restarts: int) -> None:
    """Defines the flags that name a representation, a recipe and a sample of restarts."""
    flags.DEFINE_enum(
        "representation", "alexnet", REPRESENTATIONS, "What to invert; hogb is HOG with bilinear binning."
    )
    flags.DEFINE_enum("layer", layer, ij.networks.LAYER_NAMES, "Layer of alexnet.")
    flags.DEFINE_string(
        "weights", None, "Weights of alexnet, .npz or MatConvNet .mat; the bundled small network if absent."
    )
    flags.DEFINE_integer("cell_size", 8, "Cell of hog and hogb, pixels.")
    flags.DEFINE_integer("num_orientations", 9, "Undirected orientations of hog and hogb.")
    flags.DEFINE_enum("binning", "hard", ["hard", "bilinear", "approximate"], "How hog gates gradients; see ij.hog.")
    flags.DEFINE_integer("bin_size", 5, "Spatial bin of dsift, pixels.")
    flags.DEFINE_integer("step", 5, "Pixels between dsift descriptors.")
    flags.DEFINE_enum("variant", "vlfeat", ["vlfeat", "released"], "HOG and DSIFT as VLFeat, or as the paper's code.")
    flags.DEFINE_enum("precision", "float32", ["float32", "bfloat16"], "Arithmetic of alexnet between image and layer.")
    flags.DEFINE_enum(
        "recipe",
        "pixels",
        list(RECIPES),
        "How to descend: on the pixels, as the paper; or on a Laplacian pyramid, which comes nearer and takes longer.",
    )
    flags.DEFINE_float("lambda_tv", None, "Weight of TV^beta in eq. 3; the recipe's own if absent.")
    flags.DEFINE_float("lambda_alpha", None, "Weight of the alpha-norm in eq. 3; the balancing rule if absent.")
    flags.DEFINE_float(
        "beta", None, "Exponent of TV^beta; the recipe's own if absent. The paper's 1 goes with --lambda_tv=1.845e-3."
    )
    flags.DEFINE_float("sigma", None, "Norm of a typical centered image, gray levels; 68.92 sqrt(H W C) if absent.")
    flags.DEFINE_list(
        "stages", None, "Descent as RATExSTEPS,..., such as 4e-3x100,4e-4x200; the recipe's own if absent."
    )
    flags.DEFINE_enum("loss", "squared_distance", list(LOSSES), "What compares the features with the photograph's.")
    flags.DEFINE_string("mask", None, "Neurons that count: central:K, channels:GROUP/GROUPS, or a boolean .npy file.")
    flags.DEFINE_integer("num_restarts", num_restarts, "Random starts.")
    flags.DEFINE_integer("chunk_size", None, "Restarts at a time; bounds memory. 4 on CPU, 32 elsewhere, if absent.")
    flags.DEFINE_integer("seed", 0, "Seed of the random starts.")


def representation(values: flags.FlagValues) -> ij.Representation:
    """The representation that the flags name."""
    for flag, owners in _ONLY_FOR.items():
        if values[flag].present and values.representation not in owners:
            raise ValueError(f"--{flag} is for {' and '.join(owners)}, not for {values.representation}: drop it.")
    if values.representation == "alexnet":
        return ij.alexnet(alexnet_params(values.weights), layer=values.layer, precision=values.precision)
    if values.representation == "dsift":
        return ij.dsift(bin_size=values.bin_size, step=values.step, variant=values.variant)
    return ij.hog(
        cell_size=values.cell_size,
        num_orientations=values.num_orientations,
        binning="bilinear" if values.representation == "hogb" else values.binning,
        variant=values.variant,
    )


@functools.cache
def alexnet_params(path: str | None) -> dict | None:
    """Weights of alexnet from a file, read once; None stands for the bundled ones."""
    return None if path is None else ij.load_params(path)


def recipe(values: flags.FlagValues) -> ij.Recipe:
    """The recipe for the representation that the flags name, with their changes."""
    layer = values.layer if values.representation == "alexnet" else None
    if values.recipe == "pyramid" and values.stages is not None:
        raise ValueError("--stages are of the pixels' descent; drop them, or --recipe=pyramid.")
    chosen = RECIPES[values.recipe](layer)
    changes = {"loss": LOSSES[values.loss]} if values["loss"].present else {}
    for name in ("lambda_tv", "lambda_alpha", "beta", "sigma"):
        if getattr(values, name) is not None:
            changes[name] = getattr(values, name)
    if values.stages is not None:
        changes["rates"], changes["steps"] = _stages(values.stages)
    return dataclasses.replace(chosen, **changes)


def _stages(texts):
    try:
        pairs = [(float(rate), int(steps)) for rate, steps in (text.split("x") for text in texts)]
    except ValueError:
        raise ValueError(f"--stages is {','.join(texts)!r}; give RATExSTEPS,... such as 4e-3x100,4e-4x200.") from None
    return tuple(rate for rate, _ in pairs), tuple(steps for _, steps in pairs)


def mask(text: str | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """The mask that `--mask` describes, for features of this shape."""
    if text is None:
        return None
    kind, _, rest = text.partition(":")
    try:
        if kind == "central":
            size = int(rest)
        elif kind == "channels":
            group, num_groups = (int(number) for number in rest.split("/"))
        elif not text.endswith(".npy"):
            raise ValueError
    except ValueError:
        raise ValueError(
            f"--mask is {text!r}; give central:K, channels:GROUP/GROUPS (groups from 0) or a boolean .npy file."
        ) from None
    if kind == "central":
        return ij.masks.central(shape, size=size)
    if kind == "channels":
        return ij.masks.channel_group(shape, group=group, num_groups=num_groups)
    if not os.path.isfile(text):
        raise FileNotFoundError(f"There is no file {text}; --mask names a boolean array in a .npy file.")
    try:
        return np.load(text, allow_pickle=False)
    except (ValueError, EOFError, OSError):
        raise ValueError(f"{text} is not a .npy array; write the mask with numpy.save, as booleans.") from None


def photograph(path: str | None, *, size: int | None, gray: bool) -> tuple[str, np.ndarray]:
    """A photograph and its name: a file, or one of `ij.images.EXAMPLES`; chelsea the cat if None.

    Without a size, a photograph with a side of more than `LARGEST_SIDE` pixels is reduced to that, and it is said.
    """
    if path is None or (path in ij.images.EXAMPLES and not os.path.exists(path)):
        name = path or "chelsea"
        image = ij.example_image(name, size=size, gray=gray)
    else:
        name, image = pathlib.Path(path).stem, ij.load_image(path, size=size, gray=gray)
    height, width, _ = image.shape
    if size is None and max(height, width) > LARGEST_SIDE:
        shrink = LARGEST_SIDE / max(height, width)
        image = ij.images.resize(image, (max(round(height * shrink), 1), max(round(width * shrink), 1)))
        console.print(
            f"{name} is {height} x {width}; reduced to {image.shape[0]} x {image.shape[1]}"
            f"{' (--size sets another)' if 'size' in flags.FLAGS else ''}.",
            highlight=False,
        )
    return name, image


def define_cache_flag() -> None:
    """Defines the flag that keeps compiled programs between runs."""
    flags.DEFINE_string("compilation_cache", None, "Folder that keeps compiled programs between runs; none if absent.")


def use_cache() -> None:
    """Keeps compiled programs where `--compilation_cache` says."""
    if getattr(flags.FLAGS, "compilation_cache", None):
        jax.config.update("jax_compilation_cache_dir", flags.FLAGS.compilation_cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def make_workdir(path: str) -> pathlib.Path:
    """Creates the work folder; one sentence if that cannot be."""
    workdir = pathlib.Path(path)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"The work folder {workdir} cannot be made ({error.strerror}); give another --workdir.") from None
    if not os.access(workdir, os.W_OK):
        raise OSError(f"The work folder {workdir} cannot be written to; give another --workdir.")
    return workdir


def write_results(workdir: pathlib.Path, numbers: dict) -> None:
    """Writes results.json: the numbers, and the settings, versions and device they came from."""
    results = {
        **numbers,
        "command": [os.path.basename(sys.argv[0]), *sys.argv[1:]],
        "settings": _settings(),
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy")}
        | {"invert_jax": ij.__version__, "python": platform.python_version()},
        "device": {
            "platform": jax.default_backend(),
            "kind": jax.devices()[0].device_kind,
            "count": jax.device_count(),
        },
    }
    write_text(workdir / "results.json", json.dumps(_plain(results), indent=2, allow_nan=False) + "\n")


def _settings():
    """The value of every flag that a runner defines."""
    own = [module for module in flags.FLAGS.flags_by_module_dict() if not module.startswith("absl")]
    return {flag.name: flag.value for module in own for flag in flags.FLAGS.flags_by_module_dict()[module]}


def _plain(value):
    """What JSON knows: arrays become lists, and numbers that are not finite, for which it has no word, null."""
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


def write_arrays(path: pathlib.Path, **arrays: np.ndarray) -> None:
    """Writes a compressed .npz whole or not at all."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    atomic_io.write_bytes(path, stream.getvalue())


def run(main, *, most: int = 0) -> None:
    """Runs `main()` under absl; a user's mistake ends in its sentence, without a traceback (--verbosity=1 shows it).

    Args:
      main: what to run; it is given the arguments that are no flags.
      most: how many of those it takes.
    """

    def alone(argv):
        """Leaves at once when others are at work: in order, it would wait for them, who wait for it."""
        try:
            code = guarded(argv)
        except BaseException:
            if jax.distributed.is_initialized():
                traceback.print_exc()
                os._exit(1)
            raise
        if code == 1 and jax.distributed.is_initialized():
            sys.stdout.flush()
            os._exit(code)
        return code

    def guarded(argv):
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # keeps JAX's word on absent accelerators out of sight
        if len(argv) > 1 + most:
            console.print(f"Unknown argument {argv[1 + most]!r}; see --help.", style="red", markup=False)
            return 2
        use_cache()
        try:
            return main(*argv[1:])
        except (ValueError, TypeError, OSError, ImportError) as error:
            if logging.get_verbosity() >= logging.DEBUG:
                raise
            said = getattr(error, "strerror", None) if getattr(error, "filename", None) is None else None
            console.print(said or str(error), style="red", markup=False, highlight=False, soft_wrap=True)
            return 1
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            console.print(
                "The device is out of memory; take smaller photographs or fewer restarts at a time.", style="red"
            )
            return 1
        except KeyboardInterrupt:
            console.print("Interrupted; nothing half-written is left.", style="red")
            return 130

    app.run(alone)
