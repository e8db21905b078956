"""Random transforms against SciPy, and how a recipe addresses their keys."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from refusals import refused
from scipy import ndimage

import invert_jax as ij
from invert_jax import transforms

PHOTOGRAPH = ij.example_image(size=(40, 48))


def test_jitter_shifts_by_whole_pixels_and_mirrors_at_the_border():
    padded = np.pad(np.asarray(PHOTOGRAPH), ((3, 3), (3, 3), (0, 0)), mode="reflect")
    jitter, found = jax.jit(transforms.jitter(max_shift=3)), set()
    windows = {(r, c): padded[r : r + 40, c : c + 48] for r in range(7) for c in range(7)}
    for seed in range(60):
        shifted = np.asarray(jitter(jax.random.key(seed), PHOTOGRAPH))
        matches = [where for where, window in windows.items() if np.array_equal(window, shifted)]
        assert len(matches) == 1
        found.add(matches[0])
    assert {r for r, _ in found} == {c for _, c in found} == set(range(7))


@pytest.mark.parametrize(
    ("transform", "factors", "degrees"),
    [
        (transforms.scale(low=0.8, high=0.8), (0.8, 0.8), 0),
        (transforms.scale(low=0.9, high=1.2), (0.9, 1.2), 0),
        (transforms.rotate(max_degrees=20.0), (1, 1), 20),
    ],
    ids=["one factor", "factors", "rotation"],
)
def test_scale_and_rotation_against_scipy(transform, factors, degrees):
    """The factor and the angle are read from a linear ramp; the photograph is then resampled by them with SciPy."""
    transform, middle = jax.jit(transform), np.array([19.5, 23.5])
    y, x = np.mgrid[:40, :48].astype(np.float32)
    seen = []
    for seed in range(8):
        key = jax.random.key(seed)
        ramp = np.asarray(transform(key, jnp.stack([y, x, 0 * x], -1)))[18:22, 22:26]
        down, right = ramp[1, 0] - ramp[0, 0], ramp[0, 1] - ramp[0, 0]
        matrix = np.stack([down[:2], right[:2]], axis=1).astype(np.float64)
        scale = 1 / np.sqrt(np.linalg.det(matrix))
        angle = np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))
        assert factors[0] - 1e-4 <= scale <= factors[1] + 1e-4 and abs(angle) <= degrees + 1e-3
        np.testing.assert_allclose(matrix @ matrix.T * scale**2, np.eye(2), atol=1e-4)
        expected = np.stack(
            [
                ndimage.affine_transform(
                    np.asarray(channel, np.float64), matrix, middle - matrix @ middle, order=1, mode="mirror"
                )
                for channel in np.moveaxis(np.asarray(PHOTOGRAPH), 2, 0)
            ],
            -1,
        )
        np.testing.assert_allclose(transform(key, PHOTOGRAPH), expected, atol=0.05)
        seen.append((scale, angle))
    spread = np.ptp(seen, axis=0)
    assert spread[0] >= (factors[1] - factors[0]) / 2 and spread[1] >= degrees / 2


def test_compositions_have_a_key_for_each_and_compare_by_value(key):
    parts = [transforms.jitter(max_shift=2), transforms.rotate(), transforms.jitter(max_shift=2)]
    both = transforms.compose(parts)
    assert both == transforms.compose(list(parts)) and hash(both) == hash(transforms.compose(parts))
    expected = PHOTOGRAPH
    for i, part in enumerate(parts):
        expected = part(jax.random.fold_in(key, i), expected)
    np.testing.assert_array_equal(both(key, PHOTOGRAPH), expected)


def brightness(params, image):
    return image.mean((0, 1))


def test_restarts_and_steps_have_transforms_of_their_own(key):
    """What a transform did is read from the energies: a shift of a picture by a key, seen through one pixel."""

    def corner(params, image):
        return image[:1, :1]

    recipe = ij.recipes.mahendran_vedaldi(lambda_tv=0.0, lambda_alpha=0.0, stages=((1e-12, 6),))
    recipe = dataclasses.replace(recipe, transform=transforms.jitter(max_shift=4), optimizer=optax.sgd)
    phi = ij.from_function(corner)
    options = {"image_shape": PHOTOGRAPH.shape, "initial_image": PHOTOGRAPH}
    found = ij.sample(key, phi, phi(PHOTOGRAPH), recipe, num_restarts=3, **options)
    assert len(np.unique(found.energy.loss)) > 12  # of 18, though the image is the same
    later = ij.sample(key, phi, phi(PHOTOGRAPH), recipe, num_restarts=1, first_restart=2, **options)
    np.testing.assert_array_equal(later.energy.loss[0], found.energy.loss[2])


def test_refusals(key):
    for make, noun in (
        (lambda: transforms.jitter(max_shift=0), "max_shift"),
        (lambda: transforms.scale(low=1.2, high=0.9), "low"),
        (lambda: transforms.scale(low=0.0), "low"),
        (lambda: transforms.rotate(max_degrees=-1.0), "max_degrees"),
        (lambda: transforms.compose([]), "transforms"),
        (lambda: transforms.jitter(max_shift=40)(key, PHOTOGRAPH), "max_shift"),
    ):
        with refused(noun):
            make()
    for wrong in (
        lambda key, image: image[1:],
        lambda key, image: image.astype("float16"),
        lambda key, image: (image,),
    ):
        recipe = dataclasses.replace(ij.recipes.natural_spectrum(), transform=wrong)
        with refused("transform"):
            ij.invert(key, ij.from_function(brightness), jnp.ones(3), recipe, image_shape=PHOTOGRAPH.shape)
    with refused("transform", TypeError):
        transforms.compose([3])  # pyright: ignore
