"""What a task brings to the run of a recipe: data, network, loss, scores and report.

`runs.train` and `runs.evaluate` are the same for all tasks; `runs.tasks.TASKS` says which recipe
and which binding a recipe's key `task` means.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from flax import nnx
from jax.sharding import Mesh

from segalias_jax.runs.recipe import BaseRecipe
from segalias_jax.runs.studies import Studies
from segalias_jax.training.evaluators import Evaluator
from segalias_jax.training.state import TrainState
from segalias_jax.training.streams import Stream
from segalias_jax.training.task import Task
from segalias_jax.training.trainer import Trainer


class Binding(abc.ABC):
    """A recipe bound to its task; made once per run.

    Attributes:
      recipe: the recipe.
      training: the split to train on, after `open_sources`.
      scored: the split to score, after `open_sources` or `open_scored`.
    """

    recipe: BaseRecipe
    training: Any
    scored: Any

    @abc.abstractmethod
    def check_devices(self, mesh: Mesh) -> None:
        """Raises `InputError` where an image or the network does not split over the devices."""

    @abc.abstractmethod
    def open_sources(self) -> None:
        """Opens both splits."""

    @abc.abstractmethod
    def open_scored(self) -> None:
        """Opens the split to score alone."""

    @abc.abstractmethod
    def create_task(self, workdir: Path | None = None) -> Task:
        """Makes the task; what is counted in training data for it is read or kept in `workdir`."""

    @abc.abstractmethod
    def create_model(self, task: Task) -> Callable[[], nnx.Module]:
        """Returns what makes the network, freshly initialized."""

    @abc.abstractmethod
    def check_labels(self, sources: Sequence[Any], *, checked: Collection[str]) -> list[str]:
        """Reads every label where the recipe asks for it; see `setup.check_labels`."""

    @abc.abstractmethod
    def keep(self, workdir: Path) -> None:
        """Writes down in the folder of the run what it has to begin with again."""

    @abc.abstractmethod
    def stream(self) -> Stream:
        """Returns the training batches of this process."""

    @abc.abstractmethod
    def validation(self, trainer: Trainer) -> Evaluator:
        """Returns what scores states of the trainer on the split to score."""

    @abc.abstractmethod
    def score_title(self, name: str) -> str:
        """Returns what a score of the validation is called in words."""

    @abc.abstractmethod
    def curves(self) -> Mapping[str, str]:
        """Returns the scores that are drawn over the steps, by name their titles."""

    @abc.abstractmethod
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
        """Scores a state and writes its report and pictures, and what else is asked for."""
