"""The engine of training: any model, any task, any optimizer, on one device or many."""

from segalias_jax.training.evaluators import Evaluator, Validation
from segalias_jax.training.fitted import Fitted
from segalias_jax.training.interrupts import Interrupted
from segalias_jax.training.loop import Tracker
from segalias_jax.training.sharding import create_mesh
from segalias_jax.training.streams import Stream
from segalias_jax.training.task import Scorer, Task
from segalias_jax.training.trainer import Trainer, fit

__all__ = [
    "Evaluator",
    "Fitted",
    "Interrupted",
    "Scorer",
    "Stream",
    "Task",
    "Tracker",
    "Trainer",
    "Validation",
    "create_mesh",
    "fit",
]
