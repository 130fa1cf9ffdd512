"""Key tables: what PyTorch code bases call the parameters and statistics of our models.

A table is a list of rewritings from the path of a leaf of ours, joined by dots, to the name of
the module that holds it there; `key_table` applies them to every leaf. So each leaf has one PyTorch
name, and whatever can be read can be written.

What computes something else than the published code, such as FreqMix with the gate "energy", has
other names: weights that would load into it and mean nothing are refused. For the same reason an
encoder or decoder without an entry in `ENCODERS` or `DECODERS` is refused, never taken for another.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from flax import nnx

from segalias_jax import models
from segalias_jax.errors import InputError
from segalias_jax.torch_weights.detectors import (
    DETECTOR_RULES,
    ENCODER_PREFIX,
    from_detector_layout,
    to_detector_layout,
)
from segalias_jax.torch_weights.encoders.convnext import convnext_names
from segalias_jax.torch_weights.encoders.dinov2 import dinov2_names
from segalias_jax.torch_weights.encoders.efficientnet import efficientnet_names
from segalias_jax.torch_weights.encoders.hrnet import hrnet_names
from segalias_jax.torch_weights.encoders.mit import mit_names
from segalias_jax.torch_weights.encoders.mobilenet import mobilenet_names
from segalias_jax.torch_weights.encoders.resnet import resnet_names
from segalias_jax.torch_weights.encoders.swin import (
    from_merging_layout,
    swin_names,
    to_merging_layout,
)
from segalias_jax.torch_weights.mask2former import is_embedding, mask2former_table
from segalias_jax.torch_weights.rules import EncoderNames, Path, Rules, torch_name

# Linear layers in PyTorch code, 1x1 convolutions here.
_LINEAR = re.compile(
    r"\b(mlp\.fc\d|pointwise_conv\d|(attn|w_msa)\.(qkv|proj)|downsample\.reduction"
    r"|blocks\.\d+\.ffn\.layers\.(0\.0|1)"
    r"|attention\.self\.(query|key|value|qkv)|attention\.output\.dense|mlp\.dense\d"
    r"|blocks\.\d+\.(intermediate|output)\.dense"
    r"|attn\.in_proj\.\d|attn\.attn\.out_proj|linear_c\.\d\.proj)\.weight$"
)

# SegFormers of transformers join features from coarse to fine, square blocks of this array.
_COARSE_FIRST = re.compile(r"^decode_head\.linear_fuse\.weight$")

# One kernel for each channel, without an axis of inputs here.
_OF_CHANNELS = re.compile(r"\bllpf\.weight$")

# The published gate reads its input rolled by half the channels.
_ROLLED = re.compile(r"channel_att_\w+\.1\.weight$")

_HEADS: Rules = [
    (r"^classifier\.conv", "decode_head.conv_seg"),
    (r"^auxiliary\.mix", "auxiliary_head.convs.0"),
    (r"^auxiliary\.classifier\.conv", "auxiliary_head.conv_seg"),
    (r"(^|\.)norm$", r"\1bn"),
]

_PYRAMID: Rules = [
    (r"^decoder\.pyramid\.bottleneck", "decode_head.bottleneck"),
    (r"^decoder\.pyramid\.scales\.(\d+)", r"decode_head.psp_modules.\1.1"),
]

DECODERS: dict[type, Rules] = {
    models.UPerNet: [
        *_PYRAMID,
        (r"^decoder\.laterals\.(\d)", r"decode_head.lateral_convs.\1"),
        (r"^decoder\.outputs\.(\d)", r"decode_head.fpn_convs.\1"),
        (r"^decoder\.bottleneck", "decode_head.fpn_bottleneck"),
    ],
    models.PSPNet: _PYRAMID,
    models.FCN: [
        (r"^decoder\.convs\.(\d+)", r"decode_head.convs.\1"),
        (r"^decoder\.join", "decode_head.conv_cat"),
    ],
    models.DeepLabV3Plus: [
        (r"\.(depthwise|pointwise)\.", r".\1_conv."),
        (r"^decoder\.pyramid\.image", "decode_head.image_pool.1"),
        (r"^decoder\.pyramid\.scales\.(\d+)", r"decode_head.aspp_modules.\1"),
        (r"^decoder\.pyramid\.bottleneck", "decode_head.bottleneck"),
        (r"^decoder\.low_level", "decode_head.c1_bottleneck"),
        (r"^decoder\.refine\.(\d)", r"decode_head.sep_bottleneck.\1"),
    ],
    # A cascade: what tells the regions is its first head.
    models.OCR: [
        (r"^decoder\.region_mix", "decode_head.0.convs.0"),
        (r"^decoder\.classifier$", "decode_head.0.conv_seg"),
        (r"^classifier\.conv", "decode_head.1.conv_seg"),
        (r"^decoder\.bottleneck", "decode_head.1.bottleneck"),
        (r"^decoder\.attention\.", "decode_head.1.object_context_block."),
        (r"\bobject_context_block\.(query|key|value|out)\b", r"object_context_block.\1_project"),
        (r"\bobject_context_block\.mix\b", "object_context_block.bottleneck"),
    ],
    # Those with norms behind the linear layers; others are `_SEGFORMER`s.
    models.SegFormer: [
        (r"^decoder\.laterals\.(\d)", r"decode_head.convs.\1"),
        (r"^decoder\.join", "decode_head.fusion_conv"),
    ],
    # Doublings stand between the convolutions of a head, and count there.
    models.SemanticFPN: [
        (r"^decoder\.laterals\.(\d)", r"neck.lateral_convs.\1.conv"),
        (r"^decoder\.outputs\.(\d)", r"neck.fpn_convs.\1.conv"),
        (
            r"^decoder\.heads\.(\d)\.(\d)",
            lambda m: f"decode_head.scale_heads.{m[1]}.{2 * int(m[2])}",
        ),
    ],
}
"""Names as in mmsegmentation; 0.x and 1.x have the same ones."""

_SEGFORMER: Rules = [
    (r"^decoder\.laterals\.(\d)$", r"decode_head.linear_c.\1.proj"),
    (r"^decoder\.join\.conv$", "decode_head.linear_fuse"),
    (r"^decoder\.join\.norm$", "decode_head.batch_norm"),
    (r"^classifier\.conv$", "decode_head.classifier"),
]
"""Of the SegFormer decoder as transformers has it."""

SEGFORMER_PREFIX = "segformer."
"""In front of a whole SegFormer's encoder in transformers."""


