"""The compiled functions of a run: one update, one prediction, and the logits of one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from segalias_jax.losses import segmentation_loss
from segalias_jax.ops import normalize_image
from segalias_jax.training.schedules import Schedule
from segalias_jax.training.sharding import replicated
from segalias_jax.training.state import TrainState, merge_model, split_model
from segalias_jax.typing import Array

TrainStep = Callable[[TrainState, Mapping[str, Array]], tuple[TrainState, dict[str, Array]]]


def create_train_step(
    graph: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    schedule: Schedule,
    loss_config: Mapping[str, Any],
    mesh: Mesh,
) -> TrainStep:
    """Compiles one update.

    Args:
      graph: structure of the model.
      optimizer: transformation of the gradients.
      schedule: learning rate, for the record only.
      loss_config: section `loss` of a recipe.
      mesh: the devices.

    Returns:
      `step(state, batch) -> (state, {"loss", "grad_norm", "rate"})`; the state given is consumed.
      With batches split over the mesh, batch normalization spans all devices.
    """
    options = dict(loss_config)

    def loss_of(parameters: Any, statistics: Any, batch: Mapping[str, Array]) -> tuple[Array, Any]:
        model = merge_model(graph, parameters, statistics)
        model.train()
        logits, auxiliary = model.with_auxiliary(normalize_image(batch["image"]))
        loss = segmentation_loss(logits, auxiliary, batch["label"], valid=batch["valid"], **options)
        return loss, split_model(model)[2]

    def step(state: TrainState, batch: Mapping[str, Array]) -> tuple[TrainState, dict[str, Array]]:
        gradient_of = jax.value_and_grad(loss_of, has_aux=True)
        (loss, statistics), gradients = gradient_of(state.parameters, state.statistics, batch)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.parameters)
        metrics = {
            "loss": loss,
            "grad_norm": optax.tree.norm(gradients),
            "rate": jnp.asarray(schedule(state.step)),
        }
        parameters = optax.apply_updates(state.parameters, updates)
        return TrainState(state.step + 1, parameters, statistics, optimizer_state), metrics

    return jax.jit(step, donate_argnums=0, out_shardings=replicated(mesh))


def create_predict(graph: nnx.GraphDef) -> Callable[[TrainState, Array], Array]:
    """Compiles the prediction of a batch.

    Args:
      graph: structure of the model.

    Returns:
      `predict(state, image uint8[b,h,w,3]) -> int32[b,h,w]`, the class of every pixel.
    """

    @jax.jit
    def predict(parameters: Any, statistics: Any, image: Array) -> Array:
        logits = _logits(graph, parameters, statistics, image)
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)

    # The optimizer's arrays stay outside: the compiled function never needs them.
    return lambda state, image: predict(state.parameters, state.statistics, image)


def create_logits(graph: nnx.GraphDef) -> Callable[[TrainState, Array], Array]:
    """Compiles the logits of a batch, what `evaluation.SlidingPredictor` asks for.

    Args:
      graph: structure of the model.

    Returns:
      `logits(state, image uint8[b,h,w,3]) -> float32[b,h,w,c]`.
    """
    logits = jax.jit(functools.partial(_logits, graph))
    return lambda state, image: logits(state.parameters, state.statistics, image)


def _logits(graph: nnx.GraphDef, parameters: Any, statistics: Any, image: Array) -> Array:
    model = merge_model(graph, parameters, statistics)
    model.eval()
    return model(normalize_image(image))
