"""Small models of every framework, as their users write them, with random weights."""

import copy
import functools
import os
from typing import NamedTuple

os.environ["KERAS_BACKEND"] = "jax"

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx

KEY = jax.random.key(0)
COLOR, LARGE, GRAY = (32, 32, 3), (224, 224, 3), (28, 28, 1)


class Entry(NamedTuple):
    """A model, how from_model takes it, an inner layer, and the model's own call on a batch `[N, H, W, C]`, 0..255."""

    model: object
    arguments: tuple
    options: dict
    layer: str
    image_shape: tuple
    call: object


def perturbed(variables):
    """Statistics and scales that differ from those of a new model, which are zeros and ones."""
    leaves, structure = jax.tree.flatten(variables)
    keys = jax.random.split(KEY, len(leaves))
    moved = [leaf + 0.1 * jnp.abs(jax.random.normal(key, leaf.shape)) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, moved)


# --- Flax Linen ---


class LinenBlock(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x, train):
        y = nn.Conv(self.width, (3, 3), strides=2, use_bias=False)(x)
        y = nn.BatchNorm(use_running_average=not train)(y)
        y = nn.Dropout(0.5, deterministic=not train)(y)
        return nn.relu(y) + nn.Conv(self.width, (1, 1), strides=2)(x)


class LinenResNet(nn.Module):
    """Batch norm and dropout behind a `train` argument; global pooling; a dense head."""

    widths: tuple = (8, 16)

    @nn.compact
    def __call__(self, x, train: bool):
        for width in self.widths:
            x = LinenBlock(width)(x, train)
        return nn.Dense(10)(x.mean((1, 2)))


class LinenGroupNorm(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.GroupNorm(4)(nn.Conv(8, (3, 3))(x))


class LinenViT(nn.Module):
    """Patches, a class token and attention; the output is a dict."""

    @nn.compact
    def __call__(self, x, *, deterministic):
        x = nn.Conv(16, (8, 8), strides=8, name="patches")(x)
        x = x.reshape(x.shape[0], -1, 16)
        token = self.param("token", nn.initializers.normal(), (1, 1, 16))
        x = jnp.concatenate([jnp.tile(token, (x.shape[0], 1, 1)), x], 1)
        y = nn.MultiHeadDotProductAttention(2, dropout_rate=0.5, deterministic=deterministic)(nn.LayerNorm()(x))
        x = nn.LayerNorm(name="encoded")(x + y)
        return {"token": x[:, 0], "logits": nn.Dense(5)(x[:, 0]), "patches_mean": x[:, 1:].mean(1)}


class LinenCNN(nn.Module):
    """The MNIST example."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(features=4, kernel_size=(3, 3))(x))
        x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = x.reshape((x.shape[0], -1))
        return nn.Dense(features=10)(x)


def linen(module, image_shape, layer, preprocess=None, scale=lambda x: x, **call):
    variables = perturbed(module.init(KEY, jnp.zeros((1, *image_shape)), **call))

    def own(images):
        return module.apply(variables, scale(images), **call)

    return Entry(module, (variables,), {"preprocess": preprocess}, layer, image_shape, own)


# --- Flax NNX ---


class NNXBlock(nnx.Module):
    def __init__(self, inputs, outputs, *, rngs):
        self.conv = nnx.Conv(inputs, outputs, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(outputs, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return nnx.relu(self.dropout(self.norm(self.conv(x))))


class NNXCNN(nnx.Module):
    """The tutorial's: blocks in a list, pooling in an attribute."""

    def __init__(self, *, rngs):
        self.blocks = nnx.List([NNXBlock(3, 8, rngs=rngs), NNXBlock(8, 16, rngs=rngs)])
        self.pool = functools.partial(nnx.avg_pool, window_shape=(2, 2), strides=(2, 2))
        self.head = nnx.Linear(16, 10, rngs=rngs)

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(self.pool(x).mean((1, 2)))


class NNXAttention(nnx.Module):
    def __init__(self, *, rngs):
        self.patches = nnx.Conv(3, 16, (8, 8), strides=8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 16, decode=False, rngs=rngs)
        self.norm = nnx.LayerNorm(16, rngs=rngs)

    def __call__(self, x):
        x = self.patches(x).reshape(x.shape[0], -1, 16)
        return {"tokens": self.norm(x + self.attention(x)), "mean": x.mean(1)}


class NNXTrainFlag(nnx.Module):
    def __init__(self, *, rngs):
        self.conv = nnx.Conv(1, 6, (5, 5), rngs=rngs)
        self.norm = nnx.GroupNorm(6, num_groups=2, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x, train: bool):
        return self.dropout(self.norm(self.conv(x)), deterministic=not train)


def nnx_model(model, image_shape, layer, preprocess=None, scale=lambda x: x, **call):
    _, params, statistics, _ = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
    nnx.update(model, perturbed(params), perturbed(statistics))
    evaluated = nnx.clone(model)
    evaluated.eval()

    def own(images):
        return evaluated(scale(images), **call)

    return Entry(model, (), {"preprocess": preprocess}, layer, image_shape, own)


# --- Equinox ---


class EquinoxCNN(eqx.Module):
    """The MNIST example: one image, channels first, modules and functions in a list."""

    layers: list

    def __init__(self, key):
        keys = jax.random.split(key, 3)
        self.layers = [
            eqx.nn.Conv2d(1, 3, kernel_size=4, key=keys[0]),
            eqx.nn.MaxPool2d(kernel_size=2),
            jax.nn.relu,
            jnp.ravel,
            eqx.nn.Linear(3 * 24 * 24, 16, key=keys[1]),
            eqx.nn.Dropout(0.5),
            eqx.nn.Linear(16, 10, key=keys[2]),
            jax.nn.log_softmax,
        ]

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class EquinoxNorm(eqx.Module):
    """Batch norm, which keeps its averages in a state."""

    conv: eqx.nn.Conv2d
    norm: eqx.nn.BatchNorm

    def __init__(self, key):
        self.conv = eqx.nn.Conv2d(3, 8, 3, stride=2, key=key)
        self.norm = eqx.nn.BatchNorm(8, axis_name="batch", mode="batch")

    def __call__(self, x, state):
        x, state = self.norm(self.conv(x), state)
        return jax.nn.relu(x), state


def equinox_cnn():
    model = EquinoxCNN(KEY)
    evaluated = eqx.nn.inference_mode(model)

    def own(images):
        return jax.vmap(evaluated)((images / 255).transpose(0, 3, 1, 2))

    return Entry(model, (), {"preprocess": lambda x: x / 255}, "layers/4", GRAY, own)


def equinox_norm():
    model, state = eqx.nn.make_with_state(EquinoxNorm)(KEY)
    train = jax.vmap(model, in_axes=(0, None), out_axes=(0, None), axis_name="batch")
    state = train(jax.random.normal(KEY, (4, 3, 32, 32)), state)[1]
    evaluated = eqx.nn.inference_mode(model)

    def own(images):
        return jax.vmap(lambda x: evaluated(x, state)[0])(images.transpose(0, 3, 1, 2))

    return Entry(model, (state,), {}, "norm", COLOR, own)


# --- Keras ---


def keras_sequential():
    import keras  # takes seconds, and fast tests do not need it

    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input(COLOR),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, name="conv"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dropout(0.5),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, name="head"),
        ]
    )
    return keras_entry(model, "conv", COLOR)


