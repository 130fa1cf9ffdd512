"""Key tables of ResNets: torchvision, open-mmlab, mmsegmentation, and the published filters."""

from __future__ import annotations

import numpy as np
from flax import nnx

from segalias_jax import layers, models
from segalias_jax.torch_weights.rules import EncoderNames, Rules

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
    # Weights that stride in the first convolution come from Caffe, and so does what they read.
    bgr = ("stem", 0, "conv", "kernel") if variant == "v1a" else ()
    return EncoderNames(table, rules, fixed, variant=variant, bgr_kernel=bgr)
