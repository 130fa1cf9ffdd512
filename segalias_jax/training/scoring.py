"""Validation of a state, and the report of a run's best one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from ml_collections import config_dict

from segalias_jax import data, evaluation
from segalias_jax.training import processes, setup
from segalias_jax.training.curriculum import read_curriculum
from segalias_jax.training.sharding import row_count, shard_batch
from segalias_jax.training.state import TrainState, count_parameters
from segalias_jax.typing import Array


def score(
    config: config_dict.ConfigDict,
    parts: setup.Parts,
    state: TrainState,
    source: data.Source,
    *,
    title: str,
    keep: int = 0,
    before_batch: Callable[[], None] = lambda: None,
) -> evaluation.Evaluation:
    """Scores a state; each process predicts its share of the images, and the counts are merged.

    Args:
      config: the recipe.
      parts: what the run computes with.
      state: arrays of the run.
      source: the split to score.
      title: of the progress bar.
      keep: number of pictures kept, of this process's share.
      before_batch: called ahead of every batch; may raise.

    Returns:
      The scores of all images, and the pictures.
    """
    mesh = processes.local_mesh(parts.mesh)
    local = processes.local_copy(state._replace(optimizer=()), mesh)

    # Every device gets the same number of rows; those that pad a batch count nowhere.
    batch_size = -(-config.eval.batch_size // row_count(mesh)) * row_count(mesh)
    settings = evaluation.read_view_settings(config.eval, config.data.crop, batch_size=batch_size)

    def on_devices(image: np.ndarray) -> Array:
        return shard_batch({"image": image}, mesh)["image"]

    slider = evaluation.SlidingPredictor(
        lambda image: parts.logits(local, on_devices(image)),
        settings,
        align_corners=config.model.align_corners,
    )

    def predict(image: np.ndarray) -> Array | evaluation.Prediction:
        before_batch()
        if settings.plain:
            return parts.predict(local, on_devices(image))
        return slider.start(image[0])

    share = processes.SourceShare(source)
    rows = batch_size if settings.plain else 1
    batches = data.eval_batches(share, batch_size=rows, threads=config.data.threads)
    rule = getattr(source, "rule", None)
    reduced = rule is not None and rule.reduces_zero
    result = evaluation.evaluate(
        predict,
        data.restore_zero_label(batches) if reduced else batches,
        num_classes=len(source.classes),
        reduce_zero_label=reduced,
        boundary=config.eval.boundary,
        ignore=config.eval.ignore,
        keep=keep,
        total=len(share),
        progress=title if processes.is_first() else None,
    )
    return evaluation.Evaluation(processes.merge_scores(result.scores), result.samples)


def report(
    config: config_dict.ConfigDict,
    parts: setup.Parts,
    state: TrainState,
    source: data.Source,
    folder: Path,
    *,
    checkpoint: str,
) -> None:
    """Scores a state and writes `report.md`, `report.json` and `pictures/`.

    Args:
      config: the recipe.
      parts: what the run computes with.
      state: arrays of the run.
      source: the split to score.
      folder: where to write.
      checkpoint: which state it is, in words.
    """
    result = score(config, parts, state, source, title="evaluation", keep=config.eval.images)
    if not processes.is_first():
        return
    settings = {
        "recipe": config.name,
        "checkpoint": checkpoint,
        "data": f"{config.data.source}, split {config.data.eval_split}, {len(source)} images, "
        f"sha256 of their names {data.split_hash(source.names)[:16]}",
        "parameters": f"{count_parameters(state):,}",
    }
    ratio = read_curriculum(config).evaluation_ratio(state.ratio)
    if ratio is not None:
        settings["images"] = f"low pass, {config.curriculum.band} band, ratio {float(ratio):g}"
    if text := data.describe_skipped(source):
        settings["skipped"] = text
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
