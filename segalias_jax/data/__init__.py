"""Data sets, transforms and batches; numpy and OpenCV only, with Grain for order and workers."""

from segalias_jax.data.labels import restore_zero_label
from segalias_jax.data.pipeline import (
    Batch,
    batch_names,
    check_crop,
    eval_batches,
    resume_step,
    stream_state,
    train_batches,
)
from segalias_jax.data.skipping import describe_skipped
from segalias_jax.data.sources import (
    SOURCES,
    Source,
    check_source,
    create_source,
    fingerprint,
)
from segalias_jax.data.splits import check_splits, split_hash

__all__ = [
    "SOURCES",
    "Batch",
    "Source",
    "batch_names",
    "check_crop",
    "check_source",
    "check_splits",
    "create_source",
    "describe_skipped",
    "eval_batches",
    "fingerprint",
    "restore_zero_label",
    "resume_step",
    "split_hash",
    "stream_state",
    "train_batches",
]
