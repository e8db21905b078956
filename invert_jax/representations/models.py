"""A network of any framework, at any layer, as a representation."""

import dataclasses
import difflib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from invert_jax import preprocess as preprocessing
from invert_jax._util import checks
from invert_jax.representations import frameworks
from invert_jax.representations.function import as_center
from invert_jax.types import Image, Params, Representation

_CHANNELS = (1, 3, 4)
_PREPROCESSING = ("imagenet", "caffe", "tf", "none")


@dataclasses.dataclass(frozen=True)
class _Apply:
    """Preprocesses an image, calls the model, with or without a batch axis, and picks layers from the result."""

    adapter: Any
    layer: Any
    preprocess: Callable
    batched: bool

    def __call__(self, params: Params, image: Image) -> Any:
        names = self.layer if isinstance(self.layer, tuple) else () if self.layer is None else (self.layer,)
        output, found = self.run(params, image, names)
        if self.layer is None:
            return self.features(output, "output")
        if isinstance(output, dict):
            found = {**output, **found}
        for name in names:
            if name not in found:
                _, everything = self.run(params, image, None)
                raise ValueError(_unknown_layer(name, [*everything, *(output if isinstance(output, dict) else ())]))
        features = {name: self.features(found[name], f"layer {name}") for name in names}
        return features if isinstance(self.layer, tuple) else features[self.layer]

    def run(self, params, image, names):
        """The model's output, and those of layers, None being all."""
        x = jnp.asarray(self.preprocess(image))
        if x.ndim == 3 and self.adapter.channels_first is not False:
            x = self._with_channels_first(params, x)
        return self.adapter.run(params, x[None] if self.batched else x, names)

    def _with_channels_first(self, params, x):
        """`[C, H, W]` where the framework has it so, unless it is already, or where the model runs on no other."""
        if self.adapter.channels_first:
            is_last = x.shape[2] in _CHANNELS and x.shape[0] not in _CHANNELS
            return x.transpose(2, 0, 1) if is_last else x
        try:
            jax.eval_shape(lambda x: self.adapter.run(params, x[None] if self.batched else x, ())[0], x)
        except Exception:  # whatever a model raises on an input of another shape
            return x.transpose(2, 0, 1)
        return x

    def features(self, output, what):
        """The output of one image: without the batch axis, floating-point numbers as float32."""

        def of_image(path, leaf):
            where = f"{what}{jax.tree_util.keystr(path)}"
            if not hasattr(leaf, "dtype"):
                raise TypeError(f"The {where} of the model is {leaf!r}, which is no array; choose another layer.")
            leaf = jnp.asarray(leaf)
            if self.batched:
                if leaf.ndim == 0 or leaf.shape[0] != 1:
                    raise ValueError(
                        f"The {where} has shape {leaf.shape} for a batch of one image, so its first axis is not the "
                        "batch's; choose another layer, or give batched=False if the model takes one image."
                    )
                leaf = leaf[0]
            floating = jnp.issubdtype(leaf.dtype, jnp.floating)
            return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)) if floating else leaf

        return jax.tree_util.tree_map_with_path(of_image, output)