ENCODERS: dict[type, Callable[[Any, bool], EncoderNames]] = {
    models.ResNet: resnet_names,
    models.ConvNeXt: convnext_names,
    models.ConvNeXtV2: convnext_names,
    models.DINOv2: dinov2_names,
    models.HRNet: hrnet_names,
    models.MiT: mit_names,
    models.Swin: swin_names,
    models.EfficientNet: efficientnet_names,
    models.MobileNet: mobilenet_names,
}
"""By the class of an encoder, what returns its key table: a function of the encoder and of whether
it is an image network of its own or inside a segmenter. Add a line for an encoder of your own."""


WHOLE = (models.Segmenter, models.MaskRCNN, models.Mask2Former)
"""Networks with an encoder inside."""


def encoder_names(encoder: Any, *, alone: bool) -> EncoderNames:
    """Returns the key table of an encoder.

    Args:
      encoder: the encoder, an abstract one too.
      alone: whether as an image network, or inside a segmenter.

    Returns:
      Its names.

    Raises:
      InputError: an encoder whose class has no line in `ENCODERS`.

    Example:
      >>> encoder_names(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), alone=True)
      Traceback (most recent call last):
      segalias_jax.errors.InputError: no PyTorch names are known for the encoder Linear; add its \
key table to segalias_jax.torch_weights.names.ENCODERS
    """
    make = ENCODERS.get(type(encoder))
    if make is None:
        raise InputError(_unknown("encoder", encoder, "ENCODERS"))
    return make(encoder, alone)


def bgr_kernel(model: nnx.Module | models.Encoder) -> Path:
    """Returns the leaf that PyTorch code multiplies by BGR bytes less their mean, see `rgb_kernel`.

    Args:
      model: a network or an encoder, an abstract one too.

    Returns:
      Its path, or () where the network reads normalized RGB there, too.

    Raises:
      InputError: as for `encoder_names`.

    Example:
      >>> make = lambda: models.ResNet("resnet50", variant="v1a", rngs=nnx.Rngs(0))
      >>> bgr_kernel(nnx.eval_shape(make))
      ('stem', 0, 'conv', 'kernel')
    """
    whole = isinstance(model, WHOLE)
    inside = encoder_names(model.encoder if whole else model, alone=not whole).bgr_kernel
    return ("encoder", *inside) if whole and inside else inside


