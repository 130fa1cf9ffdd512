"""Anti-aliased dense prediction in JAX, and scores that say where a segmentation fails.

Everything is loaded when it is first used: scores of folders do not wait for JAX, nor layers for
OpenCV, Grain and orbax.
"""

from typing import TYPE_CHECKING

from segalias_jax import lazy

if TYPE_CHECKING:
    from segalias_jax import (
        analysis,
        checkpoints,
        data,
        evaluation,
        export,
        inference,
        layers,
        losses,
        metrics,
        models,
        ops,
        runs,
        scoring,
        tasks,
        tracing,
        training,
    )
    from segalias_jax.inference import Predictor
    from segalias_jax.tracing import dealias, profile_aliasing
    from segalias_jax.training import Task, fit

__all__ = [
    "Predictor",
    "Task",
    "analysis",
    "checkpoints",
    "data",
    "dealias",
    "evaluation",
    "export",
    "fit",
    "inference",
    "layers",
    "losses",
    "metrics",
    "models",
    "ops",
    "profile_aliasing",
    "runs",
    "scoring",
    "tasks",
    "tracing",
    "training",
]

__version__ = "0.2.0"

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "segalias_jax.inference": ("Predictor",),
        "segalias_jax.tracing": ("dealias", "profile_aliasing"),
        "segalias_jax.training": ("Task", "fit"),
    },
    submodules=(
        "analysis",
        "checkpoints",
        "data",
        "evaluation",
        "export",
        "inference",
        "layers",
        "losses",
        "metrics",
        "models",
        "ops",
        "runs",
        "scoring",
        "tasks",
        "tracing",
        "training",
    ),
)
