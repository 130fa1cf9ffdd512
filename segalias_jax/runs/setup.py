"""Everything between a recipe and the first step: checks, then the parts of a run."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from ml_collections import config_dict

from segalias_jax import data, evaluation, models
from segalias_jax.checkpoints import CheckpointStore, fill_state
from segalias_jax.errors import InputError
from segalias_jax.losses import SUMS_OVER_PIXELS, check_loss
from segalias_jax.metrics import IGNORE_RULES
from segalias_jax.models.stages import frozen_parameters
from segalias_jax.ops.morphology import BOUNDARY_RULES
from segalias_jax.training.curriculum import read_curriculum
from segalias_jax.training.optimizer import check_pairs, create_optimizer
from segalias_jax.training.schedules import create_schedule
from segalias_jax.training.sharding import check_batch_size, row_count
from segalias_jax.training.state import TrainState, create_state
from segalias_jax.training.step import (
    TrainStep,
    check_precision,
    create_logits,
    create_predict,
    create_train_step,
)
from segalias_jax.runs.workdir import (CHECKPOINTS, has_checkpoint)
from segalias_jax.typing import Array

NONFINITE = ("stop", "skip")


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a run computes with.

    Attributes:
      mesh: the devices.
      graph: structure of the model.
      state: freshly initialized, or its shapes.
      train_step: one update.
      predict: `predict(state, image) -> classes`.
      logits: `logits(state, image) -> logits`.

    Example:
      >>> [field.name for field in dataclasses.fields(Parts)]
      ['mesh', 'graph', 'state', 'train_step', 'predict', 'logits']
    """

    mesh: Mesh
    graph: nnx.GraphDef
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
    train = config.train
    for key in ("steps", "eval_every", "log_every", "accumulate", "nonfinite_limit"):
        _require_least(f"train.{key}", train[key], 1)
    for key, least in (("every", 0), ("keep_last", 1), ("keep_best", 1)):
        _require_least(f"checkpoint.{key}", config.checkpoint[key], least)
    check_evaluation(config)
    _require_least("seed", config.seed, 0)
    _require_least("train.stall_seconds", train.stall_seconds, 0)
    check_precision(train.precision)
    read_curriculum(config)
    _require_one("train.nonfinite", train.nonfinite, NONFINITE)
    if not 0 <= train.ema_decay < 1:
        raise InputError(f"train.ema_decay is {train.ema_decay}; it must be at least 0 and below 1")
    check_batch_size("train.batch_size", train.batch_size, mesh, accumulate=train.accumulate)
    _check_mesh(config, mesh)


def check_evaluation(config: config_dict.ConfigDict) -> None:
    """Raises where a value of a recipe's section `eval` cannot be.

    Args:
      config: the recipe.

    Raises:
      InputError: naming the key.
    """
    evaluation.read_view_settings(config.eval, config.data.crop)
    _require_least("eval.images", config.eval.images, 0)
    for key, choices in (("boundary", BOUNDARY_RULES), ("ignore", IGNORE_RULES)):
        _require_one(f"eval.{key}", config.eval[key], choices)


def _check_mesh(config: config_dict.ConfigDict, mesh: Mesh) -> None:
    height, spatial = config.data.crop[0], mesh.shape["spatial"]
    if height % spatial:
        raise InputError(
            f"data.crop: a height of {height} does not split over mesh.spatial = {spatial} "
            f"devices; choose a multiple of {spatial}"
        )
    if row_count(mesh) % jax.process_count():
        raise InputError(
            f"mesh.data and mesh.fsdp share a batch among {row_count(mesh)} devices, which are no "
            f"multiple of {jax.process_count()} processes; lower mesh.spatial"
        )


def open_sources(config: config_dict.ConfigDict) -> tuple[data.Source, data.Source]:
    """Opens both splits of a recipe.

    Args:
      config: the recipe.

    Returns:
      The split to train on and the split to score.

    Raises:
      InputError: from the data, where both have images in common, or where crops do not fit.
    """
    train = data.create_source(config.data, config.data.train_split)
    evaluation = data.create_source(config.data, config.data.eval_split)
    splits = config.data.train_split, config.data.eval_split
    if remark := data.check_splits(*splits, (train, evaluation)):
        print(f"note: {remark}")
    data.check_crop(config.data, train)
    return train, evaluation


