"""The commands `segalias train`, `eval` and `sweep`: their flags, and what they call."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl.flags import FlagValues
from ml_collections import config_dict

from segalias_jax.errors import FlagParser, InputError, check_choice, printable
from segalias_jax.evaluation.aliasing.robustness import BLUR_SIZES, NOISE_SIGMAS, Corruption
from segalias_jax.runs.evaluate import evaluate_run
from segalias_jax.runs.recipe import default_config
from segalias_jax.runs.recipes import override_recipe
from segalias_jax.runs.studies import Studies
from segalias_jax.runs.sweep import TABLE, run_sweep
from segalias_jax.runs.tasks import recipe_class
from segalias_jax.runs.train import train
from segalias_jax.runs.workdir import RECIPE, read_recipe
from segalias_jax.settings import as_tuples
from segalias_jax.training.companions import end_at_once
from segalias_jax.training.goodput import process_start
from segalias_jax.training.interrupts import EXIT_STATUS, Interrupted
from segalias_jax.training.processes import Launch

_TRAINING = """Trains a recipe, or resumes its run.

The same command resumes where an interrupted run stopped; SIGTERM and SIGINT save the state and
end with status 75. The folder gets checkpoints, metrics.jsonl, goodput.json, report.md, pictures
and curves.png.
"""
_EVALUATION = """Scores the best checkpoint of a run.

By mIoU, in binary segmentation by Dice. Prints the table of scores and writes report.md and
pictures into the folder eval of the run. The recipe is that of the run; --config.KEY=VALUE says
what differs, such as --config.data.eval_split=test for another split. Where the folder has no
checkpoint, --config names the recipe and --config.model.pretrained the weights to score.
"""
_SWEEP = """Trains a recipe for each value of one of its keys, and compares the scores.

    segalias sweep --config kvasir_unet:final_ratio=1,tiny --over curriculum.ratio=1,0.9,0.6,0 \
        --published --workdir DIR

Each run has its folder in DIR, as of segalias train. The same command skips what is finished and
resumes what was interrupted. DIR gets sweep.md and sweep.json.
"""


def add_train_flags(parser: FlagParser) -> None:
    """Adds the flags of `segalias train`.

    Example:
      >>> parser = FlagParser("train")
      >>> add_train_flags(parser)
      >>> parser.parse(["--workdir=r", "--num-processes=2"]).num_processes
      2
    """
    parser.description = _TRAINING
    _add_launch_flags(parser)
    parser.add_argument(
        "--resume",
        default="auto",
        metavar="auto|never|RUN",
        help="resume the run in the folder, refuse to, or start from another run's state (auto)",
    )
    parser.add_argument(
        "--profile", action="store_true", help="trace a few steps, into DIR/profile"
    )


def add_eval_flags(parser: FlagParser) -> None:
    """Adds the flags of `segalias eval`.

    Example:
      >>> parser = FlagParser("eval")
      >>> add_eval_flags(parser)
      >>> parser.parse(["--workdir=r", "--robustness=noise", "--noise-sigmas=20"]).noise_sigmas
      (20.0,)
    """
    parser.description = _EVALUATION
    _add_launch_flags(parser)
    add = parser.add_argument_group("studies").add_argument
    add(
        "--aliasing",
        action="store_true",
        help="relate what strides fold to the errors: DIR/eval/aliasing.html",
    )
    add(
        "--pictures",
        action="store_true",
        help="with --aliasing, draw feature maps and gates of a few images: "
        "DIR/eval/aliasing_pictures",
    )
    add(
        "--shift",
        action="store_true",
        help="measure how many pixels keep their class when images move by a pixel",
    )
    add(
        "--robustness",
        type=_words,
        default=(),
        metavar="blur,noise",
        help="score corrupted images as well: DIR/eval/robustness.html; noise_reference truncates, "
        "as published",
    )
    add(
        "--blur-sizes",
        type=_levels,
        default=(),
        metavar="N,...",
        help=f"sides of the blurring kernels in pixels ({_joined(BLUR_SIZES)})",
    )
    add(
        "--noise-sigmas",
        type=_levels,
        default=(),
        metavar="S,...",
        help=f"standard deviations of the noise, in units of 0..255 ({_joined(NOISE_SIGMAS)})",
    )


def add_sweep_flags(parser: FlagParser) -> None:
    """Adds the flags of `segalias sweep`.

    Example:
      >>> parser = FlagParser("sweep")
      >>> add_sweep_flags(parser)
      >>> parser.parse(["--workdir=r", "--over=seed=0,1"]).over
      'seed=0,1'
    """
    parser.description = _SWEEP
    add = parser.add_argument
    add("--workdir", required=True, type=Path, metavar="DIR", help="folder of all runs")
    add(
        "--over",
        required=True,
        metavar="KEY=VALUE,...",
        help="key of the recipe and its values; those with commas in brackets",
    )
    add("--split", default="", metavar="NAME", help="split to score (that of the validation)")
    add(
        "--published",
        action="store_true",
        help="show published scores beside ours: of curriculum.ratio on kvasir_seg, cvc_clinicdb",
    )


def run_training(flags: argparse.Namespace) -> int:
    """Trains the recipe that the flags name.

    Args:
      flags: of `add_train_flags`, and the recipe `config`.

    Returns:
      The exit status: 0, or 75 after a signal.

    Raises:
      InputError: see `train`.
    """
    _say_where_it_crashed()
    launch = _launch(flags, flags.resume, flags.profile)
    try:
        with _outliving_readers():
            train(flags.config, flags.workdir, launch)
    except Interrupted as signal:
        print(f"{signal}; the same command resumes the run", file=sys.stderr)
        _end_alone(launch, EXIT_STATUS)
        return EXIT_STATUS
    except (InputError, OSError) as error:
        if launch.coordinator:
            print(f"error: {printable(str(error).splitlines()[0])}", file=sys.stderr)
            _end_alone(launch, 2)
        raise
    return 0


def run_sweeping(flags: argparse.Namespace) -> int:
    """Runs the sweep that the flags name, and prints its table.

    Args:
      flags: of `add_sweep_flags`, and the recipe `config`.

    Returns:
      The exit status: 0, or 75 after a signal.

    Raises:
      InputError: see `run_sweep`.
    """
    _say_where_it_crashed()
    try:
        with _outliving_readers():
            text = run_sweep(
                flags.config,
                flags.workdir,
                flags.over,
                split=flags.split,
                published=flags.published,
            )
            print(f"\n{text}\n\nreport: {flags.workdir / TABLE}")
    except Interrupted as signal:
        print(f"{signal}; the same command resumes the sweep", file=sys.stderr)
        return EXIT_STATUS
    return 0


def run_evaluation(flags: argparse.Namespace) -> int:
    """Scores the run that the flags name.

    Args:
      flags: of `add_eval_flags`, and the recipe `config`.

    Returns:
      The exit status, 0.

    Raises:
      InputError: flags that do not go together; also see `evaluate_run`.
    """
    _say_where_it_crashed()
    if flags.pictures and not flags.aliasing:
        raise InputError("--pictures is for --aliasing; give that too")
    studies = Studies(
        aliasing=flags.aliasing,
        pictures=flags.pictures,
        shift=flags.shift,
        corruptions=_corruptions(flags),
    )
    evaluate_run(flags.config, flags.workdir, _launch(flags), studies)
    return 0


def recipe_of_run(workdir: Path, words: Sequence[str]) -> config_dict.ConfigDict:
    """Reads the recipe that a run was trained with.

    Keys that an older version did not have get their defaults.

    Args:
      workdir: folder of the run.
      words: --config.KEY=VALUE for what differs.

    Returns:
      The recipe, locked.

    Raises:
      InputError: no such run, or a flag that does not fit its recipe.

    Example:
      >>> recipe_of_run(Path("missing"), [])
      Traceback (most recent call last):
      segalias_jax.errors.InputError: --workdir: missing holds no run; give the folder of one, or \
