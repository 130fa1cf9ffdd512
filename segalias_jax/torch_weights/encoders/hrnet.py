"""Key table of HRNets: the original one, which timm and mmsegmentation have, too."""

from __future__ import annotations

from flax import nnx

from segalias_jax.torch_weights.rules import EncoderNames, Rules

_HRNET: Rules = [
    (r"^stem\.(\d)\.conv$", lambda m: f"conv{int(m[1]) + 1}"),
    (r"^stem\.(\d)\.norm$", lambda m: f"bn{int(m[1]) + 1}"),
    (r"^stages\.0\.", "layer1."),
    (r"^stages\.(\d)\.", lambda m: f"stage{int(m[1]) + 1}."),
    (r"\bshortcut\.conv$", "downsample.0"),
    (r"\bshortcut\.norm$", "downsample.1"),
    (r"\bnorm(\d)$", r"bn\1"),
    (r"\.exchange\.paths\.", ".fuse_layers."),
    (r"(\.fuse_layers\.\d\.\d)\.convs\.(\d)$", r"\1.\2.0"),
    (r"(\.fuse_layers\.\d\.\d)\.norms\.(\d)$", r"\1.\2.1"),
    (r"(\.fuse_layers\.\d\.\d)\.conv$", r"\1.0"),
    (r"(\.fuse_layers\.\d\.\d)\.norm$", r"\1.1"),
    (r"^downsamples\.(\d)\.opened\.", lambda m: f"transition{int(m[1]) + 1}.{int(m[1]) + 1}.0."),
    (r"^downsamples\.0\.kept\.", "transition1.0."),
    (r"^(transition\d\.[\d.]+)\.conv$", r"\1.0"),
    (r"^(transition\d\.[\d.]+)\.norm$", r"\1.1"),
]

# Of networks for images: what joins the branches and tells the class.
_IGNORED = r"^(incre_modules|downsamp_modules|final_layer|classifier)\."


def hrnet_names(encoder: nnx.Module, alone: bool) -> EncoderNames:
    """Returns the key table of an HRNet.

    Args:
      encoder: the `HRNet`.
      alone: whether as an image network, or inside a segmenter.

    Returns:
      The same names for both, called timm's for an image network and mmsegmentation's inside a
      segmenter.

    Example:
      >>> hrnet_names(nnx.List([]), True).table
      'timm'
    """
    return EncoderNames("timm" if alone else "mmsegmentation", _HRNET, ignored=_IGNORED)
