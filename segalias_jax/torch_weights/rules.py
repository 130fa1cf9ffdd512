"""The form of a key table: rewritings from the path of a leaf of ours to its PyTorch name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from segalias_jax.ops import IMAGENET_STD

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
      bgr_kernel: leaf of the encoder that PyTorch code multiplies by BGR bytes less their mean, not
        by normalized RGB, see `rgb_kernel`; () for none.

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
    bgr_kernel: Path = ()


def rgb_kernel(kernel: np.ndarray, *, back: bool = False) -> np.ndarray:
    """Brings a kernel that reads BGR bytes less their mean to one that reads normalized RGB.

    Both subtract the same mean, so that the products, and zeros of the padding, are the same:
    K[c] = s[c] B[2 - c], with the standard deviation s of channel c.

    Args:
      kernel: [h, w, 3, o], or `back` the result.
      back: the other way.

    Returns:
      The other kernel, in float64.

    Example:
      >>> kernel = rgb_kernel(np.array([1.0, 0, 0]).reshape(1, 1, 3, 1))
      >>> kernel.ravel().tolist(), rgb_kernel(kernel, back=True).ravel().tolist()
      ([0.0, 0.0, 57.375], [1.0, 0.0, 0.0])
    """
    deviations = np.asarray(IMAGENET_STD)[:, None]
    if back:
        return (kernel / deviations)[:, :, ::-1]
    return kernel[:, :, ::-1].astype(np.float64) * deviations
