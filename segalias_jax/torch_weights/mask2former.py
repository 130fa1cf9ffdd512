"""Key tables of Mask2Formers: names of transformers' files, on Swins and on ResNets.

Queries, keys and values are three arrays in some layers there and one in others, not always in the
same ones as here. A key table names thirds of what is one there ("in_proj.0.weight"), and one name
("qkv") of what are three: arrays are split and joined before names are compared, and back after.
Files have arrays of no use: weights of the loss, a norm that no map goes through, and numbers that
follow from sizes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from segalias_jax import models
from segalias_jax.errors import InputError
from segalias_jax.torch_weights.rules import Path, Rules, rewritten, torch_name

PREFIX = "model.pixel_level_module."
"""In front of the names of encoder and pixel decoder."""

_PIXELS = f"{PREFIX}decoder."
_QUERIES = "model.transformer_module."

_HEADS: Rules = [
    (r"^pixel_decoder\.inputs\.(\d)\.conv$", rf"{_PIXELS}input_projections.\1.0"),
    (r"^pixel_decoder\.inputs\.(\d)\.norm$", rf"{_PIXELS}input_projections.\1.1"),
    (r"^pixel_decoder\.laterals\.(\d)\.", lambda m: f"{_PIXELS}adapter_{int(m[1]) + 1}."),
    (r"^pixel_decoder\.outputs\.(\d)\.", lambda m: f"{_PIXELS}layer_{int(m[1]) + 1}."),
    (r"^(.*\.(?:adapter|layer)_\d)\.conv$", r"\1.0"),
    (r"^(.*\.(?:adapter|layer)_\d)\.norm$", r"\1.1"),
    (r"^pixel_decoder\.pixels$", f"{_PIXELS}mask_projection"),
    (r"^pixel_decoder\.layers\.(\d+)\.", rf"{_PIXELS}encoder.layers.\1."),
    (r"\.attention\.offsets$", ".self_attn.sampling_offsets"),
    (r"\.attention\.weights$", ".self_attn.attention_weights"),
    (r"\.attention\.value$", ".self_attn.value_proj"),
    (r"\.attention\.project$", ".self_attn.output_proj"),
    (r"^(.*\.decoder\.encoder\.layers\.\d+)\.norm1$", r"\1.self_attn_layer_norm"),
    (r"^(.*\.decoder\.encoder\.layers\.\d+)\.norm2$", r"\1.final_layer_norm"),
    (r"^query_decoder\.layers\.(\d+)\.", rf"{_QUERIES}decoder.layers.\1."),
    (r"\.cross\.query$", ".cross_attn.in_proj.0"),
    (r"\.cross\.key$", ".cross_attn.in_proj.1"),
    (r"\.cross\.value$", ".cross_attn.in_proj.2"),
    (r"\.cross\.project$", ".cross_attn.out_proj"),
    (r"\.own\.(q|k|v)[a-z]+$", r".self_attn.\1_proj"),
    (r"\.own\.project$", ".self_attn.out_proj"),
    (r"\.norm1$", ".cross_attn_layer_norm"),
    (r"\.norm2$", ".self_attn_layer_norm"),
    (r"\.norm3$", ".final_layer_norm"),
    (r"\.expand$", ".fc1"),
    (r"\.reduce$", ".fc2"),
    (r"^query_decoder\.norm$", f"{_QUERIES}decoder.layernorm"),
    (r"^query_decoder\.masks\.(\d)$", rf"{_QUERIES}decoder.mask_predictor.mask_embedder.\1.0"),
    (r"^query_decoder\.classes$", "class_predictor"),
    # Arrays by themselves, whose own name stands last.
    (r"^pixel_decoder$", _PIXELS.rstrip(".")),
    (r"^query_decoder$", _QUERIES.rstrip(".")),
]

_EMBEDDINGS: Rules = [
    (rf"^({_PIXELS}level)_embedding$", r"\1_embed"),
    (rf"^({_QUERIES}level)_embedding$", r"\1_embed.weight"),
    (rf"^({_QUERIES})query_features$", r"\1queries_features.weight"),
    (rf"^({_QUERIES})query_positions$", r"\1queries_embedder.weight"),
]
"""Of whole names, after the rules above."""

_SWIN: Rules = [
    (r"^stem\.0$", "embeddings.patch_embeddings.projection"),
    (r"^stem\.1$", "embeddings.norm"),
    (r"^stages\.(\d)\.(\d+)\.", r"encoder.layers.\1.blocks.\2."),
    (r"\.attention\.qkv$", ".attention.self.qkv"),
    (r"\.attention\.project$", ".attention.output.dense"),
    (r"\.attention$", ".attention.self"),  # of its table of biases
    (r"\.norm1$", ".layernorm_before"),
    (r"\.norm2$", ".layernorm_after"),
    (r"\.expand$", ".intermediate.dense"),
    (r"\.project$", ".output.dense"),
    (r"^downsamples\.(\d)\.norm$", r"encoder.layers.\1.downsample.norm"),
    (r"^downsamples\.(\d)\.reduce$", r"encoder.layers.\1.downsample.reduction"),
    (r"^output_norms\.(\d)$", lambda m: f"hidden_states_norms.stage{int(m[1]) + 1}"),
]

_RESNET: Rules = [
    (r"^stem\.0\.", "embedder.embedder."),
    (r"^stages\.(\d)\.(\d+)\.", r"encoder.stages.\1.layers.\2."),
    (r"\.conv(\d)$", lambda m: f".layer.{int(m[1]) - 1}.convolution"),
    (r"\.norm(\d)$", lambda m: f".layer.{int(m[1]) - 1}.normalization"),
    (r"\.conv$", ".convolution"),
    (r"\.norm$", ".normalization"),
]

_UNREAD = re.compile(r"^criterion\.|\bencoder\.(swin\.)?layernorm\.|\.relative_position_index$")
_EMBEDDED = re.compile(rf"^{_QUERIES}(level_embed|queries_(features|embedder))\.weight$")
_APART = re.compile(rf"^({PREFIX}encoder\..*\.attention\.self)\.(query|key|value)\.(weight|bias)$")
_TOGETHER = re.compile(rf"^({PREFIX}encoder\..*\.attention\.self)\.qkv\.(weight|bias)$")
_WHOLE = re.compile(rf"^({_QUERIES}.*\.cross_attn)\.in_proj_(weight|bias)$")
_THREE = ("query", "key", "value")


def mask2former_table(model: models.Mask2Former, paths: list[Path]) -> dict[str, Path]:
    """Names every leaf of a Mask2Former as files of transformers do, but for joined arrays.

    Args:
      model: the network, an abstract one too.
      paths: of its leaves.

    Returns:
      Paths by name.

    Raises:
      InputError: an encoder other than a Swin or a ResNet of variant v1b.

    Example:
      >>> from flax import nnx
      >>> config = {"name": "mask2former", "encoder": "swin_tiny"}
      >>> make = lambda: models.create_universal(config, num_classes=2, rngs=nnx.Rngs(0))
      >>> path = ("query_decoder", "layers", 0, "own", "query", "kernel")
      >>> list(mask2former_table(nnx.eval_shape(make), [path]))
      ['model.transformer_module.decoder.layers.0.self_attn.q_proj.weight']
    """
    encoder = model.encoder
    if isinstance(encoder, models.Swin):
        rules = _SWIN
    elif isinstance(encoder, models.ResNet) and encoder.variant == "v1b":
        rules = _RESNET
    else:
        raise InputError(
            f"no PyTorch names are known for mask2former on {type(encoder).__name__}; build it on "
            "a Swin, or on a ResNet with variant 'v1b'"
        )
    table = {}
    for path in paths:
        if path[0] == "encoder":
            name = f"{PREFIX}encoder.{torch_name(path[1:], rules)}"
        else:
            name = rewritten(torch_name(path, _HEADS), _EMBEDDINGS)
        table[name] = path
    return table


def is_embedding(name: str) -> bool:
    """Returns whether a name is that of vectors, which look like weights of a linear layer.

    Args:
      name: PyTorch name.

    Example:
      >>> is_embedding("model.transformer_module.level_embed.weight")
      True
    """
    return _EMBEDDED.search(name) is not None


def as_key_table(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Joins queries, keys and values or splits them, and leaves out what nothing reads.

    Args:
      arrays: by the names of a file, in PyTorch's layout.

    Returns:
      Arrays by the names of `mask2former_table`; those of other networks as they are.

    Example:
      >>> name = "model.pixel_level_module.encoder.encoder.layers.0.blocks.0.attention.self"
      >>> file = {f"{name}.{kind}.bias": np.full(1, i) for i, kind in enumerate(("key", "query"))}
      >>> joined = as_key_table(file | {f"{name}.value.bias": np.full(1, 2)})
      >>> {name[-8:]: array.tolist() for name, array in joined.items()}
      {'qkv.bias': [1, 0, 2]}
    """
    found = {}
    for name, array in arrays.items():
        part, whole = _APART.search(name), _WHOLE.search(name)
        three = [f"{part[1]}.{kind}.{part[3]}" for kind in _THREE] if part else []
        if whole and array.ndim and len(array) % 3 == 0:
            for i, third in enumerate(np.split(array, 3)):
                found[f"{whole[1]}.in_proj.{i}.{whole[2]}"] = third
        elif part and all(n in arrays and arrays[n].shape == array.shape for n in three):
            if part[2] == "query":
                found[f"{part[1]}.qkv.{part[3]}"] = np.concatenate([arrays[n] for n in three])
        elif not (is_of_transformers(name) and _UNREAD.search(name)):
            found[name] = array  # also what cannot be joined, for the check of names to report
    return found


def as_file(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inverse of `as_key_table`, but for what nothing reads.

    Args:
      arrays: by the names of `mask2former_table`, in PyTorch's layout.

    Returns:
      Arrays by the names of a file.

    Example:
      >>> name = "model.pixel_level_module.encoder.encoder.layers.0.blocks.0.attention.self"
      >>> split = as_file({f"{name}.qkv.bias": np.arange(3)})
      >>> {name[-9:]: array.tolist() for name, array in split.items()}
      {'uery.bias': [0], '.key.bias': [1], 'alue.bias': [2]}
    """
    found = {}
    for name, array in arrays.items():
        joined = _TOGETHER.search(name)
        if joined:
            parts = zip(_THREE, np.split(array, 3), strict=True)
            found |= {f"{joined[1]}.{kind}.{joined[2]}": part for kind, part in parts}
        else:
            found[name] = array
    return found


def is_of_transformers(name: str) -> bool:
    """Returns whether a name is one of a whole Mask2Former's.

    Args:
      name: PyTorch name.

    Example:
      >>> is_of_transformers("class_predictor.bias"), is_of_transformers("fc.bias")
      (True, False)
    """
    return name.startswith((PREFIX, _QUERIES, "class_predictor.", "criterion."))
