"""Everything between a recipe and the first step: checks, then the parts of a run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import jax
from flax import nnx
from jax.sharding import Mesh
from ml_collections import config_dict

from segalias_jax import data, evaluation, models
from segalias_jax.checkpoints import fill_state
from segalias_jax.errors import InputError
from segalias_jax.losses import check_loss
from segalias_jax.training.optimizer import create_optimizer
from segalias_jax.training.schedules import create_schedule
from segalias_jax.training.sharding import check_batch_size
from segalias_jax.training.state import TrainState, create_state
from segalias_jax.training.step import TrainStep, create_logits, create_predict, create_train_step
from segalias_jax.typing import Array


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a run computes with.

    Attributes:
      mesh: the devices.
      state: freshly initialized.
      train_step: one update.
      predict: `predict(state, image) -> classes`.
      logits: `logits(state, image) -> logits`.

    Example:
      >>> [field.name for field in dataclasses.fields(Parts)]
      ['mesh', 'state', 'train_step', 'predict', 'logits']
    """

    mesh: Mesh
    state: TrainState
    train_step: TrainStep
    predict: Callable[[TrainState, Array], Array]
    logits: Callable[[TrainState, Array], Array]


def enable_compilation_cache() -> None:
    """Keeps compiled programs on the disk, so that the next start takes seconds.

    They lie in `~/.cache/segalias_jax/xla`, or where JAX_COMPILATION_CACHE_DIR says.

    Example:
      >>> enable_compilation_cache()  # doctest: +SKIP
    """
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "segalias_jax" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def check_config(config: config_dict.ConfigDict, mesh: Mesh) -> None:
    """Raises where a number of a recipe cannot be.

    Args:
      config: the recipe.
      mesh: the devices.

    Raises:
      InputError: naming the key.
    """
    for key in ("steps", "eval_every", "log_every"):
        _require_least(f"train.{key}", config.train[key], 1)
    evaluation.read_view_settings(config.eval, config.data.crop)
    _require_least("eval.images", config.eval.images, 0)
    check_batch_size("train.batch_size", config.train.batch_size, mesh)


def open_sources(config: config_dict.ConfigDict) -> tuple[data.Source, data.Source]:
    """Opens both splits of a recipe.

    Args:
      config: the recipe.

    Returns:
      The split to train on and the split to score.

    Raises:
      InputError: from the data, or where crops do not fit.
    """
    train = data.create_source(config.data, config.data.train_split)
    evaluation = data.create_source(config.data, config.data.eval_split)
    data.check_crop(config.data, train)
    return train, evaluation


def build_parts(config: config_dict.ConfigDict, num_classes: int, mesh: Mesh) -> Parts:
    """Makes the model, its optimizer and the compiled functions of a recipe.

    Args:
      config: the recipe.
      num_classes: number of classes of the data.
      mesh: the devices.

    Returns:
      The parts; nothing is compiled before its first use but the initialization.

    Raises:
      InputError: an unknown name or a number that does not fit.
    """
    check_loss(config.loss.average, config.loss.class_weights, num_classes)
    schedule = create_schedule(
        config.schedule.to_dict(),
        learning_rate=config.optimizer.learning_rate,
        steps=config.train.steps,
    )
    optimizer = create_optimizer(config.optimizer.to_dict(), schedule)

    def create_model() -> nnx.Module:
        rngs = nnx.Rngs(config.seed)
        section = config.model.to_dict() | {"pretrained": ""}
        return models.create_model(section, num_classes=num_classes, rngs=rngs)

    graph, state = create_state(create_model, optimizer, mesh)
    step = create_train_step(graph, optimizer, schedule, config.loss.to_dict(), mesh)
    return Parts(mesh, state, step, create_predict(graph), create_logits(graph))


def load_pretrained(
    config: config_dict.ConfigDict, state: TrainState, *, whole: bool = False
) -> TrainState:
    """Fills a fresh state with the weights that a recipe starts from, if it names any.

    Args:
      config: the recipe.
      state: freshly initialized.
      whole: whether the weights have to fill all of the model.

    Returns:
      The state to start from.

    Raises:
      InputError: no such checkpoint, or one that does not fit.
    """
    if not config.model.pretrained:
        return state
    try:
        state, told = fill_state(config.model.pretrained, state, whole=whole)
    except InputError as error:
        raise InputError(f"model.pretrained: {error}") from None
    print(f"pretrained: {told}")
    return state


def check_labels(config: config_dict.ConfigDict, *sources: data.Source) -> None:
    """Reads every label of some splits where the recipe asks for it.

    Args:
      config: the recipe.
      *sources: the splits.

    Raises:
      InputError: naming the first unusable file.
    """
    if config.data.check:
        for source in sources:
            data.check_source(source, threads=config.data.threads)


def _require_least(key: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"{key} is {value}; it must be at least {least}")
