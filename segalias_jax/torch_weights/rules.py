"""The form of a key table: rewritings from the path of a leaf of ours to its PyTorch name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Path = tuple[Any, ...]
"""Of a leaf: names of attributes and numbers of items, from the module down to the leaf."""

Rules = list[tuple[str, str | Callable[[re.Match], str]]]
"""Patterns and their replacements, applied in order."""

_LEAVES = {
    "kernel": "weight",
    "taps": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def torch_name(path: Path, rules: Rules) -> str:
    r"""Rewrites the path of one leaf.

    Args:
      path: keys from the module down to the leaf.
      rules: pairs of a pattern and its replacement, applied in order.

    Returns:
      The PyTorch name.

    Example:
      >>> torch_name(("stages", 0, 2, "norm1", "mean"), [(r"^stages\.0", "layer1")])
      'layer1.2.norm1.running_mean'
    """
    *module, leaf = (str(part) for part in path)
    name = rewritten(".".join(module), rules)
    return ".".join(filter(None, (name, _LEAVES.get(leaf, leaf))))


def rewritten(name: str, rules: Rules) -> str:
    r"""Applies rules to a name, in order.

    Args:
      name: dotted.
      rules: pairs of a pattern and its replacement.

    Returns:
      The new name.

    Example:
      >>> rewritten("stages.0.2", [(r"^stages\.0", "layer1"), (r"\.2$", ".3")])
      'layer1.3'
    """
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


@dataclasses.dataclass(frozen=True)
class EncoderNames:
    """What PyTorch code calls the leaves of one encoder: its key table.

    Attributes:
      table: whose names they are, such as "torchvision".
      rules: from a leaf's path inside the encoder to its name, see `torch_name`.
      fixed: arrays that PyTorch code stores although they never change, by name.
      ignored: pattern of names, found anywhere in them, of what an image network has beyond the
        encoder, such as its classifier; such arrays are left out of what is compared.
      synonyms: from names of other code bases that files may have instead to those of `table`.
      variant: the encoder's argument `variant`, where names depend on it.

    Example:
      >>> names = EncoderNames("mine", [("^stages", "layers")])
      >>> torch_name(("stages", 0, "kernel"), names.rules)
      'layers.0.weight'
    """

    table: str
    rules: Rules
    fixed: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    ignored: str = r"^(head\.)?fc\.(weight|bias)$|^head\.norm\."
    synonyms: Rules = dataclasses.field(default_factory=list)
    variant: str = ""
