"""Evaluators: what a run asks of its network every so often.

The contract is that of one method. `run(fitted)` yields pairs (name, score); it is called after
every `eval_every` steps, and the scores go to the log, the trackers and, by the task's headline, to
the choice of the best checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from segalias_jax.errors import InputError
from segalias_jax.training.processes import merge_scores
from segalias_jax.training.task import Batch, Task

if TYPE_CHECKING:
    from segalias_jax.training.fitted import Fitted


@runtime_checkable
class Evaluator(Protocol):
    """Anything with this method is an evaluator."""

    def run(self, fitted: Fitted) -> Iterable[tuple[str, Any]]:
        """Yields scores by name; one that takes long calls `fitted.alive()` before each batch."""
        ...


class Validation:
    """Scores the task's predictions of some batches by the task's scorer.

    Rows whose "valid" is False are for the scorer to leave out. Of many processes each is given its
    own batches, and the scorers are merged.

    Args:
      task: says how predictions are scored.
      batches: an iterable that can be gone through again, or a function that returns one.

    Raises:
      InputError: the task has no scorer, or there was no batch.
    """

    def __init__(self, task: Task, batches: Iterable[Batch] | Callable[[], Iterable[Batch]]):
        if task.scorer() is None:
            raise InputError(
                f"validation: {type(task).__name__} has no scorer; write its method scorer, or "
                "pass evaluators of your own"
            )
        self.task, self.batches = task, batches

    def run(self, fitted: Fitted) -> Iterator[tuple[str, Any]]:
        """Yields the scores of all batches."""
        scorer, count = self.task.scorer(), 0
        assert scorer is not None
        for batch in self.batches() if callable(self.batches) else self.batches:
            fitted.alive()
            further = {name: batch[name] for name in self.task.further if name in batch}
            prediction = fitted.predict(batch[self.task.image], **further)
            scorer = scorer.update(prediction, batch) or scorer
            count += 1
        if not count:
            raise InputError(
                "validation gave no batch; pass a list, or a function that returns the batches anew"
            )
        yield from merge_scores(scorer).compute().items()
