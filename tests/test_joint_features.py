"""Features that are several arrays: losses, masks and errors are means over them, and everything else as for one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refused

import invert_jax as ij
from invert_jax import losses

IMAGE = ij.example_image(size=24)
RECIPE = ij.recipes.mahendran_vedaldi(lambda_tv=0.5, stages=((4e-3, 6), (4e-4, 4)))


def two_scales(params, image):
    return {"fine": params * image[::2, ::2], "coarse": [image[::5, ::5].mean(-1), image.mean((0, 1))]}


JOINT = ij.from_function(two_scales, jnp.float32(2), center=120)
TARGET = JOINT(IMAGE)


def part(select):
    return ij.from_function(lambda params, image: select(two_scales(params, image)), JOINT.params, center=120)


PARTS = [part(lambda f: f["coarse"][0]), part(lambda f: f["coarse"][1]), part(lambda f: f["fine"])]  # as pytrees order


@pytest.mark.parametrize("loss", [losses.normalized_squared_l2, losses.normalized_l2, losses.activation])
@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_is_the_mean_of_the_parts(loss, masked):
    other = JOINT(IMAGE[::-1])
    mask = jax.tree.map(lambda leaf: np.arange(leaf.size).reshape(leaf.shape) % 2 == 0, TARGET) if masked else None
    if masked:
        mask["coarse"][1] = None  # all of it
    leaves = [jax.tree.leaves(tree, is_leaf=lambda leaf: leaf is None) for tree in (other, TARGET, mask)]
    masks = leaves[2] if masked else [None] * 3
    expected = np.mean([loss(*parts) for parts in zip(leaves[0], leaves[1], masks, strict=True)])
    assert losses.mean_over_leaves(loss, other, TARGET, mask) == pytest.approx(float(expected), rel=1e-6)


def test_weights_of_the_parts(key):
    weights = {"fine": 3.0, "coarse": [1.0, 0.0]}
    other, leaves = JOINT(IMAGE[::-1]), []
    for features, target in zip(jax.tree.leaves(other), jax.tree.leaves(TARGET), strict=True):
        leaves.append(float(losses.normalized_l2(features, target)))
    expected = (leaves[0] + 3 * leaves[2]) / 4  # in the order of a tree: coarse, then fine
    found = losses.mean_over_leaves(losses.normalized_l2, other, TARGET, weights=weights)
    assert found == pytest.approx(expected, rel=1e-6)
    recipe = dataclasses.replace(RECIPE, feature_weights=weights, priors=())
    problem, target = ij.inversion.make_problem(JOINT, TARGET, recipe, image_shape=IMAGE.shape)
    z = recipe.parameterization.encode(IMAGE[::-1], problem.center, problem.recipe.sigma)
    squares = [
        float(losses.normalized_squared_l2(*parts))
        for parts in zip(jax.tree.leaves(other), jax.tree.leaves(TARGET), strict=True)
    ]
    energy = ij.inversion.energy(problem, target, z, 0)
    assert energy.total == pytest.approx((squares[0] + 3 * squares[2]) / 4, rel=1e-4)
    for wrong in ({"fine": 1.0}, {"fine": 1.0, "coarse": 2.0}, {"fine": 0.0, "coarse": [0.0, 0.0]}):
        with refused("feature_weights"):
            replaced = dataclasses.replace(RECIPE, feature_weights=wrong)
            ij.inversion.make_problem(JOINT, TARGET, replaced, image_shape=IMAGE.shape)


def test_energy_and_error_are_those_of_the_parts(key):
    recipe = ij.recipes.laplacian_pyramid("conv3", num_levels=2)  # with compactness
    z = recipe.parameterization.init(key, IMAGE.shape)
    problem, target = ij.inversion.make_problem(JOINT, TARGET, recipe, image_shape=IMAGE.shape)
    found = ij.inversion.energy(problem, target, z, 0)
    terms = []
    for phi in PARTS:
        problem, target = ij.inversion.make_problem(phi, phi(IMAGE), recipe, image_shape=IMAGE.shape)
        terms.append(ij.inversion.energy(problem, target, z, 0))
    for name in ("loss", "compactness", "tv", "total"):
        expected = np.mean([getattr(term, name) for term in terms])
        assert getattr(found, name) == pytest.approx(float(expected), rel=1e-5)
    assert found.compactness > 0


@pytest.mark.slow
def test_sampling_and_inverting(key):
    options = {"image_shape": IMAGE.shape, "chunk_size": 2}
    found = ij.sample(key, JOINT, TARGET, RECIPE, num_restarts=3, **options)
    assert found.features["coarse"][0].shape == (3, 5, 5) and found.finite.all() and found.error.shape == (3,)
    alone = ij.sample(key, JOINT, TARGET, RECIPE, num_restarts=1, first_restart=2, **options)
    np.testing.assert_array_equal(alone.image[0], found.image[2])
    mesh = ij.sampling.make_mesh(jax.devices()[:2])
    sharded = ij.sample(key, JOINT, TARGET, RECIPE, num_restarts=3, mesh=mesh, **options)
    np.testing.assert_array_equal(sharded.image, found.image)
    for r in range(3):
        expected = np.mean([ij.metrics.relative_error(phi(found.image[r]), phi(IMAGE)) for phi in PARTS])
        assert found.error[r] == pytest.approx(float(expected), rel=1e-5)
        features = jax.tree.map(lambda leaf, r=r: leaf[r], found.features)
        assert ij.metrics.relative_error(features, TARGET) == pytest.approx(float(expected), rel=1e-5)
    assert np.all(found.energy.loss[:, -1] < 0.7 * found.energy.loss[:, 0])
    one = ij.invert(jax.random.fold_in(key, 0), JOINT, TARGET, RECIPE, image_shape=IMAGE.shape)
    np.testing.assert_allclose(one.image, found.image[0], atol=0.05)


@pytest.mark.slow
def test_sweeps(key, tmp_path):
    case = ij.sweeps.Case("joint", JOINT, RECIPE, {"cat": IMAGE})
    results = ij.sweeps.run(ij.sweeps.make_sweep([case], num_restarts=2, seed=0), tmp_path)
    same = ij.metrics.relative_error(JOINT(results["joint", "cat"].image[1]), TARGET)
    assert results["joint", "cat"].error[1] == pytest.approx(float(same), rel=1e-4)


def test_what_is_refused(key):
    assert JOINT.feature_shape(IMAGE.shape) == {"fine": (12, 12, 3), "coarse": [(5, 5), (3,)]}
    everything = jax.tree.map(lambda leaf: np.ones(leaf.shape, bool), TARGET)
    for target, mask, noun in [
        (TARGET["fine"], None, "structure"),
        ({**TARGET, "fine": TARGET["fine"][1:]}, None, "['fine']"),
        ({**TARGET, "fine": TARGET["fine"] * np.nan}, None, "['fine']"),
        (TARGET, everything["fine"], "mask"),
        (TARGET, {**everything, "fine": ~everything["fine"]}, "neuron"),
    ]:
        with refused(noun if noun != "structure" else "The target is"):
            ij.invert(key, JOINT, target, RECIPE, image_shape=IMAGE.shape, mask=mask)
    for features, noun in ((lambda p, x: {"a": x, "b": x.astype(int)}, "['b']"), (lambda p, x: None, "no array")):
        with refused(noun, TypeError):
            ij.from_function(features).feature_shape(IMAGE.shape)
    with refused("one is needed"):
        ij.analysis.singular_directions(key, JOINT, IMAGE)
    with refused("one is needed"):
        ij.analysis.repel(JOINT, TARGET, np.stack([IMAGE, IMAGE + 1]))
