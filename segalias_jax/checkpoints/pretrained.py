"""Weights to start from: checkpoints made of files from elsewhere, and those of earlier runs."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from segalias_jax import files
from segalias_jax.checkpoints.store import CheckpointStore
from segalias_jax.errors import InputError
from segalias_jax.torch_weights.load import Source
from segalias_jax.torch_weights.parts import PARTS, in_parts

Tree = TypeVar("Tree")
SOURCE = "source.json"


def save_weights(folder: Path, arrays: Mapping[str, np.ndarray], source: Source) -> None:
    """Writes a checkpoint of weights alone and, beside it, where they came from.

    The folder is whole or absent.

    Args:
      folder: a new folder.
      arrays: by path, such as "parameters/encoder/stem/0/conv/kernel".
      source: written to `source.json`.

    Raises:
      InputError: the folder is there, or cannot be written.

    Example:
      >>> import tempfile
      >>> folder = Path(tempfile.mkdtemp()) / "r50"
      >>> arrays = {"parameters/encoder/a": np.ones(2, np.float32)}
      >>> save_weights(folder, arrays, Source("r50.pth", "e3b0", "open-mmlab", ()))
      >>> read_weights(folder)[1].table
      'open-mmlab'
    """
    folder = Path(folder).absolute()
    check_new(folder)
    temporary = folder.with_name(f".{folder.name}.tmp")
    tree: dict[str, Any] = {"parameters": {}, "statistics": {}}
    for path, array in arrays.items():
        *parents, leaf = path.split("/")
        node = tree
        for key in parents:
            node = node.setdefault(key, {})
        node[leaf] = array
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        with CheckpointStore(temporary) as store:
            store.save(0, tree)
        files.write_text(
            temporary / SOURCE, json.dumps(dataclasses.asdict(source), indent=1) + "\n"
        )
        os.replace(temporary, folder)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_new(path: Path) -> None:
    """Raises if something is in the way of a file or folder to be written.

    Args:
      path: the file or folder.

    Raises:
      InputError: it is there already, or its folder is not.

    Example:
      >>> check_new(Path("/tmp/no/such/folder"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: cannot write /tmp/no/such/folder: no folder /tmp/no/such
    """
    if path.exists():
        raise InputError(f"{path} is there already; give another place")
    if not path.absolute().parent.is_dir():
        raise InputError(f"cannot write {path}: no folder {path.absolute().parent}")


def read_weights(folder: Path | str) -> tuple[dict[str, np.ndarray], Source | None]:
    """Reads the weights of a converted file or of a run's best checkpoint.

    Args:
      folder: from `save_weights`, or that of a run or of its checkpoints.

    Returns:
      Arrays by path, and where they came from (None for a run).

    Raises:
      InputError: no such folder, or none that holds a checkpoint.

    Example:
      >>> read_weights("no/such/folder")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: no/such/folder is not there; give the folder of a checkpoint
    """
    folder = Path(folder)
    if not folder.exists():
        raise InputError(f"{folder} is not there; give the folder of a checkpoint")
    if folder.is_file():
        raise InputError(f"{folder} is a file; make a checkpoint of it by segalias convert")
    folder = folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder
    if not any(path.name.isdigit() for path in folder.iterdir()):
        raise InputError(f"{folder} holds no checkpoint; give a folder that does")
    with CheckpointStore(folder) as store:
        arrays = store.read()
    return arrays, read_source(folder)


def fill_state(folder: Path | str, trees: Tree, *, whole: bool = False) -> tuple[Tree, str]:
    """Puts the weights of a checkpoint into the state of a new run.

    Every array has to fit, but for the parts that the conversion allowed to be missing, and those
    that a backbone does not have: they stay as they are.

    Args:
      folder: as for `read_weights`.
      trees: named tuple or dictionary with "parameters" and "statistics", nested dictionaries.
      whole: whether no part may stay as it is.

    Returns:
      The trees, filled, each array where it was; and a sentence about it.

    Raises:
      InputError: as for `read_weights`, or names or shapes that do not fit, all in one message.

    Example:
      >>> fill_state("no/such/folder", {})
      Traceback (most recent call last):
      segalias_jax.errors.InputError: no/such/folder is not there; give the folder of a checkpoint
    """
    arrays, source = read_weights(folder)
    missing = () if source is None or whole else source.missing
    trees, report = fill_trees(arrays, trees, missing=missing, where=str(folder))
    return trees, report + (f" ({source.file}, {source.table})" if source else "")


def fill_trees(
    arrays: Mapping[str, np.ndarray], trees: Tree, *, missing: Iterable[str], where: str
) -> tuple[Tree, str]:
    """Puts arrays into the state of a new run, as `fill_state` does.

    Args:
      arrays: by path, such as "parameters/encoder/stem/0/conv/kernel".
      trees: as for `fill_state`.
      missing: parts that may stay as they are, see `torch_weights.parts`.
      where: the arrays come from, for messages.

    Returns:
      The trees, filled, and a sentence about it.

    Raises:
      InputError: names or shapes that do not fit, all in one message.

    Example:
      >>> trees = {"parameters": {"a": jnp.zeros(2)}, "statistics": {}}
      >>> ones = {"parameters/a": np.ones(2, np.float32)}
      >>> fill_trees(ones, trees, missing=(), where="r50")[1]
      '1 of 1 arrays from r50'
    """
    # What the task of that run carried, such as the ratio of a curriculum, is none of this run's.
    arrays = {name: array for name, array in arrays.items() if name.split("/")[0] != "task"}
    named: Any = trees  # a named tuple has _asdict and _replace, which no type says
    given = named._asdict() if hasattr(named, "_asdict") else dict(named)
    kept = {part: given[part] for part in ("parameters", "statistics")}
    leaves, structure = jax.tree_util.tree_flatten_with_path(kept)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    shapes = {
        name: leaf.shape
        for name, (_, leaf) in zip(names, leaves, strict=True)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    }
    taken = fitting(arrays, shapes, missing, where)
    filled = [
        jax.device_put(arrays[name].astype(leaf.dtype), leaf.sharding) if name in taken else leaf
        for name, (_, leaf) in zip(names, leaves, strict=True)
    ]
    report = f"{len(taken)} of {len(shapes)} arrays from {where}"
    left = [name.partition("/")[2] for name in shapes if name not in taken]
    parts = [part for part in PARTS if any(in_parts(name, (part,)) for name in left)]
    report += f", random in {', '.join(parts)}" if parts else ""
    kept = jax.tree.unflatten(structure, filled)
    return (named._replace(**kept) if hasattr(named, "_replace") else given | kept), report


def fitting(
    arrays: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    missing: Iterable[str],
    where: str,
) -> set[str]:
    """Compares a checkpoint's arrays with a model's, both ways.

    Args:
      arrays: of the checkpoint, by path.
      shapes: of the model's floating arrays, by path.
      missing: parts that need not fit.
      where: name of the checkpoint, for the message.

    Returns:
      Paths of the arrays to take.

    Raises:
      InputError: everything that does not fit.

    Example:
      >>> fitting({"parameters/a": np.zeros(2)}, {"parameters/a": (2,)}, (), "r50")
      {'parameters/a'}
    """
    floats = {name: a.shape for name, a in arrays.items() if jnp.issubdtype(a.dtype, jnp.floating)}
    taken = {name for name in floats if floats[name] == shapes.get(name)}
    wrong = [
        f"{name} is {floats.get(name, 'absent')} there and {shapes.get(name, 'absent')} here"
        for name in sorted((floats.keys() | shapes.keys()) - taken)
        if not in_parts(name.partition("/")[2], missing)
    ]
    if wrong:
        raise InputError(
            f"{where} does not fit the model: {', '.join(wrong)}; use the recipe it was made with, "
            "or convert it with --allow-missing"
        )
    return taken


def read_source(folder: Path | str) -> Source | None:
    """Reads where the weights of a folder came from.

    Args:
      folder: from `save_weights`; that of a run tells nothing.

    Returns:
      What `save_weights` was given, or None.

    Raises:
      InputError: a damaged file.

    Example:
      >>> read_source("no/such/folder") is None
      True
    """
    path = Path(folder) / SOURCE
    if not path.exists():
        return None
    try:
        fields = json.loads(path.read_text())
        return Source(**fields | {"missing": tuple(fields["missing"])})
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); convert the weights again") from None
