"""Key tables of detectors: torchvision's names and mmdetection's, by the model's `convention`.

What differs from ours beyond names: vectors' layers are matrices there, and the first one reads
features of a box as (channel, row, column); a transposed convolution's kernel starts with its
inputs; layers of points are convolutions along one axis. mmdetection numbers the background last,
and predicts neither a box nor a mask for it: ours, which nothing reads, are zeros then. Its
regression is normalized by standard deviations, which are our box coder's weights inverted, so that
its numbers are the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np

_FIRST = re.compile(
    r"^roi_heads?\.(box_head\.fc6|bbox_head\.shared_fcs\.0|mask_head\.fcs\.0)\.weight$"
)
_LINEAR = re.compile(
    r"^roi_heads?\.(box_head\.fc7|box_predictor\.\w+|bbox_head\.(shared_fcs\.1|fc_\w+)|"
    r"mask_head\.(fcs\.1|fc_logits))\.weight$"
)
_TRANSPOSED = re.compile(r"^roi_heads?\.(mask_predictor\.conv5_mask|mask_head\.upsample)\.weight$")
_OF_POINTS = re.compile(r"^roi_head\.point_head\..*weight$")
_BACKGROUND_LAST = re.compile(r"^roi_head\.bbox_head\.fc_cls\.")
_NO_BACKGROUND = {
    re.compile(r"^roi_head\.bbox_head\.fc_reg\."): 4,
    re.compile(r"^roi_head\.mask_head\.conv_logits\."): 1,
}
"""Rows that the background has here and not there."""

_CELLS = 7

Rules = list[tuple[str, str | Callable[[re.Match], str]]]

_TORCHVISION: Rules = [
    (r"^pyramid\.laterals\.(\d)", r"backbone.fpn.inner_blocks.\1.0"),
    (r"^pyramid\.outputs\.(\d)", r"backbone.fpn.layer_blocks.\1.0"),
    (r"^rpn\.conv$", "rpn.head.conv.0.0"),
    (r"^rpn\.logits$", "rpn.head.cls_logits"),
    (r"^rpn\.deltas$", "rpn.head.bbox_pred"),
    (r"^box_head\.first$", "roi_heads.box_head.fc6"),
    (r"^box_head\.second$", "roi_heads.box_head.fc7"),
    (r"^box_head\.logits$", "roi_heads.box_predictor.cls_score"),
    (r"^box_head\.deltas$", "roi_heads.box_predictor.bbox_pred"),
    (r"^mask_head\.convs\.(\d)$", r"roi_heads.mask_head.\1.0"),
    (r"^mask_head\.upsample$", "roi_heads.mask_predictor.conv5_mask"),
    (r"^mask_head\.logits$", "roi_heads.mask_predictor.mask_fcn_logits"),
]

_MMDETECTION: Rules = [
    (r"^pyramid\.laterals\.(\d)", r"neck.lateral_convs.\1.conv"),
    (r"^pyramid\.outputs\.(\d)", r"neck.fpn_convs.\1.conv"),
    (r"^rpn\.conv$", "rpn_head.rpn_conv"),
    (r"^rpn\.logits$", "rpn_head.rpn_cls"),
    (r"^rpn\.deltas$", "rpn_head.rpn_reg"),
    (r"^box_head\.first$", "roi_head.bbox_head.shared_fcs.0"),
    (r"^box_head\.second$", "roi_head.bbox_head.shared_fcs.1"),
    (r"^box_head\.logits$", "roi_head.bbox_head.fc_cls"),
    (r"^box_head\.deltas$", "roi_head.bbox_head.fc_reg"),
    (r"^mask_head\.convs\.(\d)$", r"roi_head.mask_head.convs.\1.conv"),
    (r"^mask_head\.upsample$", "roi_head.mask_head.upsample"),
    (r"^mask_head\.logits$", "roi_head.mask_head.conv_logits"),
    (r"^mask_head\.coarse\.reduce$", "roi_head.mask_head.downsample_conv.conv"),
    (r"^mask_head\.coarse\.first$", "roi_head.mask_head.fcs.0"),
    (r"^mask_head\.coarse\.second$", "roi_head.mask_head.fcs.1"),
    (r"^mask_head\.coarse\.logits$", "roi_head.mask_head.fc_logits"),
    (r"^mask_head\.points\.convs\.(\d)$", r"roi_head.point_head.fcs.\1.conv"),
    (r"^mask_head\.points\.logits$", "roi_head.point_head.fc_logits"),
]

DETECTOR_RULES = {"torchvision": _TORCHVISION, "mmdetection": _MMDETECTION}
"""Rewritings of everything but the encoder, by convention."""

ENCODER_PREFIX = {"torchvision": "backbone.body.", "mmdetection": "backbone."}
"""What stands in front of the names of an encoder, by convention."""

_BEFORE_2022: Rules = [
    (r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$", r"\1.0.\2"),
    (r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1"),
    (
        r"^roi_heads\.mask_head\.mask_fcn(\d)\.",
        lambda m: f"roi_heads.mask_head.{int(m[1]) - 1}.0.",
    ),
]
"""Names in torchvision's own files, which it rewrites likewise on reading."""

