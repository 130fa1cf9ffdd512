"""Makes a checkpoint of PyTorch weights, or the other way.

    segalias convert SRC DST --config NAME|FILE[:VARIANT]
    segalias convert SRC DST --config NAME|FILE[:VARIANT] --to-safetensors

The first reads SRC, a `.pth`, `.pt` or `.safetensors` file, and writes the folder DST, which
recipes take as --config.model.pretrained=DST. The second reads SRC, the folder of a run or of
converted weights, and writes the file DST.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from segalias_jax import models
from segalias_jax.checkpoints import pretrained
from segalias_jax.errors import FlagParser
from segalias_jax.settings import section_errors
from segalias_jax.torch_weights import files as torch_files
from segalias_jax.torch_weights.detectors import COCO_IDS
from segalias_jax.torch_weights.load import Source, checkpoint_names, fit_torch, torch_arrays
from segalias_jax.torch_weights.names import leaves, table_name

_CLASSIFIERS = {
    "decode_head.conv_seg.weight": 0,
    "decode_head.1.conv_seg.weight": 0,
    "decode_head.classifier.weight": 0,
    "roi_heads.box_predictor.cls_score.weight": 1,
    "roi_head.bbox_head.fc_cls.weight": 1,
    "class_predictor.weight": 1,
}
"""Names of classifiers in PyTorch's files, and how many of their classes are none."""

_OURS = {
    "parameters/classifier/conv/bias": 0,
    "parameters/box_head/logits/bias": 1,
    "parameters/query_decoder/classes/bias": 1,
}
"""The same of checkpoints."""


def convert(
    src: Path, dst: Path, config: Mapping[str, Any], *, allow_missing: Iterable[str] = ()
) -> Source:
    """Writes a checkpoint with the weights of a PyTorch file.

    Args:
      src: the file, see `load_torch`.
      dst: a new folder.
      config: section `model` of a recipe.
      allow_missing: parts of the model that the file need not fill, see `load_torch`.

    Returns:
      Where the weights came from.

    Raises:
      InputError: the file or the model cannot be used; nothing is written then.

    Example:
      >>> convert(Path("no.pth"), Path("r50"), {})
      Traceback (most recent call last):
      segalias_jax.errors.InputError: no.pth is not there; give the path of a weights file
    """
    pretrained.check_new(dst)
    arrays = torch_files.read_arrays(src)
    model = _abstract_model(config, _number_of_classes(arrays))
    filled, source = fit_torch(arrays, model, src, allow_missing)
    names = checkpoint_names(model)
    pretrained.save_weights(dst, {names[path]: array for path, array in filled.items()}, source)
    return source


def export(src: Path, dst: Path, config: Mapping[str, Any]) -> int:
    """Writes a `.safetensors` file with the weights of a checkpoint, in PyTorch's naming.

    What came from a backbone alone gets a backbone's names again.

    Args:
      src: folder of a run (its best checkpoint is taken) or of converted weights.
      dst: a new `.safetensors` file.
      config: section `model` of the recipe of `src`.

    Returns:
      Number of arrays written.

    Raises:
      InputError: no checkpoint, one of another model, or a file that cannot be written.

    Example:
      >>> export(Path("no"), Path("r50.safetensors"), {})
      Traceback (most recent call last):
      segalias_jax.errors.InputError: no is not there; give the folder of a checkpoint
    """
    pretrained.check_new(dst)
    arrays, source = pretrained.read_weights(src)
    count = next((len(arrays[n]) - none for n, none in _OURS.items() if n in arrays), 1)
    model = _abstract_model(config, count)
    names, variables = checkpoint_names(model), leaves(model)
    shapes = {names[path]: variable.shape for path, variable in variables.items()}
    missing = () if source is None else source.missing
    taken = pretrained.fitting(arrays, shapes, missing, str(src))
    there = {path: arrays[name] for path, name in names.items() if name in taken}
    named_by: nnx.Module = model
    if source is not None and source.table == table_name(model, alone=True):
        assert isinstance(model.encoder, nnx.Module)
        named_by = model.encoder
        there = {path[1:]: array for path, array in there.items() if path[0] == "encoder"}
    named = torch_arrays(named_by, there)
    torch_files.write_safetensors(dst, named, {"checkpoint": Path(src).name})
    return len(named)


def add_flags(parser: FlagParser) -> None:
    """Adds the flags of `segalias convert`.

    Example:
      >>> parser = FlagParser("convert")
      >>> add_flags(parser)
      >>> parser.parse(["r50.pth", "r50", "--allow-missing=head,mixer"]).allow_missing
      ['head', 'mixer']
    """
    add = parser.add_argument
    add("src", type=Path, metavar="SRC", help="file, or with --to-safetensors folder, to read")
    add("dst", type=Path, metavar="DST", help="new folder, or with --to-safetensors new file")
    add(
        "--allow-missing",
        type=lambda text: [word for word in text.split(",") if word],
        default=[],
        metavar="PART,...",
        help="parts of the model that SRC need not fill, such as head,mixer",
    )
    add("--to-safetensors", action="store_true", help="write PyTorch weights, in PyTorch's names")


def run(flags: argparse.Namespace) -> int:
    """Converts what the flags name.

    Args:
      flags: of `add_flags`, and the recipe `config`.

    Returns:
      The exit status, 0.

    Raises:
      InputError: see `convert` and `export`.
    """
    config = flags.config.model.to_dict()
    if flags.to_safetensors:
        count = export(flags.src, flags.dst, config)
        print(f"{count} arrays written to {flags.dst}")
    else:
        source = convert(flags.src, flags.dst, config, allow_missing=flags.allow_missing)
        left = f", without {', '.join(source.missing)}" if source.missing else ""
        print(f"{source.file} ({source.table} names{left}) written to {flags.dst}")
    return 0


def _number_of_classes(arrays: Mapping[str, np.ndarray]) -> int:
    """What a file's classifier tells apart, of a detector without the background; 1 without any."""
    for name, background in _CLASSIFIERS.items():
        array = arrays.get(name)
        if array is not None and array.ndim:
            count = len(array) - background
            # A file of torchvision's for COCO has logits for ids that no object has.
            is_coco = name.startswith("roi_heads.") and count == max(COCO_IDS)
            return len(COCO_IDS) if is_coco else max(count, 1)
    return 1


def _abstract_model(
    config: Mapping[str, Any], num_classes: int
) -> models.Segmenter | models.MaskRCNN | models.Mask2Former:
    config, create = {**config, "pretrained": ""}, models.create_model
    if config.get("name") in models.DETECTORS:
        create = models.create_detector
    elif config.get("name") in models.UNIVERSAL:
        create = models.create_universal
    with section_errors("model"):
        return nnx.eval_shape(lambda: create(config, num_classes=num_classes, rngs=nnx.Rngs(0)))
