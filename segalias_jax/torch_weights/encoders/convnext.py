"""Key tables of ConvNeXts, V1 and V2: timm for image networks, mmsegmentation in a segmenter."""

from __future__ import annotations

from flax import nnx

from segalias_jax.torch_weights.rules import EncoderNames, Rules

_CONVNEXT: Rules = [
    (r"^stages\.(\d)\.(\d+)", r"stages.\1.blocks.\2"),
    (r"\bdepthwise$", "conv_dw"),
    (r"^(stages\.\d\.blocks\.\d+)\.expand$", r"\1.mlp.fc1"),
    (r"^(stages\.\d\.blocks\.\d+)\.project$", r"\1.mlp.fc2"),
    (r"^(stages\.\d\.blocks\.\d+)\.response$", r"\1.mlp.grn"),
    (r"^downsample_norms\.(\d)", lambda m: f"stages.{int(m[1]) + 1}.downsample.0"),
    (r"^downsamples\.(\d)", lambda m: f"stages.{int(m[1]) + 1}.downsample.1"),
    (r"^output_norms\.(\d)", r"norm\1"),
]
"""As timm has it; norms of the feature maps, which image networks lack, as mmsegmentation."""

_CONVNEXT_SEGMENTER: Rules = [
    (r"\bdepthwise$", "depthwise_conv"),
    (r"^(stages\.\d\.\d+)\.expand$", r"\1.pointwise_conv1"),
    (r"^(stages\.\d\.\d+)\.project$", r"\1.pointwise_conv2"),
    (r"^(stages\.\d\.\d+)\.response$", r"\1.grn"),
    (r"^stem\.(\d)", r"downsample_layers.0.\1"),
    (r"^downsample_norms\.(\d)", lambda m: f"downsample_layers.{int(m[1]) + 1}.0"),
    (r"^downsamples\.(\d)", lambda m: f"downsample_layers.{int(m[1]) + 1}.1"),
    (r"^output_norms\.(\d)", r"norm\1"),
]
"""Inside a segmenter, as mmsegmentation has it."""


def convnext_names(encoder: nnx.Module, alone: bool) -> EncoderNames:
    """Returns the key table of a ConvNeXt.

    Args:
      encoder: the `ConvNeXt` or `ConvNeXtV2`.
      alone: whether as an image network, or inside a segmenter.

    Returns:
      Names of timm for an image network, of mmsegmentation inside a segmenter. Nobody else has
      blurs there, so nothing is fixed.

    Example:
      >>> convnext_names(nnx.List([]), False).table
      'mmsegmentation'
    """
    if alone:
        return EncoderNames("timm", _CONVNEXT)
    return EncoderNames("mmsegmentation", _CONVNEXT_SEGMENTER)
