"""The compiled functions of a run: one update, one prediction, and the logits of one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from segalias_jax.errors import InputError
from segalias_jax.losses import segmentation_loss
from segalias_jax.models.stages import recording_filters
from segalias_jax.tracing import DownsamplingOperator, capture_inputs
from segalias_jax.training.curriculum import Curriculum
from segalias_jax.training.optimizer import StepState
from segalias_jax.training.schedules import Schedule
from segalias_jax.training.sharding import replicated, state_shardings
from segalias_jax.training.state import TrainState, merge_model, move_average, split_model
from segalias_jax.typing import IGNORE_LABEL, Array

TrainStep = Callable[[TrainState, Mapping[str, Array]], tuple[TrainState, dict[str, Array]]]
PRECISIONS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
"""Types that a network computes in. Parameters, statistics and losses are float32 in both."""


def create_train_step(
    graph: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    schedule: Schedule,
    loss_config: Mapping[str, Any],
    mesh: Mesh,
    *,
    precision: str = "float32",
    accumulate: int = 1,
    average: float = 0.0,
    curriculum: Curriculum | None = None,
) -> TrainStep:
    """Compiles one update.

    An update whose loss or gradient is not finite changes nothing but `state.step`.

    Args:
      graph: structure of the model.
      optimizer: transformation of the gradients.
      schedule: learning rate, for the record only.
      loss_config: section `loss` of a recipe.
      mesh: the devices.
      precision: "float32" or "bfloat16", see `PRECISIONS`.
      accumulate: parts that a batch is computed in, one after the other; gradients are those of the
        whole batch but for batch normalization, which sees a part at a time.
      average: share that averaged parameters keep per update; read only where the state has them.
      curriculum: how much of the spectrum is seen at which step; None for all of it.

    Returns:
      `step(state, batch) -> (state, {"loss", "grad_norm", "rate"})`; the state given is consumed.
      With a curriculum "ratio" is among the numbers.
      Where a batch has truth values "leave", one per row, so have the numbers: whether any is true.
      With batches split over the mesh, batch normalization spans all devices.
    """
    curriculum = curriculum or Curriculum()
    network = _Network(graph, PRECISIONS[precision], curriculum)
    gradient_of = _gradients(network, dict(loss_config), mesh, accumulate)
    ratio_of = _ratios(network, mesh, accumulate)

    def step(state: TrainState, batch: Mapping[str, Array]) -> tuple[TrainState, dict[str, Array]]:
        ratio = ratio_of(state, batch)
        loss, statistics, gradients = gradient_of(state.parameters, state.statistics, batch, ratio)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.parameters)
        norm = optax.tree.norm(gradients)
        metrics = {"loss": loss, "grad_norm": norm, "rate": jnp.asarray(schedule(state.step))}
        metrics |= {} if ratio is None else {"ratio": ratio}
        # In this program, since two with messages between processes must not run at a time.
        metrics |= {"leave": jnp.any(batch["leave"])} if "leave" in batch else {}
        parameters = optax.apply_updates(state.parameters, updates)
        moved = move_average(state.average, parameters, state.step, average)
        kept = ratio if curriculum.adaptive else ()
        new = TrainState(state.step, parameters, statistics, optimizer_state, moved, kept)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        new = _choose(finite, new, state)._replace(step=state.step + 1)
        return jax.lax.with_sharding_constraint(
            (new, metrics), state_shardings((new, metrics), mesh)
        )

    return jax.jit(step, donate_argnums=0)


def create_predict(
    graph: nnx.GraphDef, *, precision: str = "float32", curriculum: Curriculum | None = None
) -> Callable[[TrainState, Array], Array]:
    """Compiles the prediction of a batch.

    Args:
      graph: structure of the model.
      precision: see `PRECISIONS`.
      curriculum: says how much of the spectrum is seen in evaluation; None for all of it.

    Returns:
      `predict(state, image uint8[b,h,w,3]) -> int32[b,h,w]`, the class of every pixel, by the
      averaged parameters where the state has them.
    """
    network = _Network(graph, PRECISIONS[precision], curriculum or Curriculum())

    @jax.jit
    def predict(parameters: Any, statistics: Any, ratio: Any, image: Array) -> Array:
        logits = _logits(network, parameters, statistics, ratio, image)
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)

    # The optimizer's arrays stay outside: the compiled function never needs them.
    return lambda state, image: predict(*_seen_by(state), image)


def create_logits(
    graph: nnx.GraphDef, *, precision: str = "float32", curriculum: Curriculum | None = None
) -> Callable[[TrainState, Array], Array]:
    """Compiles the logits of a batch, what `evaluation.SlidingPredictor` asks for.

    Args:
      graph: structure of the model.
      precision: see `PRECISIONS`.
      curriculum: as for `create_predict`.

    Returns:
      `logits(state, image uint8[b,h,w,3]) -> float32[b,h,w,c]`, by the averaged parameters where
      the state has them.
    """
    network = _Network(graph, PRECISIONS[precision], curriculum or Curriculum())
    logits = jax.jit(functools.partial(_logits, network))
    return lambda state, image: logits(*_seen_by(state), image)


def create_recorded(
    graph: nnx.GraphDef,
    measure: Callable[[Array, Sequence[Array], Sequence[tuple[Array, Array]]], Any],
    *,
    where: Callable[[DownsamplingOperator], bool] | None,
    precision: str = "float32",
    curriculum: Curriculum | None = None,
) -> Callable[[TrainState, Array], tuple[Array, Any]]:
    """Compiles a prediction that also measures the feature maps where a network samples.

    Args:
      graph: structure of the model.
      measure: of the image, of what enters the operators that `where` chooses, and of what
        `models.stages.recording_filters` lists; compiled with the prediction.
      where: as for `tracing.capture_inputs`; None for no operator.
      precision: see `PRECISIONS`.
      curriculum: as for `create_predict`.

    Returns:
      `recorded(state, image uint8[b,h,w,3]) -> (classes int32[b,h,w], measured)`, by the averaged
      parameters where the state has them.
    """
    network = _Network(graph, PRECISIONS[precision], curriculum or Curriculum())

    @jax.jit
    def recorded(seen_by: tuple[Any, Any, Any], image: Array) -> tuple[Array, Any]:
        def forward(image: Array) -> tuple[Array, list[tuple[Array, Array]]]:
            with recording_filters() as seen:
                return _logits(network, *seen_by, image), seen

        if where is None:
            (logits, seen), entering = forward(image), ()
        else:
            (logits, seen), entering = capture_inputs(forward, where)(image)
        return jnp.argmax(logits, axis=-1).astype(jnp.int32), measure(image, entering, seen)

    return lambda state, image: recorded(_seen_by(state), image)


class _Network(NamedTuple):
    """The structure of a network, the type that it computes in, and what it sees of an image."""

    graph: nnx.GraphDef
    dtype: Any
    curriculum: Curriculum

    def see(self, image: Array, ratio: Array | float | None) -> Array:
        return self.curriculum.network_input(image, ratio).astype(self.dtype)


def _seen_by(state: TrainState) -> tuple[Any, Any, Any]:
    return state.average or state.parameters, state.statistics, state.ratio


def _logits(network: _Network, parameters: Any, statistics: Any, ratio: Any, image: Array) -> Array:
    model = merge_model(network.graph, parameters, statistics)
    model.eval()
    return model(network.see(image, network.curriculum.evaluation_ratio(ratio)))


def _ratios(
    network: _Network, mesh: Mesh, accumulate: int
) -> Callable[[TrainState, Mapping[str, Array]], Array | None]:
    """Which ratio of the spectrum the batch of a step is shown with."""

    def ratio(state: TrainState, batch: Mapping[str, Array]) -> Array | None:
        if not network.curriculum.adaptive:
            return network.curriculum.training_ratio(state.step)
        whole = jax.lax.with_sharding_constraint(state.parameters, replicated(mesh))
        model = merge_model(network.graph, whole, state.statistics)
        model.eval()
        # Of a batch that is too large for the memory, the first part has to do.
        image = batch["image"]
        image = image if accumulate == 1 else _split_rows(image, accumulate, mesh)[0]
        return network.curriculum.adapted_ratio(
            state.ratio, state.step, lambda x: model(x.astype(network.dtype)), image
        )

    return ratio


def check_precision(precision: str) -> None:
    """Raises if there is no such precision.

    Args:
      precision: one of `PRECISIONS`.

    Raises:
      InputError: listing the choices.

    Example:
      >>> check_precision("bfloat16")
    """
    if precision not in PRECISIONS:
        raise InputError(f"train.precision is {precision!r}; choose one of {', '.join(PRECISIONS)}")


def _choose(finite: Array, new: TrainState, old: TrainState) -> TrainState:
    def choose(new: Any, old: Any) -> Any:
        # A skipped update counts: the rate follows the number of the step.
        return new if isinstance(new, StepState) else jnp.where(finite, new, old)

    return jax.tree.map(choose, new, old, is_leaf=lambda x: isinstance(x, StepState))


def _gradients(
    network: _Network, options: dict[str, Any], mesh: Mesh, accumulate: int
) -> Callable[..., tuple[Array, Any, Any]]:
    def loss_of(
        parameters: Any,
        statistics: Any,
        ratio: Array | None,
        batch: Mapping[str, Array],
        weight: Array | float,
    ) -> tuple[Array, Any]:
        model = merge_model(network.graph, parameters, statistics)
        model.train()
        logits, auxiliary = model.with_auxiliary(network.see(batch["image"], ratio))
        loss = segmentation_loss(logits, auxiliary, batch["label"], valid=batch["valid"], **options)
        return weight * loss, split_model(model)[2]

    value_and_grad = jax.value_and_grad(loss_of, has_aux=True)

    def gradients(
        parameters: Any, statistics: Any, batch: Mapping[str, Array], ratio: Array | None
    ) -> tuple[Array, Any, Any]:
        # Gathered here, the split parameters never tempt the partitioner to gather images instead.
        whole = jax.lax.with_sharding_constraint(parameters, replicated(mesh))
        if accumulate == 1:
            (loss, statistics), sums = value_and_grad(whole, statistics, ratio, batch, 1.0)
            return loss, statistics, sums
        parts = {
            key: _split_rows(value, accumulate, mesh)
            for key, value in batch.items()
            if key != "leave"
        }
        weights = jax.vmap(lambda part: _pixels(part, options["average"]))(parts)

        def add(carry: tuple[Array, Any, Any], part: Any) -> tuple[tuple[Array, Any, Any], None]:
            loss, statistics, sums = carry
            (more, statistics), new = value_and_grad(whole, statistics, ratio, *part)
            return (loss + more, statistics, jax.tree.map(jnp.add, sums, new)), None

        weights = weights / jnp.maximum(weights.sum(), 1.0)
        start = (jnp.zeros(()), statistics, jax.tree.map(jnp.zeros_like, whole))
        return jax.lax.scan(add, start, (parts, weights))[0]

    return gradients


def _split_rows(x: Array, parts: int, mesh: Mesh) -> Array:
    # Row r goes to part r mod n: so every device has its own rows of every part already.
    x = x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1)
    height = ("spatial",) if x.ndim > 3 and x.shape[2] % mesh.shape["spatial"] == 0 else ()
    spec = PartitionSpec(None, ("data", "fsdp"), *height)
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))


def _pixels(batch: Mapping[str, Array], average: str) -> Array:
    """What the loss of a batch is divided by; losses of parts are weighed with it."""
    rows = jnp.broadcast_to(batch["valid"][:, None, None], batch["label"].shape)
    counted = rows if average == "all" else rows & (batch["label"] != IGNORE_LABEL)
    return jnp.sum(counted, dtype=jnp.float32)
