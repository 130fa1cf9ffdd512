"""Trained networks at work: on arrays, files and folders."""

from segalias_jax.inference.exported import check_program, load_exported
from segalias_jax.inference.predictor import Predictor, Result
from segalias_jax.inference.trained import TrainedModel, load_trained

__all__ = [
    "Predictor",
    "Result",
    "TrainedModel",
    "check_program",
    "load_exported",
    "load_trained",
]
