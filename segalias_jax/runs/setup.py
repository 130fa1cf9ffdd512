"""Everything between a recipe and the first step: checks, then the data, the task and the trainer.

What can be checked is checked here, before anything is written or compiled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from segalias_jax import data, models
from segalias_jax.checkpoints import Source, start
from segalias_jax.errors import InputError
from segalias_jax.models.stages import frozen_parameters
from segalias_jax.runs.instance_recipe import InstanceRecipe
from segalias_jax.runs.recipe import BaseRecipe, Recipe
from segalias_jax.settings import section_errors
from segalias_jax.tasks import SemanticQueries, SemanticSegmentation
from segalias_jax.training.optimizer import create_optimizer
from segalias_jax.training.schedules import create_schedule
from segalias_jax.training.sharding import check_batch_size, create_mesh, row_count
from segalias_jax.training.state import TrainState
from segalias_jax.training.task import Task
from segalias_jax.training.trainer import Trainer


def enable_compilation_cache() -> None:
    """Keeps compiled programs on the disk, so that the next start takes seconds.

    They lie in `~/.cache/segalias_jax/xla`, or where JAX_COMPILATION_CACHE_DIR says; kept is what
    took half a second, or as long as JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS says.

    Example:
      >>> enable_compilation_cache()  # doctest: +SKIP
    """
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "segalias_jax" / "xla"))
    if not os.environ.get("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def matmul_precision(recipe: BaseRecipe) -> contextlib.AbstractContextManager[Any]:
    """Within, products that ask for nothing themselves are as precise as a recipe says.

    "default" leaves that to `JAX_DEFAULT_MATMUL_PRECISION`, and without it to the compiler.

    Args:
      recipe: the recipe.

    Example:
      >>> with matmul_precision(Recipe.from_config({"train": {"matmul_precision": "highest"}})):
      ...     print(jax.config.jax_default_matmul_precision)
      highest
    """
    wanted = recipe.train.matmul_precision
    return contextlib.nullcontext() if wanted == "default" else jax.default_matmul_precision(wanted)


def open_mesh(recipe: BaseRecipe) -> Mesh:
    """Arranges the devices as a recipe says.

    Args:
      recipe: the recipe.

    Raises:
      InputError: sizes that the devices do not make, by key.
    """
    with section_errors("mesh"):
        return create_mesh(recipe.mesh.data, recipe.mesh.fsdp, recipe.mesh.spatial)


def check_batch(recipe: BaseRecipe, mesh: Mesh) -> None:
    """Raises where a batch of a recipe does not split over the devices.

    Args:
      recipe: the recipe.
      mesh: the devices.

    Raises:
      InputError: naming the key.
    """
    check_batch_size(
        "train.batch_size", recipe.train.batch_size, mesh, accumulate=recipe.train.accumulate
    )
    if row_count(mesh) % jax.process_count():
        raise InputError(
            f"mesh.data and mesh.fsdp share a batch among {row_count(mesh)} devices, which are no "
            f"multiple of {jax.process_count()} processes; lower mesh.spatial"
        )


def check_height(height: int, mesh: Mesh) -> None:
    """Raises where images do not split over `mesh.spatial`.

    Args:
      height: of the training crop in pixels.
      mesh: the devices.

    Raises:
      InputError: naming the key.
    """
    spatial = mesh.shape["spatial"]
    if height % spatial:
        raise InputError(
            f"data.crop: a height of {height} does not split over mesh.spatial = {spatial} "
            f"devices; choose a multiple of {spatial}"
        )


def open_sources(recipe: Recipe) -> tuple[data.Source, data.Source]:
    """Opens both splits of a recipe.

    Args:
      recipe: the recipe.

    Returns:
      The split to train on and the split to score.

    Raises:
      InputError: from the data, where both have images in common, or where crops do not fit.
    """
    names = recipe.data.train_split, recipe.data.eval_split
    train, evaluation = (data.create_source(recipe.data, name) for name in names)
    if remark := data.check_splits(*names, (train, evaluation)):
        print(f"note: {remark}")
    data.check_crop(recipe.data, train)
    return train, evaluation


class TrainingStream:
    """The training batches of a recipe, those of this process, from any step on.

    Args:
      recipe: the recipe.
      source: the training split.
    """

    def __init__(self, recipe: Recipe, source: data.Source):
        self._recipe, self._source = recipe, source

    def start(self, step: int) -> Iterator[data.Batch]:
        """Returns the batches of the steps after `step`."""
        return data.train_batches(
            self._recipe.data,
            self._source,
            batch_size=self._recipe.train.batch_size,
            seed=self._recipe.seed,
            start_step=step,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )

    def describe(self, step: int) -> str:
        """Returns the names of the images of a step."""
        names = data.batch_names(
            self._source,
            batch_size=self._recipe.train.batch_size,
            seed=self._recipe.seed,
            step=step,
        )
        return ", ".join(names)


def create_task(
    recipe: Recipe,
    source: Any = None,
    *,
    num_classes: int,
    class_weights: Sequence[float] = (),
) -> SemanticSegmentation:
    """Makes the task of a recipe.

    Args:
      recipe: the recipe.
      source: the split to score, whose labels may have a numbering of their own.
      num_classes: number of classes of the data.
      class_weights: what `loss.class_weights` stands for.

    Raises:
      InputError: a loss that does not fit, by key.
    """
    loss = recipe.loss
    if recipe.model.name in models.UNIVERSAL:
        return SemanticQueries(
            num_classes,
            how=loss.queries(),
            seed=recipe.seed,
            precision=recipe.train.precision,
            curriculum=recipe.curriculum,
            boundary=recipe.eval.boundary,
            ignore=recipe.eval.ignore,
            reduce_zero_label=reduces_zero(source),
        )
    with section_errors("loss"):
        return SemanticSegmentation(
            num_classes,
            terms=loss.terms,
            auxiliary_terms=loss.auxiliary_terms,
            auxiliary_weight=loss.auxiliary_weight,
            average=loss.average,
            class_weights=class_weights,
            precision=recipe.train.precision,
            curriculum=recipe.curriculum,
            boundary=recipe.eval.boundary,
            ignore=recipe.eval.ignore,
            reduce_zero_label=reduces_zero(source),
            focal_gamma=loss.focal_gamma,
            ohem_threshold=loss.ohem_threshold,
            ohem_min_kept=loss.ohem_min_kept,
            boundary_weight=loss.boundary_weight,
            boundary_width=loss.boundary_width,
            tversky_alpha=loss.tversky_alpha,
            tversky_beta=loss.tversky_beta,
        )


def reduces_zero(source: Any) -> bool:
    """Returns whether stored labels hold k + 1 for class k, which boundary rules ask for.

    Args:
      source: a split, or a process's part of one; None for none.
    """
    rule = getattr(source, "rule", None)
    return rule is not None and rule.reduces_zero


def model_of(recipe: Recipe, *, num_classes: int) -> Callable[[], nnx.Module]:
    """Returns what makes the network of a recipe, freshly initialized.

    Args:
      recipe: the recipe.
      num_classes: number of classes of the data.
    """
    # Weights that a run starts from are read into its state, not into the model.
    section = dataclasses.replace(recipe.model, pretrained="")

    def create_model() -> nnx.Module:
        with section_errors("model"):
            return models.create_model(section, num_classes=num_classes, rngs=nnx.Rngs(recipe.seed))

    return create_model


def create_trainer(
    recipe: BaseRecipe,
    task: Task,
    create_model: Callable[[], nnx.Module],
    mesh: Mesh,
    *,
    abstract: bool = False,
) -> Trainer:
    """Makes the model and the optimizer of a recipe.

    Args:
      recipe: the recipe.
      task: what is learned.
      create_model: makes the network; parameters that it freezes get no updates.
      mesh: the devices.
      abstract: whether the state is only shapes and places, to be read from a checkpoint.

    Raises:
      InputError: an unknown name or a number that does not fit, by key.
    """
    frozen: Collection[str] = frozenset()
    # Tracing takes a second that most recipes need not spend.
    if recipe.freezes:
        frozen = frozen_parameters(nnx.eval_shape(create_model))
    with section_errors("schedule"):
        schedule = create_schedule(
            recipe.schedule.name,
            learning_rate=recipe.optimizer.learning_rate,
            steps=recipe.train.steps,
            power=recipe.schedule.power,
            end_value=recipe.schedule.end_value,
            warmup_steps=recipe.schedule.warmup_steps,
            warmup_ratio=recipe.schedule.warmup_ratio,
            milestones=recipe.schedule.milestones,
        )
    with section_errors("optimizer"):
        optimizer = create_optimizer(
            recipe.optimizer.name,
            schedule,
            momentum=recipe.optimizer.momentum,
            weight_decay=recipe.optimizer.weight_decay,
            clip_norm=recipe.optimizer.clip_norm,
            rate_multipliers=recipe.optimizer.rate_multipliers,
            frozen=frozen,
        )
    return Trainer(
        create_model,
        task,
        optimizer=optimizer,
        mesh=mesh,
        schedule=schedule,
        accumulate=recipe.train.accumulate,
        ema_decay=recipe.train.ema_decay,
        abstract=abstract,
    )


def check_pretrained(recipe: BaseRecipe) -> None:
    """Raises where the weights that a recipe names are for another model; fetches nothing.

    Args:
      recipe: the recipe.

    Raises:
      InputError: an unknown name, or settings that differ from those that the weights need.
    """
    try:
        start.check_settings(recipe.pretrained, vars(getattr(recipe, "model", recipe)))
    except InputError as error:
        raise InputError(f"model.pretrained: {error}") from None


def load_pretrained(
    recipe: BaseRecipe,
    state: TrainState,
    create_model: Callable[[], nnx.Module],
    *,
    whole: bool = False,
) -> tuple[TrainState, Source | None]:
    """Fills a fresh state with the weights that a recipe starts from, if it names any.

    Args:
      recipe: the recipe.
      state: freshly initialized.
      create_model: makes the model of that state.
      whole: whether the weights have to fill all of the model.

    Returns:
      The state to start from, and where its weights came from, if from anywhere.

    Raises:
      InputError: weights that are not there, cannot be fetched or do not fit.
    """
    if not recipe.pretrained:
        return state, None
    try:
        state, source, told = start.fill(recipe.pretrained, state, create_model, whole=whole)
    except InputError as error:
        raise InputError(f"model.pretrained: {error}") from None
    print(f"pretrained: {told}")
    if state.average:  # a copy, as a step consumes both
        state = state._replace(average=jax.tree.map(jnp.copy, state.parameters))
    return state, source


def check_labels(
    recipe: Recipe | InstanceRecipe,
    sources: Sequence[data.Source],
    *,
    checked: Collection[str] = (),
) -> list[str]:
    """Reads every label of some splits where the recipe asks for it.

    Labels are checked once: a run keeps fingerprints (names, sizes and times of all files, and what
    labels mean) of the splits that it has checked, and a resumed run reads only what changed.

    Args:
      recipe: the recipe.
      sources: the splits.
      checked: fingerprints of splits whose labels were read before.

    Returns:
      Fingerprints of the splits whose labels have now been read, see `data.fingerprint`.

    Raises:
      InputError: naming the first unusable file.
    """
    if not recipe.data.check:
        return []
    fingerprints = []
    for source in sources:
        before = data.fingerprint(source)  # of what is read below, or was before
        if before not in checked:
            data.check_source(source, threads=recipe.data.threads)
        if text := data.describe_skipped(source):
            print(f"skipped: {text}")
        fingerprints += [before] if before else []
    return fingerprints
