"""Where arrays live: a mesh of all devices with the axes "data", "fsdp" and "spatial".

Rows of a batch are split over data x fsdp and their height over spatial; large arrays of the state
are split over fsdp, the others are on every device.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from segalias_jax import ops
from segalias_jax.errors import InputError
from segalias_jax.settings import integer

AXES = ("data", "fsdp", "spatial")
ROWS = ("data", "fsdp")
SMALL = 4096
"""Arrays with fewer numbers stay whole: splitting them costs more messages than it saves bytes."""


def create_mesh(
    data: int = -1, fsdp: int = 1, spatial: int = 1, *, devices: Sequence[Any] | None = None
) -> Mesh:
    """Arranges devices along the three axes.

    Args:
      data: devices that share a batch; -1 for all that the others leave.
      fsdp: devices that share a batch and the arrays of the state.
      spatial: devices that share the height of an image.
      devices: the devices; None for all of all processes.

    Returns:
      The mesh; the partitioner chooses the layout of intermediate values.

    Raises:
      InputError: sizes whose product is not the number of devices.

    Example:
      >>> create_mesh().axis_names
      ('data', 'fsdp', 'spatial')
    """
    count = jax.device_count() if devices is None else len(devices)
    integer(least=1)("fsdp", fsdp)
    integer(least=1)("spatial", spatial)
    wanted = count // (fsdp * spatial) if data == -1 else data
    if wanted < 1 or wanted * fsdp * spatial != count:
        raise InputError(
            f"data, fsdp and spatial are {data}, {fsdp} and {spatial}, which {count} "
            f"device{'s do' if count > 1 else ' does'} not make; choose sizes with the product "
            f"{count}, or -1 for data"
        )
    # `make_mesh` would make explicit axes, which models not written for them reject.
    return jax.make_mesh(
        (wanted, fsdp, spatial), AXES, axis_types=(AxisType.Auto,) * 3, devices=devices
    )


def platform(mesh: Mesh) -> str:
    """Returns what kind of devices a mesh has, as `ops.target` calls it.

    Example:
      >>> platform(create_mesh())
      'cpu'
    """
    return ops.platform_name(mesh.devices.flat[0].platform)


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


def state_sharding(shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """Returns where an array of the state lives: its longest axis that divides is split over fsdp.

    Args:
      shape: of the array.
      mesh: the devices.

    Returns:
      The sharding; `replicated` for a small array and one without such an axis.

    Example:
      >>> state_sharding((3, 3, 64, 64), create_mesh()).is_fully_replicated
      True
    """
    size = mesh.shape["fsdp"]
    axes = [axis for axis, length in enumerate(shape) if length % size == 0]
    if size == 1 or not axes or math.prod(shape) < SMALL:
        return replicated(mesh)
    longest = max(axes, key=lambda axis: shape[axis])
    return NamedSharding(mesh, PartitionSpec(*[None] * longest, "fsdp"))


def state_shardings(state: Any, mesh: Mesh) -> Any:
    """Returns where every array of a state lives.

    Args:
      state: tree of arrays, or of their shapes.
      mesh: the devices.

    Returns:
      A tree of shardings.

    Example:
      >>> state_shardings({"kernel": np.zeros(3)}, create_mesh())["kernel"].is_fully_replicated
      True
    """
    return jax.tree.map(lambda x: state_sharding(x.shape, mesh), state)


def row_count(mesh: Mesh) -> int:
    """Returns over how many devices the rows of a batch are split.

    Example:
      >>> row_count(create_mesh()) == jax.device_count()
      True
    """
    return math.prod(mesh.shape[axis] for axis in ROWS)


def check_batch_size(name: str, batch_size: int, mesh: Mesh, *, accumulate: int = 1) -> None:
    """Raises unless every device gets the same number of images.

    Args:
      name: what the batch size is called where it was given.
      batch_size: images in a batch of all devices.
      mesh: the devices.
      accumulate: parts that a batch is computed in, one after the other.

    Raises:
      InputError: naming it.

    Example:
      >>> check_batch_size("batch_size", 16, create_mesh())
    """
    rows = row_count(mesh)
    multiple = rows * accumulate
    if batch_size < 1 or batch_size % multiple:
        parts = f" in {accumulate} parts (accumulate)" if accumulate > 1 else ""
        raise InputError(
            f"{name} is {batch_size}, which does not split evenly over {rows} "
            f"device{'s' * (rows > 1)}{parts}; choose a multiple of {multiple}"
        )


def batch_sharding(shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """Returns where an array of a batch lives.

    Args:
      shape: `[b]` or `[b, h, ...]`. A height that does not divide is left whole.
      mesh: the devices.

    Returns:
      The sharding.

    Example:
      >>> tuple(batch_sharding((8, 4, 4), create_mesh()).spec)
      (('data', 'fsdp'), 'spatial')
    """
    if len(shape) > 2 and shape[1] % mesh.shape["spatial"] == 0:
        return NamedSharding(mesh, PartitionSpec(ROWS, "spatial"))
    return NamedSharding(mesh, PartitionSpec(ROWS))


def shard_batch(
    batch: Mapping[str, np.ndarray], mesh: Mesh, *, spatial: Collection[str] | None = None
) -> dict[str, Any]:
    """Puts the rows of a host batch on the devices.

    Args:
      batch: numpy arrays with the same number of rows; of this process only where there are many.
      mesh: the devices.
      spatial: fields whose second axis is the height of an image; None for all that have one.

    Returns:
      Arrays split over the mesh.

    Example:
      >>> shard_batch({"label": np.zeros((8, 4, 4), np.int32)}, create_mesh())["label"].shape
      (8, 4, 4)
    """
    return {
        key: jax.make_array_from_process_local_data(
            batch_sharding(
                value.shape if spatial is None or key in spatial else value.shape[:1], mesh
            ),
            value,
        )
        for key, value in batch.items()
    }
