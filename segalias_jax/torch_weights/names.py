"""Key tables: what PyTorch code bases call the parameters and statistics of our models.

A table is a list of rewritings from the path of a leaf of ours, joined by dots, to the name of
the module that holds it there; `key_table` applies them to every leaf, so that both directions
read the same lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from flax import nnx

from segalias_jax import models
from segalias_jax.errors import InputError
from segalias_jax.models.convnext import ConvNeXt

Path = tuple[str | int, ...]
Rules = list[tuple[str, str | Callable[[re.Match], str]]]

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}

# Linear layers there, 1x1 convolutions here.
_LINEAR = re.compile(r"\b(mlp\.fc|pointwise_conv)\d\.weight$")

# The published gate reads its input rolled by half the channels.
_ROLLED = re.compile(r"channel_att_\w+\.1\.weight$")

CORNER_GATES: Rules = [
    (r"\bmixer\.spatial_gate", "att.freq_weight_conv"),
    (r"\bmixer\.(low|high)_gate\.reduce", r"att.channel_att_\1.1"),
    (r"\bmixer\.(low|high)_gate\.expand", r"att.channel_att_\1.3"),
]
"""Only for the gate "corner": others compute something else than the published weights mean."""

PUBLISHED_BLUR: Rules = [(r"^filters\.(\d)", lambda m: f"AdaD.{int(m[1]) + 1}")]
"""Likewise, only for adaptive kernels with the published softmax."""

RESNET: Rules = [
    (r"\bshortcut\.conv", "downsample.0"),
    (r"\bshortcut\.norm", "downsample.1"),
    (r"\bnorm(\d)", r"bn\1"),
    (r"^stem\.(\d)\.conv", lambda m: f"stem.{3 * int(m[1])}"),
    (r"^stem\.(\d)\.norm", lambda m: f"stem.{3 * int(m[1]) + 1}"),
    (r"^stages\.(\d)", lambda m: f"layer{int(m[1]) + 1}"),
    (r"(^|\.)norm$", r"\1bn"),
]

PLAIN_STEM: Rules = [(r"^stem\.0\.conv", "conv1"), (r"^stem\.0\.norm", "bn1")]
"""Ahead of `RESNET` for the variant v1b, as torchvision has it."""

POOLED_SHORTCUT: Rules = [
    (r"\bshortcut\.conv", "downsample.1"),
    (r"\bshortcut\.norm", "downsample.2"),
]
"""Ahead of `RESNET` for the variant v1d."""

CONVNEXT: Rules = [
    (r"^stages\.(\d)\.(\d+)", r"stages.\1.blocks.\2"),
    (r"\bdepthwise$", "conv_dw"),
    (r"^(stages\.\d\.blocks\.\d+)\.expand$", r"\1.mlp.fc1"),
    (r"^(stages\.\d\.blocks\.\d+)\.project$", r"\1.mlp.fc2"),
    (r"^downsample_norms\.(\d)", lambda m: f"stages.{int(m[1]) + 1}.downsample.0"),
    (r"^downsamples\.(\d)", lambda m: f"stages.{int(m[1]) + 1}.downsample.1"),
    (r"^output_norms\.(\d)", r"norm\1"),
]
"""As timm has it; norms of the feature maps, which image networks lack, as mmsegmentation."""

CONVNEXT_SEGMENTER: Rules = [
    (r"\bdepthwise$", "depthwise_conv"),
    (r"^(stages\.\d\.\d+)\.expand$", r"\1.pointwise_conv1"),
    (r"^(stages\.\d\.\d+)\.project$", r"\1.pointwise_conv2"),
    (r"^stem\.(\d)", r"downsample_layers.0.\1"),
    (r"^downsample_norms\.(\d)", lambda m: f"downsample_layers.{int(m[1]) + 1}.0"),
    (r"^downsamples\.(\d)", lambda m: f"downsample_layers.{int(m[1]) + 1}.1"),
    (r"^output_norms\.(\d)", r"norm\1"),
]
"""Inside a segmenter, as mmsegmentation has it."""

HEADS: Rules = [
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


def leaves(model: nnx.Module) -> dict[Path, nnx.Variable]:
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


def torch_name(path: Path, rules: Rules) -> str:
    """Rewrites the path of one leaf.

    Args:
      path: keys from the module down to the leaf.
      rules: pairs of a pattern and its replacement, applied in order.

    Returns:
      The PyTorch name.

    Example:
      >>> torch_name(("stages", 0, 2, "norm1", "mean"), RESNET)
      'layer1.2.bn1.running_mean'
    """
    *module, leaf = (str(part) for part in path)
    name = ".".join(module)
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return ".".join(filter(None, (name, _LEAVES.get(leaf, leaf))))


def encoder_rules(encoder: nnx.Module, *, alone: bool = True) -> Rules:
    """Returns the table of an encoder, or of one of its blocks.

    Args:
      encoder: the module.
      alone: whether as an image network, or inside a segmenter; the same for ResNets.

    Returns:
      Its rules.

    Raises:
      InputError: an encoder of which no other code base is known.

    Example:
      >>> encoder_rules(nnx.Linear(2, 3, rngs=nnx.Rngs(0))) == RESNET
      True
    """
    if isinstance(encoder, ConvNeXt):
        return CONVNEXT if alone else CONVNEXT_SEGMENTER
    if isinstance(encoder, models.DoubleConvEncoder):
        raise InputError("no PyTorch names are known for the encoder double_conv")
    modules = [module for _, module in nnx.iter_modules(encoder)]
    blurs = [m for m in modules if getattr(m, "softmax", "") == "all"]
    variant = {"v1b": PLAIN_STEM, "v1d": POOLED_SHORTCUT}.get(getattr(encoder, "variant", ""), [])
    gates = CORNER_GATES if has_corner_gates(encoder) else []
    return gates + (PUBLISHED_BLUR if blurs else []) + variant + RESNET


def table_name(model: nnx.Module, *, alone: bool) -> str:
    """Says whose names a table has.

    Args:
      model: a `Segmenter` or an encoder.
      alone: whether as an image network, or inside a segmenter.

    Returns:
      "timm", "torchvision" or "open-mmlab" for an image network, else "mmsegmentation", or
      "published" (mmsegmentation with corner gates).

    Example:
      >>> net = nnx.eval_shape(lambda: models.ResNet("resnet18", rngs=nnx.Rngs(0)))
      >>> table_name(net, alone=True)
      'open-mmlab'
    """
    encoder = model.encoder if isinstance(model, models.Segmenter) else model
    if isinstance(encoder, ConvNeXt):
        return "timm" if alone else "mmsegmentation"
    if alone:
        return "torchvision" if getattr(encoder, "variant", "") == "v1b" else "open-mmlab"
    return "published" if has_corner_gates(model) else "mmsegmentation"


def has_corner_gates(model: nnx.Module) -> bool:
    """Returns whether some FreqMix of a model has the published gate.

    Args:
      model: the model.

    Returns:
      True if so.

    Example:
      >>> from segalias_jax import layers
      >>> has_corner_gates(layers.FreqMix(8, gate="corner", rngs=nnx.Rngs(0)))
      True
    """
    return any(getattr(m, "gate", "") == "corner" for _, m in nnx.iter_modules(model))


def key_table(model: nnx.Module) -> dict[str, Path]:
    """Names every parameter and statistic of a model as mmsegmentation does.

    A bare encoder has the names of an image network: torchvision's (ResNet v1b), open-mmlab's
    (v1c, v1d) or timm's (ConvNeXt).

    Args:
      model: a `Segmenter` or an encoder, abstract ones too.

    Returns:
      Paths of ours by PyTorch name.

    Raises:
      InputError: a model of which no other code base is known.

    Example:
      >>> net = nnx.eval_shape(lambda: models.ResNet("resnet18", rngs=nnx.Rngs(0)))
      >>> key_table(net)["layer1.0.conv1.weight"]
      ('stages', 0, 0, 'conv1', 'kernel')
    """
    if not isinstance(model, models.Segmenter):
        rules = encoder_rules(model)
        return {torch_name(path, rules): path for path in leaves(model)}
    decoder, table = type(model.decoder), {}
    if decoder not in DECODERS:
        raise InputError(f"no PyTorch names are known for the decoder {decoder.__name__}")
    of_encoder, of_heads = encoder_rules(model.encoder, alone=False), DECODERS[decoder] + HEADS
    for path in leaves(model):
        if path[0] == "encoder":
            table[f"backbone.{torch_name(path[1:], of_encoder)}"] = path
        else:
            table[torch_name(path, of_heads)] = path
    return table


def fixed_arrays(model: nnx.Module) -> dict[str, np.ndarray]:
    """Returns what PyTorch code stores although it never changes: the taps of fixed blurs.

    Args:
      model: a `Segmenter` or an encoder.

    Returns:
      Arrays `[channels, 1, k, k]` by PyTorch name.

    Example:
      >>> make = lambda: models.ResNet("resnet18", downsample="blur3", rngs=nnx.Rngs(0))
      >>> net = nnx.eval_shape(make)
      >>> {name: array.shape for name, array in fixed_arrays(net).items()}["AdaD.1.filt"]
      (64, 1, 3, 3)
    """
    whole = isinstance(model, models.Segmenter)
    encoder, prefix = (model.encoder, "backbone.") if whole else (model, "")
    arrays = {}
    if isinstance(encoder, ConvNeXt):  # nobody else has blurs there
        return arrays
    for i, layer in enumerate(getattr(encoder, "filters", ())):
        taps = np.asarray(getattr(layer, "taps", ()), np.float32)
        if taps.size:
            shape = (encoder.channels[i], 1, taps.size, taps.size)
            arrays[f"{prefix}AdaD.{i + 1}.filt"] = np.broadcast_to(np.outer(taps, taps), shape)
    return arrays


def to_torch(name: str, array: np.ndarray) -> np.ndarray:
    """Brings an array of ours into PyTorch's layout.

    Kernels go from HWIO to OIHW, and to OI where PyTorch code has a linear layer; the first
    weights of corner gates are rolled by half their channels, since the published gate reads its
    input rolled.

    Args:
      name: PyTorch name.
      array: our array.

    Returns:
      The array for that name.

    Example:
      >>> to_torch("conv1.weight", np.zeros((7, 5, 3, 64))).shape
      (64, 3, 7, 5)
    """
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
    if _ROLLED.search(name):
        array = np.roll(array, -(array.shape[1] // 2), 1)
    if _LINEAR.search(name):
        array = array[:, :, None, None]
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
