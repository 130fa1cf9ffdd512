"""Validation of a recipe's state, and the report of its best one.

Many processes each predict every n-th image on their own devices, and add up counts at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np
from jax.sharding import Mesh

from segalias_jax import data, evaluation
from segalias_jax.files import write_bytes
from segalias_jax.metrics.scores import SCORES
from segalias_jax.runs.recipe import Recipe
from segalias_jax.runs.setup import reduces_zero
from segalias_jax.scoring.reports import binary as binary_report
from segalias_jax.scoring.reports.overlays import overlay_sheet
from segalias_jax.scoring.reports.tables import score_table, write_report
from segalias_jax.tasks import SemanticSegmentation
from segalias_jax.training.fitted import Fitted
from segalias_jax.training.processes import is_first, local_copy, local_mesh, merge_scores
from segalias_jax.training.sharding import row_count, shard_batch
from segalias_jax.training.state import TrainState, count_parameters
from segalias_jax.training.trainer import Trainer
from segalias_jax.typing import Array

Predict = Callable[[np.ndarray], Array | evaluation.Prediction]


class RecipeValidation:
    """Scores states on a split, shown as the recipe's section `eval` says: an evaluator of a run.

    Args:
      recipe: the recipe.
      trainer: what its states are of; its task is a `SemanticSegmentation`.
      source: the split to score.

    Attributes:
      recipe: the recipe.
      trainer: what its states are of.
      source: the split to score.
      logits: `logits(state, image)`, at full size.
    """

    def __init__(self, recipe: Recipe, trainer: Trainer, source: data.Source):
        task = trainer.task
        assert isinstance(task, SemanticSegmentation)
        self.recipe, self.trainer, self.source, self.task = recipe, trainer, source, task
        self.logits = task.compile_logits(trainer.graph)

    def run(self, fitted: Fitted) -> Iterator[tuple[str, Any]]:
        """Yields the scores of a state."""
        result = self.score(fitted.state, title="validation", alive=fitted.alive)
        yield from result.scores.compute().items()
        if result.binary is not None:
            yield from result.binary.compute().items()

    def score(
        self,
        state: TrainState,
        *,
        title: str,
        keep: int = 0,
        alive: Callable[[], None] = lambda: None,
    ) -> evaluation.Evaluation:
        """Scores a state; each process predicts its images, and the counts are merged.

        Args:
          state: arrays of the run.
          title: of the progress bar.
          keep: number of pictures kept, of this process's images.
          alive: called before every batch; may raise.

        Returns:
          The scores of all images, and the pictures.
        """
        # Of binary segmentation the probability counts, not only which of the two is larger.
        binary = len(self.source.classes) == 2
        predict, rows = self.predictor(state, probabilities=binary)

        def predict_alive(image: np.ndarray) -> Array | evaluation.Prediction:
            alive()
            return predict(image)

        share = SourceShare(self.source)
        result = evaluation.evaluate(
            predict_alive,
            self.batches(share, batch_size=rows),
            num_classes=len(self.source.classes),
            reduce_zero_label=reduces_zero(self.source),
            boundary=self.recipe.eval.boundary,
            ignore=self.recipe.eval.ignore,
            keep=keep,
            total=len(share),
            progress=title if is_first() else None,
        )
        return evaluation.Evaluation(
            merge_scores(result.scores),
            result.samples,
            None if result.binary is None else merge_scores(result.binary),
        )

    def predictor(self, state: TrainState, *, probabilities: bool = False) -> tuple[Predict, int]:
        """Makes what `evaluation.evaluate` asks for of a state, on this process's devices.

        Args:
          state: arrays of the run.
          probabilities: whether logits are returned, or the probabilities of images in windows.

        Returns:
          The predict function, and the rows of its batches: several where whole images are shown
          to the network as they are, one where the recipe wants them resized, in windows or
          averaged.
        """
        mesh = local_mesh(self.trainer.mesh)
        local = local_copy(state._replace(optimizer=()), mesh)
        rows = self.batch_rows(mesh)
        # An image is one window where it is shown whole; every device needs one all the same.
        windows = rows if self.recipe.eval.mode == "slide" else row_count(mesh)
        views = self.recipe.eval.views(self.recipe.data.crop, batch_size=windows)

        def on_devices(image: np.ndarray) -> Array:
            return shard_batch({"image": image}, mesh)["image"]

        if views.plain:
            network = self.logits if probabilities else self.trainer.predict
            return lambda image: network(local, on_devices(image)), rows
        slider = evaluation.SlidingPredictor(
            lambda image: self.logits(local, on_devices(image)),
            views,
            align_corners=self.recipe.model.align_corners,
        )
        return lambda image: slider.start(image[0], probabilities=probabilities), 1

    def batch_rows(self, mesh: Mesh) -> int:
        """Returns the rows of evaluation batches: as many for each device; padding counts nowhere.

        Args:
          mesh: the devices of this process.
        """
        return -(-self.recipe.eval.batch_size // row_count(mesh)) * row_count(mesh)

    def batches(
        self, source: data.Source | SourceShare, *, batch_size: int
    ) -> Iterator[Mapping[str, Any]]:
        """Reads a split once, with the numbering of labels that boundary rules ask for.

        Args:
          source: the split, or a process's part of it.
          batch_size: rows of a batch.
        """
        batches = data.eval_batches(source, batch_size=batch_size, threads=self.recipe.data.threads)
        return data.restore_zero_label(batches) if reduces_zero(source) else batches

    def describe(self, state: TrainState, *, checkpoint: str) -> dict[str, str]:
        """Says what a report is of.

        Args:
          state: arrays of the run.
          checkpoint: which state it is, in words.

        Returns:
          Recipe, checkpoint, data and number of parameters, by topic.
        """
        recipe, source = self.recipe, self.source
        settings = {
            "recipe": recipe.name,
            "checkpoint": checkpoint,
            "data": f"{recipe.data.source}, split {recipe.data.eval_split}, {len(source)} images, "
            f"sha256 of their names {data.split_hash(source.names)[:16]}",
            "parameters": f"{count_parameters(state):,}",
        }
        ratio = recipe.curriculum.evaluation_ratio(state.task)
        if ratio is not None:
            settings["images"] = f"low pass, {recipe.curriculum.band} band, ratio {float(ratio):g}"
        elif recipe.curriculum.active:
            settings["images"] = "full spectrum"
        if text := data.describe_skipped(source):
            settings["skipped"] = text
        return settings


class SourceShare:
    """Some images of a data set.

    Args:
      source: the data set.
      indices: which; None: every n-th one, those of this process.

    Example:
      >>> from segalias_jax.data import create_source
      >>> len(SourceShare(create_source({"source": "synthetic", "num_eval": 3}, "val")))
      3
    """

    def __init__(self, source: data.Source, indices: Sequence[int] | None = None):
        self._source = source
        own = range(jax.process_index(), len(source), jax.process_count())
        self._indices = own if indices is None else indices
        self.names = [source.names[index] for index in self._indices]
        self.classes, self.palette = source.classes, source.palette
        self.rule = getattr(source, "rule", None)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Any:
        return self._source[self._indices[index]]

    def size(self, index: int) -> tuple[int, int]:
        """Returns (height, width) of a sample in pixels."""
        return self._source.size(self._indices[index])

    def check(self, index: int) -> None:
        """Raises `InputError` where a sample's files are unusable."""
        self._source.check(self._indices[index])


