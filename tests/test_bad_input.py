"""Mistakes that a user makes: each is told at the seam, in one sentence, and leaves nothing behind."""

import contextlib
import dataclasses
import pathlib
import re
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import invert_jax as ij

KEY = jax.random.key(0)
SHAPE = (4, 4, 1)
TARGET = np.array([100.0, 200.0, 300.0], np.float32)
RECIPE = ij.recipes.mahendran_vedaldi(stages=((1e-3, 2),))


def _three_sums(weights, image):
    return weights @ image.ravel()


SUMS = ij.from_function(_three_sums, jnp.ones((3, 16)) / 16, center=128.0)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _contents():
    return {path: path.read_bytes() for path in pathlib.Path().rglob("*") if path.is_file()}


@contextlib.contextmanager
def refused(*words, error=ValueError):
    """The block must raise `error` with one sentence that holds all the `words`, and touch no file."""
    before = _contents()
    with pytest.raises(error) as caught:
        yield
    message = str(caught.value)
    assert type(caught.value) is error
    assert "\n" not in message and 20 < len(message) < 400 and message.endswith("."), message
    assert len(re.findall(r"[a-z)]\. [A-Z]", message)) == 0, f"more than one sentence: {message}"
    for word in words:
        assert word in message, f"{word!r} is not in: {message}"
    assert _contents() == before


def _both_refuse(*words, representation=SUMS, target=TARGET, recipe=RECIPE, image_shape=SHAPE, **kwargs):
    """Both ways in refuse it, and sample before anything has run."""
    with refused(*words):
        ij.invert(KEY, representation, target, recipe, image_shape=image_shape, **kwargs)
    seen = []
    with refused(*words):
        ij.sample(
            KEY,
            representation,
            target,
            recipe,
            image_shape=image_shape,
            num_restarts=2,
            callback=seen.append,
            **kwargs,
        )
    assert seen == []


def test_what_is_right_is_not_refused():
    found = ij.sample(KEY, SUMS, TARGET, RECIPE, image_shape=SHAPE, num_restarts=1, mask=np.array([True, False, True]))
    assert np.all(found.finite)


# --- image files ---


def test_missing_file():
    with refused("nothing.png", "no file", error=FileNotFoundError):
        ij.load_image("nothing.png")


def test_not_an_image(folder):
    (folder / "notes.png").write_text("Dear diary")
    with refused("notes.png", "not an image", "PNG"):
        ij.load_image("notes.png")


def test_empty_image_file(folder):
    (folder / "a.jpg").touch()
    with refused("a.jpg", "empty", "0 bytes"):
        ij.load_image("a.jpg")


def test_truncated_image(folder):
    ij.save_image("a.png", np.random.default_rng(0).uniform(0, 255, (40, 40, 3)))
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:500])
    with refused("a.png", "damaged"):
        ij.load_image("a.png")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full((4, 4, 3), np.nan), ("non-finite", "48")),
        (np.zeros((4, 4)), ("(4, 4)", "[H, W, C]")),
        (np.zeros((4, 4, 2)), ("(4, 4, 2)", "1 or 3 channels")),
    ],
)
def test_a_bad_picture_is_not_written(image, words):
    ij.save_image("old.png", np.zeros((2, 2, 1)))
    for name in ("new.png", "old.png"):
        with refused(*words):
            ij.save_image(name, image)


def test_unknown_picture_extension_and_folder():
    with refused(".bmp", ".png"):
        ij.save_image("a.bmp", np.zeros((2, 2, 1)))
    with refused("nowhere", "does not exist", error=FileNotFoundError):
        ij.save_image("nowhere/a.png", np.zeros((2, 2, 1)))


# --- images and representations ---


