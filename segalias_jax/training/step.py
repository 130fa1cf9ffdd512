"""The compiled functions of a run: one update, and the forward pass of its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from segalias_jax import ops
from segalias_jax.models import fold_branches
from segalias_jax.training.optimizer import StepState
from segalias_jax.training.sharding import platform, replicated, state_shardings
from segalias_jax.training.state import TrainState, merge_model, move_average, split_model
from segalias_jax.training.task import Task
from segalias_jax.typing import Array

TrainStep = Callable[[TrainState, Mapping[str, Array]], tuple[TrainState, dict[str, Array]]]
LEAVE = "leave"
"""Field of a batch, one truth value per row: whether a process was asked to end the run."""


def create_train_step(
    graph: nnx.GraphDef,
    task: Task,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    *,
    schedule: Callable[[Array], Any] | None = None,
    accumulate: int = 1,
    average: float = 0.0,
) -> TrainStep:
    """Compiles one update.

    An update whose loss or gradient is not finite changes nothing but `state.step`, whatever is
    then done about it: the state stays one that can be saved.

    Args:
      graph: structure of the model.
      task: says what the loss is.
      optimizer: transformation of the gradients.
      mesh: the devices.
      schedule: learning rate by step, for the record only.
      accumulate: parts that a batch is computed in, one after the other; gradients are those of the
        whole batch but for batch normalization, which sees a part at a time.
      average: fraction that averaged parameters keep per update; read only where the state has
        them.

    Returns:
      `step(state, batch) -> (state, numbers)`; the state given is consumed. Numbers are "loss",
      "grad_norm", "rate" with a schedule, and what the task adds. Where a batch has `LEAVE`, so
      have the numbers: whether any is true. With batches split over the mesh, batch normalization
      spans all devices.
    """
    gradient_of = _gradients(graph, task, mesh, accumulate)

    def step(state: TrainState, batch: Mapping[str, Array]) -> tuple[TrainState, dict[str, Array]]:
        with ops.target(mesh.size, platform(mesh)):
            return update(state, batch)

    def update(
        state: TrainState, batch: Mapping[str, Array]
    ) -> tuple[TrainState, dict[str, Array]]:
        fields = {key: value for key, value in batch.items() if key != LEAVE}

        def evaluated_model() -> nnx.Module:
            whole = jax.lax.with_sharding_constraint(state.parameters, replicated(mesh))
            model = merge_model(graph, whole, state.statistics)
            model.eval()
            return model

        # Of a batch that is too large for the memory, the first part has to do.
        first = fields if accumulate == 1 else _parts(fields, task, accumulate, mesh, first=True)
        carry, extras = task.before_step(state.task, state.step, first, evaluated_model)
        seen = {**extras, "step": state.step}
        loss, numbers, statistics, gradients = gradient_of(state, fields, seen)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.parameters)
        norm = optax.tree.norm(gradients)
        metrics = {"loss": loss, "grad_norm": norm}
        if schedule is not None:
            metrics["rate"] = jnp.asarray(schedule(state.step))
        metrics |= {**extras, **numbers}
        if LEAVE in batch:
            # In this program, since two with messages between processes must not run at a time.
            metrics[LEAVE] = jnp.any(batch[LEAVE])
        parameters = optax.apply_updates(state.parameters, updates)
        moved = move_average(state.average, parameters, state.step, average)
        new = TrainState(state.step, parameters, statistics, optimizer_state, moved, carry)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        new = _choose(finite, new, state)._replace(step=state.step + 1)
        return jax.lax.with_sharding_constraint(
            (new, metrics), state_shardings((new, metrics), mesh)
        )

    return jax.jit(step, donate_argnums=0)


def compile_forward(graph: nnx.GraphDef, forward: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles something that is computed from a state's network and an image.

    Args:
      graph: structure of the model.
      forward: `forward(model, carry, image, **fields)`; the model is in evaluation mode and has the
        averaged parameters where the state has them, `carry` is what the task carries.

    Returns:
      `compiled(state, image, **fields)`.
    """

    @jax.jit
    def compiled(
        parameters: Any, statistics: Any, carry: Any, image: Array, **fields: Array
    ) -> Any:
        model = merge_model(graph, parameters, statistics)
        model.eval()
        return forward(model, carry, image, **fields)

    # The optimizer's arrays stay outside: the compiled function never needs them.
    return lambda state, image, **fields: compiled(
        state.average or state.parameters, state.statistics, state.task, image, **fields
    )


