"""Brings weights in the published code's names and layout into our modules, for comparisons."""

import re

import jax.numpy as jnp
import numpy as np
from flax import nnx

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_RENAMES = [
    (r"\bmixer\.spatial_gate", "att.freq_weight_conv"),
    (r"\bmixer\.(low|high)_gate\.reduce", r"att.channel_att_\1.1"),
    (r"\bmixer\.(low|high)_gate\.expand", r"att.channel_att_\1.3"),
    (r"\bshortcut\.conv", "downsample.0"),
    (r"\bshortcut\.norm", "downsample.1"),
    (r"\bnorm(\d)", r"bn\1"),
    (r"^encoder\.stem\.(\d)\.conv", lambda m: f"backbone.stem.{3 * int(m[1])}"),
    (r"^encoder\.stem\.(\d)\.norm", lambda m: f"backbone.stem.{3 * int(m[1]) + 1}"),
    (r"^encoder\.stages\.(\d)", lambda m: f"backbone.layer{int(m[1]) + 1}"),
    (r"^decoder\.pyramid\.bottleneck", "decode_head.bottleneck"),
    (r"^decoder\.pyramid\.scales\.(\d)", r"decode_head.psp_modules.\1.1"),
    (r"^decoder\.laterals\.(\d)", r"decode_head.lateral_convs.\1"),
    (r"^decoder\.outputs\.(\d)", r"decode_head.fpn_convs.\1"),
    (r"^decoder\.bottleneck", "decode_head.fpn_bottleneck"),
    (r"^classifier\.conv", "decode_head.conv_seg"),
    (r"^auxiliary\.mix", "auxiliary_head.convs.0"),
    (r"^auxiliary\.classifier\.conv", "auxiliary_head.conv_seg"),
    (r"(^|\.)norm$", r"\1bn"),
]


def published_name(path) -> str:
    """The published name of the parameter at a path of ours."""
    name = ".".join(str(part) for part in path)
    stem, leaf = name.rsplit(".", 1)
    for pattern, replacement in _RENAMES:
        stem = re.sub(pattern, replacement, stem)
    return f"{stem}.{_LEAVES[leaf]}"


def to_published(name: str, array: np.ndarray) -> np.ndarray:
    """Our array in the published layout; the roll of the gates' input is in their weights."""
    array = np.asarray(array)
    if array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    if re.search(r"channel_att_\w+\.1\.weight", name):
        array = np.roll(array, array.shape[1] // 2, 1)
    return array


def from_published(name: str, array: np.ndarray) -> np.ndarray:
    """The inverse of `to_published`."""
    if re.search(r"channel_att_\w+\.1\.weight", name):
        array = np.roll(array, -(array.shape[1] // 2), 1)
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def load_published(model: nnx.Module, make_array, dtype=np.float32) -> None:
    """Fills every parameter and statistic by `make_array(published name, published shape)`."""
    state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    for path, variable in nnx.to_flat_state(state):
        name = published_name(path)
        shape = to_published(name, np.empty(variable.shape, np.int8)).shape
        array = from_published(name, np.asarray(make_array(name, shape)))
        variable.set_value(jnp.asarray(array, dtype))
    nnx.update(model, state)
