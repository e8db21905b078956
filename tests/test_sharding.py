"""Restarts spread over a mesh of devices: the same bit for bit, each on its own device, without talk between them."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec
from restarts import HOG, IMAGE, KEY, RECIPE, TARGET, assert_same, first_of, hog_restarts, mesh_of, sample_small

import invert_jax as ij
from invert_jax import batching

COLLECTIVES = r"\b(all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|collective-broadcast|send|recv)\b"


def lanes(mesh):
    eq3 = ij.objective.make(HOG, TARGET, RECIPE, image_shape=IMAGE.shape)
    eq3 = dataclasses.replace(eq3, target=np.broadcast_to(TARGET, (16, *TARGET.shape)))
    eq3, recipe = batching.place(mesh, eq3, RECIPE)
    return eq3, recipe, batching.init(jax.random.split(KEY, 16), np.ones(16, bool), eq3, recipe, mesh=mesh)


@pytest.mark.parametrize("num_restarts", [3, 32])
def test_restart_does_not_depend_on_the_number_of_devices(num_restarts):
    assert len(jax.devices()) == 8
    expected = first_of(hog_restarts(32), num_restarts)
    assert_same(hog_restarts(num_restarts, 4, 1), expected)
    assert_same(hog_restarts(num_restarts, 4, 8), expected)


def test_devices_do_not_talk_during_the_descent():
    mesh = mesh_of(8)
    eq3, recipe, states = lanes(mesh)
    compiled = batching._run.lower(eq3, recipe, states, 40, mesh=mesh).compile().as_text()
    assert "while" in compiled and "num_partitions=8" in compiled
    assert re.findall(COLLECTIVES, compiled) == []


def test_talk_between_devices_would_be_noticed():
    add = jax.jit(
        jax.shard_map(
            lambda x: jax.lax.psum(x, "restarts"),
            mesh=mesh_of(8),
            in_specs=PartitionSpec("restarts"),
            out_specs=PartitionSpec(),
        )
    )
    assert re.findall(COLLECTIVES, add.lower(jnp.arange(8.0)).compile().as_text())


def test_every_device_holds_its_own_restarts():
    mesh = mesh_of(8)
    eq3, recipe, states = lanes(mesh)
    states = batching.run(eq3, recipe, states, 1, mesh=mesh)
    assert len(states.z.sharding.device_set) == 8
    assert {shard.data.shape for shard in states.z.addressable_shards} == {(2, *IMAGE.shape)}


@pytest.mark.parametrize("axes", [("batch",), ("restarts", "model")])
def test_mesh_must_have_the_one_axis(axes, counted):
    devices = np.array(jax.devices()).reshape((8,) if len(axes) == 1 else (4, 2))
    with pytest.raises(
        ValueError, match=rf"mesh has axes \({axes[0]!r}.*must be a jax.sharding.Mesh with the one axis 'restarts'"
    ):
        sample_small(counted[0].representation(), mesh=Mesh(devices, axes))