@pytest.fixture(scope="module")
def narrow():
    """Weights of a CNN-A four channels wide."""
    random = np.random.default_rng(0)
    params, inputs = {"mean": np.array([104.0, 117.0, 123.0], np.float32)}, 3
    for layer in ij.layers.CNN_A:
        if layer.kind == "conv":
            kernel = random.normal(size=(layer.size, layer.size, inputs // layer.groups, 4)).astype(np.float32)
            params[layer.name], inputs = {"kernel": kernel, "bias": np.zeros(4, np.float32)}, 4
    return params


def test_image_smaller_than_a_cell():
    hog = ij.hog(cell_size=8)
    with refused("HOG", "4 x 4", "3 x 20", "larger"):
        hog(np.zeros((3, 20, 1)))
    with refused("HOG", "20 x 3"):
        hog.feature_shape((20, 3, 1))
    _both_refuse("4 x 4", "3 x 3", representation=hog, target=np.zeros((1, 1, 27)), image_shape=(3, 3, 1))
    with refused("HOG", "16 x 16", "15 x 20"):
        ij.hog(variant="released")(np.zeros((15, 20, 1)))
    with refused("DSIFT", "16 x 16", "15 x 20"):
        ij.dsift(bin_size=5)(np.zeros((15, 20, 1)))


@pytest.mark.parametrize(("layer", "size"), [("conv1", 11), ("pool1", 19), ("conv3", 35), ("fc6", 227)])
def test_image_smaller_than_the_receptive_field(narrow, layer, size):
    # Padding lets conv3's input be smaller than its field of 99; 35 still gives one neuron.
    representation = ij.alexnet(narrow, layer=layer)
    assert representation.feature_shape((size, size, 3)) is not None
    with refused(f"CNN-A at {layer}", f"{size} x {size}", f"{size - 1} x 300", "larger"):
        representation(np.zeros((size - 1, 300, 3)))
    shape = (300, size - 1, 3)
    _both_refuse(f"{size} x {size}", representation=representation, target=np.zeros((1, 1, 4)), image_shape=shape)


def test_wrong_channel_count(narrow):
    with refused("1 channel", "(32, 32, 3)", "gray=True"):
        ij.hog()(np.zeros((32, 32, 3)))
    with refused("1 channel", "(32, 32, 3)"):
        ij.dsift()(np.zeros((32, 32, 3)))
    conv1 = ij.alexnet(narrow, layer="conv1")
    with refused("3 channel", "(32, 32, 1)", "load_image"):
        conv1(np.zeros((32, 32, 1)))
    _both_refuse("3 channel", representation=conv1, target=np.zeros((6, 6, 4)), image_shape=(32, 32, 4))


def test_image_without_a_channel_axis():
    with refused("(32, 32)", "[H, W, C]", "image[..., None]"):
        ij.hog()(np.zeros((32, 32)))
    with refused("(2, 32, 32, 1)", "one image"):
        ij.hog()(np.zeros((2, 32, 32, 1)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_image(value):
    image = np.zeros((32, 32, 1))
    image[3, 4, 0] = value
    with refused("image", "1 non-finite"):
        ij.hog()(image)


def test_unknown_layer(narrow):
    for call in (lambda: ij.alexnet(narrow, layer="conv9"), lambda: ij.recipes.for_layer("conv9")):
        with refused("'conv9'", "conv1, relu1, pool1", "fc8"):
            call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ij.hog(binning="soft"), ("'soft'", "hard, bilinear, approximate")),
        (lambda: ij.hog(variant="matlab"), ("'matlab'", "vlfeat, released")),
        (lambda: ij.hog(cell_size=0), ("cell_size is 0", "1 or greater")),
        (lambda: ij.hog(num_orientations=-9), ("num_orientations is -9",)),
        (lambda: ij.dsift(bin_size=2.5), ("bin_size is 2.5", "integer")),
        (lambda: ij.dsift(step=0), ("step is 0",)),
        (lambda: ij.from_function(_three_sums, center=np.nan), ("center", "non-finite")),
        (lambda: ij.sample_image("lena"), ("'lena'", "chelsea")),
    ],
)
def test_bad_settings_of_a_factory(call, words):
    with refused(*words):
        call()


# --- weights ---


def _changed(params, layer, **arrays):
    return {**params, layer: {**params[layer], **arrays}}


def test_missing_weights(narrow):
    without_layer = {name: entry for name, entry in narrow.items() if name != "conv3"}
    with refused("missing", "conv3/kernel", "conv3/bias"):
        ij.alexnet(without_layer, layer="conv1")
    without_array = {**narrow, "fc7": {"kernel": narrow["fc7"]["kernel"]}}
    with refused("missing: fc7/bias"):
        ij.alexnet(without_array, layer="conv1")


def test_extra_weights(narrow):
    with refused("unexpected", "fc9/kernel"):
        ij.alexnet({**narrow, "fc9": {"kernel": np.zeros((1, 1, 4, 4))}}, layer="conv1")
    with refused("unexpected: conv2/scale"):
        ij.alexnet(_changed(narrow, "conv2", scale=np.ones(4)), layer="conv1")


def test_misshapen_weights(narrow):
    with refused("wrong shape", "conv2/kernel is (4, 5, 2, 4), expected (5, 5, 2, 4)"):
        ij.alexnet(_changed(narrow, "conv2", kernel=np.zeros((4, 5, 2, 4))), layer="conv1")
    with refused("wrong shape", "conv2/bias is (3,), expected (4,)"):
        ij.alexnet(_changed(narrow, "conv2", bias=np.zeros(3)), layer="conv1")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_weights(narrow, value):
    bias = np.zeros(4)
    bias[2] = value
    with refused("NaN or infinite", "fc8/bias"):
        ij.alexnet(_changed(narrow, "fc8", bias=bias), layer="conv1")
    with refused("fc8/bias", "non-finite"):
        ij.save_params("a.npz", _changed(narrow, "fc8", bias=bias))


def test_weights_that_are_no_dict():
    with refused("nested dict", "list"):
        ij.alexnet([np.zeros(3)], layer="conv1")


def test_missing_weight_file():
    with refused("nothing.npz", "no weight file", error=FileNotFoundError):
        ij.load_params("nothing.npz")


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.999])
def test_truncated_weight_file(folder, narrow, kept):
    ij.save_params("a.npz", narrow)
    data = (folder / "a.npz").read_bytes()
    (folder / "a.npz").write_bytes(data[: int(kept if kept >= 1 else kept * len(data))])
    with refused("a.npz", "download or save it again"):
        ij.load_params("a.npz")


