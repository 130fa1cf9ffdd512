"""Fits PyTorch weights to a model, checked both ways, and returns them to PyTorch's form."""

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
from segalias_jax.errors import InputError
from segalias_jax.torch_weights import files as torch_files
from segalias_jax.torch_weights.detectors import normalized
from segalias_jax.torch_weights.encoders.dinov2 import dinov2_from_transformers
from segalias_jax.torch_weights.encoders.mit import (
    in_names_of_key_tables,
    with_joined_projections,
)
from segalias_jax.torch_weights.mask2former import as_file, as_key_table, is_of_transformers
from segalias_jax.torch_weights.names import (
    SEGFORMER_PREFIX,
    WHOLE,
    Path,
    bgr_kernel,
    encoder_names,
    fixed_arrays,
    from_torch,
    key_table,
    leaves,
    table_name,
    to_torch,
)
from segalias_jax.torch_weights.parts import check_parts, in_parts
from segalias_jax.torch_weights.rules import EncoderNames, rewritten, rgb_kernel, torch_name

_COUNTERS = r"num_batches_tracked$"  # of PyTorch's norms
_BACKBONE_ONLY = ("decoder", "head", "auxiliary")
_PREFIX = "backbone."


@dataclasses.dataclass(frozen=True)
class Source:
    """Where weights came from.

    Attributes:
      file: name of the file.
      sha256: of its bytes.
      table: names that it used: "mmsegmentation", "published" (mmsegmentation with corner gates),
        "segformer" or "mask2former" (whole ones of transformers), for a detector "torchvision" or
        "mmdetection", or for a backbone alone "torchvision", "open-mmlab", "timm", "transformers",
        or "mmsegmentation" where it has the names that it has inside of a segmenter.
      missing: parts of the model that it need not fill, see `torch_weights.parts`.
      name: that it was asked for by, see `torch_weights.zoo`; "" for a path.

    Example:
      >>> Source("r50.pth", "e3b0", "open-mmlab", ("decoder", "head", "auxiliary")).table
      'open-mmlab'
    """

    file: str
    sha256: str
    table: str
    missing: tuple[str, ...]
    name: str = ""


