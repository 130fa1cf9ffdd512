"""Operations of a traced model know their module."""

import jax.numpy as jnp
from flax import nnx

from segalias_jax import layers
from segalias_jax.models.cost.scopes import read_model


class Twice(nnx.Module):
    def __init__(self, recomputed):
        self.mix = layers.ConvNormAct(3, 3, 3, rngs=nnx.Rngs(0))
        self.recomputed = recomputed

    def __call__(self, x):
        call = nnx.remat(lambda mix, x: mix(x)) if self.recomputed else lambda mix, x: mix(x)
        return call(self.mix, x)


def scopes(model):
    program, parameters = read_model(model, (1, 8, 8, 3))
    return {o.scope.split("/")[-1] for o in program.operations}, parameters


def test_paths_also_inside_of_recomputed_blocks():
    plain, recomputed = (scopes(Twice(flag))[0] for flag in (False, True))
    assert {"encoder.mix", "encoder.mix.conv", "encoder.mix.norm"} <= plain
    assert plain <= recomputed


def test_model_and_classes_stay_as_they_are():
    call = layers.Conv.__call__
    model = Twice(False)
    before = set(vars(model.mix.conv))
    _, parameters = scopes(model)
    assert layers.Conv.__call__ is call
    assert set(vars(model.mix.conv)) == before
    assert sum(parameters.values()) == 9 * 9 + 6
    assert not model.mix.norm.use_running_average, "put into evaluation mode"
    assert model(jnp.ones((1, 8, 8, 3))).shape == (1, 8, 8, 3)
