"""Images that move together, where the answer is known: spheres, null spaces, codes that hold everything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import invert_jax as ij
from invert_jax import analysis


def first_half(_, image):
    """A linear code with a null space: it sees the upper rows alone."""
    return image[: image.shape[0] // 2]


def everything(_, image):
    return image


def length(_, image):
    return jnp.sqrt(jnp.sum((image / 100) ** 2, keepdims=True))


HALF, WHOLE, LENGTH = (ij.from_function(code) for code in (first_half, everything, length))


def distance(images):
    apart = ij.analysis.pairwise_rms(images)
    return apart[np.triu_indices(len(apart), 1)].mean()


def errors(phi, images, target):
    return np.array([ij.metrics.relative_error(phi(image), target) for image in images])


def test_repulsion_goes_into_the_null_space(rng):
    photograph = np.float32(rng.uniform(80, 170, (8, 6, 1)))
    images = photograph + np.float32(rng.normal(0, 1, (4, 8, 6, 1)))
    target = HALF(photograph)
    found = analysis.repel(HALF, target, images)
    np.testing.assert_allclose(found.bound, errors(HALF, images, target), rtol=1e-5)
    assert found.within.all() and (found.error <= found.bound).all()
    np.testing.assert_allclose(found.error, errors(HALF, found.image, target), rtol=1e-4)
    np.testing.assert_allclose([found.before, found.after], [distance(images), distance(found.image)], rtol=1e-4)
    seen, unseen = (distance(found.image[:, rows]) for rows in (np.s_[:4], np.s_[4:]))
    assert seen < 4 and unseen > 90  # the upper half is held, the lower runs to both ends of the range
    assert found.image.min() >= 0 and found.image.max() <= 255


def test_restarts_that_are_exact_have_room_in_an_oblique_null_space(rng):
    """Of a random linear code of half the pixels: errors are all rounding, and the null space is not of pixels."""
    matrix = np.linalg.qr(rng.normal(size=(64, 32)))[0].T.astype(np.float32)
    oblique = ij.from_function(lambda params, image: params @ image.ravel(), jnp.asarray(matrix))
    photograph = np.float32(rng.uniform(100, 150, (8, 8, 1)))
    unseen = np.eye(64) - matrix.T @ matrix
    images = photograph + np.float32(rng.normal(0, 2, (3, 64)) @ unseen).reshape(3, 8, 8, 1)
    found = analysis.repel(oblique, oblique(photograph), images)
    assert max(errors(oblique, images, oblique(photograph))) < 1e-5
    np.testing.assert_allclose(found.bound, 1e-4)
    assert found.within.all() and found.after > 20 * found.before
    change = (found.image - images).reshape(3, 64)
    assert np.linalg.norm(change @ matrix.T, axis=1).max() < 0.01 * np.linalg.norm(change, axis=1).min()


def test_a_code_that_holds_everything_leaves_no_more_room_than_the_bound():
    photograph = np.full((6, 6, 1), 100.0, np.float32)
    images = photograph + np.float32([0, 0.5])[:, None, None, None]
    found = analysis.repel(WHOLE, WHOLE(photograph), images, bound=0.02)  # a ball of 2 gray levels
    assert found.within.all() and found.before == pytest.approx(0.5, rel=1e-4)
    assert 3.5 < found.after <= 4.001  # opposite ends of it


def test_a_translation_invariant_code_does_not_fix_the_place():
    """The sizes of the Fourier coefficients: what is the same picture elsewhere has the same code."""
    spectrum = ij.from_function(lambda _, image: jnp.abs(jnp.fft.fft2(image[..., 0]) + 1e-3) / 100)
    photograph = ij.example_image("coffee", size=(16, 16), gray=True)
    images = np.stack([photograph, np.roll(photograph, (2, 3), axis=(0, 1)), np.roll(photograph, 5, axis=1)])
    target = spectrum(photograph)
    assert max(errors(spectrum, images, target)) < 1e-4
    apart = ij.analysis.diversity(images)
    assert apart.distance[0, 1] > 20 and apart.effective_number > 2
    found = analysis.repel(spectrum, target, images, bound=0.01, num_steps=50)
    assert found.within.all() and found.after > found.before


def test_a_mask_frees_what_it_leaves_out(rng):
    photograph = np.float32(rng.uniform(80, 170, (6, 6, 1)))
    images = photograph + np.float32(rng.normal(0, 1, (2, 6, 6, 1)))
    mask = np.zeros((6, 6, 1), bool)
    mask[:, :3] = True
    found = analysis.repel(WHOLE, WHOLE(photograph), images, mask=mask)
    assert distance(found.image[:, :, :3]) < 6 < 90 < distance(found.image[:, :, 3:])


def test_a_way_around_a_sphere():
    ends = np.zeros((2, 1, 3, 1), np.float32)
    ends[0, 0, 0], ends[1, 0, 1] = 100, 100
    found = analysis.low_error_path(LENGTH, LENGTH(ends[0]), *ends, bound=0.01, num_images=9)
    assert found.within.all() and np.array_equal(found.image[[0, -1]], ends)
    radii = np.linalg.norm(found.image.reshape(9, 3), axis=1)
    assert radii.min() > 98.9 and radii.max() < 101.1  # the straight line comes to 71
    straight, arc = 100 * np.sqrt(2 / 3), 100 * np.pi / 2 / np.sqrt(3)
    assert found.before == pytest.approx(straight, rel=1e-4)
    assert found.after == pytest.approx(arc, rel=0.02)
    steps = np.linalg.norm(np.diff(found.image.reshape(9, 3), axis=0), axis=1)
    assert steps.max() < 1.5 * steps.min()


def test_a_way_that_does_not_exist_is_told():
    low, high = np.full((2, 2, 2, 1), 100.0, np.float32) + np.float32([-5, 5])[:, None, None, None]
    barrier = ij.from_function(lambda _, image: 1 + jnp.exp(-((jnp.mean(image, keepdims=True) - 100) ** 2)))
    found = analysis.low_error_path(barrier, barrier(low), low, high, bound=0.1, num_images=21)
    assert not found.within.all() or found.between.max() > 0.5  # it ends beyond the bound, or jumps over


def test_what_lies_between_the_images_is_looked_at():
    """Three images on a circle: the chords' middles are farther in."""
    ends = np.zeros((2, 1, 2, 1), np.float32)
    ends[0, 0, 0], ends[1, 0, 1] = 100, 100
    found = analysis.low_error_path(LENGTH, LENGTH(ends[0]), *ends, bound=0.01, num_images=3)
    assert found.within.all() and found.between.shape == (2,)
    np.testing.assert_allclose(found.between, 1 - np.cos(np.pi / 8), atol=0.015)
    assert analysis.repel(LENGTH, LENGTH(ends[0]), ends, num_steps=1).between.size == 0


