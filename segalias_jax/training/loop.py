"""A run from its recipe to its report."""

from __future__ import annotations

from pathlib import Path

import cv2
import jax
import numpy as np
from ml_collections import config_dict
from tqdm import tqdm

from segalias_jax import data, evaluation
from segalias_jax.checkpoints.store import CheckpointStore
from segalias_jax.errors import InputError
from segalias_jax.training import progress, setup
from segalias_jax.training.curves import plot_curves
from segalias_jax.training.meter import Meter
from segalias_jax.training.sharding import create_mesh, shard_batch
from segalias_jax.training.state import TrainState, count_parameters
from segalias_jax.training.workdir import (
    CHECKPOINTS,
    MetricsLog,
    check_recipe,
    save_classes,
    save_recipe,
)
from segalias_jax.typing import Array


def train(config: config_dict.ConfigDict, workdir: Path) -> None:
    """Trains a recipe and reports its best checkpoint; goes on where an earlier call stopped.

    Writes `recipe.json`, `classes.json`, `metrics.jsonl`, `checkpoints/`, `report.md`,
    `pictures/` and `curves.png`.

    Args:
      config: the recipe.
      workdir: folder of the run; made when missing.

    Raises:
      InputError: a mistake in the recipe, the data or the folder, before the first step; or a
        loss that is no number, at the step where it turned up.
    """
    setup.enable_compilation_cache()
    check_recipe(config, workdir)
    mesh = create_mesh()
    setup.check_config(config, mesh)
    train_source, eval_source = setup.open_sources(config)
    parts = setup.build_parts(config, len(train_source.classes), mesh)
    setup.check_labels(config, train_source, eval_source)
    resumed = _has_checkpoint(workdir)
    state = parts.state if resumed else setup.load_pretrained(config, parts.state)
    save_recipe(config, workdir)
    save_classes(workdir, train_source.classes, train_source.palette)
    with CheckpointStore(workdir / CHECKPOINTS) as store:
        state = store.restore(state) if resumed else state
        log = MetricsLog(workdir, step=int(state.step))
        print(_headline(config, parts, state, (train_source, eval_source)))
        state = _run_steps(config, parts, state, (train_source, eval_source), store, log)
        store.wait()
        best = store.best_step()
        state = store.restore(state, step=best)
        _report(config, parts, state, eval_source, workdir, checkpoint=_best(state))
    plot_curves(log.lines(), workdir / "curves.png")


def evaluate_run(config: config_dict.ConfigDict, workdir: Path) -> None:
    """Scores the best checkpoint of a run and writes `eval/report.md` and `eval/pictures/`.

    Where the folder has no checkpoint, the whole model that `model.pretrained` names is scored.

    Args:
      config: the recipe of the run; sections other than `model` may differ.
      workdir: folder of the run.

    Raises:
      InputError: no checkpoint, another model, or a mistake in the data.
    """
    setup.enable_compilation_cache()
    check_recipe(config, workdir, prefixes=("model.", "data.source"))
    evaluation.read_view_settings(config.eval, config.data.crop)
    trained = _has_checkpoint(workdir)
    if not trained and not config.model.pretrained:
        raise InputError(f"--workdir: {workdir} holds no checkpoint; train with it first")
    source = data.create_source(config.data, config.data.eval_split)
    parts = setup.build_parts(config, len(source.classes), create_mesh())
    setup.check_labels(config, source)
    if trained:
        with CheckpointStore(workdir / CHECKPOINTS) as store:
            state = store.restore(parts.state, step=store.best_step())
        checkpoint = _best(state)
    else:
        state = setup.load_pretrained(config, parts.state, whole=True)
        checkpoint = f"pretrained, {config.model.pretrained}"
    _report(config, parts, state, source, workdir / "eval", checkpoint=checkpoint)


def _has_checkpoint(workdir: Path) -> bool:
    return any(path.name.isdigit() for path in (workdir / CHECKPOINTS).glob("*"))


def _best(state: TrainState) -> str:
    return f"step {int(state.step)}, the best by mIoU"