def test_weight_file_that_is_no_archive(folder):
    (folder / "a.npz").write_text("These are not the weights you are looking for." * 100)
    with refused("a.npz", "not an .npz archive"):
        ij.load_params("a.npz")
    with zipfile.ZipFile(folder / "b.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with refused("b.npz", "readme.txt"):
        ij.load_params("b.npz")


def test_weight_file_with_python_objects_is_not_unpickled(folder):
    np.savez(folder / "a.npz", mean=np.array([print], dtype=object))
    with refused("a.npz", "plain arrays"):
        ij.load_params("a.npz")


def test_weight_file_of_another_kind(folder):
    (folder / "a.pickle").touch()
    with refused("a.pickle", ".npz", ".mat"):
        ij.load_params("a.pickle")
    with refused("directory"):
        ij.load_params(".")


def test_damaged_weights_do_not_replace_good_ones(narrow):
    ij.save_params("a.npz", narrow)
    with refused("not an array of real numbers"):
        ij.save_params("a.npz", {"mean": np.array(["red"])})


# --- target, mask, image sought ---


@pytest.mark.parametrize("shape", [(), (2,), (3, 1), (1, 3)])
def test_target_of_the_wrong_shape(shape):
    _both_refuse("target has shape", str(shape), "(4, 4, 1)", "(3,)", target=np.ones(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_target(value):
    _both_refuse("target", "1 non-finite", target=np.array([1.0, value, 3.0]))


@pytest.mark.parametrize("mask", [np.ones(4, bool), np.ones((3, 1), bool), np.array(True)])
def test_mask_of_the_wrong_shape(mask):
    _both_refuse("mask", str(mask.shape), "(3,)", mask=mask)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_mask_that_is_not_boolean(dtype):
    _both_refuse("mask", np.dtype(dtype).name, "boolean", mask=np.array([1, 0, 1], dtype))


def test_mask_that_selects_nothing():
    _both_refuse("mask", "no neuron", mask=np.zeros(3, bool))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ij.masks.central((1000,)), ("(1000,)", "[h, w, c]")),
        (lambda: ij.masks.central((13, 13, 8), size=0), ("size is 0",)),
        (lambda: ij.masks.channel_group((13, 13, 8), group=2), ("no group 2 of 2",)),
        (lambda: ij.masks.channel_group((13, 13, 8), group=0, num_groups=3), ("8 channels", "divides")),
    ],
)
def test_masks_that_do_not_exist(call, words):
    with refused(*words):
        call()


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 2), (5, 4, 1), (1, 1, 1)])
def test_initial_image_of_the_wrong_shape(shape):
    _both_refuse("initial_image", str(shape), "(4, 4, 1)", "resize", initial_image=np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_initial_image(value):
    _both_refuse("initial_image", "16 non-finite", initial_image=np.full(SHAPE, value))


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 1, 1), (0, 4, 1), (4, -4, 1), (), (4.5, 4, 1), 4])
def test_bad_image_shape(shape):
    _both_refuse("image_shape is", str(shape), "(height, width, channels)", image_shape=shape)


def test_center_that_does_not_fit():
    representation = dataclasses.replace(SUMS, center=jnp.zeros(3))
    _both_refuse("center", "(3,)", "(4, 4, 1)", representation=representation)


