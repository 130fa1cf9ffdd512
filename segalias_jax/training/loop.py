"""The training loop: any model, any task, batches with a position, any optax optimizer.

What a run promises, it promises for every task. Killed anywhere, it resumes with the same call and
ends with the same bits; a signal saves the state first; damaged checkpoints are passed over; on a
mesh or with several processes it computes what one device does.

Two decisions carry most of that. The batch of a step is a function of the number of the step
(`streams`), so there is nothing of the past that a restart must know. And a checkpoint is saved
before its validation, which then costs no time to lose: a run that is killed while it scores
resumes with the scoring.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn, Protocol, runtime_checkable

import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from tqdm import tqdm

from segalias_jax.checkpoints.store import CheckpointStore
from segalias_jax.errors import InputError, check_choice
from segalias_jax.progress import progress_bar
from segalias_jax.training import profiling
from segalias_jax.training.evaluators import Evaluator, Validation
from segalias_jax.training.folder import (
    CHECKPOINTS,
    MetricsLog,
    RunFolder,
    finite_or_none,
    has_checkpoint,
)
from segalias_jax.training.interrupts import Interrupted
from segalias_jax.training.meter import Meter, NonFiniteError, describe_step
from segalias_jax.training.processes import is_first, local_copy, local_mesh
from segalias_jax.training.sharding import check_batch_size, create_mesh, row_count, shard_batch
from segalias_jax.training.state import TrainState, count_parameters, create_state, merge_model
from segalias_jax.training.step import LEAVE, create_predict, create_train_step
from segalias_jax.training.streams import Ahead, IteratedStream, Stream, as_stream
from segalias_jax.training.task import Batch, Task
from segalias_jax.training.watchdog import Watchdog

NONFINITE = ("stop", "skip")
_VERSIONS = ("jax", "flax", "optax", "grain")


@runtime_checkable
class Tracker(Protocol):
    """Takes every line of numbers of a run, such as `Trackers`."""

    def write(self, line: Mapping[str, Any]) -> None:
        """Takes numbers by name, "step" among them."""
        ...


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
                f"the mesh has {self.mesh.shape['spatial']} devices along 'spatial', but {name} has "
                "no field whose height could be split; give that axis one device"
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
                )
                stack.enter_context(store)
                if has_checkpoint(folder.path):
                    state = store.restore_latest(state)
            watchdog = stack.enter_context(Watchdog(stall_seconds))
            loop = _Loop(
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


class Fitted:
    """A state of a run with its network: what `fit` returns and evaluators are given.

    Args:
      trainer: what the state is of.
      state: its arrays.
      history: records of numbers, those of steps ("step", "loss", ...) and of evaluations.
      best_step: step of the best checkpoint; None where nothing was saved.
      alive: called before each batch of an evaluation.

    Attributes:
      state: arrays of the run.
      history: records of numbers.
      best_step: step of the best checkpoint.
    """

    def __init__(
        self,
        trainer: Trainer,
        state: TrainState,
        history: Sequence[Mapping[str, Any]],
        *,
        best_step: int | None = None,
        alive: Callable[[], None] = lambda: None,
    ):
        self.trainer, self.state, self.history = trainer, state, history
        self.best_step, self.alive = best_step, alive
        self._mesh = local_mesh(trainer.mesh)
        self._local: TrainState | None = None

    @property
    def step(self) -> int:
        """Updates made."""
        return int(self.state.step)

    @property
    def model(self) -> nnx.Module:
        """The network in evaluation mode, with the averaged parameters where there are any."""
        parameters = self.state.average or self.state.parameters
        model = merge_model(self.trainer.graph, parameters, self.state.statistics)
        model.eval()
        return model

    def predict(self, image: np.ndarray) -> Any:
        """Returns the task's prediction of images, computed on this process's devices.

        Args:
          image: a row for each image; any number of rows.
        """
        if self._local is None:
            self._local = local_copy(self.state._replace(optimizer=()), self._mesh)
        rows, count = row_count(self._mesh), len(image)
        fill = -count % rows  # every device gets the same number
        padded = np.concatenate([image, np.repeat(image[-1:], fill, 0)]) if fill else image
        name = self.trainer.task.image
        placed = shard_batch({name: padded}, self._mesh, spatial=self.trainer.task.spatial)
        result = self.trainer.predict(self._local, placed[name])
        return jax.tree.map(lambda x: np.asarray(x)[:count], result)

    def __repr__(self) -> str:
        """Says where the run is."""
        last = next((line["loss"] for line in reversed(self.history) if "loss" in line), None)
        told = "" if last is None else f", loss {last:.4g}"
        return f"<Fitted: step {self.step}{told}, {count_parameters(self.state):,} parameters>"


@dataclasses.dataclass(frozen=True)
class _Loop:
    """What the steps of a run work with."""

    trainer: Trainer
    stream: Stream
    folder: RunFolder
    store: CheckpointStore | None
    watchdog: Watchdog
    evaluators: tuple[Evaluator, ...]
    trackers: tuple[Tracker, ...]
    about: Mapping[str, Any]
    steps: int
    eval_every: int
    save_every: int
    log_every: int
    skipped_at_most: int
    title: str
    profile: bool
    shown: bool
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def run(self, state: TrainState) -> Fitted:
        """Makes the steps that are left."""
        start, account = int(state.step), self.folder.account
        validated = self.store is not None and start in self.store.scores
        log = None
        if self.folder.path is not None and is_first():
            log = MetricsLog(self.folder.path, step=start, validated=validated)
            self.history.extend(log.lines())
        account.resume(start)
        if self.shown:
            print(self._headline(state))
        meter, recent = Meter(skip=self.skipped_at_most), deque(maxlen=2)
        bar = progress_bar(
            "training" if self.shown else None,
            self.steps,
            unit="step",
            start=start,
            delay=0.0,
            leave=True,
        )
        with self.folder.interrupts.deferred, bar, self._naming_batches(recent):
            if start and self._evaluates(start) and not validated and self._saved() == start:
                self._evaluate(state, start, log)
            if self.shown and start < self.steps:
                bar.set_postfix_str("compiling the step")
            with Ahead(self._positions(start), self._placed) as batches:
                for step in self._numbers(start + 1):
                    self.watchdog.beat(f"step {step}")
                    account.start("data")
                    batch, position, on_devices = self._next(batches, state)
                    recent.append((step, batch))
                    account.start("compilation" if step == start + 1 else "steps")
                    state, numbers = self.trainer.train_step(state, on_devices)
                    agreed = numbers.pop(LEAVE, None)
                    meter.add(step, numbers, images=_rows(batch) * jax.process_count())
                    account.stepped()
                    if step == start + 1:
                        bar.set_postfix_str("", refresh=False)
                    bar.update()
                    leaving, line = self.folder.interrupts.leaving(agreed), None
                    if self._evaluates(step) or step % self.log_every == 0 or step == self.steps:
                        line = meter.read()
                        bar.set_postfix_str(describe_step(line), refresh=False)
                        self._write_line(log, line)
                    if leaving or self._saves(step):
                        meter.fetch()  # a state that is not finite is not saved
                        self._save(state, step, position)
                    if leaving:
                        self._leave(step)
                    if line is not None and self._evaluates(step):
                        self._evaluate(state, step, log, loss=line["loss"])
                        meter.restart()
        if self.store is not None:
            self.store.wait()
        return self._fitted(state, best=True)

    def _numbers(self, first: int) -> Iterable[int]:
        numbers = range(first, self.steps + 1)
        if not self.profile or self.folder.path is None:
            return numbers
        return profiling.traced(numbers, self.folder.path / profiling.PROFILE)

    def _evaluates(self, step: int) -> bool:
        return bool(self.evaluators) and (step % self.eval_every == 0 or step == self.steps)

    def _saves(self, step: int) -> bool:
        regular = self.save_every > 0 and step % self.save_every == 0
        return self._evaluates(step) or regular or step == self.steps

    def _saved(self) -> int | None:
        return None if self.store is None else self.store.latest_step()

    def _positions(self, start: int) -> Iterator[tuple[Batch, Any]]:
        """Batches from a step on, each with the position of the stream after it."""
        stream, one = self.stream, jax.process_count() == 1
        kept = isinstance(stream, IteratedStream) and one
        if kept and start and self.store is not None:
            stream.begin_at(self.store.about(start).get("position"))
        batches = stream.start(start)
        try:
            for batch in batches:
                yield batch, stream.position() if kept else None
        finally:
            if hasattr(batches, "close"):
                batches.close()  # pyright: ignore[reportAttributeAccessIssue]

    def _placed(self, item: tuple[Batch, Any]) -> tuple[Batch, Any, dict[str, Any]]:
        batch, position = item
        _check_batch(batch, self.trainer)
        given = dict(batch)
        if jax.process_count() > 1:
            given[LEAVE] = np.full(_rows(batch), self.folder.interrupts.requested is not None)
        spatial = self.trainer.task.spatial
        return batch, position, shard_batch(given, self.trainer.mesh, spatial=spatial)

    def _next(self, batches: Iterator[Any], state: TrainState) -> Any:
        try:
            return next(batches)
        except StopIteration:
            raise InputError(
                f"batches ended before step {int(state.step) + 1} of {self.steps}; pass more, or "
                "an iterable that can be gone through again"
            ) from None
        except Exception:
            # A signal to the whole group ends the processes that read, too; then theirs is no
            # error.
            if self.folder.interrupts.requested is None or jax.process_count() > 1:
                raise
            step = int(state.step)
            if self._saved() != step:
                self._save(state, step, None)
            self._leave(step)

    def _leave(self, step: int) -> NoReturn:
        told = f"stopped at step {step}, and nothing was saved for want of a folder"
        if self.store is not None:
            self.store.wait()
            told = f"saved step {step}"
        raise Interrupted(f"{self.folder.interrupts.requested}: {told}")

    @contextlib.contextmanager
    def _naming_batches(self, recent: Sequence[tuple[int, Batch]]) -> Iterator[None]:
        """Adds to an error about numbers what they came from, and keeps the batch."""
        try:
            yield
        except NonFiniteError as error:
            if self.folder.path is None:
                raise
            path = self.folder.path / f"nonfinite-{error.step}-{jax.process_index()}.npz"
            batch = next((batch for step, batch in recent if step == error.step), {})
            np.savez_compressed(path, **batch)
            describe = getattr(self.stream, "describe", None)
            told = f": {describe(error.step)}" if describe else ""
            raise InputError(f"{error}; its batch is in {path}{told}") from None

    def _save(self, state: TrainState, step: int, position: Any) -> None:
        if self.store is None:
            return
        account = self.folder.account
        account.start("saving")
        self.watchdog.beat(f"saving step {step}")
        versions = {name: metadata.version(name) for name in _VERSIONS}
        account.mark(step)
        if is_first():  # before the checkpoint: whoever resumes from it looks for its mark
            account.write()
        about = {**self.about, "versions": versions}
        if position is not None:
            about["position"] = position
        self.store.save(step, state, about=about)
        account.start("steps")

    def _evaluate(
        self, state: TrainState, step: int, log: MetricsLog | None, *, loss: float | None = None
    ) -> None:
        self.folder.account.start("evaluation")

        def alive() -> None:
            self.watchdog.beat(f"the evaluation of step {step}")
            # The state is saved; of many processes all have to go on, or the others would wait.
            if self.folder.interrupts.requested and jax.process_count() == 1:
                self._leave(step)

        fitted = self._fitted(state, alive=alive)
        scores: dict[str, Any] = {}
        for evaluator in self.evaluators:
            for name, value in evaluator.run(fitted):
                if name in scores:
                    raise InputError(f"two evaluators yield a score {name!r}; rename one of them")
                scores[name] = value
        headline = self.trainer.task.headline
        if headline not in scores:
            raise InputError(
                f"the task's headline is {headline!r}, but the evaluators yield "
                f"{', '.join(scores) or 'nothing'}; set the headline to one of them"
            )
        self._write_line(log, {"step": step} | _plain(scores))
        if self.store is not None:
            self.store.set_score(step, float(scores[headline]))
        if self.shown:
            told = "" if loss is None else f"loss {loss:.4f}, "
            tqdm.write(f"step {step}: {told}{self.trainer.task.describe(scores)}")

    def _fitted(
        self, state: TrainState, *, best: bool = False, alive: Callable[[], None] = lambda: None
    ) -> Fitted:
        step = self.store.best_step() if best and self.store is not None else None
        return Fitted(self.trainer, state, self.history, best_step=step, alive=alive)

    def _write_line(self, log: MetricsLog | None, line: Mapping[str, Any]) -> None:
        self.history.append({key: finite_or_none(value) for key, value in line.items()})
        if log is not None:
            log.write(line)
            self.folder.account.write()
        if is_first():
            for tracker in self.trackers:
                tracker.write(line)

    def _headline(self, state: TrainState) -> str:
        mesh, title = self.trainer.mesh, f"{self.title}: " if self.title else ""
        return (
            f"{title}{count_parameters(state):,} parameters, "
            f"{mesh.size} x {mesh.devices.flat[0].device_kind}, "
            f"from step {int(state.step)} to {self.steps}"
        )


def _rows(batch: Batch) -> int:
    return len(next(iter(batch.values())))


def _check_batch(batch: Batch, trainer: Trainer) -> None:
    if not isinstance(batch, Mapping) or not batch:
        raise InputError(
            f"batches: a batch is {type(batch).__name__}; give dictionaries of arrays, such as "
            '{"image": ..., "label": ...}'
        )
    rows = {key: np.shape(value)[:1] for key, value in batch.items()}
    if len(set(rows.values())) > 1 or () in rows.values():
        told = ", ".join(f"{key} {np.shape(value)}" for key, value in batch.items())
        raise InputError(f"batches: the fields of a batch differ in their number of rows: {told}")
    check_batch_size(
        "rows of a batch",
        _rows(batch) * jax.process_count(),
        trainer.mesh,
        accumulate=trainer.accumulate,
    )


def _plain(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays as what JSON can hold."""
    return {key: np.asarray(value).tolist() for key, value in scores.items()}


def _require(name: str, value: int | float, least: int) -> None:
    if not least <= value < math.inf:  # which nan is not
        raise InputError(f"{name} is {value}; it must be at least {least}")
