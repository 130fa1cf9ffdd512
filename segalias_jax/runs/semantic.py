"""Recipes of semantic segmentation at work."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from flax import nnx
from jax.sharding import Mesh

from segalias_jax import data, metrics
from segalias_jax.runs import class_weights, setup
from segalias_jax.runs.binding import Binding
from segalias_jax.runs.recipe import Recipe
from segalias_jax.runs.studies import Studies, measure_shift, run_studies
from segalias_jax.runs.validation import RecipeValidation, report
from segalias_jax.runs.workdir import keep_files, keep_stream
from segalias_jax.tasks import SemanticSegmentation
from segalias_jax.training.state import TrainState
from segalias_jax.training.task import Task
from segalias_jax.training.trainer import Trainer


class SemanticBinding(Binding):
    """Binds a recipe of semantic segmentation; see `Binding` for its methods.

    Args:
      recipe: the recipe.

    Example:
      >>> binding = SemanticBinding(Recipe.from_config({"data": {"source": "synthetic"}}))
      >>> binding.open_scored()
      >>> binding.create_task().headline
      'mIoU'
    """

    recipe: Recipe

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self._weights: tuple[float, ...] = ()

    def check_devices(self, mesh: Mesh) -> None:
        """Raises where a crop does not split over `mesh.spatial`."""
        setup.check_height(self.recipe.data.crop[0], mesh)

    def open_sources(self) -> None:
        """Opens both splits, which must not have images in common."""
        self.training, self.scored = setup.open_sources(self.recipe)

    def open_scored(self) -> None:
        """Opens the split to score alone."""
        self.scored = data.create_source(self.recipe.data, self.recipe.data.eval_split)

    def create_task(self, workdir: Path | None = None) -> SemanticSegmentation:
        """Makes the task; with a folder of a run, class weights are read there or counted."""
        number = len(self.scored.classes)
        if workdir is not None:
            # A loss that does not fit is found before its weights are counted, which takes a while.
            some = (1.0,) * number if self.recipe.loss.class_weights else ()
            setup.create_task(self.recipe, num_classes=number, class_weights=some)
            self._weights = class_weights.find_class_weights(self.recipe, workdir, self.training)
        return setup.create_task(
            self.recipe, self.scored, num_classes=number, class_weights=self._weights
        )

    def create_model(self, task: Task) -> Callable[[], nnx.Module]:
        """Returns what makes the network of the section `model`."""
        assert isinstance(task, SemanticSegmentation)
        return setup.model_of(self.recipe, num_classes=task.num_classes)

    def check_labels(self, sources: Sequence[Any], *, checked: Collection[str]) -> list[str]:
        """Reads every label where the recipe asks for it."""
        return setup.check_labels(self.recipe, sources, checked=checked)

    def keep(self, workdir: Path) -> None:
        """Writes down class weights, the order of images and the condition of their files."""
        recipe = self.recipe
        class_weights.keep_class_weights(recipe, workdir, self._weights, self.training.classes)
        keep_stream(workdir, self.training, batch_size=recipe.train.batch_size, seed=recipe.seed)
        keep_files(
            workdir,
            {recipe.data.train_split: self.training, recipe.data.eval_split: self.scored},
            missing=recipe.data.on_error == "skip",
        )

    def stream(self) -> setup.TrainingStream:
        """Returns the training batches of this process."""
        return setup.TrainingStream(self.recipe, self.training)

    def validation(self, trainer: Trainer) -> RecipeValidation:
        """Returns what scores states by the section `eval`."""
        return RecipeValidation(self.recipe, trainer, self.scored)

    def score_title(self, name: str) -> str:
        """Returns the title in `metrics.SCORES`."""
        return metrics.score_title(name)

    def curves(self) -> dict[str, str]:
        """Returns the scores whose course `metrics.SCORES` says to show."""
        return {row.name: row.title for row in metrics.rows_shown("course", source="classes")}

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
        """Scores a state and writes report, pictures and studies."""
        shift = measure_shift(validation, state) if studies and studies.shift else None
        report(validation, state, folder, checkpoint=checkpoint, shift=shift, alive=alive)
        if studies:
            run_studies(studies, validation, state, folder, checkpoint=checkpoint)
