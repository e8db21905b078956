"""Optimizers of every kind: what is counted, what is read out, and which are refused."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from refusals import refused

import invert_jax as ij
from invert_jax.types import Stage

SHAPE = (6, 5, 1)
IMAGE = np.linspace(20, 230, 30, dtype=np.float32).reshape(SHAPE)
CALLS = []


def counted(params, image):
    jax.debug.callback(lambda: CALLS.append(1))
    return jnp.tanh(image / 100) @ params


PHI = ij.from_function(counted, jnp.ones((1, 2)), center=120)
RECIPE = ij.recipes.mahendran_vedaldi(lambda_tv=0.01, stages=((1e-2, 12),))


def lbfgs(learning_rate):
    del learning_rate  # the line search chooses the step
    return optax.lbfgs()


def backtracking(learning_rate):
    return optax.chain(optax.sgd(learning_rate), optax.scale_by_backtracking_linesearch(max_backtracking_steps=15))


@pytest.mark.parametrize("optimizer", [optax.adam, lbfgs, backtracking])
def test_evaluations_are_those_that_ran(optimizer, key):
    recipe, target = dataclasses.replace(RECIPE, optimizer=optimizer), PHI(IMAGE)
    jax.effects_barrier()
    CALLS.clear()
    found = ij.invert(key, PHI, target, recipe, image_shape=SHAPE)
    jax.effects_barrier()
    assert found.finite and found.energy.total[-1] < found.energy.total[0]
    searched = optimizer is not optax.adam
    # The features of the result are one more; a search evaluates at the start of the line too, which it knows.
    assert int(found.evaluations) <= len(CALLS) - 1 <= int(found.evaluations) + searched * recipe.num_steps
    assert (found.evaluations > recipe.num_steps) == searched


def test_schedule_free_optimizers_return_the_point_that_they_evaluate(key):
    schedule_free = functools.partial(optax.contrib.schedule_free_adamw, b1=0.9)
    recipe = dataclasses.replace(RECIPE, optimizer=schedule_free, stages=(Stage(0.05, 25),))
    found = ij.invert(key, PHI, PHI(IMAGE), recipe, image_shape=SHAPE)

    problem, target = ij.inversion.make_problem(PHI, PHI(IMAGE), recipe, image_shape=SHAPE)
    z = recipe.parameterization.init(key, SHAPE)
    optimizer = schedule_free(0.05)
    state = optimizer.init(z)
    for _ in range(25):
        gradient = jax.grad(lambda z: ij.inversion.energy(problem, target, z, 0).total)(z)
        updates, state = optimizer.update(gradient, state, z)
        z = optax.apply_updates(z, updates)
    expected = 120 + problem.recipe.sigma * optax.contrib.schedule_free_eval_params(state, z)
    np.testing.assert_allclose(found.image, expected, atol=0.1)
    assert np.abs(found.image - (120 + problem.recipe.sigma * z)).max() > 1


def changes_shape(learning_rate):
    return optax.stateless(lambda updates, params: jax.tree.map(lambda leaf: learning_rate * leaf[None], updates))


def grows(learning_rate):
    del learning_rate
    return optax.GradientTransformation(lambda z: jnp.zeros(1), lambda g, state, z=None: (g, jnp.zeros(len(state) + 1)))


@pytest.mark.parametrize(
    "optimizer", [optax.contrib.sophia, optax.contrib.sam, optax.contrib.dpsgd, changes_shape, grows, lambda rate: 3]
)
def test_optimizers_that_cannot_descend_are_refused(optimizer, key):
    with refused("optimizer", TypeError):
        recipe = dataclasses.replace(RECIPE, optimizer=optimizer)
        ij.invert(key, PHI, PHI(IMAGE), recipe, image_shape=SHAPE)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adabelief", "adan", "fromage", "lamb", "lion", "nadam", "novograd", "rprop", "yogi"])
def test_other_optimizers_of_optax_descend(name, key):
    recipe = dataclasses.replace(RECIPE, optimizer=getattr(optax, name), stages=(Stage(1e-2, 30),))
    found = ij.invert(key, PHI, PHI(IMAGE), recipe, image_shape=SHAPE)
    assert found.finite and found.energy.total[-1] < found.energy.total[0]
