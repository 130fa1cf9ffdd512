"""Key tables: what PyTorch code bases call the parameters and statistics of our models.

A table is a list of rewritings from the path of a leaf of ours, joined by dots, to the name of
the module that holds it there; `key_table` applies them to every leaf. So each leaf has one PyTorch
name, and whatever can be read can be written.

What computes something else than the published code, such as FreqMix with the gate "energy", has
other names: weights that would load into it and mean nothing are refused. For the same reason an
encoder or decoder without an entry in `ENCODERS` or `DECODERS` is refused, never taken for another.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flax import nnx

from segalias_jax import layers, models
from segalias_jax.errors import InputError
from segalias_jax.torch_weights.detectors import (
    DETECTOR_RULES,
    ENCODER_PREFIX,
    from_detector_layout,
    to_detector_layout,
)

Path = tuple[Any, ...]
"""Of a leaf: names of attributes and numbers of items, from the module down to the leaf."""

Rules = list[tuple[str, str | Callable[[re.Match], str]]]
"""Patterns and their replacements, applied in order."""

_LEAVES = {
    "kernel": "weight",
    "taps": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}

# Linear layers in PyTorch code, 1x1 convolutions here.
_LINEAR = re.compile(r"\b(mlp\.fc|pointwise_conv)\d\.weight$")

# One kernel for each channel, without an axis of inputs here.
_OF_CHANNELS = re.compile(r"\bllpf\.weight$")

# The published gate reads its input rolled by half the channels.
_ROLLED = re.compile(r"channel_att_\w+\.1\.weight$")

_CORNER_GATES: Rules = [
    (r"\bmixer\.spatial_gate", "att.freq_weight_conv"),
    (r"\bmixer\.(low|high)_gate\.reduce", r"att.channel_att_\1.1"),
    (r"\bmixer\.(low|high)_gate\.expand", r"att.channel_att_\1.3"),
]
"""Only for `FreqMix.published`: others compute something else than the published weights mean."""

_PUBLISHED_BLUR: Rules = [(r"^filters\.(\d)", lambda m: f"AdaD.{int(m[1]) + 1}")]
"""Likewise, only for adaptive kernels with the published softmax."""

_BRANCHES: Rules = [(r"\bbranch$", "llpf"), (r"\bbranch\.conv$", "learnable_conv1")]
"""Of the smooth branch, as its authors have it."""

_WEIGHTED_DOWNSAMPLING: Rules = [
    (r"^filters\.(\d)\.conv$", lambda m: f"AdaD.{int(m[1]) + 1}.weight_net.0"),
    (r"^filters\.(\d)\.norm$", lambda m: f"AdaD.{int(m[1]) + 1}.weight_net.1"),
    (r"^filters\.(\d)\.squeeze$", lambda m: f"AdaD.{int(m[1]) + 1}.channel_net.1"),
    (r"^filters\.(\d)\.excite$", lambda m: f"AdaD.{int(m[1]) + 1}.channel_net.3"),
]
"""Of adaptive weighted downsampling, as its authors have it; other filters compute otherwise."""

_RESNET: Rules = [
    *_BRANCHES,
    (r"\bshortcut\.conv", "downsample.0"),
    (r"\bshortcut\.norm", "downsample.1"),
    (r"\bnorm(\d)", r"bn\1"),
    (r"^stem\.(\d)\.conv", lambda m: f"stem.{3 * int(m[1])}"),
    (r"^stem\.(\d)\.norm", lambda m: f"stem.{3 * int(m[1]) + 1}"),
    (r"^stages\.(\d)", lambda m: f"layer{int(m[1]) + 1}"),
    (r"(^|\.)norm$", r"\1bn"),
]

_PLAIN_STEM: Rules = [(r"^stem\.0\.conv", "conv1"), (r"^stem\.0\.norm", "bn1")]
"""Ahead of `_RESNET` for the variants v1a and v1b, as torchvision has it."""

_POOLED_SHORTCUT: Rules = [
    (r"\bshortcut\.conv", "downsample.1"),
    (r"\bshortcut\.norm", "downsample.2"),
]
"""Ahead of `_RESNET` for the variant v1d."""

_CONVNEXT: Rules = [
    (r"^stages\.(\d)\.(\d+)", r"stages.\1.blocks.\2"),
    (r"\bdepthwise$", "conv_dw"),
    (r"^(stages\.\d\.blocks\.\d+)\.expand$", r"\1.mlp.fc1"),
    (r"^(stages\.\d\.blocks\.\d+)\.project$", r"\1.mlp.fc2"),
    (r"^downsample_norms\.(\d)", lambda m: f"stages.{int(m[1]) + 1}.downsample.0"),
    (r"^downsamples\.(\d)", lambda m: f"stages.{int(m[1]) + 1}.downsample.1"),
    (r"^output_norms\.(\d)", r"norm\1"),
]
"""As timm has it; norms of the feature maps, which image networks lack, as mmsegmentation."""

_CONVNEXT_SEGMENTER: Rules = [
    (r"\bdepthwise$", "depthwise_conv"),
    (r"^(stages\.\d\.\d+)\.expand$", r"\1.pointwise_conv1"),
    (r"^(stages\.\d\.\d+)\.project$", r"\1.pointwise_conv2"),
    (r"^stem\.(\d)", r"downsample_layers.0.\1"),
    (r"^downsample_norms\.(\d)", lambda m: f"downsample_layers.{int(m[1]) + 1}.0"),
    (r"^downsamples\.(\d)", lambda m: f"downsample_layers.{int(m[1]) + 1}.1"),
    (r"^output_norms\.(\d)", r"norm\1"),
]
"""Inside a segmenter, as mmsegmentation has it."""

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


def torch_name(path: Path, rules: Rules) -> str:
    """Rewrites the path of one leaf.

    Args:
      path: keys from the module down to the leaf.
      rules: pairs of a pattern and its replacement, applied in order.

    Returns:
      The PyTorch name.

    Example:
      >>> torch_name(("stages", 0, 2, "norm1", "mean"), _RESNET)
      'layer1.2.bn1.running_mean'
    """
    *module, leaf = (str(part) for part in path)
    name = ".".join(module)
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return ".".join(filter(None, (name, _LEAVES.get(leaf, leaf))))


@dataclasses.dataclass(frozen=True)
class EncoderNames:
    """What PyTorch code calls the leaves of one encoder: its key table.

    Attributes:
      table: whose names they are, such as "torchvision".
      rules: from a leaf's path inside the encoder to its name, see `torch_name`.
      fixed: arrays that PyTorch code stores although they never change, by name.
      variant: the encoder's argument `variant`, where names depend on it.

    Example:
      >>> names = EncoderNames("mine", [("^stages", "layers")])
      >>> torch_name(("stages", 0, "kernel"), names.rules)
      'layers.0.weight'
    """

    table: str
    rules: Rules
    fixed: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    variant: str = ""


def resnet_names(encoder: nnx.Module, alone: bool) -> EncoderNames:
    """Returns the key table of a ResNet; its rules hold for blocks of one, too.

    Args:
      encoder: the `ResNet`, or a part of one.
      alone: whether as an image network, or inside a segmenter.

    Returns:
      Names of torchvision (v1b) or open-mmlab (all others) for an image network; inside a segmenter
      those of mmsegmentation, which are the same, called "published" with corner gates.

    Example:
      >>> net = nnx.eval_shape(lambda: models.ResNet("resnet18", variant="v1b", rngs=nnx.Rngs(0)))
      >>> resnet_names(net, True).table
      'torchvision'
    """
    modules = [module for _, module in nnx.iter_modules(encoder)]
    corner_gates = any(getattr(module, "published", False) for module in modules)
    published_blur = any(getattr(module, "softmax", "") == "all" for module in modules)
    weighted = any(isinstance(m, layers.AdaptiveWeightedDownsampling) for m in modules)
    variant = encoder.variant if isinstance(encoder, models.ResNet) else ""
    rules = [
        *(_CORNER_GATES if corner_gates else []),
        *(_PUBLISHED_BLUR if published_blur else []),
        *(_WEIGHTED_DOWNSAMPLING if weighted else []),
        *{"v1a": _PLAIN_STEM, "v1b": _PLAIN_STEM, "v1d": _POOLED_SHORTCUT}.get(variant, []),
        *_RESNET,
    ]
    if alone:
        table = "torchvision" if variant == "v1b" else "open-mmlab"
    else:
        table = "published" if corner_gates else "mmsegmentation"
    fixed = {}
    if isinstance(encoder, models.ResNet):
        for i, layer in enumerate(encoder.filters):
            taps = np.asarray(getattr(layer, "taps", ()), np.float32)
            if taps.size:  # PyTorch code keeps one copy of them for each channel
                shape = (encoder.channels[i], 1, taps.size, taps.size)
                fixed[f"AdaD.{i + 1}.filt"] = np.broadcast_to(np.outer(taps, taps), shape)
    return EncoderNames(table, rules, fixed, variant)


def _convnext_names(encoder: nnx.Module, alone: bool) -> EncoderNames:
    """Returns the key table of a ConvNeXt.

    Args:
      encoder: the `ConvNeXt`.
      alone: whether as an image network, or inside a segmenter.

    Returns:
      Names of timm for an image network, of mmsegmentation inside a segmenter. Nobody else has
      blurs there, so nothing is fixed.

    Example:
      >>> _convnext_names(nnx.List([]), False).table
      'mmsegmentation'
    """
    if alone:
        return EncoderNames("timm", _CONVNEXT)
    return EncoderNames("mmsegmentation", _CONVNEXT_SEGMENTER)


ENCODERS: dict[type, Callable[[Any, bool], EncoderNames]] = {
    models.ResNet: resnet_names,
    models.ConvNeXt: _convnext_names,
}
"""By the class of an encoder, what returns its key table: a function of the encoder and of whether
it is an image network of its own or inside a segmenter. Add a line for an encoder of your own."""


WHOLE = (models.Segmenter, models.MaskRCNN)
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


def table_name(model: nnx.Module | models.Encoder, *, alone: bool) -> str:
    """Returns whose names a model's key table has.

    Args:
      model: a `Segmenter` or an encoder.
      alone: whether as an image network, or inside a segmenter.

    Returns:
      "timm", "torchvision" or "open-mmlab" for an image network; "torchvision" or "mmdetection"
      for a detector; else "mmsegmentation", or "published" (mmsegmentation with corner gates).

    Raises:
      InputError: as for `encoder_names`.

    Example:
      >>> net = nnx.eval_shape(lambda: models.ResNet("resnet18", rngs=nnx.Rngs(0)))
      >>> table_name(net, alone=True)
      'open-mmlab'
    """
    if isinstance(model, models.MaskRCNN) and not alone:
        return model.convention
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

    A detector has the names of torchvision or mmdetection, by its convention. A bare encoder has
    the names of an image network: torchvision's (ResNet v1b), open-mmlab's (others) or timm's
    (ConvNeXt).

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
    if array.ndim == 2 and name.endswith("weight"):
        return array.T
    if array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    if _LINEAR.search(name):
        return array[:, :, 0, 0]
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
    if _LINEAR.search(name):
        array = array[:, :, None, None]
    if array.ndim == 2 and name.endswith("weight"):
        return array.T
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def _unknown(part: str, module: Any, registry: str) -> str:
    return (
        f"no PyTorch names are known for the {part} {type(module).__name__}; add its key table to "
        f"segalias_jax.torch_weights.names.{registry}"
    )
