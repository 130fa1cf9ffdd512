"""Saved states of a run: the last ones and those with the best score.

Every checkpoint carries a checksum of its arrays (`checksum.py`): the library notices files that
are cut or missing, but not a changed byte in one. A checkpoint is saved before its validation, so
that a run killed while it scores loses no training and resumes with the scoring; so scores lie in
`scores.json`, beside what they are scores of.
"""

from __future__ import annotations

import functools
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from segalias_jax import files
from segalias_jax.checkpoints.checksum import checksum
from segalias_jax.checkpoints.description import (
    ABOUT,
    ITEM,
    DamagedError,
    digest,
    read_description,
)
from segalias_jax.checkpoints.library_log import hold_back
from segalias_jax.errors import InputError

Tree = TypeVar("Tree")
Result = TypeVar("Result")
SCORES = "scores.json"
DAMAGED = "damaged-"
"""What the names of checkpoints begin with that were set aside."""

_CHECKSUM, _SHAPES = "checksum", "shapes"
_NAME, _LARGER = "score", "larger_is_better"  # keys in `SCORES`, beside the steps
_REMOVALS = 20  # of the best checkpoint, until a reader gives up
_EARLIER_NAMES = {"task": "ratio"}  # of a state's parts, in checkpoints of version 0.1


class CheckpointStore:
    """Saves trees of arrays under a folder, keeping the last ones and the best.

    Saving happens in the background; a checkpoint is whole or absent. Every one carries a checksum
    of its arrays, so that one that was damaged later is detected when it is read.

    Args:
      folder: where the checkpoints lie, one sub-folder per step; made when missing.
      keep_last: latest checkpoints that are kept.
      keep_best: checkpoints with the best scores that are kept beside them.
      score: name of the score; a folder that has scores keeps its own, and their direction.
      larger_is_better: direction of the score.
      repair: whether the folder is the caller's alone, who renames damaged checkpoints; others
        only read and raise.

    Raises:
      InputError: `scores.json` is damaged, or a checkpoint that is not to be renamed.

    Example:
      >>> import tempfile
      >>> import jax.numpy as jnp
      >>> with CheckpointStore(Path(tempfile.mkdtemp()), keep_last=1) as store:
      ...     for step, score in [(10, 0.7), (20, 0.6)]:
      ...         store.save(step, {"a": jnp.full(2, step)})
      ...         store.set_score(step, score)
      ...     store.wait()
      ...     print(store.latest_step(), store.best_step(), store.restore({"a": jnp.zeros(2, int)}))
      20 10 {'a': Array([20, 20], dtype=int32)}
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep_last: int = 2,
        keep_best: int = 1,
        score: str = "",
        larger_is_better: bool = True,
        repair: bool = False,
    ):
        hold_back()
        self.folder = Path(folder).absolute()
        self.keep_last, self.keep_best = keep_last, keep_best
        self.score, self.larger_is_better = score, larger_is_better
        self.scores: dict[int, float] = {}
        self._repair = repair
        self._read_scores()
        self._manager = self._despite_removals(self._open_manager)

    def __enter__(self) -> CheckpointStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def latest_step(self) -> int | None:
        """Returns the step of the latest checkpoint, None without any."""
        return self._manager.latest_step()

    def has(self, step: int) -> bool:
        """Returns whether the disk holds a checkpoint.

        Args:
          step: number of the checkpoint.
        """
        try:
            read_description(self.folder / str(step))
        except DamagedError:
            return False
        return (self.folder / str(step) / ITEM).is_dir()

    def best_step(self) -> int | None:
        """Returns the step of the best checkpoint, the latest without scores, None without any."""
        best = self._best(self._manager.all_steps(), 1)
        return best[0] if best else self.latest_step()

    def save(self, step: int, state: Any, *, about: Mapping[str, Any] | None = None) -> None:
        """Starts saving a state.

        Args:
          step: number of the checkpoint, larger than all before.
          state: named tuple or dictionary of trees of arrays.
          about: what else is saved with it, as JSON can hold it, such as recipe and versions.

        Raises:
          InputError: the checkpoint before could not be written.
        """
        tree = _as_dict(state)
        about = dict(about or {}) | {_CHECKSUM: checksum(tree), _SHAPES: digest(_shapes(tree))}
        about[ABOUT] = digest(about)
        with _Writing(self.folder):
            self._manager.save(step, args=ocp.args.StandardSave(tree), custom_metadata=about)

    def set_score(self, step: int, score: float) -> None:
        """Records the score of a checkpoint.

        Args:
          step: number of the checkpoint.
          score: by which the best one is chosen; nan counts as the worst.
        """
        self.scores[step] = float(score)
        self._write_scores()

    def about(self, step: int) -> dict[str, Any]:
        """Returns what was saved with a checkpoint.

        Args:
          step: number of the checkpoint.

        Raises:
          DamagedError: it is unreadable, or has other bytes than were written.
        """
        return read_description(self.folder / str(step))

    def restore(self, like: Tree, *, step: int | None = None) -> Tree:
        """Reads a checkpoint.

        Args:
          like: arrays of the expected shapes, on the devices where the result belongs.
          step: which checkpoint; None for the latest.

        Returns:
          A tree like `like`.

        Raises:
          InputError: there is none, it is damaged, or its arrays have other names or shapes.
        """
        step = self.latest_step() if step is None else step
        if step is None:
            raise InputError(f"{self.folder} holds no checkpoint; train into this folder first")
        tree: Any = self._read(step, _as_dict(like))  # a dictionary, or whatever tree `like` is
        return type(like)(**tree) if hasattr(like, "_asdict") else tree

    def restore_latest(self, like: Tree) -> Tree:
        """Reads the latest checkpoint that is whole; damaged ones are set aside with a warning.

        They are renamed, so that the run can save that step again.

        Args:
          like: as for `restore`.

        Returns:
          A tree like `like`.

        Raises:
          InputError: no checkpoint is whole, or its arrays have other names or shapes.
        """
        for step in self._steps_there():
            try:
                if step not in self._manager.all_steps():
                    path = self.folder / str(step)
                    raise DamagedError(path, ValueError("it lacks the mark of a finished one"))
                return self.restore(like, step=step)
            except DamagedError as error:
                print(f"warning: {error.summary}; resuming from the one before", file=sys.stderr)
                self._set_aside(step)
        raise InputError(
            f"{self.folder} holds no whole checkpoint; put one back from a copy, or train in "
            "another folder"
        )

    def restore_best(self, like: Tree) -> Tree:
        """Reads the best checkpoint, also while a training adds some and removes others.

        Args:
          like: as for `restore`.

        Returns:
          A tree like `like`.

        Raises:
          InputError: as for `restore`.
        """
        return self._from_best(lambda step: self.restore(like, step=step))

    def read(self, step: int | None = None) -> dict[str, np.ndarray]:
        """Reads the parameters and statistics of a checkpoint of any model.

        Where averages of the parameters were kept, those are the parameters that are read. What the
        task carries comes with them, as "task".

        Args:
          step: which checkpoint; None for the best.

        Returns:
          Arrays by path, such as "parameters/encoder/stem/0/conv/kernel".

        Raises:
          InputError: there is none, or it cannot be read.
        """
        tree = self._from_best(self._read_all) if step is None else self._read_all(step)
        kept = {
            "parameters": tree.get("average") or tree["parameters"],
            "statistics": tree["statistics"],
            "task": tree.get("task", ()),
        }
        return {
            jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(kept)
            if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        }

    def wait(self) -> None:
        """Returns once everything is on the disk.

        Raises:
          InputError: something could not be written.
        """
        with _Writing(self.folder):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and frees the threads that save.

        Raises:
          InputError: something could not be written.
        """
        try:
            self.wait()
        finally:
            with _Writing(self.folder):
                self._manager.close()

    def _best(self, steps: Iterable[int], count: int) -> list[int]:
        def order(step: int) -> tuple[bool, float, int]:
            score = self.scores[step]
            return math.isnan(score), -score if self.larger_is_better else score, step

        return sorted((step for step in steps if step in self.scores), key=order)[:count]

    def _read_all(self, step: int | None) -> dict[str, Any]:
        if step is None:
            raise InputError(f"{self.folder} holds no checkpoint; give a folder that does")
        return self._read(step, None)

    def _from_best(self, read: Callable[[int | None], Result]) -> Result:
        """Calls a function with the step that is the best one now."""

        def reload_and_read() -> Result:
            self._read_scores()
            self._manager.reload()
            step = self.best_step()
            if step is None and self._steps_there():  # listed while one replaced the other
                raise FileNotFoundError(self.folder)
            return read(step)

        return self._despite_removals(reload_and_read)

    def _despite_removals(self, call: Callable[[], Result]) -> Result:
        """Calls again where a training has removed a checkpoint meanwhile."""
        for _ in range(_REMOVALS):
            try:
                return call()
            except FileNotFoundError:
                if not self.folder.is_dir():
                    raise
            except DamagedError as error:
                if error.path.exists():
                    raise
        raise InputError(
            f"{self.folder}: checkpoints are removed faster than they are read; set "
            "checkpoint.keep_last higher, or wait for the end of the training"
        )

    def _read(self, step: int, like: dict[str, Any] | None) -> dict[str, Any]:
        """Reads arrays like those given; without any, all there are, onto the first device."""
        path = self.folder / str(step)
        # What a truncated or missing file makes the library raise is of no particular type.
        try:
            about = read_description(path)
            metadata = self._manager.metadata(step)
            if metadata.item_metadata is None:
                raise ValueError("it does not say which arrays it has")
            saved = metadata.item_metadata.tree
            # Else a changed name would be taken for another model, which no older one replaces.
            if digest(_shapes(saved)) != about.get(_SHAPES, digest(_shapes(saved))):
                raise ValueError("the names of its arrays differ")
            earlier = {
                new: old
                for new, old in _EARLIER_NAMES.items()
                if old in saved and new not in saved and (like is None or new in like)
            }
        except Exception as error:
            raise DamagedError(path, error) from None
        if like is not None:
            named = {earlier.get(key, key): part for key, part in like.items()}
            self._check(path, saved, named)
            # What is empty may be younger than the checkpoint.
            shapes = jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), named
            )
            target = {key: part for key, part in shapes.items() if part != () or key in saved}
        else:
            # Onto this machine's first device, not onto those they were saved from.
            place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
            target = jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
                saved,
                is_leaf=lambda x: hasattr(x, "shape"),
            )
        try:
            tree = self._manager.restore(step, args=ocp.args.StandardRestore(target))
            written = about[_CHECKSUM]
        except Exception as error:
            raise DamagedError(path, error) from None
        if checksum(tree) != written:
            raise DamagedError(path, ValueError("its checksum differs"))
        later = {old: new for new, old in earlier.items()}
        return {later.get(key, key): part for key, part in tree.items()}

    def _write_scores(self) -> None:
        if jax.process_index() == 0:
            scores = {step: None if math.isnan(x) else x for step, x in self.scores.items()}
            about = {_NAME: self.score} | ({} if self.larger_is_better else {_LARGER: False})
            files.write_text(self.folder / SCORES, json.dumps(about | scores))

    def _read_scores(self) -> None:
        path = self.folder / SCORES
        if not path.exists():
            return
        try:
            content = json.loads(path.read_text())
            # Older versions did not write the name; theirs were of one kind.
            self.score = content.pop(_NAME, "mIoU")
            self.larger_is_better = bool(content.pop(_LARGER, True))
            self.scores = {
                int(step): math.nan if score is None else float(score)
                for step, score in content.items()
            }
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path} is damaged ({error}); delete it, and the best checkpoint is the latest"
            ) from None

    def _open_manager(self) -> ocp.CheckpointManager:
        open_now = functools.partial(
            ocp.CheckpointManager,
            self.folder,
            options=ocp.CheckpointManagerOptions(preservation_policy=_Keep(self)),
            item_handlers=ocp.StandardCheckpointHandler(),
        )
        try:
            return open_now()
        except OSError:
            raise
        except Exception:  # it reads the description of every checkpoint, whatever that has become
            self._look_for_unreadable()
            return open_now()

    def _steps_there(self) -> list[int]:
        """Steps of all folders, also of those that the library takes for unfinished ones."""
        names = [path.name for path in self.folder.glob("*") if path.is_dir()]
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def _look_for_unreadable(self) -> None:
        for step in self._steps_there():
            try:
                read_description(self.folder / str(step))
            except DamagedError as error:
                if not self._repair:
                    raise
                print(f"warning: {error.summary}; it is set aside", file=sys.stderr)
                self._rename(step)

    def _set_aside(self, step: int) -> None:
        self._rename(step)
        self._manager.reload()

    def _rename(self, step: int) -> None:
        # The run saves that step again, and has to score it again.
        if self.scores.pop(step, None) is not None:
            self._write_scores()
        path = self.folder / str(step)
        if jax.process_index() == 0:
            os.replace(path, _free_name(path.with_name(f"{DAMAGED}{step}")))
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"set aside {step}")

    def _check(self, path: Path, saved: Any, like: Any) -> None:
        there, here = _shapes(saved), _shapes(like)
        # A parameter says more than the optimizer's copies of it.
        order = {"parameters": 0, "statistics": 1}
        names = there.keys() | here.keys()
        for name in sorted(names, key=lambda name: (order.get(name.split("/")[0], 2), name)):
            if there.get(name) != here.get(name):
                raise InputError(
                    f"the checkpoint {path} is of another model: {name} is "
                    f"{_describe(there.get(name))} there and {_describe(here.get(name))} here; "
                    "use the recipe that it was trained with"
                )


class _Keep:
    """Which checkpoints stay when a new one is there; the library asks this."""

    def __init__(self, store: CheckpointStore):
        self._store = store

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
        steps = sorted(info.step for info in checkpoints)
        kept = set(steps[-self._store.keep_last :])
        kept.update(self._store._best(steps, self._store.keep_best))
        return [info.step in kept for info in checkpoints]


class _Writing:
    """Turns what the library raises while it writes into one sentence."""

    def __init__(self, folder: Path):
        self._folder = folder

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, Exception):
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"{self._folder}: a checkpoint could not be written ({reason[:160]}); make room or "
                "repair the disk, then run the same command again"
            ) from None


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}-{number}") for number in range(1, 1000))
    return path if not path.exists() else next(name for name in names if not name.exists())


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
    dtype = getattr(leaf, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return tuple(leaf.shape)


def _describe(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else f"of shape {shape}"
