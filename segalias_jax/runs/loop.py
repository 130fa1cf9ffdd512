"""A run from its recipe to its report."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
from ml_collections import config_dict
from tqdm import tqdm

from segalias_jax import data
from segalias_jax.checkpoints.store import CheckpointStore
from segalias_jax.errors import InputError
from segalias_jax.metrics.lookup import score_title
from segalias_jax.runs.recipes import flat_items
from segalias_jax.runs import (class_weights as balance, scoring, setup)
from segalias_jax.training import (processes, profiling, progress)
from segalias_jax.training.goodput import Account
from segalias_jax.runs.curves import plot_curves
from segalias_jax.training.interrupts import Interrupted, Interrupts
from segalias_jax.training.meter import Meter, NonFiniteError
from segalias_jax.training.processes import Launch
from segalias_jax.training.sharding import create_mesh, shard_batch
from segalias_jax.training.state import TrainState, count_parameters
from segalias_jax.runs.studies import (Studies, check_studies, measure_shift, run_studies)
from segalias_jax.training.trackers import Trackers, check_trackers
from segalias_jax.training.watchdog import Watchdog
from segalias_jax.runs.workdir import (CHECKPOINTS, MetricsLog, RunLock, check_recipe, has_checkpoint, keep_stream, read_checked, save_checked, save_classes, save_recipe)

WHAT_WAS_TRAINED = (
    *("model.", "data.source", "train.ema_decay"),
    *("curriculum.ratio", "curriculum.schedule", "curriculum.band"),
)
"""Beginnings of the keys that a run and its evaluation have to agree in."""

Placed = tuple[data.Batch, dict[str, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Run:
    """What the steps of a run work with.

    Attributes:
      config: the recipe.
      parts: what is computed with.
      sources: the split to train on and the one to score.
      workdir: folder of the run.
      store: its checkpoints.
      log: its numbers; None in all processes but the first.
      trackers: where else its numbers go; None in all processes but the first.
      account: where its time goes.
      watchdog: tells where it hangs.
      interrupts: signals to it.
      profile: whether a few steps are traced.

    Example:
      >>> [field.name for field in dataclasses.fields(Run)][:2]
      ['config', 'parts']
    """

    config: config_dict.ConfigDict
    parts: setup.Parts
    sources: tuple[data.Source, data.Source]
    workdir: Path
    store: CheckpointStore
    log: MetricsLog | None
    trackers: Trackers | None
    account: Account
    watchdog: Watchdog
    interrupts: Interrupts
    profile: bool


def train(config: config_dict.ConfigDict, workdir: Path, launch: Launch | None = None) -> None:
    """Trains a recipe and reports its best checkpoint; goes on where an earlier call stopped.

    Writes `recipe.json`, `classes.json`, `stream.json`, `metrics.jsonl`, `goodput.json`,
    `checkpoints/`, `report.md`, `pictures/` and `curves.png`; `class_weights.json` where weights
    were counted, `thresholds.csv` and `thresholds.png` of two classes.

    Args:
      config: the recipe.
      workdir: folder of the run; made when missing.
      launch: how the run is started.

    Raises:
      InputError: a mistake in the recipe, the data or the folder, before the first step; or a
        loss that is no number, data or a disk that fail, at the step where it turned up.
      Interrupted: a signal; the state was saved, and the same call goes on.
    """
    launch = launch or Launch()
    account = Account(workdir, started=launch.started)
    with Interrupts() as interrupts:
        setup.enable_compilation_cache()
        processes.initialize(launch)
        check_recipe(config, workdir)
        mesh = create_mesh(**config.mesh)
        setup.check_config(config, mesh)
        check_trackers(config)
        sources = setup.open_sources(config)
        classes, going_on = sources[0].classes, has_checkpoint(workdir)
        setup.check_loss_section(config, len(classes))
        weights = balance.find_class_weights(config, workdir, sources[0])
        parts = setup.build_parts(
            config, len(classes), mesh, class_weights=weights, abstract=going_on
        )
        checked = setup.check_labels(config, sources, checked=read_checked(workdir))
        state = setup.first_state(config, parts, workdir, launch.resume)
        first = processes.is_first()
        with contextlib.ExitStack() as stack:
            if first:
                stack.enter_context(RunLock(workdir))
                # Another process may have had the folder until the lock was ours.
                check_recipe(config, workdir)
                save_recipe(config, workdir)
                save_classes(workdir, classes, sources[0].palette)
                balance.keep_class_weights(config, workdir, weights, classes)
                keep_stream(config, workdir, sources[0])
                save_checked(workdir, checked)
            processes.wait_for_all("lock")
            trackers = stack.enter_context(Trackers(config, workdir)) if first else None
            options = {key: config.checkpoint[key] for key in ("keep_last", "keep_best")}
            options["score"] = scoring.headline(len(classes))
            store = stack.enter_context(CheckpointStore(workdir / CHECKPOINTS, **options))
            watchdog = stack.enter_context(Watchdog(config.train.stall_seconds))
            if going_on or has_checkpoint(workdir):
                state = store.restore_latest(state)
            step = int(state.step)
            validated = step in store.scores
            log = MetricsLog(workdir, step=step, validated=validated) if first else None
            account.resume(step)
            tools = (store, log, trackers, account, watchdog, interrupts)
            run = Run(config, parts, sources, workdir, *tools, launch.profile and first)
            _train_and_report(run, state)


def evaluate_run(
    config: config_dict.ConfigDict,
    workdir: Path,
    launch: Launch | None = None,
    studies: Studies | None = None,
) -> None:
    """Scores the best checkpoint of a run and writes `eval/report.md` and `eval/pictures/`.

    Where the folder has no checkpoint, the whole model that `model.pretrained` names is scored.

    Args:
      config: the recipe of the run; keys other than `WHAT_WAS_TRAINED` may differ.
      workdir: folder of the run.
      launch: how the scoring is started.
      studies: what else is asked for.

    Raises:
      InputError: no checkpoint, another model, or a mistake in the data.
    """
    launch, studies = launch or Launch(), studies or Studies()
    if launch.resume != "auto":
        raise InputError("--resume is for training; leave it out")
    if launch.profile:
        raise InputError("--profile is for training; leave it out")
    setup.enable_compilation_cache()
    processes.initialize(launch)
    check_studies(studies)
    check_recipe(config, workdir, prefixes=WHAT_WAS_TRAINED)
    setup.check_evaluation(config)
    trained = has_checkpoint(workdir)
    if not trained and not config.model.pretrained:
        raise InputError(f"--workdir: {workdir} holds no checkpoint; train with it first")
    source = data.create_source(config.data, config.data.eval_split)
    mesh = create_mesh(**config.mesh)
    parts = setup.build_parts(config, len(source.classes), mesh, abstract=trained)
    setup.check_labels(config, [source], checked=read_checked(workdir))
    if trained:
        with CheckpointStore(workdir / CHECKPOINTS) as store:
            state = store.restore(parts.state, step=store.best_step())
        checkpoint = _best(state, store)
    else:
        state = setup.load_pretrained(config, parts.state, whole=True)
        checkpoint = f"pretrained, {config.model.pretrained}"
    scored = config, parts, state, source
    shift = measure_shift(*scored) if studies.shift else None
    scoring.report(*scored, workdir / "eval", checkpoint=checkpoint, shift=shift)
    run_studies(studies, *scored, workdir / "eval", checkpoint=checkpoint)


def _best(state: TrainState, store: CheckpointStore) -> str:
    return f"step {int(state.step)}, the best by {score_title(store.score)}"


def _train_and_report(run: Run, state: TrainState) -> None:
    if processes.is_first():
        print(_headline(run, state))
    try:
        state = _run_steps(run, state)
        run.store.wait()
        run.account.start("evaluation")
        state = run.store.restore(state, step=run.store.best_step())
        scoring.report(
            *(run.config, run.parts, state, run.sources[1], run.workdir),
            checkpoint=_best(state, run.store),
            before_batch=lambda: run.watchdog.beat("the evaluation of the best checkpoint"),
        )
    finally:
        if processes.is_first():
            run.account.write()
    if run.log is not None:
        plot_curves(run.log.lines(), run.workdir / "curves.png")
        if text := data.describe_skipped(run.sources[0]):
            print(f"skipped in training: {text}")


def _run_steps(run: Run, state: TrainState) -> TrainState:
    config, start, last = run.config.train, int(state.step), run.config.train.steps
    unscored = run.store.latest_step() == start and start not in run.store.scores
    skip = config.nonfinite_limit if config.nonfinite == "skip" else 0
    meter, recent = Meter(config.batch_size, skip=skip), deque(maxlen=2)
    shown = processes.is_first()
    bar = progress.progress_bar("training", start=start, total=last, shown=shown)
    with run.interrupts.deferred, bar, _naming_batches(run, recent):
        if unscored and _validates(config, start):
            _validate(run, state, start)
        batches = _batches(run, start)
        for step in _steps(run, start + 1, last):
            run.watchdog.beat(f"step {step}")
            run.account.start("data")
            batch, on_devices = _next_batch(run, batches, state)
            recent.append((step, batch))
            run.account.start("compilation" if step == start + 1 else "steps")
            state, metrics = run.parts.train_step(state, on_devices)
            agreed = metrics.pop("leave", None)
            meter.add(step, metrics)
            run.account.stepped()
            bar.update()
            leaving, line = run.interrupts.leaving(agreed), None
            if _validates(config, step) or step % config.log_every == 0:
                line = meter.read()
                bar.set_postfix_str(progress.describe_step(line), refresh=False)
                _write_line(run, line)
            if leaving or _validates(config, step) or _saves(run.config.checkpoint.every, step):
                meter.fetch()  # a state that is no number is not saved
                _save(run, state, step)
            if leaving:
                _leave(run, step)
            if line is not None and _validates(config, step):
                _validate(run, state, step, loss=line["loss"])
                meter.restart()
    return state


def _steps(run: Run, first: int, last: int) -> Iterable[int]:
    steps = range(first, last + 1)
    return profiling.traced(steps, run.workdir / profiling.PROFILE) if run.profile else steps


def _validates(config: config_dict.ConfigDict, step: int) -> bool:
    return step > 0 and (step % config.eval_every == 0 or step == config.steps)


def _saves(every: int, step: int) -> bool:
    return every > 0 and step % every == 0


def _batches(run: Run, start: int) -> Iterator[Placed]:
    """Batches, and the same on the devices, put there ahead of time."""
    return data.train_batches(
        run.config.data,
        run.sources[0],
        batch_size=run.config.train.batch_size,
        seed=run.config.seed,
        start_step=start,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        place=lambda batch: (batch, _on_devices(run, batch)),
    )


def _next_batch(run: Run, batches: Iterator[Placed], state: TrainState) -> Placed:
    try:
        return next(batches)
    except Exception:
        # A signal to the whole group ends the processes that read, too; then theirs is no mistake.
        if run.interrupts.requested is None or jax.process_count() > 1:
            raise
        step = int(state.step)
        if run.store.latest_step() != step:
            _save(run, state, step)
        _leave(run, step)


def _leave(run: Run, step: int) -> NoReturn:
    run.store.wait()
    raise Interrupted(f"{run.interrupts.requested}: saved step {step}")


def _on_devices(run: Run, batch: data.Batch) -> dict[str, Any]:
    if jax.process_count() > 1:
        leave = run.interrupts.requested is not None
        batch = batch | {"leave": np.full(len(batch["valid"]), leave)}
    return shard_batch(batch, run.parts.mesh)


@contextlib.contextmanager
def _naming_batches(run: Run, recent: Sequence[tuple[int, data.Batch]]) -> Iterator[None]:
    """Adds to an error about numbers which images they came from, and keeps the batch."""
    try:
        yield
    except NonFiniteError as error:
        names = data.batch_names(
            run.sources[0],
            batch_size=run.config.train.batch_size,
            seed=run.config.seed,
            step=error.step,
        )
        path = run.workdir / f"nonfinite-{error.step}-{jax.process_index()}.npz"
        batch = next((batch for step, batch in recent if step == error.step), {})
        np.savez_compressed(path, **batch)
        raise InputError(f"{error}; its batch is in {path}: {', '.join(names)}") from None


def _save(run: Run, state: TrainState, step: int) -> None:
    run.account.start("saving")
    run.watchdog.beat(f"saving step {step}")
    versions = {name: metadata.version(name) for name in ("jax", "flax", "optax", "grain")}
    recipe = json.loads(json.dumps(flat_items(run.config)))
    run.account.mark(step)
    if run.log is not None:  # ahead of the checkpoint: whoever goes on from it looks for its mark
        run.account.write()
    run.store.save(step, state, about={"recipe": recipe, "versions": versions})
    run.account.start("steps")


def _validate(run: Run, state: TrainState, step: int, *, loss: float | None = None) -> None:
    run.account.start("evaluation")

    def before_batch() -> None:
        run.watchdog.beat(f"the validation of step {step}")
        # The state is saved; of many processes all have to go on, or the others would wait.
        if run.interrupts.requested and jax.process_count() == 1:
            _leave(run, step)

    result = scoring.score(
        run.config,
        run.parts,
        state,
        run.sources[1],
        title="validation",
        before_batch=before_batch,
    )
    scores = result.scores.compute() | (result.binary.compute() if result.binary else {})
    _write_line(run, {"step": step} | progress.plain_numbers(scores))
    run.store.set_score(step, float(scores[run.store.score]))
    if processes.is_first():
        told = "" if loss is None else f"loss {loss:.4f}, "
        tqdm.write(f"step {step}: {told}{progress.describe_scores(scores)}")


def _write_line(run: Run, line: Mapping[str, Any]) -> None:
    if run.log is not None:
        run.log.write(line)
        run.account.write()
    if run.trackers is not None:
        run.trackers.write(line)


def _headline(run: Run, state: TrainState) -> str:
    mesh = run.parts.mesh
    return (
        f"{run.config.name}: {count_parameters(state):,} parameters, "
        f"{len(run.sources[0])} training and {len(run.sources[1])} validation images, "
        f"{mesh.size} x {mesh.devices.flat[0].device_kind}, "
        f"from step {int(state.step)} to {run.config.train.steps}"
    )