def _unknown_layer(name, known):
    close = difflib.get_close_matches(name, known, 3, 0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else "layers_of lists them"
    listed = ", ".join(known[:12]) + (f", ... ({len(known)} in all)" if len(known) > 12 else "")
    return f"The model has no layer {name!r} ({hint}); its layers are: {listed or 'none that can be named'}."


def from_model(
    model: Any,
    variables: Any = None,
    *,
    layer: str | tuple[str, ...] | list[str] | None = None,
    preprocess: str | Callable[[Image], Any] | None = None,
    batched: bool | None = None,
    center: Any = None,
    **options: Any,
) -> Representation:
    """A model of Flax (Linen or NNX), Equinox, Keras or PyTorch as a representation, in evaluation mode.

    Features are those of the model's own call on a batch of this one image. Batch norm uses its running averages, and
    dropout drops nothing: a model's own switch (NNX's `eval`, Equinox's `inference_mode`, Keras's `training`, PyTorch's
    `eval`) is set on a copy, and a keyword (`train`, `deterministic`, `use_running_average`, ...) where the call has
    one. New weights do not retrace.

    Args:
      model: the model. A Keras model needs the JAX backend, a PyTorch model the extra `torch`.
      variables: of Linen what `model.init` returned, of Equinox the state of `make_with_state`; else None, since the
        model holds its weights. A bound Linen model holds them as well.
      layer: the layer whose output is inverted, as `layers_of` names it, or a key of an output that is a dict;
        several names give a dict of features, inverted jointly. None is the output.
      preprocess: from an image `[H, W, C]`, 0..255, to the model's input: a function, or "imagenet", "caffe", "tf" or
        "none" of `ij.preprocess`. None is "none".
      batched: whether the model takes a batch of images; None is the framework's convention: one image for Equinox,
        else a batch. The axis is added and dropped.
      center: intensity about which images are regularized: a scalar, `[C]` or `[H, W, C]`; None is the color that
        `preprocess` maps to zero, or else mid-gray.
      **options: keyword arguments of the model's call, such as `train=False`; `method` of Linen's `apply`.

    Returns:
      A `Representation`. PyTorch gets channels first; Equinox gets them last, or first if it cannot run otherwise.

    Raises:
      TypeError: not a model, a layer that is no name, variables that are missing or no arrays, or another backend of
        Keras.
      ValueError: an unknown preprocessing, a model that is not built, or, when it is called, an unknown layer, an
        output without a batch axis, or a model that is not in evaluation mode.
      ModuleNotFoundError: torchax is not installed.

    >>> from flax import nnx
    >>> conv = nnx.Conv(3, 8, (3, 3), rngs=nnx.Rngs(0))
    >>> from_model(conv, preprocess="imagenet")(jnp.zeros((32, 32, 3))).shape
    (32, 32, 8)
    """
    if isinstance(preprocess, str):
        checks.require_choice(preprocess, _PREPROCESSING, "preprocessing")
        preprocess = getattr(preprocessing, preprocess)
    function: Any = preprocessing.none if preprocess is None else preprocess
    if not callable(function):
        raise TypeError(f"preprocess is {function!r}; give a function, or one of {', '.join(_PREPROCESSING)}.")
    layer = tuple(layer) if isinstance(layer, list) else layer
    names = layer if isinstance(layer, tuple) else () if layer is None else (layer,)
    if layer == () or not all(isinstance(name, str) for name in names):
        raise TypeError(f"layer is {layer!r}; give the name of a layer, or a list of names: see layers_of.")
    adapter, params = frameworks.adapt(model, variables, options)
    apply = _Apply(adapter, layer, function, adapter.batched if batched is None else batched)
    center = preprocessing.center_of(function) if center is None else center
    # Three equal levels become a scalar, which is a center of gray images as well.
    center = center[0] if getattr(center, "ndim", 0) == 1 and len(set(center.tolist())) == 1 else center
    return Representation(apply, params, as_center(center))


def layers_of(
    model: Any,
    variables: Any = None,
    *,
    image_shape: tuple[int, int, int],
    preprocess: str | Callable[[Image], Any] | None = None,
    batched: bool | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The layers of a model that `from_model` takes, with the shapes of their features; nothing is computed.

    Args:
      model: as in `from_model`.
      variables: as in `from_model`.
      image_shape: `(H, W, C)` of an image.
      preprocess: as in `from_model`.
      batched: as in `from_model`.
      **options: as in `from_model`.

    Returns:
      `{name: shape}`, without the batch axis; layers whose output is no array of the batch are left out.

    Raises:
      TypeError: as in `from_model`.
      ValueError: as in `from_model`.

    >>> from flax import nnx
    >>> rngs = nnx.Rngs(0)
    >>> net = nnx.Sequential(nnx.Conv(3, 8, (3, 3), rngs=rngs), nnx.relu, nnx.Conv(8, 4, (3, 3), rngs=rngs))
    >>> layers_of(net, image_shape=(32, 32, 3))
    {'layers/0': (32, 32, 8), 'layers/2': (32, 32, 4)}
    """
    image_shape = checks.require_image_shape(image_shape)
    phi = from_model(model, variables, preprocess=preprocess, batched=batched, **options)
    apply: Any = phi.apply
    image = jax.ShapeDtypeStruct(image_shape, "float32")
    output, found = jax.eval_shape(lambda params, image: apply.run(params, image, None), phi.params, image)
    keys = output if isinstance(output, dict) else {}
    shapes = {}
    for name, value in {**found, **keys}.items():
        leaves = jax.tree.leaves(value)
        fits = [leaf.ndim > 0 and leaf.shape[0] == 1 if apply.batched else True for leaf in leaves]
        if leaves and all(fits):
            shapes[name] = jax.tree.map(lambda leaf: leaf.shape[1:] if apply.batched else leaf.shape, value)
    return shapes
