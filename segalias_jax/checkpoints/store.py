"""Saved states of a run: the latest one and the one with the best mIoU."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from segalias_jax.errors import InputError

Tree = TypeVar("Tree")


class CheckpointStore:
    """Saves trees of arrays under a folder, keeping the latest and the best.

    Saving happens in the background; a checkpoint is whole or absent.

    Args:
      folder: where the checkpoints lie, one sub-folder per step; made when missing.

    Example:
      >>> import tempfile
      >>> import jax.numpy as jnp
      >>> with CheckpointStore(Path(tempfile.mkdtemp())) as store:
      ...     for step, score in [(10, 0.7), (20, 0.6)]:
      ...         store.save(step, {"a": jnp.full(2, step)}, score=score)
      ...     store.wait()
      ...     print(store.latest_step(), store.best_step(), store.restore({"a": jnp.zeros(2, int)}))
      20 10 {'a': Array([20, 20], dtype=int32)}
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder).absolute()
        keep = checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(1),
                checkpoint_managers.BestN(get_metric_fn=_score, n=1),
            ]
        )
        options = ocp.CheckpointManagerOptions(preservation_policy=keep, best_fn=_score)
        self._manager = ocp.CheckpointManager(
            self.folder, options=options, item_handlers=ocp.StandardCheckpointHandler()
        )

    def __enter__(self) -> CheckpointStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def latest_step(self) -> int | None:
        """Returns the step of the latest checkpoint, None without any."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """Returns the step of the checkpoint with the best score, None without any."""
        return self._manager.best_step()

    def save(self, step: int, state: Any, *, score: float) -> None:
        """Starts saving a state.

        Args:
          step: number of the checkpoint, larger than all before.
          state: named tuple or dictionary of trees of arrays.
          score: mIoU by which the best checkpoint is chosen; not a number counts as the worst.
        """
        metrics = {"mIoU": -1.0 if math.isnan(score) else float(score)}
        self._manager.save(step, args=ocp.args.StandardSave(_as_dict(state)), metrics=metrics)

    def restore(self, like: Tree, *, step: int | None = None) -> Tree:
        """Reads a checkpoint.

        Args:
          like: arrays of the expected shapes, on the devices where the result shall be.
          step: which checkpoint; None for the latest.

        Returns:
          A tree like `like`.

        Raises:
          InputError: there is none, or its arrays have other names or shapes.
        """
        step = self.latest_step() if step is None else step
        if step is None:
            raise InputError(f"{self.folder} holds no checkpoint; train with this --workdir first")
        self._check(step, like)
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), _as_dict(like)
        )
        tree = self._manager.restore(step, args=ocp.args.StandardRestore(target))
        return type(like)(**tree) if hasattr(like, "_asdict") else tree

    def read(self, step: int | None = None) -> dict[str, np.ndarray]:
        """Reads the parameters and statistics of a checkpoint, whatever model it is of.

        Args:
          step: which checkpoint; None for the best.

        Returns:
          Arrays by path, such as "parameters/encoder/stem/0/conv/kernel".

        Raises:
          InputError: there is none, or it cannot be read.
        """
        step = self.best_step() if step is None else step
        if step is None:
            raise InputError(f"{self.folder} holds no checkpoint; give a folder that does")
        saved = self._manager.item_metadata(step).tree
        # Onto this machine's first device, whatever devices they were saved from.
        place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
            saved,
            is_leaf=lambda x: hasattr(x, "shape"),
        )
        tree = self._manager.restore(step, args=ocp.args.StandardRestore(target))
        kept = {part: tree[part] for part in ("parameters", "statistics")}
        return {
            jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(kept)
            if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        }

    def wait(self) -> None:
        """Returns once everything is on the disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and frees the threads that save."""
        self._manager.wait_until_finished()
        self._manager.close()

    def _check(self, step: int, like: Any) -> None:
        saved = _shapes(self._manager.item_metadata(step).tree)
        wanted = _shapes(_as_dict(like))
        # A parameter tells more than the optimizer's copies of it.
        order = {"parameters": 0, "statistics": 1}
        paths = saved.keys() | wanted.keys()
        for path in sorted(paths, key=lambda path: (order.get(path.split("/")[0], 2), path)):
            if saved.get(path) != wanted.get(path):
                raise InputError(
                    f"the checkpoint {self.folder / str(step)} is of another model: {path} is "
                    f"{_describe(saved.get(path))} there and {_describe(wanted.get(path))} here; "
                    "use the recipe that it was trained with"
                )


def _score(metrics: dict[str, float]) -> float:
    return metrics["mIoU"]


def _as_dict(tree: Any) -> Any:
    return tree._asdict() if hasattr(tree, "_asdict") else tree


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): _stored_shape(leaf)
        for path, leaf in leaves
    }


def _stored_shape(leaf: Any) -> tuple[int, ...]:
    # Random keys are stored as the numbers that they consist of.
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return tuple(leaf.shape)


def _describe(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else f"of shape {shape}"
