"""Paths of NNX modules, which name nothing themselves."""

import functools
import threading

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from segalias_jax.errors import InputError
from segalias_jax.tracing import dealias, find_operators, profile_aliasing

IMAGE = jnp.ones((1, 16, 16, 3))


class Block(nnx.Module):
    def __init__(self, inputs, outputs, rngs):
        self.conv = nnx.Conv(inputs, outputs, (3, 3), strides=2, rngs=rngs)
        self.shortcut = nnx.Conv(inputs, outputs, (1, 1), strides=2, rngs=rngs)

    def __call__(self, x):
        return self.conv(x) + self.shortcut(x)


class Network(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.stem = nnx.Conv(3, 4, (3, 3), strides=2, rngs=rngs)
        self.layer1 = nnx.List([Block(4, 8, rngs), Block(8, 16, rngs)])

    def features(self, x):
        x = self.stem(x)
        for block in self.layer1:
            x = block(x)
        return x

    def __call__(self, x):
        return self.features(x)


PATHS = ["stem"]
PATHS += [f"layer1.{i}{part}" for i in (0, 1) for part in (".conv", ".shortcut", "")]


@pytest.fixture(scope="module")
def network():
    return Network()


def test_modules_held_in_any_way(network):
    graph, state = nnx.split(network)
    for function, arguments in (
        (network, ()),
        (network.features, ()),
        (lambda x: network.features(x), ()),
        (functools.partial(Network.features, network), ()),
        (lambda model, x: model.features(x), (network,)),
        (lambda state, x: nnx.merge(graph, state)(x), (state,)),
        (jax.jit(jax.checkpoint(lambda x: network(x))), ()),
        (jax.grad(lambda x: network(x).sum()), ()),
    ):
        found = find_operators(function, *arguments, IMAGE)
        assert [o.module for o in found][: len(PATHS)] == PATHS
        assert all(o.name == "" or "jvp" in o.name for o in found)


def test_the_path_chooses_and_is_shown(network):
    assert "layer1.1.conv" in profile_aliasing(network, IMAGE).table().splitlines()[5]
    filtered = dealias(network, where="layer1")
    jaxpr = str(jax.make_jaxpr(filtered)(IMAGE))
    assert "nnx module" not in jaxpr
    report = profile_aliasing(filtered, jax.random.normal(jax.random.key(0), IMAGE.shape))
    scores = {found.operator.module: found.score for found in report.operators}
    assert scores["stem"] > 1 > scores["layer1.0"] and scores["layer1.1"] < 1
    with pytest.raises(InputError, match="where is 'layer2', .* 0 conv 'stem', 1 conv 'layer1.0.c"):
        dealias(network, where="layer2")(IMAGE)
    only = dealias(network, where="layer1.1.c*")
    assert jnp.abs(only(IMAGE) - network(IMAGE)).max() > 1e-3


def test_named_scopes_stay_what_they_are(network):
    def function(x):
        with jax.named_scope("body"):
            return network(x)

    found = find_operators(jax.vmap(function), IMAGE[None])
    assert {o.name for o in found} == {"vmap(body)"}
    assert [o.module for o in found if o.kind == "conv"] == [p for p in PATHS if p[-1].isalpha()]


def test_classes_are_as_before_whatever_happens(network):
    before = Block.__call__, nnx.Conv.__call__

    def failing(x):
        network(x)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        find_operators(failing, IMAGE)
    threads = [threading.Thread(target=find_operators, args=(network, IMAGE)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (Block.__call__, nnx.Conv.__call__) == before
