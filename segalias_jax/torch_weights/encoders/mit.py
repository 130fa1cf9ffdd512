"""Key table of MiTs: transformers, for image networks and inside a segmenter."""

from __future__ import annotations

from flax import nnx

from segalias_jax.torch_weights.rules import EncoderNames, Rules

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
"""As files of transformers have it."""


def mit_names(encoder: nnx.Module, alone: bool) -> EncoderNames:
    """Returns the key table of a MiT.

    Args:
      encoder: the `MiT`.
      alone: whether as an image network, or inside a segmenter.

    Returns:
      Names of transformers, without "segformer." in front; the same ones inside a segmenter, as
      mmsegmentation has queries, keys and values in one array.

    Example:
      >>> mit_names(nnx.List([]), True).table
      'transformers'
    """
    return EncoderNames("transformers", _MIT, ignored=r"^classifier\.")
