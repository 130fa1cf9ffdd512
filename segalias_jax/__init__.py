"""Anti-aliased dense prediction in JAX, and scores that say where a segmentation fails."""

import importlib

from segalias_jax import layers, losses, metrics, models, ops, tracing
from segalias_jax.tracing import dealias, profile_aliasing

# Imported on first use: they need OpenCV, Grain or orbax, which layers and scores do not.
_ON_FIRST_USE = ("analysis", "checkpoints", "data", "evaluation", "inference", "training", "tasks")

__all__ = [
    "Predictor",
    "dealias",
    "layers",
    "losses",
    "metrics",
    "models",
    "ops",
    "profile_aliasing",
    "tracing",
    *_ON_FIRST_USE,
]
__version__ = "0.1.0"


def __getattr__(name: str):
    if name == "Predictor":
        return importlib.import_module("segalias_jax.inference").Predictor
    if name == "fit":
        return importlib.import_module("segalias_jax.training").fit
    if name in _ON_FIRST_USE:
        return importlib.import_module(f"segalias_jax.{name}")
    raise AttributeError(f"module 'segalias_jax' has no attribute {name!r}")