# --- the recipe ---


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("beta", 0.0, ("beta is 0.0", "greater than 0")),
        ("beta", -2.0, ("beta is -2.0", "greater than 0")),
        ("beta", np.nan, ("beta is nan", "finite")),
        ("alpha", 0.0, ("alpha is 0.0", "greater than 0")),
        ("lambda_tv", np.nan, ("lambda_tv is nan", "finite")),
        ("lambda_tv", -1.0, ("lambda_tv is -1.0", "0 or greater")),
        ("lambda_alpha", np.nan, ("lambda_alpha is nan", "finite")),
        ("lambda_alpha", -0.5, ("lambda_alpha is -0.5", "0 or greater")),
    ],
)
def test_bad_numbers_in_both_the_factory_and_the_record(setting, value, words):
    with refused(*words):
        ij.recipes.mahendran_vedaldi(**{setting: value})
    _both_refuse(*words, recipe=dataclasses.replace(RECIPE, **{setting: value}))


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        (((-1e-3, 2),), ("learning rate is -0.001", "greater than 0")),
        (((np.nan, 2),), ("learning rate is nan", "finite")),
        (((1e-3, 2), (1e-3, 0)), ("number of steps is 0", "1 or greater")),
        (((1e-3, 2.5),), ("number of steps is 2.5", "integer")),
    ],
)
def test_bad_stages_in_both_the_factory_and_the_record(stages, words):
    with refused(*words):
        ij.recipes.mahendran_vedaldi(stages=stages)
    rates, steps = zip(*stages, strict=True)
    _both_refuse(*words, recipe=dataclasses.replace(RECIPE, rates=rates, steps=steps))


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, np.inf])
def test_bad_sigma(sigma):
    _both_refuse(f"sigma is {sigma}", "greater than 0", recipe=dataclasses.replace(RECIPE, sigma=sigma))


def test_as_many_rates_as_step_counts():
    _both_refuse("2 rates", "1 step count", recipe=dataclasses.replace(RECIPE, rates=(1e-3, 1e-4)))
    _both_refuse("0 rates", recipe=dataclasses.replace(RECIPE, rates=(), steps=()))


def test_negative_weight_in_shallow():
    with refused("lambda_tv is -1", "0 or greater"):
        ij.recipes.shallow(lambda_tv=-1)


# --- how many, and how many at a time ---


@pytest.mark.parametrize("count", [0, -1, 2.0, True])
@pytest.mark.parametrize("what", ["num_restarts", "chunk_size", "callback_every"])
def test_counts(what, count):
    seen = []
    arguments = {"num_restarts": 2, "callback": seen.append, what: count}
    with refused(f"{what} is {count}", "integer, 1 or greater"):
        ij.sample(KEY, SUMS, TARGET, RECIPE, image_shape=SHAPE, **arguments)
    assert seen == []


def test_mesh_without_the_axis():
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("batch",))
    with refused("'batch'", "'restarts'"):
        ij.sample(KEY, SUMS, TARGET, RECIPE, image_shape=SHAPE, num_restarts=2, mesh=mesh)


# --- metrics ---


def test_features_of_different_shapes():
    with refused("(3,)", "(4,)", "shape"):
        ij.metrics.relative_error(np.zeros(3), np.zeros(4))
    with refused("two or more images", "(1, 3)"):
        ij.metrics.normalized_errors(np.zeros((1, 3)), np.zeros((1, 3)))


def _integers(params, image):
    return (image > 100).astype(np.int32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key": 0}, ("key is int", "jax.random.key(0)")),
        ({"key": jax.random.split(jax.random.key(0), 3)}, ("shape (3,)", "one random key")),
        ({"recipe": None}, ("recipe is NoneType", "invert_jax.recipes")),
        ({"representation": ij.from_function(_integers)}, ("int32", "no gradient")),
        ({"optimizer": optax.adam(1e-3)}, ("finished", "factory")),
    ],
)
def test_a_value_of_the_wrong_kind(change, words):
    change = dict(change)
    recipe = ij.recipes.mahendran_vedaldi(stages=((1e-3, 2),))
    if "optimizer" in change:
        recipe = dataclasses.replace(recipe, optimizer=change.pop("optimizer"))
    given = {"key": jax.random.key(0), "representation": ij.hog(), "recipe": recipe} | change
    target = given["representation"](np.zeros((16, 16, 1)))
    with refused(*words, error=TypeError):
        ij.invert(
            *(given[name] for name in ("key", "representation")), target, given["recipe"], image_shape=(16, 16, 1)
        )


def test_a_mask_under_which_the_target_is_zero():
    hog = ij.hog()
    target = hog(np.zeros((16, 16, 1)))
    mask = np.ones(target.shape, bool)
    with refused("zero at every neuron of the mask", "excites"):
        ij.invert(jax.random.key(0), hog, target, ij.recipes.shallow(), image_shape=(16, 16, 1), mask=mask)


def test_numbers_beyond_float32():
    hog = ij.hog()
    target = np.asarray(hog(np.zeros((16, 16, 1))), np.float64)
    with refused("target", "non-finite", "float32"):
        ij.invert(jax.random.key(0), hog, target + 1e300, ij.recipes.shallow(), image_shape=(16, 16, 1))
    with refused("lambda_tv is 1e+50"):
        ij.recipes.shallow(lambda_tv=1e50)