def test_a_photograph_through_a_real_code():
    photograph = ij.example_image("chelsea", size=48, gray=True)
    hog = ij.hog(binning="bilinear")
    recipe = ij.recipes.mahendran_vedaldi(lambda_tv=0.5, stages=((4e-3, 60),))
    restarts = ij.sample(
        jax.random.key(0), hog, hog(photograph), recipe, image_shape=photograph.shape, num_restarts=3
    ).image
    found = analysis.repel(hog, hog(photograph), restarts, num_steps=60)
    assert found.within.all() and found.after > 1.5 * found.before
    assert np.isfinite(found.image).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (dict(images=np.zeros((1, 4, 4, 1))), "two or more"),
        (dict(images=np.zeros((4, 4, 1))), "R, H, W, C"),
        (dict(images=np.full((2, 4, 4, 1), np.nan)), "images"),
        (dict(target=np.ones(3, np.float32)), "target has shape"),
        (dict(bound=0.1), "beyond the bound"),
        (dict(num_steps=0), "num_steps"),
        (dict(images=np.full((2, 4, 4, 1), 50.0)), "Images 0 and 1 are equal"),
    ],
)
def test_refusals(arguments, said):
    images = np.stack([np.full((4, 4, 1), 50.0), np.full((4, 4, 1), 100.0)])
    given = {"target": WHOLE(images[0]), "images": images, **arguments}
    with pytest.raises(ValueError, match=said):
        analysis.repel(WHOLE, given.pop("target"), given.pop("images"), **given)
    with pytest.raises(ValueError, match="three or more"):
        analysis.low_error_path(WHOLE, WHOLE(images[0]), *images, bound=2.0, num_images=2)
