"""Validation of a state, and the report of a run's best one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jax.sharding import Mesh
from ml_collections import config_dict

from segalias_jax import data, evaluation
from segalias_jax.checkpoints.store import MIOU
from segalias_jax.scoring.reports import binary as binary_report
from segalias_jax.metrics.rows import OVER_IMAGES
from segalias_jax.runs import setup
from segalias_jax.training import processes
from segalias_jax.training.curriculum import read_curriculum
from segalias_jax.training.sharding import row_count, shard_batch
from segalias_jax.training.state import TrainState, count_parameters
from segalias_jax.typing import Array

SHIFT = "shift_consistency"
SHIFT_RULE = (
    "share of pixels that keep their class when the image moves by one pixel (right, down, and "
    "both; its edge is repeated), mean over images"
)
"""Name of that score in tables and reports, and what it is."""

TWO_CLASSES = f"Dice_{OVER_IMAGES}"
"""What is told first of two classes, in recipes and papers."""

Predict = Callable[[np.ndarray], Array | evaluation.Prediction]


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
    # Of two classes the probability counts, not only which of them is larger.
    two = len(source.classes) == 2
    predict, rows = predictor(config, parts, state, probabilities=two)

    def beating(image: np.ndarray) -> Array | evaluation.Prediction:
        before_batch()
        return predict(image)

    share = processes.SourceShare(source)
    result = evaluation.evaluate(
        beating,
        stored_batches(config, share, batch_size=rows),
        **scoring_options(config, source),
        keep=keep,
        total=len(share),
        progress=title if processes.is_first() else None,
    )
    binary = result.binary and processes.merge_scores(result.binary)
    return evaluation.Evaluation(processes.merge_scores(result.scores), result.samples, binary)


def headline(num_classes: int) -> str:
    """Returns the name of the score by which a run's best checkpoint is kept.

    Example:
      >>> headline(19), headline(2)
      ('mIoU', 'Dice_mean_over_images')
    """
    return TWO_CLASSES if num_classes == 2 else MIOU


def predictor(
    config: config_dict.ConfigDict,
    parts: setup.Parts,
    state: TrainState,
    *,
    probabilities: bool = False,
) -> tuple[Predict, int]:
    """Makes what `evaluation.evaluate` asks for of a state, on this process's devices.

    Args:
      config: the recipe.
      parts: what the run computes with.
      state: arrays of the run.
      probabilities: whether logits are handed out, or the probabilities of images in windows.

    Returns:
      The predict function, and the rows of its batches: several where whole images are shown to
      the network as they are, one where the recipe wants them resized, in windows or averaged.
    """
    mesh = processes.local_mesh(parts.mesh)
    local = processes.local_copy(state._replace(optimizer=()), mesh)
    rows = batch_rows(config, mesh)
    # An image is one window where it is shown whole; every device needs one all the same.
    windows = rows if config.eval.mode == "slide" else row_count(mesh)
    settings = evaluation.read_view_settings(config.eval, config.data.crop, batch_size=windows)

    def on_devices(image: np.ndarray) -> Array:
        return shard_batch({"image": image}, mesh)["image"]

    if settings.plain:
        network = parts.logits if probabilities else parts.predict
        return lambda image: network(local, on_devices(image)), rows
    slider = evaluation.SlidingPredictor(
        lambda image: parts.logits(local, on_devices(image)),
        settings,
        align_corners=config.model.align_corners,
    )
    return lambda image: slider.start(image[0], probabilities=probabilities), 1


def batch_rows(config: config_dict.ConfigDict, mesh: Mesh) -> int:
    """Rows of evaluation batches: every device gets the same number; padding counts nowhere.

    Args:
      config: the recipe.
      mesh: the devices of this process.

    Returns:
      `eval.batch_size`, rounded up to a multiple of the devices that share a batch.
    """
    return -(-config.eval.batch_size // row_count(mesh)) * row_count(mesh)


def stored_batches(
    config: config_dict.ConfigDict,
    source: data.Source | processes.SourceShare,
    *,
    batch_size: int,
) -> Iterator[Mapping[str, Any]]:
    """Reads a split once, with the numbering of labels that boundary rules ask for.

    Args:
      config: the recipe.
      source: the split, or a share of it.
      batch_size: rows of a batch.

    Returns:
      An iterator of batches.
    """
    batches = data.eval_batches(source, batch_size=batch_size, threads=config.data.threads)
    return data.restore_zero_label(batches) if _reduces_zero(source) else batches


def scoring_options(config: config_dict.ConfigDict, source: data.Source) -> dict[str, Any]:
    """What `evaluation.evaluate` has to know of a split and a recipe.

    Args:
      config: the recipe.
      source: the split.

    Returns:
      Its arguments on classes and rules.
    """
    return {
        "num_classes": len(source.classes),
        "reduce_zero_label": _reduces_zero(source),
        "boundary": config.eval.boundary,
        "ignore": config.eval.ignore,
    }


def _reduces_zero(source: data.Source | processes.SourceShare) -> bool:
    rule = getattr(source, "rule", None)
    return rule is not None and rule.reduces_zero


def report(
    config: config_dict.ConfigDict,
    parts: setup.Parts,
    state: TrainState,
    source: data.Source,
    folder: Path,
    *,
    checkpoint: str,
    shift: float | None = None,
    before_batch: Callable[[], None] = lambda: None,
) -> None:
    """Scores a state and writes `report.md`, `report.json` and `pictures/`.

    For two classes, also `thresholds.csv` and `thresholds.png`.

    Args:
      config: the recipe.
      parts: what the run computes with.
      state: arrays of the run.
      source: the split to score.
      folder: where to write.
      checkpoint: which state it is, in words.
      shift: mean of `ops.shift_consistency`, where it was measured.
      before_batch: as for `score`.
    """
    options = {"title": "evaluation", "keep": config.eval.images, "before_batch": before_batch}
    result = score(config, parts, state, source, **options)
    if not processes.is_first():
        return
    pictures, two = _write_pictures(result, source, folder), {}
    if result.binary is not None:
        two = binary_report.report_parts(result.binary, source.classes[1])
        pictures = [*binary_report.write_curves(result.binary, folder), *pictures]
    further = {} if shift is None else {SHIFT: shift}
    rules = two.pop("extra_rules", {}) | {name: SHIFT_RULE for name in further}
    evaluation.write_report(
        folder,
        result.scores,
        title=f"{config.name} on {config.data.source} {config.data.eval_split}",
        classes=source.classes,
        settings=describe(config, state, source, checkpoint=checkpoint),
        further=further,
        extra_rules=rules,
        pictures=pictures,
        **two,
    )
    print(evaluation.score_table(result.scores.compute(), source.classes, further=further))
    print("".join(f"\n{section}\n" for section in two.get("sections", ())), end="")
    print(f"report: {folder / 'report.md'}")


def describe(
    config: config_dict.ConfigDict, state: TrainState, source: data.Source, *, checkpoint: str
) -> dict[str, str]:
    """Says what a report is of.

    Args:
      config: the recipe.
      state: arrays of the run.
      source: the split, after it was read.
      checkpoint: which state it is, in words.

    Returns:
      Recipe, checkpoint, data and number of parameters, by topic.
    """
    settings = {
        "recipe": config.name,
        "checkpoint": checkpoint,
        "data": f"{config.data.source}, split {config.data.eval_split}, {len(source)} images, "
        f"sha256 of their names {data.split_hash(source.names)[:16]}",
        "parameters": f"{count_parameters(state):,}",
    }
    curriculum = read_curriculum(config)
    ratio = curriculum.evaluation_ratio(state.ratio)
    if ratio is not None:
        settings["images"] = f"low pass, {curriculum.band} band, ratio {float(ratio):g}"
    elif curriculum.active:
        settings["images"] = "full spectrum"
    if text := data.describe_skipped(source):
        settings["skipped"] = text
    return settings


def _write_pictures(result: evaluation.Evaluation, source: data.Source, folder: Path) -> list[str]:
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    paths = []
    for sample in result.samples:
        sheet = evaluation.overlay_sheet(
            [sample], classes=source.classes, palette=source.palette, rules=result.scores.rules
        )
        paths.append(f"pictures/{sample.name.replace('/', '_')}.png")
        # Unlike imwrite, this raises where the disk is full.
        (folder / paths[-1]).write_bytes(cv2.imencode(".png", sheet[..., ::-1])[1].tobytes())
    return paths
