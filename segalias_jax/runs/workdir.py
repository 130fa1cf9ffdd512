"""The folder of a run: which recipe it belongs to, and its record of numbers."""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import config_dict

from segalias_jax import data
from segalias_jax.errors import InputError
from segalias_jax.runs.recipes import flat_items
from segalias_jax.typing import UInt8

MACHINE_KEYS = (
    *("data.root", "data.workers", "data.threads", "data.check", "model.pretrained"),
    *("data.on_error", "data.max_skipped"),
    *("checkpoint.every", "checkpoint.keep_last", "checkpoint.keep_best"),
    *("track.tensorboard", "track.wandb", "mesh.data", "mesh.fsdp", "mesh.spatial"),
    *("train.nonfinite", "train.nonfinite_limit", "train.stall_seconds", "model.remat"),
)
"""Keys that say where and how fast a run is, where it began or what happens to faults, not what it
computes from here on; they may change on the way."""

RECIPE = "recipe.json"
STREAM = "stream.json"
CLASSES = "classes.json"
METRICS = "metrics.jsonl"
CHECKED = "checked.json"
CHECKPOINTS = "checkpoints"
LOCK = ".lock"


def check_recipe(
    config: config_dict.ConfigDict, workdir: Path, *, prefixes: Iterable[str] = ()
) -> None:
    """Raises if a folder belongs to the run of another recipe.

    Args:
      config: the recipe.
      workdir: folder of the run; may be missing.
      prefixes: beginnings of the keys that have to agree; all of them where not given. Where they
        are, keys that the run's recipe lacks, since an older version wrote it, are passed over.

    Raises:
      InputError: naming the first keys that differ.

    Example:
      >>> check_recipe(config_dict.ConfigDict({"seed": 0}), Path("missing"))
    """
    path = workdir / RECIPE
    if workdir.exists() and not workdir.is_dir():
        raise InputError(f"--workdir: {workdir} is no folder; take another")
    if not path.exists():
        if (workdir / CHECKPOINTS).exists() or (workdir / METRICS).exists():
            raise InputError(f"--workdir: {workdir} holds results but no {RECIPE}; take another")
        return
    there, here = read_recipe(path), json.loads(_to_json(config))
    prefixes = tuple(prefixes)
    if prefixes:
        here = {key: value for key, value in here.items() if key in there}
    differing = [
        f"{key} is {json.dumps(there.get(key))} there and {json.dumps(here.get(key))} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
        and key not in MACHINE_KEYS
        and key.startswith(prefixes or "")
    ]
    if differing:
        more = f" and {len(differing) - 3} more keys differ" if len(differing) > 3 else ""
        raise InputError(
            f"--workdir: {workdir} holds a run of another recipe: {', '.join(differing[:3])}{more}"
            "; take another folder or the recipe of that run"
        )


def read_recipe(path: Path) -> dict[str, Any]:
    """Reads the recipe of a run, or another JSON file with values by key.

    Args:
      path: what `save_recipe` wrote, say.

    Returns:
      Values by dotted key.

    Raises:
      InputError: the file is missing or damaged.

    Example:
      >>> read_recipe(Path("missing.json"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: missing.json: cannot be read (No such file or directory)
    """
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is damaged ({error}); take another --workdir") from None


def has_checkpoint(workdir: Path) -> bool:
    """Returns whether a run has saved a whole state.

    Args:
      workdir: folder of the run; may be missing.

    Example:
      >>> has_checkpoint(Path("missing"))
      False
    """
    return any(path.name.isdigit() for path in (workdir / CHECKPOINTS).glob("*"))


