"""Descents lowered for accelerators on a machine that has none: in float32, with no custom call that is not stable."""

import dataclasses
import functools
import re

import jax
import pytest

import invert_jax as ij
from invert_jax import inversion, parameterizations

COLOR, GRAY = ij.example_image(size=40), ij.example_image(size=40, gray=True)
REPRESENTATIONS = {
    "hog": lambda: (ij.hog(), GRAY),
    "hog, straight-through": lambda: (ij.hog(gradient="straight_through"), GRAY),
    "hogb": lambda: (ij.hog(binning="bilinear"), GRAY),
    "dsift": lambda: (ij.dsift(), GRAY),
    "dsift, released": lambda: (ij.dsift(variant="released"), GRAY),
    "patch sift": lambda: (ij.patch_sift(color=True), COLOR),
    "norm1": lambda: (ij.alexnet(layer="norm1"), COLOR),
    "norm1, bfloat16": lambda: (ij.alexnet(layer="norm1", precision="bfloat16"), COLOR),
    "function": lambda: (ij.from_function(lambda _, image: image.mean(2), (), center=128.0), COLOR),
}
PARAMETERIZATIONS = {
    "pixels": lambda: parameterizations.pixels,
    "bounded pixels": lambda: parameterizations.bounded_pixels,
    "pyramid": lambda: ij.recipes.laplacian_pyramid(num_levels=2).parameterization,
    "fourier": parameterizations.fourier,
    "fixed magnitude": lambda: parameterizations.fixed_magnitude(photographs=[COLOR, COLOR[::-1]]),
}
OTHER = [("norm1", name) for name in PARAMETERIZATIONS if name != "pixels"]
PAIRS = [(name, "pixels") for name in REPRESENTATIONS] + OTHER + [("norm1, bfloat16", "fourier")]


def descend(key, problem, target):
    state = inversion.init(key, problem, target)
    return inversion.finish(problem, inversion.run(problem, state, stop=problem.recipe.num_steps))


@functools.cache
def problem_of(representation, parameterization):
    phi, image = REPRESENTATIONS[representation]()
    stages = tuple(dataclasses.replace(stage, num_steps=2) for stage in ij.recipes.natural_spectrum().stages)
    recipe = dataclasses.replace(
        ij.recipes.natural_spectrum(), parameterization=PARAMETERIZATIONS[parameterization](), stages=stages
    )
    return inversion.make_problem(phi, phi(image), recipe, image_shape=image.shape)


@pytest.mark.parametrize(
    ("representation", "parameterization"),
    [PAIRS[0], *(pytest.param(*pair, marks=pytest.mark.slow) for pair in PAIRS[1:])],
)
def test_a_descent_is_lowered_for_cuda_and_tpu(representation, parameterization):
    problem, target = problem_of(representation, parameterization)
    # Exporting refuses custom calls whose meaning may change, but for those that it is asked to accept: none here.
    exported = jax.export.export(jax.jit(descend), platforms=("cuda", "tpu"))(jax.random.key(0), problem, target)
    text = exported.mlir_module()
    assert exported.platforms == ("cuda", "tpu") and not re.search(r"tensor<(\d+x)*f64>", text)
    assert ("bf16" in text) == ("bfloat16" in representation)
