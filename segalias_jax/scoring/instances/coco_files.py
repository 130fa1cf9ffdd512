"""Ground truth and results in COCO's JSON, checked entry by entry.

Numbers stay as they are written: average precision takes annotated boxes and areas, not those of
masks.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segalias_jax.data.files import read_bytes
from segalias_jax.data.run_length import polygon_mask
from segalias_jax.errors import InputError
from segalias_jax.scoring.instances.objects import Mask, Objects, mask_of_runs

_LISTED = 5


@dataclasses.dataclass(frozen=True)
class CocoTruth:
    """A ground truth.

    Attributes:
      path: its file.
      images: name, height and width of each image by its id.
      numbers: class 1..C of each category id.
      classes: names of the classes.
      entries: annotations of each image by its id.
    """

    path: Path
    images: Mapping[int, tuple[str, int, int]]
    numbers: Mapping[int, int]
    classes: tuple[str, ...]
    entries: Mapping[int, Sequence[dict[str, Any]]]

    def objects(self, image: int, *, boxes: bool = False) -> Objects:
        """The true objects of an image.

        Args:
          image: its id.
          boxes: take the boxes for the masks.

        Returns:
          The objects.

        Raises:
          InputError: an annotation that cannot be read; it is named.
        """
        return _objects(self.path, "annotation", self, self.entries[image], image, boxes=boxes)


@dataclasses.dataclass(frozen=True)
class CocoResults:
    """Predictions for the images of a ground truth.

    Attributes:
      path: their file.
      truth: what they are predictions for.
      entries: results of each image by its id.
      boxes: whether they are boxes alone.
    """

    path: Path
    truth: CocoTruth
    entries: Mapping[int, Sequence[dict[str, Any]]]
    boxes: bool

    def objects(self, image: int) -> Objects:
        """The predicted objects of an image.

        Args:
          image: its id.

        Returns:
          The objects.

        Raises:
          InputError: a result that cannot be read; it is named.
        """
        entries = self.entries.get(image, ())
        return _objects(self.path, "result", self.truth, entries, image, boxes=self.boxes)


def read_truth(path: Path) -> CocoTruth:
    """Reads a ground truth.

    Args:
      path: JSON with images, annotations and categories.

    Returns:
      The ground truth; masks are decoded when they are asked for.

    Raises:
      InputError: no such file, or an entry that is wrong; it is named.

    Example:
      >>> read_truth(Path("missing.json"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: missing.json: cannot be read (No such file or directory)
    """
    content = _read(path)
    if isinstance(content, list):
        raise InputError(
            f"{path}: is a list of results, not a ground truth with images, annotations and "
            "categories; give predictions first, then the ground truth"
        )
    lists = []
    for name in ("images", "annotations", "categories"):
        found = content.get(name) if isinstance(content, dict) else None
        if not isinstance(found, list):
            raise InputError(f"{path}: has no list of {name}; give a ground truth in COCO's format")
        lists.append([_Entry(path, f"{name}[{i}]", one) for i, one in enumerate(found)])
    images: dict[int, tuple[str, int, int]] = {}
    for one in lists[0]:
        image = one.whole("id")
        if image in images:
            raise one.error(f"id {image} is that of {images[image][0]}, too; give each its own")
        size = one.whole("height", least=1), one.whole("width", least=1)
        images[image] = (str(one.get("file_name") or image), *size)
    if not images:
        raise InputError(f"{path}: has no image; give a ground truth in COCO's format")
    names: dict[int, str] = {}
    for one in lists[2]:
        category = one.whole("id")
        if category in names:
            raise one.error(f"id {category} is that of {names[category]}, too; give each its own")
        names[category] = str(one.get("name") or category)
    if not names:
        raise InputError(f"{path}: has no categories; give a ground truth in COCO's format")
    entries: dict[int, list[dict[str, Any]]] = {image: [] for image in sorted(images)}
    numbers = {category: k for k, category in enumerate(sorted(names), 1)}
    for one in lists[1]:
        image = one.known("image_id", images, "image")
        one.known("category_id", names, "category")
        entries[image].append({**one.content, "": one.where})
    return CocoTruth(path, images, numbers, tuple(names[one] for one in sorted(names)), entries)


def read_results(path: Path, truth: CocoTruth) -> CocoResults:
    """Reads predictions in COCO's format of results.

    Args:
      path: JSON, a list of results with image_id, category_id, score, and bbox or segmentation.
        The annotations of another ground truth with the same images are understood, too.
      truth: what they are predictions for.

    Returns:
      The predictions; masks are decoded when they are asked for.

    Raises:
      InputError: no such file, images or categories that the ground truth has not, or another
        entry that is wrong; it is named.
    """
    content = _read(path)
    scored = True
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        other = read_truth(path)
        for image, found in other.images.items():
            if truth.images.get(image, found) != found:
                raise InputError(
                    f"{path}: its image {image} is {found[0]}, that of {truth.path} "
                    f"{truth.images[image][0]}; predict the images of the ground truth"
                )
        content, scored = content["annotations"], False
    if not isinstance(content, list):
        raise InputError(
            f"{path}: is no list of results; write a JSON list of image_id, category_id, score and "
            "segmentation or bbox"
        )
    entries: dict[int, list[dict[str, Any]]] = {}
    kinds: dict[bool, str] = {}
    for i, found in enumerate(content):
        one = _Entry(path, f"result {i}", found)
        image = one.known("image_id", truth.images, f"image of {truth.path}")
        one.known("category_id", truth.numbers, f"category of {truth.path}")
        if scored or "score" in one.content:
            score = one.content.get("score")
            if isinstance(score, bool) or not isinstance(score, (int, float)) or (
                not math.isfinite(score)
            ):  # fmt: skip
                raise one.error(f"its score is {score!r}; give a number")
        masked = "segmentation" in one.content
        kinds.setdefault(masked, one.where)
        if len(kinds) == 2:
            raise one.error(
                f"has {'a' if masked else 'no'} segmentation, unlike {kinds[not masked]}; give "
                "masks for all or for none"
            )
        if not masked and "bbox" not in one.content:
            raise one.error("has neither a segmentation nor a bbox; give one of them")
        entries.setdefault(image, []).append({**one.content, "": one.where})
    return CocoResults(path, truth, entries, boxes=False in kinds)


@dataclasses.dataclass(frozen=True)
class _Entry:
    """An entry of a list in a file, which names itself in errors."""

    path: Path
    where: str
    content: Any

    def __post_init__(self):
        if not isinstance(self.content, dict):
            raise self.error(f"is {str(self.content)[:40]!r}, not an object with keys")

    def error(self, what: str) -> InputError:
        number = self.content.get("id") if isinstance(self.content, dict) else None
        about = f" (id {number})" if isinstance(number, int) else ""
        return InputError(f"{self.path}: {self.where}{about} {what}")

    def get(self, key: str) -> Any:
        return self.content.get(key)

    def whole(self, key: str, *, least: int | None = None) -> int:
        value = self.content.get(key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(f"has {key} {value!r}; give an integer")
        if least is not None and value < least:
            raise self.error(f"has {key} {value}; give {least} or more")
        return value

    def known(self, key: str, choices: Mapping[int, Any], what: str) -> int:
        value = self.whole(key)
        if value not in choices:
            few = ", ".join(str(one) for one in sorted(choices)[:_LISTED])
            few += ", ..." * (len(choices) > _LISTED)
            raise self.error(f"has {key} {value}, which is no {what} ({few}); correct the ids")
        return value


def _read(path: Path) -> Any:
    try:
        return json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: is no JSON ({error}); write it again") from None


def _objects(
    path: Path,
    what: str,
    truth: CocoTruth,
    entries: Sequence[dict[str, Any]],
    image: int,
    *,
    boxes: bool,
) -> Objects:
    size = truth.images[image][1:]
    masks, spans, areas = [], [], []
    for found in entries:
        one = _Entry(path, found[""], found)
        span = _span(one) if "bbox" in found else None
        try:
            masks.append(_filled(span, size) if boxes else _mask(found, size))
        except (InputError, TypeError, ValueError, KeyError, OverflowError) as error:
            raise one.error(f"of image {truth.images[image][0]}: {error}") from None
        spans.append(masks[-1].box if span is None else span)
        area = found.get("area") if what == "annotation" else None
        known = isinstance(area, (int, float)) and math.isfinite(area)
        areas.append(area if known else masks[-1].area)
    return Objects(
        np.asarray([truth.numbers[one["category_id"]] for one in entries], np.int64),
        tuple(masks),
        [one.get("score", 1.0) for one in entries] if what == "result" else None,
        [bool(one.get("iscrowd", 0)) for one in entries] if what == "annotation" else None,
        size,
        spans,
        areas,
    )


def _span(one: _Entry) -> tuple[float, ...]:
    values = one.content["bbox"]
    if not isinstance(values, list) or len(values) != 4 or not all(
        isinstance(v, (int, float)) and math.isfinite(v) for v in values
    ):  # fmt: skip
        raise one.error(f"has bbox {values!r}; give x, y, width and height in pixels")
    if values[2] < 0 or values[3] < 0:
        raise one.error(f"has bbox {values!r} of negative size; give x, y, width and height")
    return tuple(map(float, values))


def _filled(span: tuple[float, ...] | None, size: tuple[int, int]) -> Mask:
    """The pixels of a box."""
    if span is None:
        raise InputError("has no bbox, and predictions are boxes; add it")
    x, y, width, height = span
    ends = []
    for start, length, side in ((y, height, size[0]), (x, width, size[1])):
        first = min(max(0, round(start)), side - 1)
        ends.append((first, min(max(first + 1, round(start + length)), side)))
    (top, bottom), (left, right) = ends
    return Mask(top, left, np.ones((bottom - top, right - left), bool))


def _mask(found: Mapping[str, Any], size: tuple[int, int]) -> Mask:
    shape = found.get("segmentation")
    if isinstance(shape, dict):
        return mask_of_runs(shape, size)
    if isinstance(shape, list):
        return Mask.of_pixels(polygon_mask(shape, size))
    raise InputError("it has no segmentation; add polygons or run lengths")