a recipe by --config
    """
    path = workdir / RECIPE
    if not path.exists():
        raise InputError(
            f"--workdir: {workdir} holds no run; give the folder of one, or a recipe by --config"
        )
    stored = read_recipe(path)
    config = default_config(recipe_class(stored)).unlock()
    config.update_from_flattened_dict({key: as_tuples(value) for key, value in stored.items()})
    values = FlagValues()
    config, rest = override_recipe(config.lock(), ["segalias", *words], values=values)
    if rest:
        raise InputError(f"argument {rest[0]!r} is not expected; write --config.KEY=VALUE with '='")
    return config


@contextlib.contextmanager
def _outliving_readers() -> Iterator[None]:
    """Lets the run go on where nobody reads its lines any more: `train | head`, a closed terminal.

    What it says lies in its folder as well.
    """
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Outliving(streams[0]), _Outliving(streams[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        for stream in streams:
            try:
                stream.flush()
            except OSError:  # what is left for nobody must not be the end at the exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Outliving(io.TextIOBase):
    """A stream whose reader may leave."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._stream.encoding


def _end_alone(launch: Launch, status: int) -> None:
    """Ends one of several processes, whose library would wait for the others at its exit."""
    if launch.coordinator:
        end_at_once(status)


def _say_where_it_crashed() -> None:
    """Prints the stack of Python where a device's library ends the process by a signal."""
    if not faulthandler.is_enabled():
        faulthandler.enable()


def _add_launch_flags(parser: FlagParser) -> None:
    parser.add_argument(
        "--workdir", required=True, type=Path, metavar="DIR", help="folder of the run"
    )
    add = parser.add_argument_group("one of several processes").add_argument
    add(
        "--coordinator",
        default="",
        metavar="HOST:PORT|auto",
        help="address of process 0; auto on TPU and Slurm",
    )
    add("--num-processes", type=int, default=-1, metavar="N", help="number of processes")
    add("--process-id", type=int, default=-1, metavar="I", help="number of this one, from 0")


def _launch(flags: argparse.Namespace, resume: str = "auto", profile: bool = False) -> Launch:
    return Launch(
        resume=resume,
        coordinator=flags.coordinator,
        num_processes=flags.num_processes,
        process_id=flags.process_id,
        profile=profile,
        started=process_start(),
    )


def _corruptions(flags: argparse.Namespace) -> tuple[Corruption, ...]:
    levels = {
        "blur": flags.blur_sizes or BLUR_SIZES,
        "noise": flags.noise_sigmas or NOISE_SIGMAS,
        "noise_reference": flags.noise_sigmas or NOISE_SIGMAS,
    }
    for kind in flags.robustness:
        check_choice("--robustness", kind, levels)
    if flags.blur_sizes and "blur" not in flags.robustness:
        raise InputError("--blur-sizes is for --robustness=blur; give that too")
    if flags.noise_sigmas and not {"noise", "noise_reference"} & set(flags.robustness):
        raise InputError("--noise-sigmas is for --robustness=noise; give that too")
    return tuple(Corruption(kind, level) for kind in flags.robustness for level in levels[kind])


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _levels(text: str) -> tuple[float, ...]:
    try:
        return tuple(map(float, _words(text)))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 5,10") from None


def _joined(levels: Sequence[int | float]) -> str:
    return ",".join(f"{level:g}" for level in levels)