def table_name(model: nnx.Module | models.Encoder, *, alone: bool) -> str:
    """Returns whose names a model's key table has.

    Args:
      model: a `Segmenter` or an encoder.
      alone: whether as an image network, or inside a segmenter.

    Returns:
      "timm", "torchvision", "transformers" or "open-mmlab" for an image network; "torchvision" or
      "mmdetection" for a detector; else "mmsegmentation", "published" (mmsegmentation with corner
      gates), "segformer" or "mask2former" (whole ones of transformers).

    Raises:
      InputError: as for `encoder_names`.

    Example:
      >>> net = nnx.eval_shape(lambda: models.ResNet("resnet18", rngs=nnx.Rngs(0)))
      >>> table_name(net, alone=True)
      'open-mmlab'
    """
    if isinstance(model, models.MaskRCNN) and not alone:
        return model.convention
    if isinstance(model, models.Mask2Former) and not alone:
        return "mask2former"
    if _is_of_transformers(model) and not alone:
        return "segformer"
    encoder = model.encoder if isinstance(model, WHOLE) else model
    return encoder_names(encoder, alone=alone).table


def leaves(model: nnx.Module | models.Encoder) -> dict[Path, nnx.Variable]:
    """Lists all parameters and batch statistics of a model, abstract ones too.

    Args:
      model: the model.

    Returns:
      Variables by their path.

    Example:
      >>> list(leaves(nnx.BatchNorm(2, rngs=nnx.Rngs(0))))
      [('bias',), ('mean',), ('scale',), ('var',)]
    """
    state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    return dict(nnx.to_flat_state(state))


def key_table(model: nnx.Module | models.Encoder) -> dict[str, Path]:
    """Names every parameter and statistic of a model as mmsegmentation does.

    A detector has the names of torchvision or mmdetection, by its convention; a Mask2Former, and a
    SegFormer without norms behind its linear layers, have those of transformers. A bare encoder has
    the names of an image network: torchvision's (ResNet v1b), open-mmlab's (others) or timm's
    (ConvNeXt, ConvNeXt V2, Swin, DINOv2, HRNet).

    Args:
      model: a `Segmenter`, a detector or an encoder, abstract ones too.

    Returns:
      Paths of ours by PyTorch name.

    Raises:
      InputError: an encoder or decoder without a key table.

    Example:
      >>> net = nnx.eval_shape(lambda: models.ResNet("resnet18", rngs=nnx.Rngs(0)))
      >>> key_table(net)["layer1.0.conv1.weight"]
      ('stages', 0, 0, 'conv1', 'kernel')
    """
    if not isinstance(model, WHOLE):
        rules = encoder_names(model, alone=True).rules
        return {torch_name(path, rules): path for path in leaves(model)}
    if isinstance(model, models.Mask2Former):
        return mask2former_table(model, list(leaves(model)))
    of_encoder, prefix = encoder_names(model.encoder, alone=False).rules, "backbone."
    if isinstance(model, models.MaskRCNN):
        if isinstance(model, models.PointRend) and model.convention != "mmdetection":
            raise InputError(
                f"no PyTorch names are known for point_rend with convention {model.convention!r}; "
                "build it with convention 'mmdetection'"
            )
        of_heads = DETECTOR_RULES[model.convention]
        prefix = ENCODER_PREFIX[model.convention]
    elif type(model.decoder) not in DECODERS:
        raise InputError(_unknown("decoder", model.decoder, "DECODERS"))
    elif _is_of_transformers(model):
        of_encoder, prefix = encoder_names(model.encoder, alone=True).rules, SEGFORMER_PREFIX
        of_heads = _SEGFORMER + _HEADS
    else:
        of_heads = DECODERS[type(model.decoder)] + _HEADS
    table: dict[str, Path] = {}
    for path in leaves(model):
        if path[0] == "encoder":
            table[prefix + torch_name(path[1:], of_encoder)] = path
        else:
            table[torch_name(path, of_heads)] = path
    return table


