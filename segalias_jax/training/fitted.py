"""A state of a run with its network, as users and evaluators see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import nnx

from segalias_jax.training.processes import local_copy, local_mesh
from segalias_jax.training.sharding import row_count, shard_batch
from segalias_jax.training.state import TrainState, count_parameters, merge_model

if TYPE_CHECKING:
    from segalias_jax.training.trainer import Trainer


class Fitted:
    """A state of a run with its network: what `fit` returns and evaluators are given.

    Args:
      trainer: what the state is of.
      state: its arrays.
      history: records of numbers, those of steps ("step", "loss", ...) and of evaluations.
      best_step: step of the best checkpoint; None where nothing was saved.
      best_by: name of the score by which it is the best.
      alive: called before each batch of an evaluation.

    Attributes:
      state: arrays of the run.
      history: records of numbers.
      best_step: step of the best checkpoint.
      best_by: name of the score by which it is the best.
    """

    def __init__(
        self,
        trainer: Trainer,
        state: TrainState,
        history: Sequence[Mapping[str, Any]],
        *,
        best_step: int | None = None,
        best_by: str = "",
        alive: Callable[[], None] = lambda: None,
    ):
        self.trainer, self.state, self.history = trainer, state, history
        self.best_step, self.best_by, self.alive = best_step, best_by, alive
        self._mesh = local_mesh(trainer.mesh)
        self._local: TrainState | None = None

    @property
    def step(self) -> int:
        """Updates made."""
        return int(self.state.step)

    @property
    def model(self) -> nnx.Module:
        """The network in evaluation mode, with the averaged parameters where there are any."""
        parameters = self.state.average or self.state.parameters
        model = merge_model(self.trainer.graph, parameters, self.state.statistics)
        model.eval()
        return model

    def predict(self, image: np.ndarray, **fields: np.ndarray) -> Any:
        """Returns the task's prediction of images, computed on this process's devices.

        Args:
          image: a row for each image; any number of rows.
          **fields: further fields of a batch, those of `Task.further`.
        """
        local = self._local or local_copy(self.state._replace(optimizer=()), self._mesh)
        self._local = local
        task, count = self.trainer.task, len(image)
        fill = -count % row_count(self._mesh)  # every device gets the same number
        padded = {
            name: np.concatenate([rows, np.repeat(rows[-1:], fill, 0)]) if fill else rows
            for name, rows in {task.image: image, **fields}.items()
        }
        placed = shard_batch(padded, self._mesh, spatial=task.spatial)
        result = self.trainer.predict(local, placed.pop(task.image), **placed)
        return jax.tree.map(lambda x: np.asarray(x)[:count], result)

    def __repr__(self) -> str:
        """Says where the run is."""
        last = next((line["loss"] for line in reversed(self.history) if "loss" in line), None)
        told = "" if last is None else f", loss {last:.4g}"
        return f"<Fitted: step {self.step}{told}, {count_parameters(self.state):,} parameters>"
