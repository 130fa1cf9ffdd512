"""Data sets, transforms and batches; numpy and OpenCV only, with Grain for order and workers.

Loaded on first use: decoding a label map must not wait for Grain.
"""

from typing import TYPE_CHECKING

from segalias_jax import lazy

if TYPE_CHECKING:
    from segalias_jax.data.condition import data_condition, describe_changes
    from segalias_jax.data.instance_settings import (
        INSTANCE_SOURCES,
        InstanceSettings,
        read_instance_settings,
    )
    from segalias_jax.data.instance_source import (
        InstanceStream,
        batch_size_of,
        create_instance_source,
        instance_eval_batches,
        left_out,
    )
    from segalias_jax.data.instances import Instances, InstanceSource
    from segalias_jax.data.labels import restore_zero_label
    from segalias_jax.data.low_light import LowLight, darken
    from segalias_jax.data.pipeline import (
        Batch,
        batch_names,
        check_crop,
        eval_batches,
        resume_step,
        stream_state,
        train_batches,
    )
    from segalias_jax.data.radar import RadarFields, draw_reflectivity, read_svrimg
    from segalias_jax.data.skipping import describe_skipped
    from segalias_jax.data.sources import SOURCES, Source, check_source, create_source, fingerprint
    from segalias_jax.data.splits import check_splits, split_hash

__all__ = [
    "INSTANCE_SOURCES",
    "SOURCES",
    "Batch",
    "InstanceSettings",
    "InstanceSource",
    "InstanceStream",
    "Instances",
    "LowLight",
    "RadarFields",
    "Source",
    "batch_names",
    "batch_size_of",
    "check_crop",
    "check_source",
    "check_splits",
    "create_instance_source",
    "create_source",
    "darken",
    "data_condition",
    "describe_changes",
    "describe_skipped",
    "draw_reflectivity",
    "eval_batches",
    "fingerprint",
    "instance_eval_batches",
    "left_out",
    "read_instance_settings",
    "read_svrimg",
    "restore_zero_label",
    "resume_step",
    "split_hash",
    "stream_state",
    "train_batches",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "segalias_jax.data.condition": ("data_condition", "describe_changes"),
        "segalias_jax.data.instance_settings": (
            "INSTANCE_SOURCES",
            "InstanceSettings",
            "read_instance_settings",
        ),
        "segalias_jax.data.instance_source": (
            "InstanceStream",
            "batch_size_of",
            "create_instance_source",
            "instance_eval_batches",
            "left_out",
        ),
        "segalias_jax.data.instances": ("InstanceSource", "Instances"),
        "segalias_jax.data.labels": ("restore_zero_label",),
        "segalias_jax.data.low_light": ("LowLight", "darken"),
        "segalias_jax.data.pipeline": (
            "Batch",
            "batch_names",
            "check_crop",
            "eval_batches",
            "resume_step",
            "stream_state",
            "train_batches",
        ),
        "segalias_jax.data.radar": ("RadarFields", "draw_reflectivity", "read_svrimg"),
        "segalias_jax.data.skipping": ("describe_skipped",),
        "segalias_jax.data.sources": (
            "SOURCES",
            "Source",
            "check_source",
            "create_source",
            "fingerprint",
        ),
        "segalias_jax.data.splits": ("check_splits", "split_hash"),
    },
)
