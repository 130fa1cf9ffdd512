"""What a run needs where several processes, on one machine or many, compute it together."""

from __future__ import annotations

import dataclasses
import functools
import pickle
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from segalias_jax.errors import InputError
from segalias_jax.training.sharding import create_mesh, replicated

Scores = TypeVar("Scores")


@dataclasses.dataclass(frozen=True)
class Launch:
    """How a run is started, beside its recipe and folder.

    Attributes:
      resume: "auto" goes on where the folder's run stopped; "never" refuses a folder with
        checkpoints; the folder of another run starts from its latest checkpoint.
      coordinator: HOST:PORT of the first of many processes; "auto" where the cluster (TPU, Slurm)
        tells it; "" for one process.
      num_processes: number of processes; -1 where the cluster tells it, or there is one.
      process_id: of this one, from 0; -1 likewise.
      profile: whether a few steps are traced.
      started: when the process began, in seconds of `time.time`; None for now.

    Example:
      >>> Launch().resume
      'auto'
    """

    resume: str = "auto"
    coordinator: str = ""
    num_processes: int = -1
    process_id: int = -1
    profile: bool = False
    started: float | None = None


def initialize(launch: Launch) -> None:
    """Connects the processes of a run; nothing for one process.

    Args:
      launch: how the run is started.

    Raises:
      InputError: flags that do not go together, or no cluster that tells what they leave out.

    Example:
      >>> initialize(Launch())
    """
    # Its service takes SIGTERM for itself, in every process: no run would be saved by it.
    jax.config.update("jax_enable_preemption_service", False)
    given = launch.num_processes >= 0, launch.process_id >= 0
    if not launch.coordinator:
        if any(given):
            raise InputError(
                "--num-processes and --process-id need --coordinator=HOST:PORT of process 0"
            )
        return
    if launch.coordinator == "auto":
        if any(given):
            raise InputError(
                "--coordinator=auto learns --num-processes and --process-id from the cluster; "
                "leave them out"
            )
        try:
            jax.distributed.initialize()
        except (ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"--coordinator=auto: no cluster was found ({reason}); give --coordinator="
                "HOST:PORT, --num-processes and --process-id"
            ) from None
        return
    if not all(given) or launch.process_id >= launch.num_processes:
        raise InputError(
            f"--coordinator={launch.coordinator} needs --num-processes and a --process-id below it"
        )
    try:
        jax.distributed.initialize(launch.coordinator, launch.num_processes, launch.process_id)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--coordinator={launch.coordinator}: not all {launch.num_processes} processes came "
            f"together ({reason}); start all of them again"
        ) from None


def is_first() -> bool:
    """Returns whether this process is the one that writes and tells.

    Example:
      >>> is_first()
      True
    """
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Returns when all processes are here.

    Args:
      name: of the place, the same for all.

    Example:
      >>> wait_for_all("start")
    """
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def local_mesh(mesh: Mesh) -> Mesh:
    """Returns the mesh of this process's devices alone, for what each computes on its own.

    Args:
      mesh: that of all processes.

    Returns:
      `mesh` itself where there is one process.

    Example:
      >>> local_mesh(create_mesh()) == create_mesh()
      True
    """
    if jax.process_count() == 1:
        return mesh
    spatial = mesh.shape["spatial"]
    fits = jax.local_device_count() % spatial == 0
    return create_mesh(spatial=spatial if fits else 1, devices=jax.local_devices())


def local_copy(tree: Any, mesh: Mesh) -> Any:
    """Brings arrays that are spread over all processes to this process's devices.

    Args:
      tree: arrays on the mesh of all processes.
      mesh: the devices of this process.

    Returns:
      `tree` itself where there is one process.

    Example:
      >>> local_copy({"a": 1}, create_mesh())
      {'a': 1}
    """
    if jax.process_count() == 1:
        return tree
    whole = jax.tree.map(lambda x: replicated(x.sharding.mesh), tree)
    gathered = jax.jit(lambda tree: tree, out_shardings=whole)(tree)
    return jax.tree.map(lambda x: _to_local(x, mesh), gathered)


def _to_local(x: jax.Array, mesh: Mesh) -> jax.Array:
    if jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key):
        numbers = _to_local(jax.random.key_data(x), mesh)
        return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(x))
    return jax.device_put(x.addressable_data(0), replicated(mesh))


def gather(x: np.ndarray) -> np.ndarray:
    """Collects an array of every process.

    Args:
      x: of this process; the same shape and type in all.

    Returns:
      The arrays of all, stacked in the order of the processes.

    Example:
      >>> gather(np.asarray([1, 2])).tolist()
      [[1, 2]]
    """
    devices = np.asarray(jax.devices()).reshape(jax.process_count(), -1)
    mesh = Mesh(devices, ("process", "device"))
    split = NamedSharding(mesh, PartitionSpec("process"))
    rows = jax.make_array_from_process_local_data(split, x[None])
    every = jax.jit(lambda rows: rows, out_shardings=replicated(mesh))(rows)
    # On all of this process's devices: a process that ended while one of them had still to send
    # would leave the others waiting for it.
    return np.asarray(jax.block_until_ready(every).addressable_data(0))


def merge_scores(scores: Scores) -> Scores:
    """Merges the scores of all processes.

    Args:
      scores: of this process; has `merge` and can be pickled.

    Returns:
      Those of all, the same in every process.

    Example:
      >>> merge_scores("no other process")
      'no other process'
    """
    if jax.process_count() == 1:
        return scores
    told = np.frombuffer(pickle.dumps(scores), np.uint8)
    sizes = gather(np.asarray(len(told)))
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(told)] = told
    rows = zip(gather(padded), sizes, strict=True)
    states = [pickle.loads(row[:size].tobytes()) for row, size in rows]
    return functools.reduce(lambda a, b: a.merge(b), states)
