"""Problems small enough for the descent on eq. 3 to be written out in NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np

import invert_jax as ij

SHAPE = (4, 5, 2)
SIZE = math.prod(SHAPE)
NUM_FEATURES = 12
SIGMA = 68.92116477 * math.sqrt(SIZE)
STAGES = ((0.2, 7), (0.05, 5))
RECIPE = ij.recipes.mahendran_vedaldi(lambda_tv=0.02, lambda_alpha=0.3, stages=STAGES)
PLAIN = ij.recipes.mahendran_vedaldi(lambda_tv=0.0, lambda_alpha=0.0, stages=((0.5, 1),))


def _linear(weights, image):
    return weights @ image.ravel()


def _identity(params, image):
    return image


IDENTITY = ij.from_function(_identity)


def linear_problem(seed=0):
    random = np.random.default_rng(seed)
    weights = random.normal(size=(NUM_FEATURES, SIZE)) / math.sqrt(SIZE)
    center = np.array([100.0, 140.0])
    image = random.uniform(0, 255, SHAPE)
    return weights, center, weights @ image.ravel()


def linear_representation(weights, center):
    return ij.from_function(_linear, jnp.asarray(weights, jnp.float32), center=center)


def noise_start(key):
    noise = np.asarray(jax.random.normal(key, SHAPE), np.float64)
    return noise / np.sqrt(np.sum(noise**2))


def terms_and_gradient(x, weights, center, target, lambda_alpha, lambda_tv):
    """Eq. 3 with alpha = 6, beta = 2 at `x`, for features `weights @ image`: `[4]` and `[H, W, C]`, float64."""
    residual = weights @ (center + SIGMA * x).ravel() - target
    scale = np.sum(target**2)
    down, right = np.diff(x, axis=0), np.diff(x, axis=1)
    loss = np.sum(residual**2) / scale
    alpha = lambda_alpha * np.sum(x**6)
    tv = lambda_tv * (np.sum(down**2) + np.sum(right**2))
    gradient = (2 * SIGMA / scale * weights.T @ residual).reshape(x.shape) + 6 * lambda_alpha * x**5
    gradient[1:] += 2 * lambda_tv * down
    gradient[:-1] -= 2 * lambda_tv * down
    gradient[:, 1:] += 2 * lambda_tv * right
    gradient[:, :-1] -= 2 * lambda_tv * right
    return np.array([loss + alpha + tv, loss, alpha, tv]), gradient


def descend(x, weights, center, target, *, stages=STAGES, lambda_alpha=0.3, lambda_tv=0.02):
    """Momentum 0.9, zeroed between the stages: final image, relative error, energies `[T, 4]`."""
    energy = []
    for rate, steps in stages:
        momentum = np.zeros_like(x)
        for _ in range(steps):
            terms, gradient = terms_and_gradient(x, weights, center, target, lambda_alpha, lambda_tv)
            momentum = 0.9 * momentum - rate * gradient
            x = x + momentum
            energy.append(terms)
    image = center + SIGMA * x
    error = np.linalg.norm(weights @ image.ravel() - target) / np.linalg.norm(target)
    return image, error, np.array(energy)
