"""Fits PyTorch weights to a model, checked both ways, and takes them out again."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from segalias_jax import models
from segalias_jax.checkpoints import torch_files
from segalias_jax.checkpoints.parts import check_parts, in_parts
from segalias_jax.checkpoints.torch_names import (
    Path,
    fixed_arrays,
    from_torch,
    has_corner_gates,
    key_table,
    leaves,
    to_torch,
)
from segalias_jax.errors import InputError

# Counters of PyTorch's norms, and the classifier of image networks.
_WITHOUT_MEANING = re.compile(r"num_batches_tracked$|^(head\.)?fc\.(weight|bias)$")
BACKBONE = "open-mmlab"
_BACKBONE_ONLY = ("decoder", "head", "auxiliary")
_PREFIX = "backbone."


@dataclasses.dataclass(frozen=True)
class Source:
    """Where weights came from.

    Attributes:
      file: name of the file.
      sha256: of its bytes.
      table: names that it used: "mmsegmentation", "published" (mmsegmentation with corner gates),
        or "open-mmlab" for a backbone alone.
      missing: parts of the model that it need not fill, see `checkpoints.parts`.

    Example:
      >>> Source("r50.pth", "e3b0", "open-mmlab", ("decoder", "head", "auxiliary")).table
      'open-mmlab'
    """

    file: str
    sha256: str
    table: str
    missing: tuple[str, ...]


def load_torch(
    path: FilePath | str, model: nnx.Module, *, allow_missing: Iterable[str] = ()
) -> Source:
    """Fills a model with the weights of a PyTorch file.

    Reads mmsegmentation segmenters, the published checkpoints of this method (into models with
    `gate="corner"`, `band="reference"` and `cutoff=0.35`), and backbones alone, which fill the
    encoder. Every name and shape is compared before anything is changed.

    Args:
      path: a `.pth`, `.pt` or `.safetensors` file.
      model: a model of `create_model`, or an encoder; changed in place.
      allow_missing: parts that keep what they have where the file lacks them or has them in
        another shape: "head" (the classifiers), "auxiliary", "decoder", "mixer", "filter".

    Returns:
      Where the weights came from.

    Raises:
      InputError: the file cannot be used, or unknown names, unfilled leaves or other shapes, all
        of them in one message.

    Example:
      >>> load_torch("r50.pth", nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: r50.pth is not there; give the path of a weights file
    """
    arrays = torch_files.read_arrays(FilePath(path))
    arrays, source = fit_torch(arrays, model, path, allow_missing)
    state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    for at, variable in nnx.to_flat_state(state):
        if at in arrays:
            variable.set_value(jnp.asarray(arrays[at], variable.dtype))
    nnx.update(model, state)
    return source


def fit_torch(
    arrays: Mapping[str, np.ndarray],
    model: nnx.Module,
    path: FilePath | str,
    allow_missing: Iterable[str] = (),
) -> tuple[dict[Path, np.ndarray], Source]:
    """Finds the leaf of every array of a PyTorch file.

    Args:
      arrays: by PyTorch name.
      model: as for `load_torch`, or an abstract one; not changed.
      path: of the file.
      allow_missing: as for `load_torch`.

    Returns:
      Arrays by the path of their leaf, in our layout, and where they came from.

    Raises:
      InputError: as for `load_torch`.

    Example:
      >>> fit_torch({"x": np.zeros(2)}, nnx.List([]), "/dev/null")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: /dev/null does not fit the model; names that the model does not have: x
    """  # noqa: E501
    path, parts = FilePath(path), tuple(dict.fromkeys(allow_missing))
    check_parts(parts)
    table, fixed = key_table(model), fixed_arrays(model)
    name = "published" if has_corner_gates(model) else "mmsegmentation"
    if isinstance(model, models.Segmenter) and is_backbone(arrays):
        # A backbone fills an encoder; what it leaves out is no mistake.
        table, fixed = without_prefix(table), without_prefix(fixed)
        name, parts = BACKBONE, tuple(dict.fromkeys(parts + _BACKBONE_ONLY))
    filled = _match(arrays, table, fixed, leaves(model), parts, path)
    return filled, Source(path.name, torch_files.sha256(path), name, parts)


def is_backbone(names: Iterable[str]) -> bool:
    """Returns whether names are those of an image network, not of a segmenter.

    Args:
      names: PyTorch names.

    Returns:
      True if so.

    Example:
      >>> is_backbone(["stem.0.weight", "fc.bias"]), is_backbone(["backbone.stem.0.weight"])
      (True, False)
    """
    return not any(name.startswith((_PREFIX, "decode_head.")) for name in names)


def torch_arrays(model: nnx.Module, values: Mapping[Path, np.ndarray]) -> dict[str, np.ndarray]:
    """Brings weights of ours into PyTorch names and layout.

    Args:
      model: what the weights belong to; may be abstract.
      values: arrays by the path of their leaf.

    Returns:
      Arrays by PyTorch name, fixed blurs included.

    Example:
      >>> net = nnx.eval_shape(lambda: models.ResNet("resnet18", rngs=nnx.Rngs(0)))
      >>> values = {path: np.zeros(leaf.shape) for path, leaf in leaves(net).items()}
      >>> torch_arrays(net, values)["stem.0.weight"].shape
      (32, 3, 3, 3)
    """
    table = key_table(model)
    arrays = {name: to_torch(name, values[at]) for name, at in table.items() if at in values}
    return arrays | fixed_arrays(model)


def without_prefix(table: Mapping[str, Any]) -> dict[str, Any]:
    """Keeps what belongs to a backbone, and drops the prefix that says so.

    Args:
      table: anything by PyTorch name.

    Returns:
      The backbone's part of it.

    Example:
      >>> without_prefix({"backbone.fc.bias": 1, "decode_head.conv_seg.bias": 2})
      {'fc.bias': 1}
    """
    return {
        name.removeprefix(_PREFIX): value
        for name, value in table.items()
        if name.startswith(_PREFIX)
    }


def _match(arrays, table, fixed, wanted, parts, file) -> dict[Path, np.ndarray]:
    """Arrays of ours by path, or one error that names everything that does not fit."""
    unknown = [
        name
        for name in arrays
        if name not in table
        and name not in fixed
        and not _WITHOUT_MEANING.search(name)
        and not in_parts(name, parts)
    ]
    filled, wrong = {}, _wrong_constants(arrays, fixed)
    for name, path in table.items():
        if name not in arrays:
            continue
        problem = _problem(arrays[name], to_torch(name, np.empty(wanted[path].shape, bool)).shape)
        if problem is None:
            filled[path] = from_torch(name, arrays[name]).astype(wanted[path].dtype)
        elif not in_parts(_joined(path), parts):
            wrong.append(f"{name} {problem}")
    unfilled = [
        f"{_joined(path)} (from {name})"
        for name, path in table.items()
        if name not in arrays and not in_parts(_joined(path), parts)
    ]
    _complain(file, unknown, unfilled, wrong)
    return filled


def _wrong_constants(arrays, fixed) -> list[str]:
    return [
        f"{name} is another filter than this model's"
        for name, array in fixed.items()
        if name in arrays
        and (arrays[name].shape != array.shape or not np.allclose(arrays[name], array, atol=1e-6))
    ]


def _problem(array: np.ndarray, shape: tuple[int, ...]) -> str | None:
    if array.shape != shape:
        return f"is {array.shape} in the file and {shape} here"
    return None if array.dtype.kind == "f" else f"holds {array.dtype} numbers, not floats"


def _complain(file: FilePath, unknown: list[str], unfilled: list[str], wrong: list[str]) -> None:
    told = [
        f"{title}: {', '.join(sorted(names))}"
        for title, names in (
            ("names that the model does not have", unknown),
            ("leaves that nothing fills", unfilled),
            ("shapes or values that differ", wrong),
        )
        if names
    ]
    if told:
        gates = any(".att.channel_att_" in name for name in unknown)
        hint = "; published gates need model.gate='corner'" if gates else ""
        raise InputError(f"{file} does not fit the model; {'; '.join(told)}{hint}")


def _joined(path: Path) -> str:
    return "/".join(str(part) for part in path)
