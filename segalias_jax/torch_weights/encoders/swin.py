"""Key tables of Swins: timm for image networks, mmsegmentation inside a segmenter.

mmsegmentation joins the channels of four pixels in another order; what reads or normalizes the
joined channels is brought from one into the other.
"""

from __future__ import annotations

import re

import numpy as np
from flax import nnx

from segalias_jax import models
from segalias_jax.models.swin import merging_order, relative_positions
from segalias_jax.torch_weights.rules import EncoderNames, Rules

_SWIN: Rules = [
    (r"^stem\.0$", "patch_embed.proj"),
    (r"^stem\.1$", "patch_embed.norm"),
    (r"^stages\.(\d)\.(\d+)", r"layers.\1.blocks.\2"),
    (r"^(layers\.\d\.blocks\.\d+)\.attention\.project$", r"\1.attn.proj"),
    (r"^(layers\.\d\.blocks\.\d+)\.attention", r"\1.attn"),
    (r"^(layers\.\d\.blocks\.\d+)\.expand$", r"\1.mlp.fc1"),
    (r"^(layers\.\d\.blocks\.\d+)\.project$", r"\1.mlp.fc2"),
    (r"^downsamples\.(\d)\.", lambda m: f"layers.{int(m[1]) + 1}.downsample."),
    (r"\bdownsample\.reduce$", "downsample.reduction"),
    (r"^output_norms\.(\d)", r"norm\1"),
]
"""As timm has it; norms of the feature maps, which image networks lack, as mmsegmentation."""

_SWIN_SEGMENTER: Rules = [
    (r"^stem\.0$", "patch_embed.projection"),
    (r"^stem\.1$", "patch_embed.norm"),
    (r"^stages\.(\d)\.(\d+)", r"stages.\1.blocks.\2"),
    (r"^(stages\.\d\.blocks\.\d+)\.attention\.project$", r"\1.attn.w_msa.proj"),
    (r"^(stages\.\d\.blocks\.\d+)\.attention", r"\1.attn.w_msa"),
    (r"^(stages\.\d\.blocks\.\d+)\.expand$", r"\1.ffn.layers.0.0"),
    (r"^(stages\.\d\.blocks\.\d+)\.project$", r"\1.ffn.layers.1"),
    (r"^downsamples\.(\d)\.", r"stages.\1.downsample."),
    (r"\bdownsample\.reduce$", "downsample.reduction"),
    (r"^output_norms\.(\d)", r"norm\1"),
]
"""Inside a segmenter, as mmsegmentation has it: a merging belongs to the stage that it ends."""

# Classifiers have a norm of their own; older files store what follows from sizes.
_IGNORED = r"^(norm|head|head\.fc)\.(weight|bias)$|\.attn_mask$|\.relative_position_index$"

# Only mmsegmentation has mergings in `stages`; those of a ConvNeXt of timm are numbered.
_MERGED = re.compile(r"\bstages\.\d\.downsample\.(norm|reduction)\.(weight|bias)$")


def swin_names(encoder: nnx.Module, alone: bool) -> EncoderNames:
    """Returns the key table of a Swin.

    Args:
      encoder: the `Swin`.
      alone: whether as an image network, or inside a segmenter.

    Returns:
      Names of timm for an image network, of mmsegmentation inside a segmenter, which stores the
      numbers of relative positions in every block.

    Example:
      >>> swin_names(nnx.List([]), False).table
      'mmsegmentation'
    """
    if alone:
        return EncoderNames("timm", _SWIN, ignored=_IGNORED)
    fixed = {}
    if isinstance(encoder, models.Swin):
        fixed = {
            f"stages.{i}.blocks.{k}.attn.w_msa.relative_position_index": relative_positions()
            for i, stage in enumerate(encoder.stages)
            for k in range(len(stage))
        }
    return EncoderNames("mmsegmentation", _SWIN_SEGMENTER, fixed)


def to_merging_layout(name: str, array: np.ndarray) -> np.ndarray:
    """Brings an array, already in PyTorch's layout, into the order of channels of its name.

    Args:
      name: PyTorch name.
      array: with joined channels along its last axis.

    Returns:
      The array for that name; itself unless it is one of a merging of mmsegmentation's.

    Example:
      >>> to_merging_layout("stages.0.downsample.norm.bias", np.arange(8)).tolist()
      [0, 4, 2, 6, 1, 5, 3, 7]
    """
    if not _MERGED.search(name):
        return array
    return array[..., np.argsort(merging_order(array.shape[-1] // 4))]


def from_merging_layout(name: str, array: np.ndarray) -> np.ndarray:
    """The inverse of `to_merging_layout`.

    Args:
      name: PyTorch name.
      array: its array.

    Returns:
      The array in our order.

    Example:
      >>> from_merging_layout("stages.0.downsample.norm.bias", np.arange(8)).tolist()
      [0, 4, 2, 6, 1, 5, 3, 7]
    """
    return array[..., merging_order(array.shape[-1] // 4)] if _MERGED.search(name) else array
