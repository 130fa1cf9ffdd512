"""The folder of a recipe's run: which recipe and data it belongs to."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segalias_jax import data
from segalias_jax.checkpoints import Source
from segalias_jax.errors import InputError
from segalias_jax.files import write_text
from segalias_jax.training.folder import CHECKPOINTS, METRICS
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
CHECKED = "checked.json"
FILES = "files.json"
PRETRAINED = "pretrained.json"


def check_recipe(
    values: Mapping[str, Any],
    workdir: Path,
    *,
    prefixes: Iterable[str] = (),
    free: Collection[str] = MACHINE_KEYS,
) -> None:
    """Raises if a folder belongs to the run of another recipe.

    Args:
      values: all values of the recipe by dotted key.
      workdir: folder of the run; may be missing.
      prefixes: beginnings of the keys that have to agree; all of them where not given. Where they
        are, keys that the run's recipe lacks, since an older version wrote it, are passed over.
      free: keys that may differ.

    Raises:
      InputError: naming the first keys that differ.

    Example:
      >>> check_recipe({"seed": 0}, Path("missing"))
    """
    path = workdir / RECIPE
    if workdir.exists() and not workdir.is_dir():
        raise InputError(f"--workdir: {workdir} is no folder; take another")
    if not path.exists():
        if (workdir / CHECKPOINTS).exists() or (workdir / METRICS).exists():
            raise InputError(f"--workdir: {workdir} holds results but no {RECIPE}; take another")
        return
    there, here = read_recipe(path), json.loads(json.dumps(dict(values)))
    prefixes = tuple(prefixes)
    if prefixes:
        here = {key: value for key, value in here.items() if key in there}
    differing = {
        key: f"{key} is {json.dumps(there.get(key))} there and {json.dumps(here.get(key))} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key) and key not in free and key.startswith(prefixes or "")
    }
    if not differing:
        return
    told = list(differing.values())
    more = f" and {len(told) - 3} more keys differ" if len(told) > 3 else ""
    way = "take another folder or the recipe of that run"
    if list(differing) == ["train.steps"]:
        way = f"to train it further, take another folder and --resume={workdir}"
    raise InputError(
        f"--workdir: {workdir} holds a run of another recipe: {', '.join(told[:3])}{more}; {way}"
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
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError(f"it holds {type(content).__name__}, not values by key")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, numbers without end
        raise InputError(f"{path} is damaged ({error}); take another --workdir") from None
    return content


def save_recipe(values: Mapping[str, Any], workdir: Path) -> None:
    """Writes all values of a recipe to a new folder.

    Args:
      values: by dotted key.
      workdir: folder of the run; made when missing.

    Raises:
      InputError: the folder cannot be written.

    Example:
      >>> import tempfile
      >>> workdir = Path(tempfile.mkdtemp())
      >>> save_recipe({"data.crop": (4, 8)}, workdir)
      >>> json.loads((workdir / "recipe.json").read_text())
      {'data.crop': [4, 8]}
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write_text(workdir / RECIPE, json.dumps(dict(values), indent=1) + "\n")
    except OSError as error:
        raise InputError(f"--workdir: cannot write to {workdir}: {error.strerror}") from None


def keep_stream(workdir: Path, source: data.Source, *, batch_size: int, seed: int) -> None:
    """Writes down which images a run is trained on in which order, or holds it to what it wrote.

    Args:
      workdir: folder of the run; exists.
      source: the training split.
      batch_size: images per step.
      seed: of the order.

    Raises:
      InputError: the images are no longer those that the run began with.

    Example:
      >>> import tempfile
      >>> source = data.create_source({"source": "synthetic"}, "val")
      >>> keep_stream(Path(tempfile.mkdtemp()), source, batch_size=2, seed=0)
    """
    path = workdir / STREAM
    if path.exists():
        try:
            data.resume_step(read_recipe(path), source, batch_size=batch_size, seed=seed)
        except InputError as error:
            raise InputError(f"--workdir: {workdir}: {error}") from None
    else:
        state = data.stream_state(source, step=0, batch_size=batch_size, seed=seed)
        write_text(path, json.dumps(state, indent=1) + "\n")


def keep_files(workdir: Path, sources: Mapping[str, data.Source], *, missing: bool = False) -> None:
    """Writes down the files of a run's splits, or holds them to what it wrote.

    Args:
      workdir: folder of the run; exists.
      sources: the splits by name.
      missing: whether files that cannot be read are passed over.

    Raises:
      InputError: images or labels were added, removed or changed since the run began.

    Example:
      >>> import tempfile
      >>> source = data.create_source({"source": "synthetic"}, "val")
      >>> keep_files(Path(tempfile.mkdtemp()), {"val": source})
    """
    path = workdir / FILES
    before = read_recipe(path) if path.exists() else {}
    now = {}
    for name, source in sources.items():
        try:
            now[name] = data.data_condition(source, before.get(name))
            changes = data.describe_changes(before.get(name, now[name]), now[name], missing=missing)
        except (TypeError, AttributeError, LookupError) as error:
            raise InputError(f"{path} is damaged ({error}); delete it to go on") from None
        if changes:
            raise InputError(
                f"--workdir: the data of split {name!r} changed since the run in {workdir} began: "
                f"{changes}; restore them, take another folder, or delete {path} to go on with them"
            )
    if now != before:
        write_text(path, json.dumps(before | now) + "\n")


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
        found = json.loads((workdir / CHECKED).read_text())["fingerprints"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


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
        write_text(workdir / CHECKED, json.dumps({"fingerprints": list(fingerprints)}) + "\n")


def save_source(workdir: Path, source: Source) -> None:
    """Writes what weights a run started from: name, file, SHA-256, whose names it has.

    Args:
      workdir: folder of the run; exists.
      source: of the weights.

    Example:
      >>> import tempfile
      >>> workdir = Path(tempfile.mkdtemp())
      >>> save_source(workdir, Source("r50.pth", "e3b0", "torchvision", ()))
      >>> json.loads((workdir / PRETRAINED).read_text())["sha256"]
      'e3b0'
    """
    content = json.dumps(dataclasses.asdict(source), indent=1)
    write_text(workdir / PRETRAINED, content + "\n")


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
    write_text(workdir / CLASSES, json.dumps(content) + "\n")