def fixed_arrays(model: nnx.Module | models.Encoder) -> dict[str, np.ndarray]:
    """Returns what PyTorch code stores although it never changes: the taps of fixed blurs.

    Args:
      model: a `Segmenter` or an encoder.

    Returns:
      Arrays `[channels, 1, k, k]` by PyTorch name.

    Raises:
      InputError: as for `encoder_names`.

    Example:
      >>> make = lambda: models.ResNet("resnet18", downsample="blur3", rngs=nnx.Rngs(0))
      >>> net = nnx.eval_shape(make)
      >>> {name: array.shape for name, array in fixed_arrays(net).items()}["AdaD.1.filt"]
      (64, 1, 3, 3)
    """
    if not isinstance(model, WHOLE):
        return dict(encoder_names(model, alone=True).fixed)
    if isinstance(model, models.Mask2Former):
        return {}
    fixed = encoder_names(model.encoder, alone=False).fixed
    detector = isinstance(model, models.MaskRCNN)
    prefix = ENCODER_PREFIX[model.convention] if detector else "backbone."
    return {prefix + name: array for name, array in fixed.items()}


def to_torch(name: str, array: np.ndarray) -> np.ndarray:
    """Brings an array of ours into PyTorch's layout.

    Kernels go from HWIO to OIHW, those of linear layers from IO to OI, and from HWIO to OI where
    PyTorch code has a linear layer and we have a 1x1 convolution. The first weights of corner gates
    are rolled by half their channels, since the published gate reads its input rolled.

    Args:
      name: PyTorch name.
      array: our array.

    Returns:
      The array for that name.

    Example:
      >>> to_torch("conv1.weight", np.zeros((7, 5, 3, 64))).shape
      (64, 3, 7, 5)
    """
    of_detector = to_detector_layout(name, array)
    if of_detector is not None:
        return of_detector
    if _OF_CHANNELS.search(name):
        return array.transpose(2, 0, 1)[:, None]
    if array.ndim == 2 and name.endswith("weight") and not is_embedding(name):
        return array.T
    if array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    if _LINEAR.search(name):
        array = array[:, :, 0, 0]
    if _COARSE_FIRST.search(name):
        array = _blocks_reversed(array)
    array = to_merging_layout(name, array)
    return np.roll(array, array.shape[1] // 2, 1) if _ROLLED.search(name) else array


def from_torch(name: str, array: np.ndarray) -> np.ndarray:
    """The inverse of `to_torch`.

    Args:
      name: PyTorch name.
      array: its array.

    Returns:
      The array as we hold it.

    Example:
      >>> from_torch("conv1.weight", np.zeros((64, 3, 7, 5))).shape
      (7, 5, 3, 64)
    """
    of_detector = from_detector_layout(name, array)
    if of_detector is not None:
        return of_detector
    if _OF_CHANNELS.search(name):
        return array[:, 0].transpose(1, 2, 0)
    if _ROLLED.search(name):
        array = np.roll(array, -(array.shape[1] // 2), 1)
    if _COARSE_FIRST.search(name):
        array = _blocks_reversed(array)
    array = from_merging_layout(name, array)
    if _LINEAR.search(name):
        array = array[:, :, None, None]
    if array.ndim == 2 and name.endswith("weight") and not is_embedding(name):
        return array.T
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def _is_of_transformers(model: nnx.Module | models.Encoder) -> bool:
    """Whether a model is what transformers calls a SegFormer; mmsegmentation has another one."""
    return (
        isinstance(model, models.Segmenter)
        and type(model.encoder) is models.MiT
        and type(model.decoder) is models.SegFormer
        and not model.decoder.lateral_norm
    )


def _blocks_reversed(array: np.ndarray) -> np.ndarray:
    """Inputs of a kernel `[o, n o, 1, 1]`, in blocks of o, the other way around."""
    outputs, inputs = array.shape[:2]
    if not outputs or inputs % outputs:
        return array  # of no such kernel; shapes are compared later
    blocks = array.reshape(outputs, -1, outputs, *array.shape[2:])
    return blocks[:, ::-1].reshape(array.shape)


def _unknown(part: str, module: Any, registry: str) -> str:
    return (
        f"no PyTorch names are known for the {part} {type(module).__name__}; add its key table to "
        f"segalias_jax.torch_weights.names.{registry}"
    )
