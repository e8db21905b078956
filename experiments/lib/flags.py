"""Every flag of the experiments, once, and what the flags describe; `invert_jax.cli` has those of `invert-jax`."""

import contextlib
import functools
import math
from collections.abc import Sequence
from typing import Any

from absl import flags

import invert_jax as ij
from invert_jax import cli

FLAGS, SHALLOW, RECIPES = cli.FLAGS, cli.SHALLOW, cli.RECIPES
SHALLOW_SIZE = 160
"""Side of the photographs of hog, hogb and dsift, unless `--size` says otherwise."""

define, value, restage, mask, last_layer = cli.define, cli.value, cli.restage, cli.make_mask, cli.last_layer
photograph, recipe, representation = cli.read_photograph, cli.make_recipe, cli.make_representation

_TWO = functools.partial(cli.COUNT, lower_bound=2)
cli.FLAG_TABLE |= {
    "images": (
        flags.DEFINE_string,
        "Photographs, folders of them or patterns such as 'dir/*.jpg', separated by commas; examples if absent.",
    ),
    "skip_unreadable": (flags.DEFINE_bool, "Pass over photographs that cannot be read, with a message."),
    "num_images": (cli.COUNT, "Photographs to take, spread evenly over those given."),
    "num_scale_images": (_TWO, "Photographs between whose features the mean distance N_Phi is taken, at most."),
    "layers": (flags.DEFINE_list, "Layers of the network."),
    "representations": (flags.DEFINE_list, f"What to invert, of alexnet, {', '.join(SHALLOW)}."),
    "recipes": (flags.DEFINE_list, f"How to invert, of {', '.join(RECIPES)}; see ij.recipes.default."),
    "lambdas": (flags.DEFINE_list, "Weights of TV^2, or bold: the layer's own of the paper's Table 3."),
    "priors": (flags.DEFINE_bool, "Whether TV and the alpha-norm are added to eq. 7; else coarse stages are longer."),
    "evaluations": (functools.partial(cli.COUNT, lower_bound=20), "Gradient evaluations of each descent."),
    "hoggle": (flags.DEFINE_string, "Dictionaries from experiments.learn_hoggle; no HOGgle if absent."),
    "dtype": (cli.choice("float32", "float16"), "Type in which images are saved."),
    "sweep": (flags.DEFINE_string, "A JSON file with any of these flags by name."),
    "extend": (flags.DEFINE_bool, "Add restarts to a folder that was made for fewer."),
    "allow_changed_code": (
        flags.DEFINE_bool,
        "Resume without a warning what other versions of the library made.",
    ),
    "memory_gb": (flags.DEFINE_float, "Memory of a device to use; three quarters, and small chunks, if absent."),
    "coordinator": (flags.DEFINE_string, "Address:port of process 0, for several processes."),
    "num_processes": (cli.COUNT, "How many processes there are."),
    "process_id": (functools.partial(cli.COUNT, lower_bound=0), "Which of them this one is, from 0."),
}


def define_paper(name: str, *, num_images: int, **defaults: Any) -> None:
    """Defines the flags that every table and figure has, and those given by keyword with their defaults."""
    common = {"images": None, "num_images": num_images, "size": None, "stages": None, "seed": 0}
    common |= {"skip_unreadable": False}
    define(name, **common, **defaults, allow_changed_code=False, compilation_cache=None)


def size_of(name: str) -> int:
    """Side of the photographs for a layer of the network, or for hog, hogb or dsift; `--size` if given."""
    if name in SHALLOW or value("size"):
        return value("size") or SHALLOW_SIZE
    architecture = ij.networks.architecture_of(representation(name))
    return architecture.image_size if architecture else SHALLOW_SIZE


def chosen(flag: str, known: Sequence[str]) -> list[str]:
    """The names that a flag lists; ValueError if there are none, or one is unknown."""
    names = FLAGS[flag].value
    if not names or not set(names) <= set(known):
        raise ValueError(f"--{flag} is {','.join(names)!r}; choose from: {', '.join(known)}.")
    return names


def chosen_layers(known: Sequence[str] = ij.networks.CAFFENET.layer_names) -> list[str]:
    """The layers of `--layers`, checked against those known, or by making them if `--weights` names a network."""
    names = chosen("layers", known if value("weights") == "bundled" else FLAGS.layers)
    for name in names:
        representation(name)
    return names


def numbers(flag: str, *, other: str = "") -> list[float]:
    """The non-negative numbers that a flag lists; `other` is what else the flag takes."""
    texts, found = FLAGS[flag].value, []
    with contextlib.suppress(ValueError):
        found = [float(text) for text in texts]
    if not found or not all(0 <= number < math.inf for number in found):
        wanted = f"numbers >= 0 such as 0.5,5,50{other and ', or ' + other}"
        raise ValueError(f"--{flag} is {','.join(texts)!r}; give {wanted}.")
    return found
