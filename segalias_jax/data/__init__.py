"""Data sets, transforms and batches; numpy and OpenCV only, with Grain for order and workers."""

from segalias_jax.data.pipeline import (
    check_crop,
    eval_batches,
    resume_step,
    stream_state,
    train_batches,
)
from segalias_jax.data.sources import SOURCES, Source, check_source, create_source

__all__ = [
    "SOURCES",
    "Source",
    "check_crop",
    "check_source",
    "create_source",
    "eval_batches",
    "resume_step",
    "stream_state",
    "train_batches",
]
