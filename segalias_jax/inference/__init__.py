"""Trained networks at work: on arrays, files and folders."""

from segalias_jax.inference.detected import DetectedObjects
from segalias_jax.inference.exported import check_program, load_exported, load_exported_detector
from segalias_jax.inference.instance_predictor import InstancePredictor
from segalias_jax.inference.predictor import Predictor, Result
from segalias_jax.inference.trained import TrainedDetector, TrainedModel, load_trained

__all__ = [
    "DetectedObjects",
    "InstancePredictor",
    "Predictor",
    "Result",
    "TrainedDetector",
    "TrainedModel",
    "check_program",
    "load_exported",
    "load_exported_detector",
    "load_trained",
]
