"""Scores of a trained run, or of converted weights, and what else is asked about them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections.config_dict import ConfigDict

from segalias_jax.checkpoints.store import CheckpointStore
from segalias_jax.errors import InputError
from segalias_jax.runs import setup
from segalias_jax.runs.recipe import BaseRecipe
from segalias_jax.runs.studies import Studies, check_studies
from segalias_jax.runs.tasks import bind, parse_recipe
from segalias_jax.runs.validation import describe_checkpoint
from segalias_jax.runs.workdir import MACHINE_KEYS, check_recipe, read_checked
from segalias_jax.training.companions import Companions
from segalias_jax.training.folder import CHECKPOINTS, has_checkpoint
from segalias_jax.training.processes import Launch, initialize

WHAT_WAS_TRAINED = (
    *("task", "model.", "data.source", "train.ema_decay"),
    *("curriculum.ratio", "curriculum.schedule", "curriculum.band"),
)
"""Beginnings of the keys that a run and its evaluation have to agree in, but for
`WHAT_IS_DETECTED`."""

WHAT_IS_DETECTED = (
    *("model.pre_nms", "model.post_nms", "model.nms_threshold"),
    *("model.score_threshold", "model.max_detections"),
)
"""Keys that say what a trained detector keeps of what it finds."""


def evaluate_run(
    config: BaseRecipe | ConfigDict | Mapping[str, Any],
    workdir: Path,
    launch: Launch | None = None,
    studies: Studies | None = None,
) -> None:
    """Scores the best checkpoint of a run and writes `eval/report.md` and `eval/pictures/`.

    Where the folder has no checkpoint, the whole model that `model.pretrained` names is scored.

    Args:
      config: the recipe of the run; keys other than `WHAT_WAS_TRAINED` may differ, and
        `WHAT_IS_DETECTED`.
      workdir: folder of the run.
      launch: how the scoring is started.
      studies: what else is asked for.

    Raises:
      InputError: no checkpoint, another model, or an error in the data.
    """
    launch, studies, workdir = launch or Launch(), studies or Studies(), Path(workdir)
    if launch.resume != "auto":
        raise InputError("--resume is for training; leave it out")
    if launch.profile:
        raise InputError("--profile is for training; leave it out")
    setup.enable_compilation_cache()
    initialize(launch)
    with Companions():
        _evaluate(config, workdir, studies)


def _evaluate(
    config: BaseRecipe | ConfigDict | Mapping[str, Any], workdir: Path, studies: Studies
) -> None:
    check_studies(studies)
    recipe = parse_recipe(config)
    with setup.matmul_precision(recipe):
        _evaluate_recipe(recipe, workdir, studies)


def _evaluate_recipe(recipe: BaseRecipe, workdir: Path, studies: Studies) -> None:
    free = {*MACHINE_KEYS, *WHAT_IS_DETECTED}
    check_recipe(recipe.to_flat(), workdir, prefixes=WHAT_WAS_TRAINED, free=free)
    trained = has_checkpoint(workdir)
    if not trained and not recipe.pretrained:
        raise InputError(f"--workdir: {workdir} holds no checkpoint; train with it first")
    if not trained:
        setup.check_pretrained(recipe)
    binding = bind(recipe)
    binding.open_scored()
    task = binding.create_task()
    create_model = binding.create_model(task)
    trainer = setup.create_trainer(
        recipe, task, create_model, setup.open_mesh(recipe), abstract=trained
    )
    binding.check_labels([binding.scored], checked=read_checked(workdir))
    if trained:
        with CheckpointStore(workdir / CHECKPOINTS) as store:
            state = store.restore_best(trainer.state)
        checkpoint = describe_checkpoint(state, binding.score_title(store.score))
    else:
        state, _ = setup.load_pretrained(recipe, trainer.state, create_model, whole=True)
        checkpoint = f"pretrained, {recipe.pretrained}"
    binding.report(
        binding.validation(trainer),
        state,
        workdir / "eval",
        checkpoint=checkpoint,
        studies=studies,
    )