def create_predict(graph: nnx.GraphDef, task: Task) -> Callable[..., Any]:
    """Compiles the prediction of a batch, by a network without the branches of training.

    Args:
      graph: structure of the model.
      task: says what a prediction is.

    Returns:
      `predict(state, image, **fields)`, by the averaged parameters where the state has them.
    """
    return compile_forward(
        graph,
        lambda model, carry, image, **fields: task.predict(
            fold_branches(model), image, **fields, **task.prediction_inputs(carry)
        ),
    )


def _choose(finite: Array, new: TrainState, old: TrainState) -> TrainState:
    def choose(new: Any, old: Any) -> Any:
        # A skipped update counts: the rate follows the number of the step.
        return new if isinstance(new, StepState) else jnp.where(finite, new, old)

    return jax.tree.map(choose, new, old, is_leaf=lambda x: isinstance(x, StepState))


def _gradients(
    graph: nnx.GraphDef, task: Task, mesh: Mesh, accumulate: int
) -> Callable[..., tuple[Array, Mapping[str, Array], Any, Any]]:
    def loss_of(
        parameters: Any, statistics: Any, batch: Mapping[str, Array], weight: Array | float
    ) -> tuple[Array, Any]:
        model = merge_model(graph, parameters, statistics)
        model.train()
        loss, numbers = task.loss(model, batch)
        numbers = {key: weight * number for key, number in numbers.items()}
        return weight * loss, (numbers, split_model(model)[2])

    value_and_grad = jax.value_and_grad(loss_of, has_aux=True)

    def gradients(
        state: TrainState, batch: Mapping[str, Array], extras: Mapping[str, Array]
    ) -> tuple[Array, Mapping[str, Array], Any, Any]:
        # Gathered here by name, the parameters split over fsdp never tempt the partitioner to
        # gather images instead.
        whole = jax.lax.with_sharding_constraint(state.parameters, replicated(mesh))
        if accumulate == 1:
            (loss, (numbers, statistics)), sums = value_and_grad(
                whole, state.statistics, {**batch, **extras}, 1.0
            )
            return loss, numbers, statistics, sums
        parts = _parts(batch, task, accumulate, mesh)
        weights = jax.vmap(task.weight)(parts)

        def add(carry: Any, part: Any) -> tuple[Any, Any]:
            loss, statistics, sums = carry
            fields, weight = part
            (more, (numbers, statistics)), new = value_and_grad(
                whole, statistics, {**fields, **extras}, weight
            )
            return (loss + more, statistics, jax.tree.map(jnp.add, sums, new)), numbers

        weights = weights / jnp.maximum(weights.sum(), 1.0)
        start = (jnp.zeros(()), state.statistics, jax.tree.map(jnp.zeros_like, whole))
        (loss, statistics, sums), numbers = jax.lax.scan(add, start, (parts, weights))
        return loss, jax.tree.map(lambda x: x.sum(0), numbers), statistics, sums

    return gradients


def _parts(
    batch: Mapping[str, Array], task: Task, count: int, mesh: Mesh, *, first: bool = False
) -> dict[str, Array]:
    """Splits the rows of a batch into parts, stacked ahead of them; or returns the first one."""

    def split(key: str, x: Array) -> Array:
        # Row r goes to part r mod n: so every device has its own rows of every part already.
        x = x.reshape(x.shape[0] // count, count, *x.shape[1:]).swapaxes(0, 1)
        tall = key in task.spatial and x.ndim > 3 and x.shape[2] % mesh.shape["spatial"] == 0
        spec = PartitionSpec(None, ("data", "fsdp"), *(("spatial",) if tall else ()))
        return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))

    parts = {key: split(key, value) for key, value in batch.items()}
    return {key: value[0] for key, value in parts.items()} if first else parts