def keras_functional():
    import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    image = layers.Input(LARGE)
    x = layers.Conv2D(8, 7, strides=4, padding="same", name="stem")(image)
    x = layers.BatchNormalization(name="norm")(x)
    y = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.Add(name="sum")([x, y])
    outputs = {"features": x, "logits": layers.Dense(5)(layers.GlobalAveragePooling2D()(x))}
    return keras_entry(keras.Model(image, outputs), "sum", LARGE)


def keras_entry(model, layer, image_shape):
    for variable in model.variables:
        if variable.dtype == "float32":
            variable.assign(variable.value + 0.05)
    return Entry(model, (), {}, layer, image_shape, lambda images: model(images, training=False))


# --- PyTorch ---


def torch_resnet():
    import torch

    torch.manual_seed(0)

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(8, 8, 3, padding=1)
            self.norm = torch.nn.BatchNorm2d(8)

        def forward(self, x):
            return torch.relu(x + self.norm(self.conv(x)))

    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2),
        Block(),
        torch.nn.Dropout(0.5),
        torch.nn.AdaptiveAvgPool2d(4),
        torch.nn.Flatten(),
        torch.nn.Linear(128, 10),
    )
    model(torch.rand(4, 3, 32, 32))  # moves the averages of batch norm
    evaluated = copy.deepcopy(model).eval()

    def own(images):
        with torch.no_grad():
            scaled = torch.from_numpy(np.asarray(images / 127.5 - 1, np.float32).transpose(0, 3, 1, 2).copy())
            return evaluated(scaled).numpy()

    return Entry(model, (), {"preprocess": "tf"}, "1/norm", COLOR, own)


MEAN, STD = np.array((0.485, 0.456, 0.406), np.float32), np.array((0.229, 0.224, 0.225), np.float32)


def imagenet(images):
    return (images / 255 - MEAN) / STD


MODELS = {
    "linen resnet": lambda: linen(LinenResNet(), COLOR, "LinenBlock_1/BatchNorm_0", "imagenet", imagenet, train=False),
    "linen group norm": lambda: linen(LinenGroupNorm(), LARGE, "Conv_0"),
    "linen vit": lambda: linen(LinenViT(), COLOR, "encoded", "tf", lambda x: x / 127.5 - 1, deterministic=True),
    "linen cnn": lambda: linen(LinenCNN(), GRAY, "Conv_0"),
    "nnx cnn": lambda: nnx_model(NNXCNN(rngs=nnx.Rngs(0)), COLOR, "blocks/1/norm", "imagenet", imagenet),
    "nnx attention": lambda: nnx_model(NNXAttention(rngs=nnx.Rngs(0)), LARGE, "attention"),
    "nnx flag": lambda: nnx_model(NNXTrainFlag(rngs=nnx.Rngs(0)), GRAY, "norm", train=False),
    "nnx sequential": lambda: nnx_model(
        nnx.Sequential(nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0)), nnx.relu, nnx.Conv(4, 2, (3, 3), rngs=nnx.Rngs(1))),
        COLOR,
        "layers/0",
        "caffe",
        lambda x: x[..., ::-1] - np.array((103.939, 116.779, 123.68), np.float32),
    ),
    "equinox cnn": equinox_cnn,
    "equinox norm": equinox_norm,
    "keras sequential": keras_sequential,
    "keras functional": keras_functional,
    "torch resnet": torch_resnet,
}