_ABSENT_IDS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
COCO_IDS = tuple(i for i in range(1, 91) if i not in _ABSENT_IDS)
"""Category ids of COCO's 80 classes, which are the classes of torchvision's files."""

_OF_CLASSES = re.compile(
    r"^roi_heads\.(box_predictor\.(cls_score|bbox_pred)|mask_predictor\.mask_fcn_logits)\."
)


def normalized(arrays: Mapping[str, np.ndarray], num_classes: int) -> dict[str, np.ndarray]:
    """Brings a torchvision file into the names of today and, for 80 classes, their own numbers.

    Its files have a logit for each of COCO's ids up to 90, ten of which no object has.

    Args:
      arrays: by name.
      num_classes: of the model that is filled, without background.

    Returns:
      Arrays by name; those of any other file as they are.

    Example:
      >>> file = {"roi_heads.box_predictor.cls_score.bias": np.arange(91.0)}
      >>> normalized(file, 80)["roi_heads.box_predictor.cls_score.bias"][10:14].tolist()
      [10.0, 11.0, 13.0, 14.0]
    """
    renamed = {}
    for name, array in arrays.items():
        for pattern, replacement in _BEFORE_2022:
            name = re.sub(pattern, replacement, name)
        width = 4 if "bbox_pred" in name else 1
        if num_classes == 80 and _OF_CLASSES.search(name) and len(array) == 91 * width:
            rows = array.reshape(91, width, *array.shape[1:])[[0, *COCO_IDS]]
            array = rows.reshape(-1, *array.shape[1:])
        renamed[name] = array
    return renamed


def to_detector_layout(name: str, array: np.ndarray) -> np.ndarray | None:
    """Brings an array of ours into the layout of a detector's name.

    Args:
      name: PyTorch name.
      array: our array.

    Returns:
      The array, or None where the name is no detector's own.

    Example:
      >>> kernel = np.zeros((7, 7, 256, 1024), np.int8)
      >>> to_detector_layout("roi_heads.box_head.fc6.weight", kernel).shape
      (1024, 12544)
    """
    if _TRANSPOSED.search(name):
        return array.transpose(2, 3, 0, 1)
    rows = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
    if _OF_POINTS.search(name):
        return rows[..., 0]
    if _FIRST.search(name) or _LINEAR.search(name):
        rows = rows.reshape(len(rows), -1)
    if _BACKGROUND_LAST.search(name):
        return np.roll(rows, -1, 0)
    for pattern, count in _NO_BACKGROUND.items():
        if pattern.search(name):
            return rows[count:]
    return rows if rows.ndim != array.ndim else None


def from_detector_layout(name: str, array: np.ndarray) -> np.ndarray | None:
    """The inverse of `to_detector_layout`.

    Args:
      name: PyTorch name.
      array: its array.

    Returns:
      The array as we hold it, or None where the name is no detector's own.

    Example:
      >>> from_detector_layout("roi_heads.box_head.fc6.weight", np.zeros((1024, 12544))).shape
      (7, 7, 256, 1024)
    """
    if _TRANSPOSED.search(name):
        return array.transpose(2, 3, 0, 1)
    if _OF_POINTS.search(name):
        return array[..., None].transpose(2, 3, 1, 0)
    own, rows = False, array
    if _BACKGROUND_LAST.search(name):
        own, rows = True, np.roll(rows, 1, 0)
    for pattern, count in _NO_BACKGROUND.items():
        if pattern.search(name):
            own, rows = True, np.concatenate([np.zeros_like(rows[:count]), rows])
    if _FIRST.search(name):
        own, rows = True, rows.reshape(len(rows), -1, _CELLS, _CELLS)
    elif _LINEAR.search(name):
        own, rows = True, rows[:, :, None, None]
    if not own:
        return None
    return rows.transpose(2, 3, 1, 0) if rows.ndim == 4 else rows