def _run_steps(
    config: config_dict.ConfigDict,
    parts: setup.Parts,
    state: TrainState,
    sources: tuple[data.Source, data.Source],
    store: CheckpointStore,
    log: MetricsLog,
) -> TrainState:
    start, last = int(state.step), config.train.steps
    batches = data.train_batches(
        config.data,
        sources[0],
        batch_size=config.train.batch_size,
        seed=config.seed,
        start_step=start,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    meter = Meter(config.train.batch_size)
    with progress.progress_bar("training", start=start, total=last) as bar:
        for step in range(start + 1, last + 1):
            state, metrics = parts.train_step(state, shard_batch(next(batches), parts.mesh))
            meter.add(step, metrics)
            bar.update()
            validate = step % config.train.eval_every == 0 or step == last
            if validate or step % config.train.log_every == 0:
                line = meter.read()
                log.write(line)
                bar.set_postfix_str(progress.describe_step(line), refresh=False)
            if validate:
                result = _evaluate(config, parts, state, sources[1], title="validation")
                scores = result.scores.compute()
                log.write({"step": step} | progress.plain_numbers(scores))
                told = progress.describe_scores(scores)
                tqdm.write(f"step {step}: loss {line['loss']:.4f}, {told}")
                store.save(step, state, score=float(scores["mIoU"]))
                meter.restart()
    return state


def _headline(
    config: config_dict.ConfigDict,
    parts: setup.Parts,
    state: TrainState,
    sources: tuple[data.Source, data.Source],
) -> str:
    device = parts.mesh.devices.flat[0].device_kind
    return (
        f"{config.name}: {count_parameters(state):,} parameters, {len(sources[0])} training and "
        f"{len(sources[1])} validation images, {parts.mesh.size} x {device}, "
        f"from step {int(state.step)} to {config.train.steps}"
    )


def _evaluate(
    config: config_dict.ConfigDict,
    parts: setup.Parts,
    state: TrainState,
    source: data.Source,
    *,
    title: str,
    keep: int = 0,
) -> evaluation.Evaluation:
    # Every device gets the same number of rows; those that pad a batch count nowhere.
    batch_size = -(-config.eval.batch_size // parts.mesh.size) * parts.mesh.size
    settings = evaluation.read_view_settings(config.eval, config.data.crop, batch_size=batch_size)
    slider = evaluation.SlidingPredictor(
        lambda image: parts.logits(state, _on_devices(image, parts)),
        settings,
        align_corners=config.model.align_corners,
    )

    def predict(image: np.ndarray) -> Array | evaluation.Prediction:
        if settings.plain:
            return parts.predict(state, _on_devices(image, parts))
        return slider.start(image[0])

    rows = batch_size if settings.plain else 1
    return evaluation.evaluate(
        predict,
        data.eval_batches(source, batch_size=rows, threads=config.data.threads),
        num_classes=len(source.classes),
        boundary=config.eval.boundary,
        ignore=config.eval.ignore,
        keep=keep,
        total=len(source),
        progress=title,
    )


def _on_devices(image: np.ndarray, parts: setup.Parts) -> Array:
    return shard_batch({"image": image}, parts.mesh)["image"]


def _report(
    config: config_dict.ConfigDict,
    parts: setup.Parts,
    state: TrainState,
    source: data.Source,
    folder: Path,
    *,
    checkpoint: str,
) -> None:
    keep = config.eval.images
    result = _evaluate(config, parts, state, source, title="evaluation", keep=keep)
    settings = {
        "recipe": config.name,
        "checkpoint": checkpoint,
        "data": f"{config.data.source}, split {config.data.eval_split}, {len(source)} images",
        "parameters": f"{count_parameters(state):,}",
    }
    evaluation.write_report(
        folder,
        result.scores,
        title=f"{config.name} on {config.data.source} {config.data.eval_split}",
        classes=source.classes,
        settings=settings,
        pictures=_write_pictures(result, source, folder),
    )
    print(evaluation.score_table(result.scores.compute(), source.classes))
    print(f"report: {folder / 'report.md'}")


def _write_pictures(result: evaluation.Evaluation, source: data.Source, folder: Path) -> list[str]:
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    paths = []
    for sample in result.samples:
        sheet = evaluation.overlay_sheet(
            [sample], classes=source.classes, palette=source.palette, rules=result.scores.rules
        )
        paths.append(f"pictures/{sample.name.replace('/', '_')}.png")
        cv2.imwrite(str(folder / paths[-1]), sheet[..., ::-1])
    return paths
