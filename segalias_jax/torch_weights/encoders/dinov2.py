"""Key table of DINOv2s: timm, which has the names of the original files; from transformers, too."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from flax import nnx

from segalias_jax import models
from segalias_jax.torch_weights.rules import EncoderNames, Rules

_DINOV2: Rules = [
    (r"^stem$", ""),
    (r"^stem\.conv$", "patch_embed.proj"),
    (r"\.attention\.qkv$", ".attn.qkv"),
    (r"\.attention\.project$", ".attn.proj"),
    (r"\.scale(\d)$", r".ls\1"),
    (r"\.expand$", ".mlp.fc1"),
    (r"\.project$", ".mlp.fc2"),
    (r"^output_norms\.0$", "norm"),
]
"""As timm has it, but for the numbers of blocks."""

_TRANSFORMERS: Rules = [
    (r"^dinov2\.", ""),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.(cls|mask)_token$", r"\1_token"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
]
"""From names of transformers to those of timm, but for queries, keys and values."""

_QUERY = re.compile(r"\.attention\.attention\.query\.")


def dinov2_names(encoder: nnx.Module, alone: bool) -> EncoderNames:
    """Returns the key table of a DINOv2.

    Args:
      encoder: the `DINOv2`.
      alone: whether as an image network, or inside a segmenter.

    Returns:
      Names of timm and of the original files; the same ones inside a segmenter, as mmsegmentation
      has no such network.

    Example:
      >>> dinov2_names(nnx.List([]), True).table
      'timm'
    """
    blocks: Rules = []
    if isinstance(encoder, models.DINOv2):
        places = [(i, k) for i, stage in enumerate(encoder.stages) for k in range(len(stage))]
        blocks = [(rf"^stages\.{i}\.{k}\.", f"blocks.{n}.") for n, (i, k) in enumerate(places)]
    return EncoderNames("timm", [*blocks, *_DINOV2], ignored=r"^mask_token$|^head\.")


def dinov2_from_transformers(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Brings the arrays of a DINOv2 from names of transformers to those of timm.

    Queries, keys and values, each by itself there, become one array.

    Args:
      arrays: by name; others are left as they are.

    Returns:
      Arrays by name.

    Example:
      >>> parts = {name: np.zeros(2) for name in ("query", "key", "value")}
      >>> name = "encoder.layer.0.attention.attention"
      >>> found = dinov2_from_transformers({f"{name}.{k}.bias": a for k, a in parts.items()})
      >>> {name: array.shape for name, array in found.items()}
      {'blocks.0.attn.qkv.bias': (6,)}
    """
    whole = dict(arrays)
    for query in filter(_QUERY.search, arrays):
        parts = [_QUERY.sub(f".attention.attention.{k}.", query) for k in ("query", "key", "value")]
        if all(part in arrays for part in parts):
            whole[_QUERY.sub(".attn.qkv.", query)] = np.concatenate([arrays[p] for p in parts])
            whole = {name: array for name, array in whole.items() if name not in parts}
    found = {}
    for name, array in whole.items():
        for pattern, replacement in _TRANSFORMERS:
            name = re.sub(pattern, replacement, name)
        found[name] = array
    return found
