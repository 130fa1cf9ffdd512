"""Brings weights in the published code's names and layout into our modules, for comparisons."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from segalias_jax import models
from segalias_jax.torch_weights.encoders.resnet import resnet_names
from segalias_jax.torch_weights.names import from_torch, key_table, to_torch
from segalias_jax.torch_weights.rules import torch_name as rename

__all__ = ["create_published", "load_published", "published_names", "to_torch"]


def published_names(model: nnx.Module) -> dict:
    """Published names by path, of a segmenter, a detector, a ResNet or a part of one."""
    if isinstance(model, models.Segmenter | models.MaskRCNN):
        return {path: name for name, path in key_table(model).items()}
    rules = resnet_names(model, True).rules
    state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    return {path: rename(path, rules) for path, _ in nnx.to_flat_state(state)}


def load_published(model: nnx.Module, make_array, dtype=np.float32) -> None:
    """Fills every parameter and statistic by `make_array(published name, published shape)`."""
    names = published_names(model)
    state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    for path, variable in nnx.to_flat_state(state):
        name = names[path]
        shape = to_torch(name, np.empty(variable.shape, np.int8)).shape
        array = from_torch(name, np.asarray(make_array(name, shape)))
        variable.set_value(jnp.asarray(array, dtype))
    nnx.update(model, state)


def create_published(config, make_array, dtype=np.float32, num_classes=19) -> models.Segmenter:
    """A model with such weights; nothing is drawn at random before, which takes long."""
    model = nnx.eval_shape(
        lambda: models.create_model(config, num_classes=num_classes, rngs=nnx.Rngs(0))
    )
    settle_rngs(model)
    load_published(model, make_array, dtype)
    return model


def settle_rngs(model: nnx.Module) -> None:
    """Gives the random streams of an abstract model a state."""
    state = nnx.state(model, nnx.RngState)
    for path, variable in nnx.to_flat_state(state):
        variable.set_value(jax.random.key(0) if path[-1] == "key" else jnp.uint32(0))
    nnx.update(model, state)
