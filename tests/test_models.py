"""Models of every framework: features are those of the model's own call on a batch, at every layer."""

import dataclasses
import importlib.util

import equinox as eqx
import jax
import jax.numpy as jnp
import model_zoo
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from refusals import refused

import invert_jax as ij

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torchax") is None, reason="the extra `torch` (torch, torchax) is not installed"
)
NAMES = [pytest.param(name, marks=[needs_torch] * ("torch" in name)) for name in model_zoo.MODELS]


@pytest.fixture(scope="module")
def zoo():
    made = {}
    return lambda name: made.setdefault(name, model_zoo.MODELS[name]())


@pytest.fixture(autouse=True)
def implicit_broadcasting():
    """Other people's models rely on it, which this suite forbids the library."""
    with jax.numpy_rank_promotion("allow"):
        yield


IMAGE = ij.example_image(size=16)


def photographs(shape):
    names = ("chelsea", "coffee", "rocket")
    return np.stack([ij.example_image(name, size=shape[:2], gray=shape[2] == 1) for name in names])


def close(actual, expected, tolerance=1e-6):
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(np.asarray(b)).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_features_are_the_models_own(zoo, name):
    entry = zoo(name)
    images = photographs(entry.image_shape)
    phi = ij.from_model(entry.model, *entry.arguments, **entry.options)
    own = jax.tree.map(lambda leaf: np.asarray(leaf)[0], entry.call(images[:1]))
    close(phi.apply(phi.params, images[0]), own)
    close(phi(images[0]), own, 1e-5)  # compiled as a whole, sums round otherwise
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(phi(images[0])))
    together = jax.tree.map(np.asarray, entry.call(images))
    close(jax.vmap(phi.apply, (None, 0))(phi.params, images), together, 1e-5)  # as do batches of other sizes
    assert all(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(phi)) and len(repr(phi)) < 2000


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_any_layer_can_be_named_and_has_a_gradient(zoo, name):
    entry = zoo(name)
    image = photographs(entry.image_shape)[0]
    options = {**entry.options, "layer": entry.layer}
    phi, same = (ij.from_model(entry.model, *entry.arguments, **options) for _ in range(2))
    if name != "equinox cnn":  # whose preprocessing is a new function each time
        assert phi.apply == same.apply and hash(phi.apply) == hash(same.apply)
    shapes = ij.layers_of(entry.model, *entry.arguments, image_shape=entry.image_shape, **entry.options)
    assert shapes[entry.layer] == phi.feature_shape(entry.image_shape) == phi(image).shape
    assert np.ptp(phi(image)) > 0
    target = phi(photographs(entry.image_shape)[1])
    gradient = jax.jit(jax.grad(lambda x: jnp.sum((phi.apply(phi.params, x) - target) ** 2)))(image)
    assert np.isfinite(gradient).all() and np.any(np.asarray(gradient) != 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_sampling(zoo, key, name):
    entry = zoo(name)
    image = photographs(entry.image_shape)[0]
    phi = ij.from_model(entry.model, *entry.arguments, **entry.options, layer=entry.layer)
    recipe = ij.recipes.mahendran_vedaldi(lambda_tv=0.5, stages=((4e-4, 20),))
    found = ij.sample(key, phi, phi(image), recipe, image_shape=image.shape, num_restarts=2)
    assert found.finite.all() and np.all(found.energy.total[:, -1] < found.energy.total[:, 0])
    assert ij.check(phi, entry.image_shape) == []


@pytest.mark.slow  # values computed with the framework's own functions alone
def test_inner_layers_of_linen_and_nnx(zoo):
    entry = zoo("linen group norm")
    image = photographs(entry.image_shape)[0]
    kernel = {"params": entry.arguments[0]["params"]["Conv_0"]}
    expected = nn.Conv(8, (3, 3)).apply(kernel, image[None])[0]
    close(ij.from_model(entry.model, *entry.arguments, layer="Conv_0")(image), expected)
    entry = zoo("nnx sequential")
    x = photographs(entry.image_shape)[0]
    inputs = x[..., ::-1] - np.array((103.939, 116.779, 123.68), np.float32)
    expected = entry.model.layers[0](inputs[None])[0]
    close(ij.from_model(entry.model, layer="layers/0", preprocess="caffe")(x), expected)


@pytest.mark.slow
def test_inner_layers_of_equinox_and_keras(zoo):
    entry = zoo("equinox cnn")
    image = photographs(entry.image_shape)[0]
    x = (image / 255).transpose(2, 0, 1)
    for i in range(5):
        x = entry.model.layers[i](x)
        found = ij.from_model(entry.model, preprocess=entry.options["preprocess"], layer=f"layers/{i}")(image)
        close(found, x)
    entry = zoo("keras sequential")
    image = photographs(entry.image_shape)[0]
    expected = entry.model.get_layer("conv")(image[None] / 255)[0]
    close(ij.from_model(entry.model, layer="conv")(image), expected)


@pytest.mark.slow
def test_several_layers_and_outputs_jointly(zoo):
    entry = zoo("linen vit")
    image = photographs(entry.image_shape)[0]
    options = {**entry.options, "layer": ["encoded", "logits"]}
    phi = ij.from_model(entry.model, *entry.arguments, **options)
    features = phi(image)
    assert list(features) == ["encoded", "logits"] and phi.feature_shape(image.shape)["encoded"] == (17, 16)
    whole = ij.from_model(entry.model, *entry.arguments, **entry.options)(image)
    close(features["logits"], whole["logits"])
    close(features["encoded"][0], whole["token"])
    chosen = ij.from_model(zoo("keras functional").model, layer="logits")
    assert chosen.feature_shape(model_zoo.LARGE) == (5,)


@pytest.mark.slow
def test_the_users_model_is_left_as_it_was(zoo):
    model = zoo("nnx cnn").model
    before = jax.tree.map(jnp.copy, nnx.state(model, nnx.Param, nnx.BatchStat)[0])
    ij.from_model(model)(photographs(model_zoo.COLOR)[0])
    assert not model.blocks[0].norm.use_running_average and not model.blocks[0].dropout.deterministic
    assert jax.tree.all(jax.tree.map(np.array_equal, before, nnx.state(model, nnx.Param, nnx.BatchStat)[0]))


@pytest.mark.slow
def test_updated_weights_count_without_tracing_anew():
    model, image, traces = nnx.Conv(3, 2, (3, 3), rngs=nnx.Rngs(0)), photographs((16, 16, 3))[0], []

    @jax.jit
    def features(phi, image):
        traces.append(image)
        return phi.apply(phi.params, image)

    first = features(ij.from_model(model), image)
    model.kernel[...] = 2 * model.kernel[...]
    second = features(ij.from_model(model), image)
    np.testing.assert_allclose(second, 2 * first, rtol=1e-5)
    assert len(traces) == 1
    phi = ij.from_model(model)
    doubled = dataclasses.replace(phi, params=jax.tree.map(lambda leaf: 2 * leaf, phi.params))
    np.testing.assert_allclose(features(doubled, image), 4 * first, rtol=1e-5)
    assert len(traces) == 1


@pytest.mark.slow
def test_bound_linen_models_and_methods():
    class Two(nn.Module):
        def setup(self):
            self.conv = nn.Conv(4, (3, 3))

        def __call__(self, x):
            return self.conv(x)

        def mean(self, x):
            return self(x).mean((1, 2))

    model, image = Two(), photographs((16, 16, 3))[0]
    variables = model.init(model_zoo.KEY, image[None])
    expected = model.apply(variables, image[None])[0]
    close(ij.from_model(model.bind(variables))(image), expected)
    close(ij.from_model(model, variables, method="mean")(image), expected.mean((0, 1)))
    close(ij.from_model(model, variables, layer="conv")(image), expected)


def test_linen_models_are_equal_by_value():
    variables = nn.Conv(4, (3, 3)).init(model_zoo.KEY, IMAGE[None])

    def make(width, **options):
        return ij.from_model(nn.Conv(width, (3, 3)), variables, **options).apply

    assert make(4) == make(4) and hash(make(4)) == hash(make(4))
    assert make(4) != make(5) and make(4) != make(4, layer="a") and make(4) != make(4, preprocess="tf")


@pytest.mark.slow
def test_an_unbatched_model_and_low_precision():
    conv, image = nn.Conv(4, (3, 3), dtype=jnp.bfloat16), photographs((16, 16, 3))[0]
    variables = conv.init(model_zoo.KEY, image[None])
    phi = ij.from_model(conv, variables, batched=False)
    assert phi(image).dtype == jnp.float32 and phi(image).shape == (16, 16, 4)
    close(phi(image), conv.apply(variables, image).astype(jnp.float32))


# --- preprocessing ---


@pytest.mark.parametrize(
    ("preprocess", "center"),
    [
        ("imagenet", [123.675, 116.28, 103.53]),
        ("caffe", [123.68, 116.779, 103.939]),
        ("tf", 127.5),
        ("none", 127.5),
        (None, 127.5),
        (lambda x: x / 255 - 0.25, 63.75),
        (lambda x: (x / 255).transpose(2, 0, 1), 127.5),
        (lambda x: jnp.zeros((8, 8, 3)) + x[:1, :1] - 100, 100),
        (lambda x: jax.image.resize(x, (4, 4, 3), "linear"), 127.5),
        (jnp.sin, None),
    ],
)
def test_the_center_is_the_color_that_becomes_zero(preprocess, center):
    phi = ij.from_model(nnx.Conv(3, 2, (3, 3), rngs=nnx.Rngs(0)), preprocess=preprocess)
    if center is not None:
        np.testing.assert_allclose(np.broadcast_to(phi.center, 3), np.broadcast_to(center, 3), rtol=1e-5)
    assert np.all(np.isfinite(phi.center))
    given = ij.from_model(nnx.Conv(3, 2, (3, 3), rngs=nnx.Rngs(0)), preprocess=preprocess, center=[1, 2, 3])
    assert given.center.tolist() == [1, 2, 3]


# --- what is refused ---


class Pooled(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Conv(4, (3, 3))(x).mean((0, 1))


class Draws(nn.Module):
    @nn.compact
    def __call__(self, x, noisy=True):
        return nn.Dropout(0.5, deterministic=not noisy)(x)


class Updates(nn.Module):
    @nn.compact
    def __call__(self, x, update=True):
        return nn.BatchNorm(use_running_average=not update)(x)


def made(module):
    return module, module.init({"params": model_zoo.KEY, "dropout": model_zoo.KEY}, IMAGE[None])


MISTAKES = {
    "batched=False": (lambda: ij.from_model(*made(Pooled()))(IMAGE), ValueError),
    "evaluation mode": (lambda: ij.from_model(*made(Draws()))(IMAGE), ValueError),
    "train=False": (lambda: ij.from_model(*made(Updates()))(IMAGE), ValueError),
    "Conv_0": (lambda: ij.from_model(*made(Pooled()), layer="Conv_1")(IMAGE), ValueError),
    "model.init": (lambda: ij.from_model(nn.Conv(2, (3, 3))), TypeError),
    "'params'": (lambda: ij.from_model(nn.Conv(2, (3, 3)), {"kernel": np.ones(2)}), TypeError),
    "['bias']": (lambda: ij.from_model(nn.Conv(2, (3, 3)), {"params": {"bias": "zeros"}}), TypeError),
    "from_function": (lambda: ij.from_model(lambda x: x), TypeError),
    "leave them out": (lambda: ij.from_model(nnx.Conv(3, 2, (3, 3), rngs=nnx.Rngs(0)), {}), TypeError),
    "imagenet, caffe": (lambda: ij.from_model(*made(Pooled()), preprocess="vgg"), ValueError),
    "layers_of": (lambda: ij.from_model(*made(Pooled()), layer=3), TypeError),
    "list of names": (lambda: ij.from_model(*made(Pooled()), layer=[]), TypeError),
    "function": (lambda: ij.from_model(*made(Pooled()), preprocess=3), TypeError),
    "channels": (lambda: ij.from_model(*made(nn.Conv(4, (3, 3))))(np.full((16, 16, 1), 9.0)), ValueError),
}


@pytest.mark.parametrize("noun", MISTAKES)
def test_mistakes(noun):
    call, error = MISTAKES[noun]
    with pytest.raises(error) as caught:
        call()
    assert noun in str(caught.value) or noun == "channels"
    assert type(caught.value) is error and len(str(caught.value)) < 500


@pytest.mark.slow
def test_the_cures_in_those_sentences_work():
    assert ij.from_model(*made(Draws()), noisy=False)(IMAGE).shape == IMAGE.shape
    assert ij.from_model(*made(Updates()), update=False)(IMAGE).shape == IMAGE.shape


def test_a_model_in_the_closure_of_a_function_is_announced():
    model = nnx.Conv(3, 2, (3, 3), rngs=nnx.Rngs(0))
    with pytest.warns(UserWarning, match="from_model") as caught:
        ij.from_function(lambda params, image: model(image[None])[0])
    assert caught[0].filename == __file__
    layer = eqx.nn.Linear(3, 2, key=model_zoo.KEY)
    with pytest.warns(UserWarning, match="equinox"):
        ij.from_function(lambda params, image: layer(image.mean((0, 1))))


# --- check ---


def half(params, image):
    return image[::2].astype(jnp.bfloat16)


FINDINGS = {
    "bfloat16": half,
    "NaN": lambda params, image: jnp.sqrt(image.mean((0, 1)) - 1e3),
    "gradient is NaN": lambda params, image: jnp.sqrt(jnp.abs(image - image)) + image,
    "gradient is zero": lambda params, image: jnp.round(image.mean((0, 1))),
    "are the same": lambda params, image: jnp.ones(3) + 0 * image.sum(),
    "zero on four": lambda params, image: jax.nn.relu(
        image - 200.0 * (jnp.arange(image.size).reshape(image.shape) % 5)
    ),
}


@pytest.mark.parametrize("noun", FINDINGS)
def test_check_finds(noun):
    findings = ij.check(ij.from_function(FINDINGS[noun]), (32, 32, 3))
    assert len(findings) == 1 and noun in findings[0]


@pytest.mark.slow
def test_check_finds_nothing_in_a_trained_layer_and_refuses_what_has_no_gradient():
    assert ij.check(ij.alexnet(layer="conv3"), (99, 99, 3)) == ij.check(ij.hog(), (32, 32, 1)) == []
    with refused("no gradient", TypeError):
        ij.check(ij.from_function(lambda params, image: image.astype(int)), (8, 8, 3))