def save_recipe(config: config_dict.ConfigDict, workdir: Path) -> None:
    """Writes all keys of a recipe to a new folder.

    Args:
      config: the recipe.
      workdir: folder of the run; made when missing.

    Raises:
      InputError: the folder cannot be written.

    Example:
      >>> import tempfile
      >>> workdir = Path(tempfile.mkdtemp())
      >>> save_recipe(config_dict.ConfigDict({"data": {"crop": (4, 8)}}), workdir)
      >>> json.loads((workdir / "recipe.json").read_text())
      {'data.crop': [4, 8]}
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        replace_text(workdir / RECIPE, _to_json(config) + "\n")
    except OSError as error:
        raise InputError(f"--workdir: cannot write to {workdir}: {error.strerror}") from None


def keep_stream(config: config_dict.ConfigDict, workdir: Path, source: data.Source) -> None:
    """Writes down which images a run is trained on in which order, or holds it to what it wrote.

    Args:
      config: the recipe.
      workdir: folder of the run; exists.
      source: the training split.

    Raises:
      InputError: the images are no longer those that the run began with.

    Example:
      >>> import tempfile
      >>> config = config_dict.ConfigDict({"seed": 0, "train": {"batch_size": 2}})
      >>> config.data = {"source": "synthetic"}
      >>> keep_stream(config, Path(tempfile.mkdtemp()), data.create_source(config.data, "val"))
    """
    path = workdir / STREAM
    options = {"batch_size": config.train.batch_size, "seed": config.seed}
    if path.exists():
        try:
            data.resume_step(read_recipe(path), source, **options)
        except InputError as error:
            raise InputError(f"--workdir: {workdir}: {error}") from None
    else:
        state = data.stream_state(source, step=0, **options)
        replace_text(path, json.dumps(state, indent=1) + "\n")


def read_checked(workdir: Path) -> list[str]:
    """Returns the fingerprints of the splits whose labels an earlier start of the run has read.

    Args:
      workdir: folder of the run; may be missing.

    Returns:
      What `save_checked` wrote; nothing where that is missing or damaged.

    Example:
      >>> read_checked(Path("missing"))
      []
    """
    try:
        return json.loads((workdir / CHECKED).read_text())["fingerprints"]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def save_checked(workdir: Path, fingerprints: Sequence[str]) -> None:
    """Writes down of which splits all labels were read, see `data.fingerprint`.

    Args:
      workdir: folder of the run; exists.
      fingerprints: of the splits.

    Example:
      >>> import tempfile
      >>> workdir = Path(tempfile.mkdtemp())
      >>> save_checked(workdir, ["01ab"])
      >>> read_checked(workdir)
      ['01ab']
    """
    if fingerprints:
        replace_text(workdir / CHECKED, json.dumps({"fingerprints": list(fingerprints)}) + "\n")


class RunLock:
    """Keeps a second process out of a folder; the lock ends with its owner, however it ends.

    Args:
      workdir: folder of the run; made when missing.

    Raises:
      InputError: another process has the lock, or the folder cannot be written.

    Example:
      >>> import tempfile
      >>> with RunLock(Path(tempfile.mkdtemp())) as lock:
      ...     lock.path.name
      '.lock'
    """

    def __init__(self, workdir: Path):
        self.path = workdir / LOCK
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+")
        except OSError as error:
            raise InputError(f"--workdir: cannot write to {workdir}: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            owner = self._file.read().strip()
            self._file.close()
            raise InputError(
                f"--workdir: {workdir} is in use by process {owner}; wait for its end or take "
                "another folder"
            ) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def save_classes(workdir: Path, names: Sequence[str], palette: UInt8[np.ndarray, "n 3"]) -> None:
    """Writes what a run's outputs mean, for whoever predicts with it without its data.

    Args:
      workdir: folder of the run; exists.
      names: of the classes.
      palette: RGB color of each class.

    Example:
      >>> import tempfile
      >>> save_classes(Path(tempfile.mkdtemp()), ["sky"], np.zeros((1, 3), np.uint8))
    """
    content = {"classes": list(names), "palette": np.asarray(palette).tolist()}
    replace_text(workdir / CLASSES, json.dumps(content) + "\n")


class MetricsLog:
    """Appends lines of numbers to `metrics.jsonl`.

    Args:
      workdir: folder of the run.
      step: lines of later steps are dropped: the run goes on from here.
      validated: whether the validation of that step is complete; else its line is dropped too.

    Example:
      >>> import tempfile
      >>> log = MetricsLog(Path(tempfile.mkdtemp()), step=0)
      >>> log.write({"step": 10, "loss": 0.5})
      >>> log.lines()
      [{'step': 10, 'loss': 0.5}]
    """

    def __init__(self, workdir: Path, *, step: int, validated: bool = True):
        self.path = workdir / METRICS
        kept = [line for line in self.lines() if line["step"] <= step]
        if not validated:
            kept = [line for line in kept if line["step"] < step or "mIoU" not in line]
        replace_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))

    def write(self, line: Mapping[str, Any]) -> None:
        """Appends one line; numbers that JSON lacks (nan, infinities) become null."""
        clean = {key: _finite_or_none(value) for key, value in line.items()}
        with self.path.open("a") as file:
            file.write(json.dumps(clean) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        """Returns all lines; one that a killed process left incomplete is skipped."""
        if not self.path.exists():
            return []
        return [json.loads(text) for text in self.path.read_text().splitlines() if text[-1:] == "}"]


def _finite_or_none(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _to_json(config: config_dict.ConfigDict) -> str:
    return json.dumps(flat_items(config), indent=1)


def replace_text(path: Path, text: str) -> None:
    """Writes a file that a reader, or a run that is killed here, finds old or new, never half.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp()) / "a.txt"
      >>> replace_text(path, "new")
      >>> path.read_text()
      'new'
    """
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
