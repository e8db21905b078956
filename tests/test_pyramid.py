"""Pyramids against matrices written down tap by tap, on a photograph and on sizes of every kind."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import pyramid as oracle

import invert_jax as ij
from invert_jax import pyramid

SIZES = [(227, 227), (64, 41), (7, 6), (5, 1), (2, 3), (1, 1)]


def picture(size):
    return ij.example_image("chelsea", size=size)


@pytest.mark.parametrize("size", SIZES)
def test_reduce_and_expand(size):
    image = picture(size)
    reduced = pyramid.reduce(image)
    np.testing.assert_allclose(reduced, oracle.both_ways(oracle.reduction, image), atol=1e-4)
    np.testing.assert_allclose(
        pyramid.expand(reduced, size), oracle.expand(np.asarray(reduced, float), size), atol=1e-4
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("num_levels", [1, 2, 6])
def test_a_photograph_comes_back_to_rounding(size, num_levels):
    image = picture(size)
    levels = pyramid.decompose(image, num_levels=num_levels)
    assert len(levels) == num_levels
    for level, wanted in zip(levels, oracle.decompose(image.astype(float), num_levels), strict=True):
        np.testing.assert_allclose(level, wanted, atol=2e-4)
    np.testing.assert_allclose(pyramid.recompose(levels), image, atol=255 * num_levels * np.finfo(np.float32).eps)


@pytest.mark.parametrize("stage", range(7))
def test_switched_shows_the_coarse_levels(stage):
    image = picture((83, 60))
    switches = pyramid.stage_switches(stage, num_levels=6)
    assert switches.tolist() == [0.0] * max(5 - stage, 0) + [1.0] * min(stage + 1, 6)
    shown = jax.jit(pyramid.switched)(image, switches)
    np.testing.assert_allclose(shown, oracle.switched(image.astype(float), np.asarray(switches)), atol=5e-4)
    if stage >= 5:
        assert np.array_equal(shown, image)
    else:
        assert np.abs(shown - image).max() > 5


def test_the_coarser_the_smoother():
    image = picture(128)
    shown = [np.asarray(pyramid.switched(image, pyramid.stage_switches(s, num_levels=6))) for s in range(6)]
    roughness = [np.abs(np.diff(one, axis=0)).mean() for one in shown]
    assert all(a < b for a, b in itertools.pairwise(roughness))
    np.testing.assert_allclose([one.mean() for one in shown], image.mean(), atol=3)


def test_flat_images_stay_flat():
    image = jnp.full((13, 10, 3), 100.0)
    for switches in ([0, 0, 1], [1, 1, 1]):
        np.testing.assert_allclose(pyramid.switched(image, jnp.array(switches, jnp.float32)), image, rtol=1e-6)


def test_one_program_for_every_stage():
    traces = []

    @jax.jit
    def shown(image, stage):
        traces.append(1)
        return pyramid.switched(image, pyramid.stage_switches(stage, num_levels=4))

    image = picture(32)
    results = [np.asarray(shown(image, stage)) for stage in range(4)]
    assert len(traces) == 1
    for stage, result in enumerate(results):
        np.testing.assert_allclose(
            result, pyramid.switched(image, pyramid.stage_switches(stage, num_levels=4)), atol=1e-3
        )


def test_vmap_and_gradient_are_those_of_a_linear_map(rng):
    image, other = (rng.normal(size=(2, 11, 8, 3)).astype(np.float32) for _ in range(2))
    switches = jnp.array([0.0, 1.0, 1.0])
    np.testing.assert_allclose(
        jax.vmap(pyramid.switched, (0, None))(image, switches),
        np.stack([pyramid.switched(one, switches) for one in image]),
        atol=1e-5,
    )
    # <A x, y> = <x, A^T y>
    shown, back = jax.vjp(lambda x: pyramid.switched(x, switches), image[0])
    np.testing.assert_allclose(jnp.vdot(shown, other[0]), jnp.vdot(image[0], back(other[0])[0]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stage", range(4))
def test_a_stage_blurs_the_gradient_by_the_transposed_matrix(stage, rng):
    """Eq. 11 on the pyramid that is descended on, whose matrix is the oracle's answer to one pixel after another."""
    size, switches = (9, 6), (np.arange(4) >= 3 - stage).astype(float)
    pixels = np.eye(9 * 6).reshape(-1, *size, 1)
    matrix = np.stack([oracle.switched(pixel, switches).ravel() for pixel in pixels], axis=1)
    image, target = (rng.normal(size=(*size, 1)).astype(np.float32) for _ in range(2))

    def energy(shown):
        return jnp.sum(jnp.sin(shown - target) ** 2)

    def of_image(image):
        return energy(pyramid.switched_at_stage(image, stage, num_levels=4))

    shown = (matrix @ image.ravel()).reshape(image.shape).astype(np.float32)
    wanted = (matrix.T @ np.asarray(jax.grad(energy)(shown)).ravel()).reshape(image.shape)
    np.testing.assert_allclose(jax.grad(of_image)(image), wanted, atol=1e-4)
    if stage < 3:
        assert np.abs(matrix - matrix.T).max() > 0.02  # so that a matrix that is not transposed would be noticed


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: pyramid.reduce(jnp.zeros((4, 4))), "gray image has a trailing axis"),
        (lambda: pyramid.switched_at_stage(jnp.zeros((2, 4, 4, 1)), 0, num_levels=2), "takes one image"),
        (lambda: pyramid.decompose(jnp.zeros(4), num_levels=2), "takes one image"),
        (lambda: pyramid.expand(jnp.zeros((4, 4)), (8, 8)), "gray image has a trailing axis"),
        (lambda: pyramid.recompose([]), "no levels to recompose"),
        (lambda: pyramid.switched(jnp.zeros((4, 4, 1)), 1.0), r"switches have shape \(\)"),
    ],
)
def test_mistakes_are_told_in_a_sentence(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_switches_may_be_a_list():
    image = picture((9, 6))
    np.testing.assert_array_equal(pyramid.switched(image, [0, 1]), pyramid.switched(image, jnp.array([0.0, 1.0])))


@pytest.mark.parametrize(
    "switches", [(1, 1), (0, 1), (1, 1, 1), (0, 0, 1), (0, 1, 1, 1, 1), (0, 0, 0, 1, 1), (1, 0, 1, 0, 1), (0, 1, 0, 0)]
)
def test_levels_off_blur_the_gradient_by_the_transposed_kernel(switches, rng):
    """Eqs. 10-11 on the simplified pyramid (no change of size), for any switches, and for those of coarse to fine."""
    num_levels, size = len(switches), 24
    blur = np.zeros((size, size))  # an asymmetric kernel, so that its transpose is another blur
    for i in range(size):
        for offset, weight in zip(range(-2, 3), (0.1, 0.3, 0.4, 0.15, 0.05), strict=True):
            blur[i, (i + offset) % size] += weight
    blur = jnp.asarray(blur, jnp.float32)
    target = jnp.asarray(rng.normal(size=size), jnp.float32)

    def shown(image):
        gaussians = [image]
        for _ in range(num_levels - 1):
            gaussians.append(blur @ gaussians[-1])
        laplacians = [*(a - b for a, b in itertools.pairwise(gaussians)), gaussians[-1]]
        return sum(switch * level for switch, level in zip(switches, laplacians, strict=True))

    def energy(image):
        return jnp.sum(jnp.sin(image - target) ** 2)

    image = jnp.asarray(rng.normal(size=size), jnp.float32)
    powers = [np.linalg.matrix_power(np.asarray(blur, float), j) for j in range(num_levels)]
    whole = switches[0] * powers[0] + sum(
        (switches[j] - switches[j - 1]) * powers[j] for j in range(1, num_levels)
    )  # eq. 10
    np.testing.assert_allclose(shown(image), whole @ image, atol=1e-5)
    gradient = jax.grad(lambda x: energy(shown(x)))(image)
    np.testing.assert_allclose(gradient, whole.T @ jax.grad(energy)(shown(image)), atol=1e-5)
    if sorted(switches) == list(switches):  # coarse to fine, on from level j: eq. 11
        blurred = powers[switches.index(1)].T @ jax.grad(energy)(shown(image))
        np.testing.assert_allclose(gradient, blurred, atol=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match="4 x 4 does not expand to 9 x 8"):
        pyramid.expand(jnp.zeros((4, 4, 1)), (9, 8))
    with pytest.raises(ValueError, match="num_levels"):
        pyramid.decompose(jnp.zeros((4, 4, 1)), num_levels=0)
