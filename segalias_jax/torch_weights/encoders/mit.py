"""Key tables of MiTs and of SegFormers: transformers and mmsegmentation; from the original, too.

Queries, keys and values are three arrays here and in transformers, one array in mmsegmentation, and
two in the original files. Where they are one, a key table names thirds of it, "in_proj.0.weight"
and so on, which `with_joined_projections` joins after all other arrays have their names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from flax import nnx

from segalias_jax.torch_weights.rules import EncoderNames, Rules, rewritten

_MIT: Rules = [
    (r"^stem\.0$", "encoder.patch_embeddings.0.proj"),
    (r"^stem\.1$", "encoder.patch_embeddings.0.layer_norm"),
    (r"^downsamples\.(\d)\.0$", lambda m: f"encoder.patch_embeddings.{int(m[1]) + 1}.proj"),
    (r"^downsamples\.(\d)\.1$", lambda m: f"encoder.patch_embeddings.{int(m[1]) + 1}.layer_norm"),
    (r"^stages\.(\d)\.\d+$", r"encoder.layer_norm.\1"),
    (r"^stages\.(\d)\.(\d+)\.", r"encoder.block.\1.\2."),
    (r"\.attention\.(query|key|value)$", r".attention.self.\1"),
    (r"\.attention\.reduce$", ".attention.self.sr"),
    (r"\.attention\.reduce_norm$", ".attention.self.layer_norm"),
    (r"\.attention\.project$", ".attention.output.dense"),
    (r"^(encoder\.block\.\d\.\d+)\.norm(\d)$", r"\1.layer_norm_\2"),
    (r"^(encoder\.block\.\d\.\d+)\.expand$", r"\1.mlp.dense1"),
    (r"^(encoder\.block\.\d\.\d+)\.depthwise$", r"\1.mlp.dwconv.dwconv"),
    (r"^(encoder\.block\.\d\.\d+)\.project$", r"\1.mlp.dense2"),
]
"""As files of transformers have it, without "segformer." in front."""

_MIT_SEGMENTER: Rules = [
    (r"^stem\.0$", "layers.0.0.projection"),
    (r"^stem\.1$", "layers.0.0.norm"),
    (r"^downsamples\.(\d)\.0$", lambda m: f"layers.{int(m[1]) + 1}.0.projection"),
    (r"^downsamples\.(\d)\.1$", lambda m: f"layers.{int(m[1]) + 1}.0.norm"),
    (r"^stages\.(\d)\.\d+$", r"layers.\1.2"),
    (r"^stages\.(\d)\.(\d+)\.", r"layers.\1.1.\2."),
    (r"\.attention\.query$", ".attn.attn.in_proj.0"),
    (r"\.attention\.key$", ".attn.attn.in_proj.1"),
    (r"\.attention\.value$", ".attn.attn.in_proj.2"),
    (r"\.attention\.reduce$", ".attn.sr"),
    (r"\.attention\.reduce_norm$", ".attn.norm"),
    (r"\.attention\.project$", ".attn.attn.out_proj"),
    (r"^(layers\.\d\.1\.\d+)\.expand$", r"\1.ffn.layers.0"),
    (r"^(layers\.\d\.1\.\d+)\.depthwise$", r"\1.ffn.layers.1"),
    (r"^(layers\.\d\.1\.\d+)\.project$", r"\1.ffn.layers.4"),
]
"""As mmsegmentation has it, but for `in_proj`."""

# Numbers of the original files count from 1.
_ORIGINAL: Rules = [
    (r"^patch_embed(\d)\.", lambda m: f"encoder.patch_embeddings.{int(m[1]) - 1}."),
    (r"^(encoder\.patch_embeddings\.\d)\.norm\.", r"\1.layer_norm."),
    (r"^norm(\d)\.", lambda m: f"encoder.layer_norm.{int(m[1]) - 1}."),
    (r"^block(\d)\.(\d+)\.norm(\d)\.", r"block\1.\2.layer_norm_\3."),
    (r"^block(\d)\.", lambda m: f"encoder.block.{int(m[1]) - 1}."),
    (r"\.attn\.q\.", ".attention.self.query."),
    (r"\.attn\.sr\.", ".attention.self.sr."),
    (r"\.attn\.norm\.", ".attention.self.layer_norm."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.(key|value)\.", r".attention.self.\1."),
    (r"\.mlp\.fc(\d)\.", r".mlp.dense\1."),
    (r"^decode_head\.linear_c(\d)\.", lambda m: f"decode_head.linear_c.{int(m[1]) - 1}."),
    (r"^decode_head\.linear_fuse\.conv\.", "decode_head.linear_fuse."),
    (r"^decode_head\.linear_fuse\.bn\.", "decode_head.batch_norm."),
    (r"^decode_head\.linear_pred\.", "decode_head.classifier."),
]
"""From names of the original files to those of transformers."""

_OF_ORIGINAL = re.compile(r"^(backbone\.)?(patch_embed|block|norm)\d\.")
_JOINED = re.compile(r"\.in_proj_(weight|bias)$")
_THIRD = re.compile(r"\.in_proj\.(\d)\.(weight|bias)$")
_KEY_AND_VALUE = re.compile(r"\.attn\.kv\.(weight|bias)$")


def mit_names(encoder: nnx.Module, alone: bool) -> EncoderNames:
    """Returns the key table of a MiT.

    Args:
      encoder: the `MiT`.
      alone: whether as an image network, or inside a segmenter.

    Returns:
      Names of transformers for an image network, without "segformer." in front; those of
      mmsegmentation inside a segmenter, whose norms divide by sqrt(variance + 1e-6) there.

    Example:
      >>> mit_names(nnx.List([]), True).table
      'transformers'
    """
    if alone:
        return EncoderNames("transformers", _MIT, ignored=r"^classifier\.|^head\.")
    return EncoderNames("mmsegmentation", _MIT_SEGMENTER)


def with_joined_projections(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Joins queries, keys and values where their names are those of thirds of one array.

    Args:
      arrays: by PyTorch name, in PyTorch's layout.

    Returns:
      Arrays by name; all others as they are.

    Example:
      >>> thirds = {f"attn.in_proj.{i}.bias": np.full(2, i) for i in range(3)}
      >>> {name: array.tolist() for name, array in with_joined_projections(thirds).items()}
      {'attn.in_proj_bias': [0, 0, 1, 1, 2, 2]}
    """
    joined: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        third = _THIRD.search(name)
        if third is None:
            joined[name] = array
        elif third[1] == "0":
            parts = [_THIRD.sub(rf".in_proj.{i}.\2", name) for i in range(3)]
            joined[_THIRD.sub(r".in_proj_\2", name)] = np.concatenate([arrays[p] for p in parts])
    return joined