def load_torch(
    path: FilePath | str, model: nnx.Module, *, allow_missing: Iterable[str] = ()
) -> Source:
    """Fills a model with the weights of a PyTorch file.

    Reads mmsegmentation segmenters, Mask R-CNN of torchvision and of mmdetection (by the model's
    `convention`), the published checkpoints of this method (into models with `gate="corner"`,
    `band="reference"` and `cutoff=0.35`), and backbones alone, which fill the encoder: ResNets of
    torchvision (v1b) and open-mmlab (v1c, v1d), HRNets of it and of timm, ConvNeXts and Swins of
    timm, whose norms of the feature maps stay as they are where the file has none, its
    EfficientNets, MobileNets of torchvision, MiTs of transformers, mmsegmentation and the original
    ones (whole SegFormers of each, too), DINOv2s of timm, transformers and the original ones. Every
    name and shape is compared before anything is changed.

    Args:
      path: a `.pth`, `.pt` or `.safetensors` file.
      model: a model of `create_model`, or an encoder; changed in place.
      allow_missing: parts that keep what they have where the file lacks them or has them in
        another shape: "head" (the classifiers), "auxiliary", "decoder", "mixer", "filter",
        "output_norm".

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
      >>> net = nnx.eval_shape(lambda: models.ResNet("resnet18", width=2, rngs=nnx.Rngs(0)))
      >>> values = {path: np.zeros(leaf.shape) for path, leaf in leaves(net).items()}
      >>> fit_torch(torch_arrays(net, values), net, "/dev/null")[1].table
      'open-mmlab'
    """
    path, parts = FilePath(path), tuple(dict.fromkeys(allow_missing))
    check_parts(parts)
    encoder = model.encoder if isinstance(model, WHOLE) else model
    if isinstance(encoder, models.DINOv2):
        arrays = dinov2_from_transformers(arrays)
    if isinstance(model, models.Mask2Former):
        arrays = as_key_table(arrays)
    elif isinstance(encoder, models.MiT):
        arrays = in_names_of_key_tables(arrays)
        # Whole networks of transformers keep their encoder under its name.
        inside = [name for name in arrays if name.startswith(SEGFORMER_PREFIX)]
        if inside and encoder is model:
            arrays = {name: arrays[name] for name in inside}
    alone = _is_backbone(arrays)
    names = encoder_names(encoder, alone=alone)
    if isinstance(model, models.MaskRCNN) and model.convention == "torchvision":
        arrays = normalized(arrays, model.num_classes)
    if alone:
        arrays = {name.removeprefix(SEGFORMER_PREFIX): array for name, array in arrays.items()}
        names = _backbone_names(arrays, encoder)
        arrays = {rewritten(name, names.synonyms): array for name, array in arrays.items()}
        prefix = ("encoder",) if isinstance(model, WHOLE) else ()
        table = {torch_name(at, names.rules): (*prefix, *at) for at in leaves(encoder)}
        fixed = names.fixed
        if isinstance(model, WHOLE):
            # A backbone fills an encoder; what it leaves out is no error.
            parts = tuple(dict.fromkeys(parts + _BACKBONE_ONLY))
    elif not isinstance(model, WHOLE) and isinstance(model, models.Encoder):
        # A segmenter fills an encoder by the names that this has inside of one.
        table = {torch_name(at, names.rules): at for at in leaves(model)}
        fixed = names.fixed
        inside = [name for name in arrays if name.startswith(_PREFIX)]
        arrays = {name.removeprefix(_PREFIX): arrays[name] for name in inside}
    else:
        table, fixed = key_table(model), fixed_arrays(model)
    norms = [name for name in table if in_parts(name, ("output_norm",))]
    if alone and norms and not arrays.keys() & set(norms):
        parts = tuple(dict.fromkeys((*parts, "output_norm")))
    ignored = f"{_COUNTERS}|{names.ignored}" if alone and names.ignored else _COUNTERS
    arrays = {name: array for name, array in arrays.items() if not re.search(ignored, name)}
    filled = _match(
        arrays, table, fixed, leaves(model), parts=parts, file=path, variant=names.variant
    )
    bgr = bgr_kernel(model)
    if bgr in filled:
        filled[bgr] = rgb_kernel(filled[bgr]).astype(filled[bgr].dtype)
    table_of = names.table if alone else table_name(model, alone=False)
    return filled, Source(path.name, torch_files.sha256(path), table_of, parts)


def _backbone_names(arrays: Mapping[str, np.ndarray], encoder: Any) -> EncoderNames:
    """Names of an image network, or those inside a segmenter if more of a file's are such."""
    choices = [encoder_names(encoder, alone=alone) for alone in (True, False)]
    paths = leaves(encoder)
    return max(choices, key=lambda c: sum(torch_name(at, c.rules) in arrays for at in paths))


def _is_backbone(names: Iterable[str]) -> bool:
    """Returns whether names are those of an image network, not of a segmenter.

    Args:
      names: PyTorch names.

    Returns:
      True if so.

    Example:
      >>> _is_backbone(["stem.0.weight", "fc.bias"]), _is_backbone(["backbone.stem.0.weight"])
      (True, False)
    """
    return not any(
        name.startswith((_PREFIX, "decode_head.")) or is_of_transformers(name) for name in names
    )


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
    table, values = key_table(model), dict(values)
    bgr = bgr_kernel(model)
    if bgr in values:
        values[bgr] = rgb_kernel(values[bgr], back=True).astype(values[bgr].dtype)
    arrays = {name: to_torch(name, values[at]) for name, at in table.items() if at in values}
    if isinstance(model, models.Mask2Former):
        arrays = as_file(arrays)
    return with_joined_projections(arrays) | fixed_arrays(model)


