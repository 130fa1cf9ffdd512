"""Recipes of instance segmentation at work: data, network, scores and report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from segalias_jax import data, models
from segalias_jax.data.instance_source import (
    InstanceStream,
    batch_size_of,
    create_instance_source,
    instance_eval_batches,
    left_out,
)
from segalias_jax.data.instances import ChosenImages
from segalias_jax.data.skipping import SkippingInstances
from segalias_jax.errors import InputError
from segalias_jax.progress import progress_bar
from segalias_jax.runs import setup
from segalias_jax.runs.binding import Binding
from segalias_jax.runs.instance_recipe import InstanceRecipe
from segalias_jax.runs.studies import Studies
from segalias_jax.runs.workdir import keep_files, keep_stream
from segalias_jax.scoring.instances import InstanceScorer, Objects
from segalias_jax.scoring.instances.instance_inputs import ImageObjects
from segalias_jax.scoring.instances.instance_report import InstanceReport
from segalias_jax.settings import section_errors
from segalias_jax.tasks.instances import InstanceSegmentation
from segalias_jax.training.fitted import Fitted
from segalias_jax.training.processes import is_first, merge_scores
from segalias_jax.training.sharding import row_count
from segalias_jax.training.state import TrainState, count_parameters
from segalias_jax.training.task import Task
from segalias_jax.training.trainer import Trainer

_CURVES = {"PQ": "PQ", "accuracy_50": "TP / (TP + FP + FN) at IoU 0.5"}


class InstanceBinding(Binding):
    """Binds a recipe of instance segmentation; see `Binding` for its methods.

    Args:
      recipe: the recipe.

    Example:
      >>> InstanceBinding(InstanceRecipe()).recipe.task
      'instances'
    """

    recipe: InstanceRecipe

    def __init__(self, recipe: InstanceRecipe):
        self.recipe = recipe

    def check_devices(self, mesh: Mesh) -> None:
        """Does nothing: images are never split."""

    def open_sources(self) -> None:
        """Opens both splits, and says what is left out of the training."""
        recipe = self.recipe
        self.open_scored()
        split = recipe.data.train_split
        training = create_instance_source(recipe.data, split, training=True)
        if len(training.classes) != len(self.scored.classes):
            raise InputError(
                f"data: split {split!r} has {len(training.classes)} classes, "
                f"{recipe.data.eval_split!r} has {len(self.scored.classes)}; name them in "
                "data.classes"
            )
        names = split, recipe.data.eval_split
        if remark := data.check_splits(*names, (training, self.scored)):
            print(f"note: {remark}")
        self.training = training
        kept = training.source if isinstance(training, SkippingInstances) else training
        if is_first() and isinstance(kept, ChosenImages):
            number = len(kept.source) - len(kept)
            print(f"note: {number} training images without objects are left out (data.empty)")
        threads = recipe.data.threads
        images, objects = left_out(training, recipe.data.max_objects, threads=threads)
        if is_first() and objects:
            most = "up to " if recipe.data.crop else ""  # a crop may not hold all of them
            print(
                f"note: {most}{objects} small objects of {images} training images are left out "
                f"(data.max_objects={recipe.data.max_objects})"
            )
        for source, training_split in ((self.training, True), (self.scored, False)):
            batch_size_of(recipe.data, source, training=training_split)

    def open_scored(self) -> None:
        """Opens the split to score alone."""
        self.scored = create_instance_source(self.recipe.data, self.recipe.data.eval_split)

    def create_task(self, workdir: Path | None = None) -> InstanceSegmentation:
        """Makes the task."""
        classes = tuple(self.scored.classes)
        return self.recipe.create_task(classes, precision=self.recipe.train.precision)

    def create_model(self, task: Task) -> Callable[[], nnx.Module]:
        """Returns what makes the network of the section `model`."""
        assert isinstance(task, InstanceSegmentation)
        section = dataclasses.replace(self.recipe.model, pretrained="")

        def create() -> nnx.Module:
            with section_errors("model"):
                return self.create_network(section, num_classes=task.num_classes)

        return create

    def create_network(self, section: models.ModelConfig, *, num_classes: int) -> nnx.Module:
        """Makes the network of the section `model`.

        Args:
          section: without weights to start from.
          num_classes: number of classes of the data.
        """
        create = models.create_universal if self.recipe.by_queries else models.create_detector
        return create(section, num_classes=num_classes, rngs=nnx.Rngs(self.recipe.seed))

    def check_labels(self, sources: Sequence[Any], *, checked: Collection[str]) -> list[str]:
        """Reads all objects where the recipe asks for it."""
        return setup.check_labels(self.recipe, sources, checked=checked)

    def keep(self, workdir: Path) -> None:
        """Writes down the order of images and the condition of their files."""
        recipe = self.recipe
        keep_stream(workdir, self.training, batch_size=recipe.train.batch_size, seed=recipe.seed)
        splits = {recipe.data.train_split: self.training, recipe.data.eval_split: self.scored}
        keep_files(workdir, splits, missing=recipe.data.on_error == "skip")

    def stream(self) -> InstanceStream:
        """Returns the training batches of this process."""
        return InstanceStream(
            self.recipe.data,
            self.training,
            batch_size=self.recipe.train.batch_size,
            seed=self.recipe.seed,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )

    def validation(self, trainer: Trainer) -> InstanceValidation:
        """Returns what scores states at the size of the images."""
        return InstanceValidation(self.recipe, trainer, self.scored)

    def score_title(self, name: str) -> str:
        """Returns the name of a score, "segm_AP" as "segm AP"."""
        return _CURVES.get(name, name.replace("_", " "))

    def curves(self) -> dict[str, str]:
        """Returns panoptic quality, the fraction of objects found, and what is the best by."""
        headline = self.recipe.eval.headline
        return _CURVES | {headline: self.score_title(headline)}

    def report(
        self,
        validation: Any,
        state: TrainState,
        folder: Path,
        *,
        checkpoint: str,
        studies: Studies | None = None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """Scores a state and writes the report on its objects."""
        if studies and studies != Studies():
            raise InputError(
                "--aliasing, --shift and --robustness are for recipes of semantic segmentation; "
                "leave them out"
            )
        fitted = Fitted(validation.trainer, state, (), alive=alive)
        scores, detected = validation.score(fitted, title="evaluation")
        if not is_first():
            return
        source, recipe = self.scored, self.recipe
        shown = sorted(detected.items()) if jax.process_count() == 1 else ()
        skipped = data.describe_skipped(source)
        report = InstanceReport(
            scores,
            [self._shown(index, found) for index, found in shown],
            settings={
                "predictions": f"{recipe.name} on {recipe.data.source} {recipe.data.eval_split}",
                "recipe": recipe.name,
                "checkpoint": checkpoint,
                "data": f"{recipe.data.source}, split {recipe.data.eval_split}, {len(source)} "
                f"images, sha256 of their names {data.split_hash(source.names)[:16]}",
                "parameters": f"{count_parameters(state):,}",
            },
            notices=[f"skipped: {skipped}"] if skipped else (),
        )
        report.save(folder, pictures=recipe.eval.images, overwrite=True)
        print(report.table())
        print(f"report: {folder / 'report.html'}")

    def _shown(self, index: int, detected: Objects) -> ImageObjects:
        source = self.scored
        load = lambda: (detected, true_objects(source, index))  # noqa: E731
        return ImageObjects(source.names[index], load, source.pairs[index].image)


class InstanceValidation:
    """Scores states on a split, at the size of the images: an evaluator of a run.

    Args:
      recipe: the recipe.
      trainer: what its states are of; its task is an `InstanceSegmentation`.
      source: the split to score.
    """

    def __init__(self, recipe: InstanceRecipe, trainer: Trainer, source: Any):
        assert isinstance(trainer.task, InstanceSegmentation)
        self.recipe, self.trainer, self.source = recipe, trainer, source
        self.task = trainer.task

    def run(self, fitted: Fitted) -> Iterator[tuple[str, Any]]:
        """Yields the scores of a state."""
        scores, _ = self.score(fitted, title="validation")
        yield from ((name, x) for name, x in scores.compute().items() if np.ndim(x) == 0)

    def score(self, fitted: Fitted, *, title: str) -> tuple[InstanceScorer, dict[int, Objects]]:
        """Scores a state; each process predicts its images, and their records are merged.

        Args:
          fitted: the state.
          title: of the progress bar.

        Returns:
          The scores of all images, and this process's detections by index of the image.
        """
        rows = self._rows()
        mine = ChosenImages(
            self.source, range(jax.process_index(), len(self.source), jax.process_count())
        )
        scorer = self.task.empty_scorer(self.source.classes)
        detected: dict[int, Objects] = {}
        shown = len(mine) if is_first() else None
        with progress_bar(title, shown, unit=" images") as bar:
            for batch in instance_eval_batches(self.recipe.data, mine, batch_size=rows):
                fitted.alive()
                found = fitted.predict(batch["image"], size=batch["size"])
                for row, name, index in zip(
                    np.flatnonzero(batch["valid"]).tolist(),
                    batch["name"],
                    batch["index"],
                    strict=True,
                ):
                    place = mine.indices[index]
                    size = self.source.size(place)
                    height, width = (int(side) for side in batch["size"][row])
                    objects = self.task.objects(found, row, (height, width), size)
                    true = true_objects(self.source, place)
                    void = self.task.void(true)
                    scorer.update(objects, true, name=name, void=void)
                    detected[place] = objects
                    bar.update()
        return merge_scores(scorer), detected

    def _rows(self) -> int:
        devices = row_count(self.trainer.mesh) // jax.process_count()
        return -(-self.recipe.eval.batch_size // devices) * devices


def true_objects(source: Any, index: int) -> Objects:
    """Returns the objects that an image of a data set shows, as scores take them.

    Args:
      source: the data set.
      index: of the image.
    """
    found = source.instances(index)
    return Objects(found.classes, found.masks, crowd=found.crowd, size=source.size(index))