def in_names_of_key_tables(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Brings arrays of a MiT or a SegFormer into names that the key tables here have.

    Splits what holds queries, keys and values together, and gives original files the names of
    transformers.

    Args:
      arrays: by PyTorch name, in PyTorch's layout.

    Returns:
      Arrays by name; those of other networks as they are.

    Example:
      >>> original = {"block1.0.attn.kv.bias": np.arange(4)}
      >>> {name: array.tolist() for name, array in in_names_of_key_tables(original).items()}
      {'encoder.block.0.0.attention.self.key.bias': [0, 1], \
'encoder.block.0.0.attention.self.value.bias': [2, 3]}
    """
    split: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        # What no whole number of parts makes up is left for the check of shapes to report.
        if _JOINED.search(name) and array.ndim and len(array) % 3 == 0:
            for i, part in enumerate(np.split(array, 3)):
                split[_JOINED.sub(rf".in_proj.{i}.\1", name)] = part
        elif _KEY_AND_VALUE.search(name) and array.ndim and len(array) % 2 == 0:
            for kind, part in zip(("key", "value"), np.split(array, 2), strict=True):
                split[_KEY_AND_VALUE.sub(rf".attn.{kind}.\1", name)] = part
        else:
            split[name] = array
    if not any(map(_OF_ORIGINAL.search, split)):
        return split
    whole = "decode_head.linear_pred.weight" in split
    found = {}
    for name, array in split.items():
        # Their heads inherit a classifier that nothing reads.
        if not (whole and name.startswith("decode_head.conv_seg.")):
            inside = rewritten(name.removeprefix("backbone."), _ORIGINAL)
            prefix = "segformer." if whole and inside.startswith("encoder.") else ""
            found[prefix + inside] = array
    return found