def _match(
    arrays: Mapping[str, np.ndarray],
    table: Mapping[str, Path],
    fixed: Mapping[str, np.ndarray],
    wanted: Mapping[Path, nnx.Variable],
    *,
    parts: tuple[str, ...],
    file: FilePath,
    variant: str,
) -> dict[Path, np.ndarray]:
    """Arrays of ours by path, or one error that names everything that does not fit."""
    unknown = [
        name
        for name in arrays
        if name not in table and name not in fixed and not in_parts(name, parts)
    ]
    filled: dict[Path, np.ndarray] = {}
    wrong = [
        f"{name} is another filter than this model's"
        for name, array in fixed.items()
        if name in arrays
        and (arrays[name].shape != array.shape or not np.allclose(arrays[name], array, atol=1e-6))
    ]
    for name, path in table.items():
        if name not in arrays:
            continue
        shape = to_torch(name, np.empty(wanted[path].shape, bool)).shape
        problem = _problem(name, arrays[name], shape, wanted[path].dtype)
        if problem is None:
            filled[path] = from_torch(name, arrays[name]).astype(wanted[path].dtype)
        elif not in_parts(_joined(path), parts):
            wrong.append(f"{name} {problem}")
    unfilled = [
        f"{_joined(path)} (from {name})"
        for name, path in table.items()
        if name not in arrays and not in_parts(_joined(path), parts)
    ]
    reported = [
        f"{title}: {', '.join(sorted(names))}"
        for title, names in (
            ("names that the model does not have", unknown),
            ("leaves that nothing fills", unfilled),
            ("shapes or values that differ", wrong),
        )
        if names
    ]
    if reported:
        hint = _hint(arrays, table, variant) if unknown or unfilled else ""
        raise InputError(f"{file} does not fit the model; {'; '.join(reported)}{hint}")
    return filled


def _problem(name: str, array: np.ndarray, shape: tuple[int, ...], dtype: Any) -> str | None:
    if array.shape != shape:
        return f"is {array.shape} in the file and {shape} here"
    if array.dtype.kind != "f":
        return f"holds {array.dtype} numbers, not floats"
    with np.errstate(over="ignore"):
        finite = np.isfinite(array.astype(dtype)).all()
    if not finite:
        return "holds nan, infinite or too large numbers"
    if name.endswith(".running_var") and (array < 0).any():
        return "holds negative variances"
    return None


def _hint(arrays: Mapping[str, np.ndarray], table: Mapping[str, Path], variant: str) -> str:
    """Which argument of the model to change, where names show it."""
    if any(".att.channel_att_" in name for name in arrays if name not in table):
        return "; published gates need gate='corner', both mixer_parts and no start 'identity'"
    there = _resnet_variant(arrays) if variant else ""
    return f"; its names are those of variant={there!r}" if there not in ("", variant) else ""


def _resnet_variant(arrays: Mapping[str, np.ndarray]) -> str:
    """Which variant of ResNet has arrays of such names and numbers of axes, if any."""
    axes = {name.removeprefix(_PREFIX): array.ndim for name, array in arrays.items()}
    if not any(name.startswith("layer1.") for name in axes):
        return ""
    if "conv1.weight" in axes:
        return "v1b"
    pooled = any(
        re.search(r"^layer\d\.0\.downsample\.1\.weight$", name) and count == 4
        for name, count in axes.items()
    )
    return "v1d" if pooled else "v1c"


def checkpoint_names(model: nnx.Module | models.Encoder) -> dict[Path, str]:
    """Returns the paths that leaves have in a checkpoint.

    Args:
      model: the model, an abstract one too.

    Returns:
      Names such as "parameters/encoder/stem/0/conv/kernel", by the path in the model.

    Example:
      >>> list(checkpoint_names(nnx.BatchNorm(2, rngs=nnx.Rngs(0))).values())[:3]
      ['parameters/bias', 'statistics/mean', 'parameters/scale']
    """
    return {
        path: _joined(("parameters" if isinstance(leaf, nnx.Param) else "statistics", *path))
        for path, leaf in leaves(model).items()
    }


def _joined(path: Path) -> str:
    return "/".join(str(part) for part in path)
