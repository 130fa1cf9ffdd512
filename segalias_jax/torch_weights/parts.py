"""Parts of a model that weights from elsewhere may leave as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable

from segalias_jax.errors import check_choice

PARTS = {
    "head": r"^((auxiliary|decoder)/)?classifier/|^\w+_head\.(\d\.)?(conv_seg|classifier)\.|"
    r"^(rpn|box_head|mask_head)/|^(rpn|rpn_head|roi_heads?)\.|"
    r"^query_decoder/classes/|^class_predictor\.",
    "auxiliary": r"^auxiliary/|^auxiliary_head\.",
    "decoder": r"^decoder/(?!classifier)|^decode_head\.(?!(\d\.)?(conv_seg|classifier))|"
    r"^neck\.|^pyramid/|^backbone\.fpn\.|^pixel_decoder/|^query_decoder/(?!classes)|"
    r"^model\.(pixel_level_module\.decoder|transformer_module)\.",
    "mixer": r"/(mixer|branch)/|\.att\.|\.(mixer|branch|llpf|learnable_conv1)\.",
    "filter": r"(^|/)filters/|(^|\.)(AdaD|filters)\.",
    "output_norm": r"(^|/)output_norms/|^(backbone\.)?norm\d\.",
}
"""Patterns by part, each for our paths, joined by slashes, and for PyTorch names."""


def check_parts(parts: Iterable[str]) -> None:
    """Raises unless all names are those of parts.

    Args:
      parts: the names.

    Raises:
      InputError: an unknown one.

    Example:
      >>> check_parts(("head", "mixer"))
    """
    for part in parts:
        check_choice("part", part, PARTS)


def in_parts(name: str, parts: Iterable[str]) -> bool:
    """Returns whether a leaf belongs to one of some parts.

    Args:
      name: path of ours, joined by slashes, or a PyTorch name.
      parts: names out of `PARTS`.

    Returns:
      True if so.

    Example:
      >>> in_parts("auxiliary/classifier/conv/bias", ("head",)), in_parts("decoder/x", ("head",))
      (True, False)
    """
    return any(re.search(PARTS[part], name) for part in parts)
