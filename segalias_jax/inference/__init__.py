"""Trained networks at work: prediction of images and folders, and programs for other runtimes."""

from segalias_jax.inference.predictor import Predictor, Result
from segalias_jax.inference.trained import TrainedModel, load_trained

__all__ = ["Predictor", "Result", "TrainedModel", "load_trained"]
