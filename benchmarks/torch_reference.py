"""Eq. 3 of Mahendran & Vedaldi on CNN-A in PyTorch, as a good PyTorch programmer would write it."""

import numpy as np
import torch
import torch.nn.functional as nn

import invert_jax as ij
from invert_jax.networks import architectures


def make_step(problem: ij.inversion.Problem, target, params: dict, layer: str, *, device: str, memory_format):
    """A function `x [N, 3, H, W] -> (energies [N], gradient [N, 3, H, W])` equal to the library's.

    `params` are CNN-A's weights, HWIO, BGR, and `target` is features `[h, w, c]`. The second function returned converts
    NumPy images `[N, H, W, 3]`, RGB, to a tensor for the first.
    """

    def tensor(array):
        return torch.tensor(np.asarray(array), device=device)

    weights = {}
    for name, entry in params.items():
        if name != "mean":
            kernel = tensor(np.transpose(entry["kernel"], (3, 2, 0, 1))).contiguous(memory_format=memory_format)
            weights[name] = kernel, tensor(entry["bias"])
    target = tensor(np.transpose(target, (2, 0, 1))[None])
    center = tensor(np.transpose(problem.center, (2, 0, 1))[None])
    mean = tensor(params["mean"]).reshape(1, 3, 1, 1)
    recipe = problem.recipe
    sigma, lambda_alpha, lambda_tv = map(float, (recipe.sigma, recipe.weight("alpha_norm"), recipe.weight("tv")))
    normalizer = float((target**2).sum())
    table = architectures.CAFFENET.layers_up_to(layer)

    def energy(x):
        y = (center + sigma * x).flip(1) - mean
        for row in table:
            if row.kind == "conv":
                kernel, bias = weights[row.name]
                y = nn.conv2d(y, kernel, bias, stride=row.stride, padding=row.padding, groups=row.groups)
            elif row.kind == "relu":
                y = nn.relu(y)
            elif row.kind == "pool":
                y = nn.max_pool2d(y, row.size, row.stride)
            else:
                y = nn.local_response_norm(y, 5, alpha=1e-4, beta=0.75, k=1.0)
        loss = ((y - target) ** 2).sum((1, 2, 3)) / normalizer
        alpha = (x**2) ** 3
        tv = ((x[:, :, 1:] - x[:, :, :-1]) ** 2).sum((1, 2, 3)) + ((x[..., 1:] - x[..., :-1]) ** 2).sum((1, 2, 3))
        return loss + lambda_alpha * alpha.sum((1, 2, 3)) + lambda_tv * tv

    def step(x):
        x = x.detach().requires_grad_(True)
        energies = energy(x)
        (gradient,) = torch.autograd.grad(energies.sum(), x)
        return energies.detach(), gradient

    def convert(x):
        return tensor(np.transpose(x, (0, 3, 1, 2))).contiguous(memory_format=memory_format)

    return step, convert
