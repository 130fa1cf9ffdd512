"""The loop over the steps of a run: batches in, checkpoints and lines of numbers out.

Two decisions carry most of its promises. The batch of a step is a function of the number of the
step (`streams`), so there is nothing of the past that a restart must know. And a checkpoint is
saved before its validation, which then costs no time to lose: a run that is killed while it scores
resumes with the scoring.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, runtime_checkable

import jax
import numpy as np
from tqdm import tqdm

from segalias_jax.checkpoints.store import CheckpointStore
from segalias_jax.errors import InputError
from segalias_jax.progress import progress_bar
from segalias_jax.training import profiling
from segalias_jax.training.evaluators import Evaluator
from segalias_jax.training.fitted import Fitted
from segalias_jax.training.folder import MetricsLog, RunFolder, finite_or_none
from segalias_jax.training.interrupts import Interrupted
from segalias_jax.training.meter import Meter, NonFiniteError, describe_step
from segalias_jax.training.processes import is_first
from segalias_jax.training.sharding import check_batch_size, shard_batch
from segalias_jax.training.state import TrainState, count_parameters
from segalias_jax.training.step import LEAVE
from segalias_jax.training.streams import Ahead, IteratedStream, Stream
from segalias_jax.training.task import Batch
from segalias_jax.training.watchdog import Watchdog

if TYPE_CHECKING:
    from segalias_jax.training.trainer import Trainer

_VERSIONS = ("jax", "jaxlib", "flax", "optax", "grain")


@runtime_checkable
class Tracker(Protocol):
    """Takes every line of numbers of a run, such as `Trackers`."""

    def write(self, line: Mapping[str, Any]) -> None:
        """Takes numbers by name, "step" among them."""
        ...


@dataclasses.dataclass(frozen=True)
class Loop:
    """What the steps of a run work with.

    Attributes:
      trainer: what is trained.
      stream: its batches.
      folder: of the run.
      store: its checkpoints; None where there is no folder.
      watchdog: reports where it hangs.
      evaluators: what is asked every `eval_every` steps.
      trackers: get every line of numbers.
      about: written into every checkpoint.
      steps: updates in all.
      eval_every: steps between evaluations.
      save_every: steps between further checkpoints.
      log_every: steps between lines.
      skipped_at_most: updates that are not finite, in a row.
      title: of the run.
      profile: whether a few steps are traced.
      shown: whether anything is printed.
      history: lines of numbers so far.
    """

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
            self._warn_of_versions(start)
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
            self.folder.check()
            # Nobody calls a run again that has ended well.
            if not self.store.has(self.steps):
                raise InputError(
                    f"{self.store.folder}: the checkpoint of step {self.steps} is not there, "
                    "though it was written; run the same command again"
                )
        return self._fitted(state, best=True)

    def _warn_of_versions(self, start: int) -> None:
        """Other versions compile other programs, whose sums round otherwise."""
        if self.store is None or not start or self._saved() != start:
            return
        before = self.store.about(start).get("versions")
        now = _versions()
        differing = [
            f"{name} {before[name]} and now {now[name]}"
            for name in _VERSIONS
            if isinstance(before, dict) and before.get(name, now[name]) != now[name]
        ]
        if differing:
            tqdm.write(
                f"warning: the run was computed by {', '.join(differing)}; it ends with other bits "
                "than by one version",
                file=sys.stderr,
            )

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
        iterated = None
        if isinstance(self.stream, IteratedStream) and jax.process_count() == 1:
            iterated = self.stream
        if iterated is not None and start and self.store is not None:
            iterated.begin_at(self.store.about(start).get("position"))
        batches = self.stream.start(start)
        try:
            # No further than needed: what ends with the last step must not be asked for more.
            for batch in itertools.islice(batches, self.steps - start):
                yield batch, None if iterated is None else iterated.position()
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
        asked = self.folder.interrupts.requested or "a signal to another process"
        interrupted = Interrupted(f"{asked}: {told}")
        interrupted.agreed = True
        raise interrupted

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
        self.folder.check()
        account = self.folder.account
        account.start("saving")
        self.watchdog.beat(f"saving step {step}")
        account.mark(step)
        if is_first():  # before the checkpoint: whoever resumes from it looks for its mark
            account.write()
        about = {**self.about, "versions": _versions()}
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
        score = self.store.score if self.store is not None else ""
        return Fitted(self.trainer, state, self.history, best_step=step, best_by=score, alive=alive)

    def _write_line(self, log: MetricsLog | None, line: Mapping[str, Any]) -> None:
        self.history.append({key: finite_or_none(value) for key, value in line.items()})
        if log is not None:
            self.folder.check()
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


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in _VERSIONS}


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
