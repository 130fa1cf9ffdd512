"""Where arrays live: one mesh of all devices, batches split over it, everything else replicated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from segalias_jax.errors import InputError


def create_mesh() -> Mesh:
    """Arranges all devices along one axis named "data".

    Returns:
      The mesh; the partitioner chooses the layout of intermediate values.

    Example:
      >>> create_mesh().axis_names
      ('data',)
    """
    # `make_mesh` would make explicit axes, which models not written for them reject.
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding that puts a whole array on every device.

    Args:
      mesh: the devices.

    Returns:
      The sharding.

    Example:
      >>> replicated(create_mesh()).is_fully_replicated
      True
    """
    return NamedSharding(mesh, PartitionSpec())


def check_batch_size(key: str, batch_size: int, mesh: Mesh) -> None:
    """Raises unless every device gets the same number of images.

    Args:
      key: recipe key of the batch size.
      batch_size: images in a batch of all devices.
      mesh: the devices.

    Raises:
      InputError: naming the key.

    Example:
      >>> check_batch_size("train.batch_size", 16, create_mesh())
    """
    if batch_size < 1 or batch_size % mesh.size:
        raise InputError(
            f"{key} is {batch_size}, which does not split evenly over {mesh.size} "
            f"device{'s' * (mesh.size > 1)}; choose a multiple of {mesh.size}"
        )


def shard_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, Any]:
    """Puts the rows of a host batch on the devices.

    Args:
      batch: numpy arrays with the same number of rows; of this process only where there are many.
      mesh: the devices.

    Returns:
      Arrays split over the mesh axis "data".

    Example:
      >>> shard_batch({"label": np.zeros((8, 4, 4), np.int32)}, create_mesh())["label"].shape
      (8, 4, 4)
    """
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    return {
        key: jax.make_array_from_process_local_data(sharding, value) for key, value in batch.items()
    }
