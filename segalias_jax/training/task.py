"""What the engine asks of a task: the one interface between the loop and what is learned.

A task says how a batch becomes a loss, how an image becomes a prediction, and how predictions are
scored. The engine (`fit`, the step, meshes, checkpoints) knows nothing else of it: no label map, no
score by name, no recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from flax import nnx

from segalias_jax.typing import Array

Batch = Mapping[str, Any]
"""Arrays by name, of which all have the same number of rows."""


@runtime_checkable
class Scorer(Protocol):
    """Counts predictions; of many processes each counts its own images, and states are merged."""

    def update(self, prediction: Any, batch: Batch) -> Scorer | None:
        """Counts a batch; returns the new state, or None where the object itself changed."""
        ...

    def merge(self, other: Any) -> Any:
        """Returns the state of the images of both; asked for only where there are processes."""
        ...

    def compute(self) -> Mapping[str, Any]:
        """Returns scores, numbers or arrays, by name."""
        ...


class Task:
    """Base of all tasks; `loss` is the only method that one has to write.

    Attributes:
      headline: name of the score by which the best checkpoint is kept; one of those that the
        evaluators yield.
      larger_is_better: direction of the headline.
      image: field of a batch that `predict` reads.
      further: fields that it takes as keywords besides, where a batch has them.
      spatial: fields whose second axis is the height of an image, which `mesh.spatial` splits;
        () for a task that cannot be split so.
      sums: whether the loss of a batch is the sum of its parts' losses weighted by `weight`, so
        that a batch may be accumulated in parts.

    Example:
      >>> class Depth(Task):
      ...     headline, larger_is_better = "error", False
      ...
      ...     def loss(self, model, batch):
      ...         error = jnp.abs(model(batch["image"]) - batch["depth"]).mean()
      ...         return error, {}
      >>> Depth().loss(lambda x: x, {"image": jnp.ones(2), "depth": jnp.zeros(2)})
      (Array(1., dtype=float32), {})
    """

    headline: str = "loss"
    larger_is_better: bool = False
    image: str = "image"
    further: tuple[str, ...] = ()
    spatial: tuple[str, ...] = ("image",)
    sums: bool = True

    def loss(self, model: nnx.Module, batch: Batch) -> tuple[Array, Mapping[str, Array]]:
        """Returns the loss of a batch, and further numbers to record.

        Traced inside of the training step; `model` is in training mode.

        Args:
          model: the network.
          batch: arrays on the devices, "step" (updates made before, which samplers draw by), and
            what `before_step` adds.
        """
        raise NotImplementedError(f"{type(self).__name__} has no loss")

    def predict(self, model: nnx.Module, image: Array) -> Any:
        """Returns what the network says of images, arrays with a row for each.

        Traced; `model` is in evaluation mode. Further keywords are the fields named in `further`
        and those of `prediction_inputs`.

        Args:
          model: the network.
          image: the field `image` of a batch.
        """
        if not callable(model):
            raise TypeError(f"{type(model).__name__} cannot be called; override predict")
        return model(image)

    def scorer(self) -> Scorer | None:
        """Returns a scorer that has counted nothing; None where the task has no scores."""
        return None

    def weight(self, batch: Batch) -> Array:
        """Returns what the loss of a batch is divided by; parts of a batch are weighted with it.

        Args:
          batch: a part of a batch.
        """
        if "valid" in batch:
            return jnp.sum(batch["valid"], dtype=jnp.float32)
        return jnp.float32(len(next(iter(batch.values()))))

    def carry(self) -> Any:
        """Returns what the task carries from step to step, arrays that checkpoints keep."""
        return ()

    def before_step(
        self, carry: Any, step: Array, batch: Batch, model: Callable[[], nnx.Module]
    ) -> tuple[Any, Mapping[str, Array]]:
        """Returns the new carry, and scalars that `loss` finds in the batch and lines record.

        Args:
          carry: of the state.
          step: updates made before.
          batch: of this step; of one that is accumulated, its first part.
          model: makes the network in evaluation mode, for a task that looks at it.
        """
        return carry, {}

    def prediction_inputs(self, carry: Any) -> Mapping[str, Any]:
        """Returns keywords of `predict` that depend on the carry.

        Args:
          carry: of the state.
        """
        return {}

    def describe(self, scores: Mapping[str, Any]) -> str:
        """Returns the scores of a validation in words, for the line that is printed.

        Args:
          scores: by name.
        """
        numbers = {key: value for key, value in scores.items() if jnp.ndim(value) == 0}
        return ", ".join(f"{key} {float(value):.4g}" for key, value in numbers.items())