def build_parts(
    config: config_dict.ConfigDict,
    num_classes: int,
    mesh: Mesh,
    *,
    class_weights: Sequence[float] = (),
    abstract: bool = False,
) -> Parts:
    """Makes the model, its optimizer and the compiled functions of a recipe.

    Args:
      config: the recipe.
      num_classes: number of classes of the data.
      mesh: the devices.
      class_weights: what words in the recipe's `loss.class_weights` stand for, such as "balanced";
        empty to take numbers from there.
      abstract: whether the state is only shapes and places, to be read from a checkpoint.

    Returns:
      The parts; nothing is compiled before its first use but the initialization.

    Raises:
      InputError: an unknown name or a number that does not fit.
    """
    check_loss_section(config, num_classes)
    schedule = create_schedule(
        config.schedule.to_dict(),
        learning_rate=config.optimizer.learning_rate,
        steps=config.train.steps,
    )

    def create_model() -> nnx.Module:
        rngs = nnx.Rngs(config.seed)
        section = config.model.to_dict() | {"pretrained": ""}
        return models.create_model(section, num_classes=num_classes, rngs=rngs)

    frozen = frozenset()
    # Tracing takes a second that most recipes need not spend.
    if config.model.frozen_stages >= 0 or config.model.frozen_norm:
        frozen = frozen_parameters(nnx.eval_shape(create_model))
    optimizer = create_optimizer(config.optimizer.to_dict(), schedule, frozen=frozen)
    train = config.train
    check_precision(train.precision)
    curriculum = read_curriculum(config)
    kept = {"average": train.ema_decay > 0, "abstract": abstract}
    kept |= {"ratio": curriculum.start} if curriculum.adaptive else {}
    graph, state = create_state(create_model, optimizer, mesh, **kept)
    options = {"precision": train.precision, "curriculum": curriculum}
    step = create_train_step(
        graph,
        optimizer,
        schedule,
        config.loss.to_dict() | ({"class_weights": tuple(class_weights)} if class_weights else {}),
        mesh,
        accumulate=train.accumulate,
        average=train.ema_decay,
        **options,
    )
    predict, logits = (create(graph, **options) for create in (create_predict, create_logits))
    return Parts(mesh, graph, state, step, predict, logits)


def check_loss_section(config: config_dict.ConfigDict, num_classes: int) -> None:
    """Raises where a loss of a recipe cannot be.

    Args:
      config: the recipe.
      num_classes: number of classes of the data.

    Raises:
      InputError: naming the key.
    """
    check_pairs("loss.terms", config.loss.terms)
    loss = {key: value for key, value in config.loss.items() if key != "auxiliary_weight"}
    check_loss(**loss, num_classes=num_classes)
    whole = [name for name, _ in config.loss.terms if name not in SUMS_OVER_PIXELS]
    if config.train.accumulate > 1 and whole:
        raise InputError(
            f"train.accumulate is {config.train.accumulate}, but the loss {whole[0]!r} of a batch "
            "is no sum over parts of it; set it to 1, or leave that loss out"
        )


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
    if state.average:  # a copy, as a step consumes both
        state = state._replace(average=jax.tree.map(jnp.copy, state.parameters))
    return state


def first_state(
    config: config_dict.ConfigDict, parts: Parts, workdir: Path, resume: str
) -> TrainState:
    """The state that a run begins with, or its shapes where its folder has a checkpoint.

    Args:
      config: the recipe.
      parts: what the run computes with.
      workdir: folder of the run; may be missing.
      resume: see `Launch`.

    Returns:
      The state.

    Raises:
      InputError: checkpoints where there must be none, or none that the run could start from.
    """
    if has_checkpoint(workdir):
        if resume == "never":
            raise InputError(
                f"--resume=never: {workdir} holds checkpoints; take another folder or --resume=auto"
            )
        return parts.state
    if resume in ("auto", "never"):
        return load_pretrained(config, parts.state)
    folder = Path(resume) / CHECKPOINTS
    if not folder.is_dir():
        raise InputError(f"--resume: {resume} is no folder of a run; give auto, never or such one")
    with CheckpointStore(folder) as store:
        state = store.restore(parts.state)
    if int(state.step) >= config.train.steps:
        raise InputError(
            f"--resume: {resume} is at step {int(state.step)} already, and train.steps is "
            f"{config.train.steps}; raise train.steps"
        )
    return state


def check_labels(
    config: config_dict.ConfigDict, sources: Sequence[data.Source], *, checked: Collection[str] = ()
) -> list[str]:
    """Reads every label of some splits where the recipe asks for it.

    Args:
      config: the recipe.
      sources: the splits.
      checked: fingerprints of splits whose labels were read before.

    Returns:
      Fingerprints of the splits whose labels have now been read, see `data.fingerprint`.

    Raises:
      InputError: naming the first unusable file.
    """
    if not config.data.check:
        return []
    fingerprints = []
    for source in sources:
        before = data.fingerprint(source)  # of what is read below, or was before
        if before not in checked:
            data.check_source(source, threads=config.data.threads)
        if text := data.describe_skipped(source):
            print(f"skipped: {text}")
        fingerprints += [before] if before else []
    return fingerprints


def _require_least(key: str, value: int | float, least: int) -> None:
    if not least <= value < math.inf:  # which nan is not
        raise InputError(f"{key} is {value}; it must be at least {least}")


def _require_one(key: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InputError(f"{key} is {value!r}; choose one of {', '.join(choices)}")
