"""The folder of a run: which recipe it belongs to, and its record of numbers."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import config_dict

from segalias_jax.errors import InputError
from segalias_jax.recipes import flat_items
from segalias_jax.typing import UInt8

MACHINE_KEYS = ("data.root", "data.workers", "data.threads", "data.check", "model.pretrained")
"""Keys that say where and how fast a run is or where it began, not what it computes from here on;
they may change on the way."""

RECIPE = "recipe.json"
CLASSES = "classes.json"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"


def check_recipe(
    config: config_dict.ConfigDict, workdir: Path, *, prefixes: Iterable[str] = ("",)
) -> None:
    """Raises if a folder belongs to the run of another recipe.

    Args:
      config: the recipe.
      workdir: folder of the run; may be missing.
      prefixes: beginnings of the keys that have to agree; all of them where not given.

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
    differing = [
        f"{key} is {json.dumps(there.get(key))} there and {json.dumps(here.get(key))} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
        and key not in MACHINE_KEYS
        and key.startswith(tuple(prefixes))
    ]
    if differing:
        more = f" and {len(differing) - 3} more keys differ" if len(differing) > 3 else ""
        raise InputError(
            f"--workdir: {workdir} holds a run of another recipe: {', '.join(differing[:3])}{more}"
            "; take another folder or the recipe of that run"
        )


def read_recipe(path: Path) -> dict[str, Any]:
    """Reads the recipe of a run.

    Args:
      path: what `save_recipe` wrote.

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
        _replace(workdir / RECIPE, _to_json(config) + "\n")
    except OSError as error:
        raise InputError(f"--workdir: cannot write to {workdir}: {error.strerror}") from None


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
    _replace(workdir / CLASSES, json.dumps(content) + "\n")


class MetricsLog:
    """Appends lines of numbers to `metrics.jsonl`.

    Args:
      workdir: folder of the run.
      step: lines of later steps are dropped: the run goes on from here.

    Example:
      >>> import tempfile
      >>> log = MetricsLog(Path(tempfile.mkdtemp()), step=0)
      >>> log.write({"step": 10, "loss": 0.5})
      >>> log.lines()
      [{'step': 10, 'loss': 0.5}]
    """

    def __init__(self, workdir: Path, *, step: int):
        self.path = workdir / METRICS
        kept = [line for line in self.lines() if line["step"] <= step]
        _replace(self.path, "".join(json.dumps(line) + "\n" for line in kept))

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


def _replace(path: Path, text: str) -> None:
    # A reader, or a run that is killed here, finds the old file or the new one, never half of it.
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
