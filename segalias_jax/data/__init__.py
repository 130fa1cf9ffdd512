"""Data sets, transforms and batches; numpy and OpenCV only, with Grain for order and workers."""

from segalias_jax.data.pipeline import Batch, batch_names, check_crop, eval_batches, train_batches
from segalias_jax.data.sources import SOURCES, Source, check_source, create_source

__all__ = [
    "SOURCES",
    "Batch",
    "Source",
    "batch_names",
    "check_crop",
    "check_source",
    "create_source",
    "eval_batches",
    "train_batches",
]
