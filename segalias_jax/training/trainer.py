"""`fit`: any model, any task, batches with a position, any optax optimizer.

What a run promises, it promises for every task. Killed anywhere, it resumes with the same call and
ends with the same bits; a signal saves the state first; damaged checkpoints are passed over; on a
mesh or with several processes it computes what one device does.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optax
from flax import nnx
from jax.sharding import Mesh

from segalias_jax.checkpoints.store import CheckpointStore
from segalias_jax.errors import InputError, check_choice
from segalias_jax.training.evaluators import Evaluator, Validation
from segalias_jax.training.fitted import Fitted
from segalias_jax.training.folder import (
    CHECKPOINTS,
    RunFolder,
    check_none_damaged,
    has_checkpoint,
)
from segalias_jax.training.loop import Loop, Tracker
from segalias_jax.training.processes import is_first
from segalias_jax.training.sharding import create_mesh
from segalias_jax.training.state import TrainState, create_state
from segalias_jax.training.step import create_predict, create_train_step
from segalias_jax.training.streams import Stream, as_stream
from segalias_jax.training.task import Batch, Task
from segalias_jax.training.watchdog import Watchdog

NONFINITE = ("stop", "skip")


def fit(
    model: nnx.Module | Callable[[], nnx.Module],
    task: Task,
    batches: Iterable[Batch] | Stream,
    *,
    optimizer: optax.GradientTransformation,
    steps: int,
    workdir: Path | str | None = None,
    validation: Iterable[Batch] | Callable[[], Iterable[Batch]] | None = None,
    evaluators: Sequence[Evaluator] = (),
    eval_every: int | None = None,
    save_every: int = 0,
    log_every: int = 50,
    schedule: Callable[[Any], Any] | None = None,
    mesh: Mesh | None = None,
    accumulate: int = 1,
    ema_decay: float = 0.0,
    nonfinite: str = "stop",
    nonfinite_limit: int = 10,
    stall_seconds: float = 600.0,
    keep_last: int = 2,
    keep_best: int = 1,
    resume: str = "auto",
    trackers: Sequence[Tracker] = (),
    about: Mapping[str, Any] | None = None,
    title: str = "",
    profile: bool = False,
    progress: bool = True,
) -> Fitted:
    """Trains a model on a task; resumes where an earlier call with the same folder stopped.

    Args:
      model: any module, whose arrays are copied, or a function that makes one. Networks too large
        to be made before they are split over `mesh.fsdp` are given as a function.
      task: says what the loss, a prediction and a score are.
      batches: dictionaries of arrays with the same number of rows, a multiple of the devices that
        share a batch: a `Stream`, a Grain data set or iterator, or any iterable, which a resumed
        run reads up to its step. Of many processes, each gives its own rows.
      optimizer: any transformation of optax.
      steps: updates.
      workdir: folder for checkpoints, `metrics.jsonl` and `goodput.json`; None leaves nothing.
      validation: batches that the task's scorer is asked about, see `Validation`.
      evaluators: further ones, see `evaluators`.
      eval_every: steps between evaluations, each of which saves a checkpoint first; the last step
        has one in any case. None for the last step alone.
      save_every: steps between further checkpoints; 0 for none.
      log_every: steps between lines of numbers.
      schedule: learning rate by step, where lines shall have it as "rate"; the optimizer has its
        own.
      mesh: from `create_mesh`; None for all devices along "data".
      accumulate: parts that a batch is computed in, one after the other, for less memory.
      ema_decay: fraction that averaged parameters keep per update; 0 for no average. Predictions
        and `Fitted.model` use the average where there is one.
      nonfinite: what a loss or gradient that is not finite does: "stop" the run or "skip" the
        update.
      nonfinite_limit: updates skipped in a row after which the run stops.
      stall_seconds: after which a step that is not over is reported with all stacks; 0 for never.
      keep_last: latest checkpoints kept.
      keep_best: checkpoints kept beside them, by the task's headline score.
      resume: "auto" resumes what is in `workdir`; "never" refuses a folder with checkpoints; the
        folder of another run starts from its latest checkpoint.
      trackers: get every line of numbers.
      about: written into every checkpoint; JSON must be able to hold it.
      title: of the run, in the line that is printed first.
      profile: trace a few steps, into `workdir`/profile.
      progress: print a line for each evaluation, and show a bar on stderr.

    Returns:
      The state at the end, its model and the history of numbers.

    Raises:
      InputError: an argument out of range, a folder of another model, data that ends or fails, a
        disk that fails, or numbers that are not finite.
      Interrupted: SIGTERM or SIGINT; the state was saved, and the same call resumes.

    Example:
      >>> import jax.numpy as jnp
      >>> import numpy as np
      >>> class Line(Task):
      ...     def loss(self, model, batch):
      ...         return jnp.mean((model(batch["x"]) - batch["y"]) ** 2), {}
      >>> x = np.linspace(-1, 1, 16, dtype=np.float32)[:, None]
      >>> model = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
      >>> batch = {"x": x, "y": 3 * x + 1}
      >>> fitted = fit(model, Line(), [batch], optimizer=optax.adam(0.1), steps=200, progress=False)
      >>> print(f"{fitted.model.kernel[0, 0]:.2f} x + {fitted.model.bias[0]:.2f}")
      3.00 x + 1.00
      >>> fitted.history[-1]["step"], fitted.history[-1]["loss"] < 0.1
      (200, True)

    Reference:
      The contract of evaluators is that of Google's big_vision.
    """
    _require("steps", steps, 1)
    path = None if workdir is None else Path(workdir)
    evaluators = tuple(evaluators)
    if validation is not None:
        evaluators = (Validation(task, validation), *evaluators)
    with RunFolder(path) as folder:
        trainer = Trainer(
            model,
            task,
            optimizer=optimizer,
            mesh=mesh,
            schedule=schedule,
            accumulate=accumulate,
            ema_decay=ema_decay,
            abstract=path is not None and has_checkpoint(path),
        )
        return trainer.fit(
            batches,
            steps=steps,
            folder=folder,
            state=trainer.first_state(path, resume=resume, steps=steps),
            evaluators=evaluators,
            eval_every=eval_every,
            save_every=save_every,
            log_every=log_every,
            nonfinite=nonfinite,
            nonfinite_limit=nonfinite_limit,
            stall_seconds=stall_seconds,
            keep_last=keep_last,
            keep_best=keep_best,
            trackers=trackers,
            about=about,
            title=title,
            profile=profile,
            progress=progress,
        )


class Trainer:
    """A model, a task and an optimizer, put together on a mesh.

    Nothing is compiled before its first use but the initialization.

    Args:
      model: as for `fit`, like all that follow.
      task: what is learned.
      optimizer: transformation of the gradients.
      mesh: the devices.
      schedule: learning rate by step, for the record.
      accumulate: parts of a batch.
      ema_decay: of averaged parameters.
      abstract: whether `state` is only shapes and places, for a run that reads it.

    Attributes:
      task: what is learned.
      mesh: the devices.
      graph: structure of the model.
      state: freshly initialized, or its shapes.
      train_step: one update, see `create_train_step`.
      predict: `predict(state, image)`, see `create_predict`.
      accumulate: parts of a batch.

    Raises:
      InputError: a number out of range, or a task that cannot be split as asked.
    """

    def __init__(
        self,
        model: nnx.Module | Callable[[], nnx.Module],
        task: Task,
        *,
        optimizer: optax.GradientTransformation,
        mesh: Mesh | None = None,
        schedule: Callable[[Any], Any] | None = None,
        accumulate: int = 1,
        ema_decay: float = 0.0,
        abstract: bool = False,
    ):
        _require("accumulate", accumulate, 1)
        if not 0 <= ema_decay < 1:
            raise InputError(f"ema_decay is {ema_decay}; it must be at least 0 and below 1")
        self.task, self.accumulate = task, accumulate
        self.mesh = create_mesh() if mesh is None else mesh
        name = type(task).__name__
        if accumulate > 1 and not task.sums:
            raise InputError(
                f"accumulate is {accumulate}, but the loss of a batch of {name} is no sum over "
                "parts of it; set it to 1"
            )
        if self.mesh.shape["spatial"] > 1 and not task.spatial:
            raise InputError(
                f"the mesh has {self.mesh.shape['spatial']} devices along 'spatial', but {name} "
                "has no field whose height could be split; give that axis one device"
            )
        self.graph, self.state = create_state(
            model,
            optimizer,
            self.mesh,
            average=ema_decay > 0,
            abstract=abstract,
            carry=task.carry(),
        )
        self.train_step = create_train_step(
            self.graph,
            task,
            optimizer,
            self.mesh,
            schedule=schedule,
            accumulate=accumulate,
            average=ema_decay,
        )
        self.predict = create_predict(self.graph, task)

    def first_state(self, workdir: Path | None, *, resume: str, steps: int) -> TrainState:
        """Returns what a run begins with, or its shapes where its folder has a checkpoint.

        Args:
          workdir: folder of the run; None, or one that may be missing.
          resume: as for `fit`.
          steps: updates of the run.

        Raises:
          InputError: checkpoints where there must be none, or none that the run could start from.
        """
        if workdir is not None and has_checkpoint(workdir):
            if resume == "never":
                raise InputError(
                    f"resume is 'never', but {workdir} holds checkpoints; take another folder, or "
                    "resume 'auto'"
                )
            return self.state
        if workdir is not None:
            check_none_damaged(workdir)
        if resume in ("auto", "never"):
            return self.state
        source = Path(resume) / CHECKPOINTS
        if not source.is_dir():
            raise InputError(
                f"resume: {resume} is no folder of a run; give 'auto', 'never' or such a folder"
            )
        with CheckpointStore(source) as store:
            state = store.restore(self.state)
        if int(state.step) >= steps:
            raise InputError(
                f"resume: {resume} is at step {int(state.step)} already, and steps is {steps}; "
                "raise steps"
            )
        return state

    def fit(
        self,
        batches: Iterable[Batch] | Stream,
        *,
        steps: int,
        folder: RunFolder,
        state: TrainState,
        evaluators: Sequence[Evaluator] = (),
        eval_every: int | None = None,
        save_every: int = 0,
        log_every: int = 50,
        nonfinite: str = "stop",
        nonfinite_limit: int = 10,
        stall_seconds: float = 600.0,
        keep_last: int = 2,
        keep_best: int = 1,
        trackers: Sequence[Tracker] = (),
        about: Mapping[str, Any] | None = None,
        title: str = "",
        profile: bool = False,
        progress: bool = True,
    ) -> Fitted:
        """Runs the steps; see `fit` for the arguments that are not below.

        Args:
          batches: as for `fit`, like all that are not named here.
          steps: updates.
          folder: of the run; entered, and locked here where it was not before.
          state: from `first_state`, possibly filled with pretrained weights.
          evaluators: asked every `eval_every` steps.
          eval_every: steps between evaluations.
          save_every: steps between further checkpoints.
          log_every: steps between lines.
          nonfinite: "stop" or "skip".
          nonfinite_limit: updates skipped in a row.
          stall_seconds: before a report.
          keep_last: latest checkpoints kept.
          keep_best: best checkpoints kept.
          trackers: get every line.
          about: written into every checkpoint.
          title: of the run.
          profile: trace a few steps.
          progress: whether anything is printed.

        Returns:
          What was fitted.
        """
        _require("steps", steps, 1)
        _require("log_every", log_every, 1)
        _require("eval_every", steps if eval_every is None else eval_every, 1)
        _require("save_every", save_every, 0)
        _require("keep_last", keep_last, 1)
        _require("keep_best", keep_best, 1)
        _require("nonfinite_limit", nonfinite_limit, 1)
        _require("stall_seconds", stall_seconds, 0)
        check_choice("nonfinite", nonfinite, NONFINITE)
        stream = as_stream(batches)
        folder.lock()
        store: CheckpointStore | None = None
        with contextlib.ExitStack() as stack:
            if folder.path is not None:
                store = CheckpointStore(
                    folder.path / CHECKPOINTS,
                    keep_last=keep_last,
                    keep_best=keep_best,
                    score=self.task.headline,
                    larger_is_better=self.task.larger_is_better,
                    repair=True,
                )
                stack.enter_context(store)
                if has_checkpoint(folder.path):
                    state = store.restore_latest(state)
            watchdog = stack.enter_context(Watchdog(stall_seconds))
            loop = Loop(
                trainer=self,
                stream=stream,
                folder=folder,
                store=store,
                watchdog=watchdog,
                evaluators=tuple(evaluators),
                trackers=tuple(trackers),
                about=dict(about or {}),
                steps=steps,
                eval_every=steps if eval_every is None else eval_every,
                save_every=save_every,
                log_every=log_every,
                skipped_at_most=nonfinite_limit if nonfinite == "skip" else 0,
                title=title,
                profile=profile and is_first() and folder.path is not None,
                shown=progress and is_first(),
            )
            return loop.run(state)


def _require(name: str, value: int | float, least: int) -> None:
    if not least <= value < math.inf:  # which nan is not
        raise InputError(f"{name} is {value}; it must be at least {least}")
