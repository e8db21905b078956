"""One restart with every loss: single steps written out, under masks, and at degenerate targets."""

import dataclasses

import jax
import numpy as np
import pytest
from problems import IDENTITY, PLAIN, SHAPE, SIGMA, SIZE, linear_representation

import invert_jax as ij


def _one_step(key, recipe, target, image, **kwargs):
    found = ij.invert(key, IDENTITY, target, recipe, image_shape=SHAPE, initial_image=image, **kwargs)
    return found, (np.asarray(found.image) - image) / SIGMA  # the step, in the optimizer's units


@pytest.fixture
def pair():
    random = np.random.default_rng(5)
    return random.uniform(20, 230, SHAPE), random.uniform(20, 230, SHAPE)


def test_squared_distance_steps_along_the_difference(key, pair):
    image, target = pair
    found, step = _one_step(key, PLAIN, target, image)
    scale = np.sum(target**2)
    np.testing.assert_allclose(found.energy[0, 1], np.sum((image - target) ** 2) / scale, rtol=1e-5)
    np.testing.assert_allclose(step, -0.5 * 2 * SIGMA * (image - target) / scale, rtol=1e-3, atol=1e-6)


def test_l1_distance_steps_by_the_sign(key, pair):
    image, target = pair
    found, step = _one_step(key, dataclasses.replace(PLAIN, loss=ij.losses.normalized_l1), target, image)
    scale = np.sum(np.abs(target))
    np.testing.assert_allclose(found.energy[0, 1], np.sum(np.abs(image - target)) / scale, rtol=1e-5)
    np.testing.assert_allclose(step, -0.5 * SIGMA * np.sign(image - target) / scale, rtol=1e-3, atol=1e-6)


def test_inner_product_steps_along_the_target(key, pair):
    image, target = pair
    found, step = _one_step(key, dataclasses.replace(PLAIN, loss=ij.losses.inner_product), target, image)
    scale = np.sum(target**2)
    np.testing.assert_allclose(found.energy[0, 1], -np.sum(image * target) / scale, rtol=1e-5)
    np.testing.assert_allclose(step, 0.5 * SIGMA * target / scale, rtol=1e-3, atol=1e-6)


def test_activation_drives_the_chosen_neurons_up_alone(key, pair):
    image, target = pair
    mask = np.zeros(SHAPE, bool)
    mask[1, 2, 0] = mask[3, 0, 1] = True
    recipe = dataclasses.replace(PLAIN, loss=ij.losses.activation)
    found, step = _one_step(key, recipe, target, image, mask=mask)
    scale = np.abs(target[mask]).sum()
    np.testing.assert_allclose(found.energy[0, 1], -np.sum(image[mask]) / scale, rtol=1e-5)
    np.testing.assert_allclose(step[mask], 0.5 * SIGMA / scale, rtol=1e-3)
    np.testing.assert_allclose(step[~mask], 0, atol=1e-6)


def test_what_the_mask_leaves_out_does_not_matter(key, pair):
    image, target = pair
    mask = np.random.default_rng(2).random(SHAPE) < 0.4
    other = np.where(mask, target, 1e4)
    recipe = dataclasses.replace(PLAIN, steps=(6,))
    found, step = _one_step(key, recipe, target, image, mask=mask)
    with_other, _ = _one_step(key, recipe, other, image, mask=mask)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(with_other), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(step[~mask], 0, atol=1e-6)
    expected = np.sum((image - target)[mask] ** 2) / np.sum(target[mask] ** 2)
    np.testing.assert_allclose(found.energy[0, 1], expected, rtol=1e-5)
    moved = np.asarray(found.image)
    error = np.linalg.norm((moved - target)[mask]) / np.linalg.norm(target[mask])
    np.testing.assert_allclose(found.error, error, rtol=1e-4)
    assert found.error < np.sqrt(expected)


@pytest.mark.parametrize("loss", [ij.losses.normalized_squared_l2, ij.losses.normalized_l1, ij.losses.activation])
def test_every_loss_descends_on_conv1_at_the_papers_rate(key, loss):
    conv1 = ij.alexnet(layer="conv1")
    target = conv1(ij.example_image("chelsea", size=35))
    recipe = dataclasses.replace(ij.recipes.mahendran_vedaldi(lambda_tv=0.5, stages=((4e-3, 20),)), loss=loss)
    found = ij.invert(key, conv1, target, recipe, image_shape=(35, 35, 3))
    assert found.finite and found.energy[-1, 0] < found.energy[0, 0]


# --- degenerate targets ---


def test_zero_target_is_reached_without_a_division_by_zero(key, pair):
    image, _ = pair
    recipe = dataclasses.replace(PLAIN, rates=(0.1 / SIGMA**2,), steps=(100,))
    found, _ = _one_step(key, recipe, np.zeros(SHAPE), image)
    assert bool(found.finite)
    np.testing.assert_allclose(found.energy[0, 1], np.sum(image**2), rtol=1e-5)
    np.testing.assert_allclose(found.error, np.linalg.norm(found.image), rtol=1e-5)
    assert found.error < 0.05 * np.linalg.norm(image)


def test_flat_image(key):
    representation = ij.hog(binning="bilinear")
    flat = np.full((16, 16, 1), 128, np.float32)
    target = representation(flat)
    recipe = ij.recipes.mahendran_vedaldi(stages=((4e-3, 5),), beta=1.0)
    found = ij.invert(key, representation, target, recipe, image_shape=flat.shape, initial_image=flat)
    np.testing.assert_allclose(found.image, flat, atol=1e-3)
    assert bool(found.finite) and np.all(found.energy == 0) and found.error == 0


def test_a_representation_with_an_inverse_is_inverted(key):
    random = np.random.default_rng(8)
    rotation = np.linalg.qr(random.normal(size=(SIZE, SIZE)))[0]
    image = random.uniform(0, 255, SHAPE)
    recipe = ij.recipes.mahendran_vedaldi(lambda_tv=0.0, lambda_alpha=0.0, stages=((0.3, 400),))
    representation = linear_representation(rotation, 128.0)
    found = ij.invert(key, representation, representation(image), recipe, image_shape=SHAPE)
    np.testing.assert_allclose(found.image, image, atol=0.01)
    assert found.error < 1e-4
