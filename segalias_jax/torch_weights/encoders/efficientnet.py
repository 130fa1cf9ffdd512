"""Key tables of EfficientNets: timm, whose names segmenters have too."""

from __future__ import annotations

from flax import nnx

from segalias_jax.models import EfficientNet
from segalias_jax.torch_weights.rules import EncoderNames, Rules

# Groups of blocks that make up the stem and each stage.
_GROUPS = ((0,), (1,), (2,), (3, 4), (5, 6))

_BLOCK: Rules = [
    (r"^stem\.0\.conv$", "conv_stem"),
    (r"^stem\.0\.norm$", "bn1"),
    (r"\bexpand\.conv$", "conv_pw"),
    (r"\bexpand\.norm$", "bn1"),
    (r"\bseparable\.depthwise\.conv$", "conv_dw"),
    (r"\bseparable\.depthwise\.norm$", "bn2"),
    (r"\bseparable\.depthwise\.mixer\b", "mixer"),
    (r"\bseparable\.excite\.squeeze$", "se.conv_reduce"),
    (r"\bseparable\.excite\.excite$", "se.conv_expand"),
    (r"\bseparable\.project\.conv$", "conv_pwl"),
    (r"\bseparable\.project\.norm$", "bn3"),
    # Blocks that widen nothing count from their depthwise convolution.
    (r"^blocks\.0\.(\d+)\.conv_pwl$", r"blocks.0.\1.conv_pw"),
    (r"^blocks\.0\.(\d+)\.bn(\d)$", lambda m: f"blocks.0.{m[1]}.bn{int(m[2]) - 1}"),
]

_LITE_PYTORCH: Rules = [
    (r"^_conv_stem\.", "conv_stem."),
    (r"^_bn0\.", "bn1."),
    (r"^_conv_head\.", "conv_head."),
    (r"^_bn1\.", "bn2."),
    (r"^_fc\.", "classifier."),
    (r"\b_expand_conv\b", "conv_pw"),
    (r"\b_depthwise_conv\b", "conv_dw"),
    (r"^(blocks\.0\.\d+)\._project_conv\b", r"\1.conv_pw"),
    (r"\b_project_conv\b", "conv_pwl"),
    (r"^(blocks\.0\.\d+)\._bn(\d)\b", r"\1.bn\2"),
    (r"\b_bn(\d)\b", lambda m: f"bn{int(m[1]) + 1}"),
]
"""From the names of the package `efficientnet_lite_pytorch`, once its blocks have their groups."""

_HEAD = r"^(conv_head|bn2|classifier)\."
"""Of the image network."""


def efficientnet_names(encoder: nnx.Module, alone: bool) -> EncoderNames:
    """Returns the key table of an EfficientNet.

    Args:
      encoder: the `EfficientNet`.
      alone: whether as an image network, or inside a segmenter.

    Returns:
      Names of timm, inside a segmenter too, where no other code base has them. A file with the
      names of the package `efficientnet-lite-pytorch` is read as well.

    Example:
      >>> make = lambda: EfficientNet("efficientnet_lite0", rngs=nnx.Rngs(0))
      >>> efficientnet_names(nnx.eval_shape(make), True).table
      'timm'
    """
    assert isinstance(encoder, EfficientNet)
    places = [
        [f"blocks.{group}.{j}" for group in groups for j in range(encoder.groups[group])]
        for groups in _GROUPS
    ]
    rules: Rules = [
        (r"^stem\.([1-9]\d*)", lambda m: places[0][int(m[1]) - 1]),
        (r"^stages\.(\d)\.(\d+)", lambda m: places[int(m[1]) + 1][int(m[2])]),
        *_BLOCK,
    ]
    in_order = [place for stage in places for place in stage]
    synonyms: Rules = [(r"^_blocks\.(\d+)", lambda m: in_order[int(m[1])]), *_LITE_PYTORCH]
    return EncoderNames("timm", rules, ignored=_HEAD, synonyms=synonyms)