def describe_checkpoint(state: TrainState, score_title: str) -> str:
    """Says which checkpoint a state is.

    Args:
      state: arrays of the run.
      score_title: the score by which it is the best.
    """
    return f"step {int(state.step)}, the best by {score_title}"


def report(
    validation: RecipeValidation,
    state: TrainState,
    folder: Path,
    *,
    checkpoint: str,
    shift: float | None = None,
    alive: Callable[[], None] = lambda: None,
) -> None:
    """Scores a state and writes `report.md`, `report.json` and `pictures/`.

    For binary segmentation, also `thresholds.csv` and `thresholds.png`.

    Args:
      validation: what is scored.
      state: arrays of the run.
      folder: where to write.
      checkpoint: which state it is, in words.
      shift: mean of `ops.shift_consistency`, where it was measured.
      alive: as for `RecipeValidation.score`.
    """
    recipe, source = validation.recipe, validation.source
    result = validation.score(state, title="evaluation", keep=recipe.eval.images, alive=alive)
    if not is_first():
        return
    pictures = _write_pictures(result, source, folder)
    further = {} if shift is None else {"shift_consistency": shift}
    rules = {name: SCORES[name].rule for name in further}
    extra: dict[str, Any] = {}
    sections: list[str] = []
    if result.binary is not None:
        extra = result.binary.compute()
        sections = [binary_report.binary_table(extra, source.classes[1])]
        pictures = [*binary_report.write_curves(result.binary, folder), *pictures]
        rules = binary_report.binary_rules(result.binary) | rules
    write_report(
        folder,
        result.scores,
        title=f"{recipe.name} on {recipe.data.source} {recipe.data.eval_split}",
        classes=source.classes,
        settings=validation.describe(state, checkpoint=checkpoint),
        further=further,
        extra_rules=rules,
        pictures=pictures,
        extra=extra,
        sections=sections,
    )
    print(score_table(result.scores.compute(), source.classes, further=further))
    print("".join(f"\n{section}\n" for section in sections), end="")
    print(f"report: {folder / 'report.md'}")


def _write_pictures(result: evaluation.Evaluation, source: data.Source, folder: Path) -> list[str]:
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    paths = []
    for sample in result.samples:
        sheet = overlay_sheet(
            [sample], classes=source.classes, palette=source.palette, rules=result.scores.rules
        )
        paths.append(f"pictures/{sample.name.replace('/', '_')}.png")
        write_bytes(folder / paths[-1], cv2.imencode(".png", sheet[..., ::-1])[1].tobytes())
    return paths
