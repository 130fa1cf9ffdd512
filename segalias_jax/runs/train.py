"""Training of a recipe: from its keys to the report of its best checkpoint.

`train` binds a recipe to `training.Trainer`: it makes the data, the task and the model, checks all
of it, and only then writes the first file.
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
from segalias_jax.runs import class_weights, setup
from segalias_jax.runs.curves import plot_curves
from segalias_jax.runs.recipe import Recipe
from segalias_jax.runs.validation import RecipeValidation, describe_checkpoint, report
from segalias_jax.runs.workdir import (
    check_recipe,
    keep_files,
    keep_stream,
    read_checked,
    save_checked,
    save_classes,
    save_recipe,
)
from segalias_jax.settings import section_errors
from segalias_jax.training.companions import Companions
from segalias_jax.training.fitted import Fitted
from segalias_jax.training.folder import CHECKPOINTS, RunFolder, has_checkpoint
from segalias_jax.training.processes import Launch, initialize, is_first
from segalias_jax.training.trackers import Trackers, check_trackers
from segalias_jax.training.watchdog import Watchdog


def train(
    config: Recipe | ConfigDict | Mapping[str, Any], workdir: Path, launch: Launch | None = None
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
        recipe = config if isinstance(config, Recipe) else Recipe.from_config(config)
        values = recipe.to_flat()
        check_recipe(values, workdir)
        mesh = setup.open_mesh(recipe)
        setup.check_devices(recipe, mesh)
        with section_errors("track"):
            check_trackers(tensorboard=recipe.track.tensorboard, wandb=recipe.track.wandb)
        training, scored = setup.open_sources(recipe)
        classes, resuming = training.classes, has_checkpoint(workdir)
        # A loss that does not fit is found before its weights are counted, which takes a while.
        some = (1.0,) * len(classes) if recipe.loss.class_weights else ()
        setup.create_task(recipe, num_classes=len(classes), class_weights=some)
        weights = class_weights.find_class_weights(recipe, workdir, training)
        task = setup.create_task(recipe, scored, num_classes=len(classes), class_weights=weights)
        trainer = setup.create_trainer(recipe, task, mesh, abstract=resuming)
        checked = setup.check_labels(recipe, [training, scored], checked=read_checked(workdir))
        state = trainer.first_state(workdir, resume=launch.resume, steps=recipe.train.steps)
        if not resuming and launch.resume in ("auto", "never"):
            state = setup.load_pretrained(recipe, state)
        folder.lock()
        trackers = []
        if is_first():
            # Another process may have had the folder until the lock was ours.
            check_recipe(values, workdir)
            save_recipe(values, workdir)
            save_classes(workdir, classes, training.palette)
            class_weights.keep_class_weights(recipe, workdir, weights, classes)
            keep_stream(workdir, training, batch_size=recipe.train.batch_size, seed=recipe.seed)
            keep_files(
                workdir,
                {recipe.data.train_split: training, recipe.data.eval_split: scored},
                missing=recipe.data.on_error == "skip",
            )
            save_checked(workdir, checked)
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
        validation = RecipeValidation(recipe, trainer, scored)
        if jax.process_count() > 1:
            # One that left by itself during the report would leave the others waiting for it.
            stack.enter_context(folder.interrupts.deferred)
        fitted = trainer.fit(
            setup.TrainingStream(recipe, training),
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
        _report_best(validation, fitted, folder)
        if is_first():
            plot_curves(fitted.history, workdir / "curves.png")
            if text := data.describe_skipped(training):
                print(f"skipped in training: {text}")
    return fitted


def _report_best(validation: RecipeValidation, fitted: Fitted, folder: RunFolder) -> None:
    assert folder.path is not None
    recipe = validation.recipe
    folder.account.start("evaluation")
    try:
        with (
            CheckpointStore(folder.path / CHECKPOINTS) as store,
            Watchdog(recipe.train.stall_seconds) as watchdog,
        ):
            # The scores that this process knows: the first one may still be writing their file.
            state = store.restore(fitted.state, step=fitted.best_step)
            report(
                validation,
                state,
                folder.path,
                checkpoint=describe_checkpoint(state, fitted.best_by),
                alive=lambda: watchdog.beat("the evaluation of the best checkpoint"),
            )
    finally:
        if is_first():
            folder.account.write()
