"""Trained networks at work: prediction of images and folders, and programs for other runtimes."""

from segalias_jax.inference.exporting import export_model, load_exported
from segalias_jax.inference.predictor import Predictor, Result
from segalias_jax.inference.trained import TrainedModel, load_trained

__all__ = ["Predictor", "Result", "TrainedModel", "export_model", "load_exported", "load_trained"]
