"""Training of a recipe: from its keys to the report of its best checkpoint.

`train` binds a recipe of any task to `training.Trainer`: it makes the data, the task and the model,
checks all of it, and only then writes the first file.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections.config_dict import ConfigDict

from segalias_jax import data
from segalias_jax.checkpoints.store import CheckpointStore
from segalias_jax.runs import setup
from segalias_jax.runs.binding import Binding
from segalias_jax.runs.curves import plot_curves
from segalias_jax.runs.recipe import BaseRecipe
from segalias_jax.runs.tasks import bind, parse_recipe
from segalias_jax.runs.validation import describe_checkpoint
from segalias_jax.runs.workdir import (
    check_recipe,
    read_checked,
    save_checked,
    save_classes,
    save_recipe,
    save_source,
)
from segalias_jax.settings import section_errors
from segalias_jax.training.companions import Companions
from segalias_jax.training.evaluators import Evaluator
from segalias_jax.training.fitted import Fitted
from segalias_jax.training.folder import CHECKPOINTS, RunFolder, has_checkpoint
from segalias_jax.training.processes import Launch, initialize, is_first
from segalias_jax.training.trackers import Trackers, check_trackers
from segalias_jax.training.watchdog import Watchdog


def train(
    config: BaseRecipe | ConfigDict | Mapping[str, Any], workdir: Path, launch: Launch | None = None
) -> Fitted:
    """Trains a recipe and reports its best checkpoint; resumes where an earlier call stopped.

    Writes `recipe.json`, `classes.json`, `stream.json`, `metrics.jsonl`, `goodput.json`,
    `checkpoints/`, `report.md`, `pictures/` and `curves.png`; `class_weights.json` where weights
    were counted, `thresholds.csv` and `thresholds.png` of binary segmentation.

    Args:
      config: the recipe.
      workdir: folder of the run; made when missing.
      launch: how the run is started.

    Returns:
      The state at the end, and the history of numbers.

    Raises:
      InputError: an error in the recipe, the data or the folder, before the first step; or a loss
        that is not finite, data or a disk that fail, at the step where it turned up.
      Interrupted: a signal; the state was saved, and the same call resumes.
    """
    launch, workdir = launch or Launch(), Path(workdir)
    with RunFolder(workdir, started=launch.started) as folder, contextlib.ExitStack() as stack:
        setup.enable_compilation_cache()
        initialize(launch)
        stack.enter_context(Companions())
        recipe = parse_recipe(config)
        values = recipe.to_flat()
        check_recipe(values, workdir)
        stack.enter_context(setup.matmul_precision(recipe))
        mesh = setup.open_mesh(recipe)
        setup.check_batch(recipe, mesh)
        if not has_checkpoint(workdir):
            setup.check_pretrained(recipe)
        binding = bind(recipe)
        binding.check_devices(mesh)
        with section_errors("track"):
            check_trackers(tensorboard=recipe.track.tensorboard, wandb=recipe.track.wandb)
        binding.open_sources()
        training, scored = binding.training, binding.scored
        resuming = has_checkpoint(workdir)
        task = binding.create_task(workdir)
        create_model = binding.create_model(task)
        trainer = setup.create_trainer(recipe, task, create_model, mesh, abstract=resuming)
        checked = binding.check_labels([training, scored], checked=read_checked(workdir))
        state = trainer.first_state(workdir, resume=launch.resume, steps=recipe.train.steps)
        source = None
        if not resuming and launch.resume in ("auto", "never"):
            state, source = setup.load_pretrained(recipe, state, create_model)
        folder.lock()
        trackers = []
        if is_first():
            # Another process may have had the folder until the lock was ours.
            check_recipe(values, workdir)
            save_recipe(values, workdir)
            save_classes(workdir, training.classes, training.palette)
            binding.keep(workdir)
            save_checked(workdir, checked)
            if source is not None:
                save_source(workdir, source)
            trackers.append(
                stack.enter_context(
                    Trackers(
                        workdir,
                        tensorboard=recipe.track.tensorboard,
                        wandb=recipe.track.wandb,
                        about=values,
                    )
                )
            )
        validation = binding.validation(trainer)
        if jax.process_count() > 1:
            # One that left by itself during the report would leave the others waiting for it.
            stack.enter_context(folder.interrupts.deferred)
        fitted = trainer.fit(
            binding.stream(),
            steps=recipe.train.steps,
            folder=folder,
            state=state,
            evaluators=[validation],
            eval_every=recipe.train.eval_every,
            save_every=recipe.checkpoint.every,
            log_every=recipe.train.log_every,
            nonfinite=recipe.train.nonfinite,
            nonfinite_limit=recipe.train.nonfinite_limit,
            stall_seconds=recipe.train.stall_seconds,
            keep_last=recipe.checkpoint.keep_last,
            keep_best=recipe.checkpoint.keep_best,
            trackers=trackers,
            about={"recipe": json.loads(json.dumps(values))},
            title=(f"{recipe.name}, {len(training)} training and {len(scored)} validation images"),
            profile=launch.profile,
        )
        _report_best(binding, validation, fitted, folder)
        if is_first():
            plot_curves(fitted.history, binding.curves(), workdir / "curves.png")
            if text := data.describe_skipped(training):
                print(f"skipped in training: {text}")
    return fitted


def _report_best(
    binding: Binding, validation: Evaluator, fitted: Fitted, folder: RunFolder
) -> None:
    assert folder.path is not None
    recipe = binding.recipe
    folder.account.start("evaluation")
    try:
        with (
            CheckpointStore(folder.path / CHECKPOINTS) as store,
            Watchdog(recipe.train.stall_seconds) as watchdog,
        ):
            # The scores that this process knows: the first one may still be writing their file.
            state = store.restore(fitted.state, step=fitted.best_step)
            binding.report(
                validation,
                state,
                folder.path,
                checkpoint=describe_checkpoint(state, binding.score_title(fitted.best_by)),
                alive=lambda: watchdog.beat("the evaluation of the best checkpoint"),
            )
    finally:
        if is_first():
            folder.account.write()
