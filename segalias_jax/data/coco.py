"""Data sets of objects in COCO's JSON: polygons, run lengths and crowds.

What the file says as a whole (its lists, ids and names) is checked when it is opened, the outline
of an object when its image is read.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from segalias_jax.data.files import read_bytes
from segalias_jax.data.headers import MAX_IMAGE_PIXELS
from segalias_jax.data.instances import Instances, InstanceSource, check_memory
from segalias_jax.data.masks import boxes_of_masks
from segalias_jax.data.pairs import Pair
from segalias_jax.data.run_length import decode_mask, polygon_mask
from segalias_jax.errors import InputError, check_choice


class CocoSource(InstanceSource):
    """A data set whose objects stand in a JSON file as COCO writes it.

    Category ids, which may have gaps, become classes 1 to n in ascending order; `category_ids` has
    the way back, `image_ids` the ids of the images. Boxes are those of the file, cut to the image;
    of objects that have none, those of their masks. Objects whose box or mask is empty are left
    out, as the published readers do.

    Args:
      annotations: the JSON file.
      images: folder that its `file_name`s are in.
      classes: names of the categories that are read, in the order of their ids here; () for all.
      exif: see `decode_image`.
      complete: raise where an image is missing; otherwise only where it is read.

    Raises:
      InputError: names the file, what in it is wrong, and what to do.

    Example:
      >>> CocoSource(Path("missing.json"), Path("images"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: missing.json: cannot be read (No such file or directory)
    """

    def __init__(
        self,
        annotations: Path,
        images: Path,
        *,
        classes: Sequence[str] = (),
        exif: bool = True,
        complete: bool = True,
    ):
        lists = _read_lists(annotations)
        entries, categories = lists["images"], lists["categories"]
        _check_entries(entries, annotations)
        known = _category_names(categories, annotations)
        for name in classes:
            check_choice(f"{annotations}: the class", name, known.values())
        chosen = list(classes) or list(known.values())
        ids = {name: key for key, name in known.items()}
        names = [entry["file_name"] for entry in entries]
        pairs = [Pair(images / name, annotations, name) for name in names]
        super().__init__(pairs, classes=tuple(chosen), exif=exif)
        self.annotations = annotations
        self.image_ids = [entry["id"] for entry in entries]
        self.category_ids = [ids[name] for name in chosen]
        self.rule = tuple(self.category_ids)
        self._sizes = [(entry["height"], entry["width"]) for entry in entries]
        self._objects = self._by_image(lists["annotations"], known)
        for pair in pairs if complete else ():
            if not pair.image.is_file():
                raise InputError(
                    f"{annotations}: its image {pair.name} is missing, there is no {pair.image}"
                )

    def size(self, index: int) -> tuple[int, int]:
        """Returns (height, width) of an image in pixels, as the JSON says."""
        return self._sizes[index]

    def count(self, index: int) -> int:
        """Returns how many objects the JSON lists for an image, crowds not counted."""
        return sum(not entry.get("iscrowd", 0) for entry in self._objects[index])

    def instances(self, index: int, size: tuple[int, int] | None = None) -> Instances:
        """Reads the objects of an image, see `InstanceSource`."""
        stated = self._sizes[index]
        if size is not None and tuple(size) != stated:
            swapped = tuple(size) == stated[::-1]
            turned = "; the image is turned by its EXIF data, which data.exif=False leaves out"
            raise InputError(
                f"{self.annotations}: its image {self.names[index]} has {stated[1]}x{stated[0]} "
                f"pixels there and {size[1]}x{size[0]} in its file; they must match"
                + turned
                * swapped
            )
        entries = self._objects[index]
        check_memory(self.annotations, len(entries), stated)
        masks = np.zeros((len(entries), *stated), np.bool_)
        boxes = np.zeros((len(entries), 4), np.float32)
        for k, entry in enumerate(entries):
            try:
                masks[k] = _mask(entry.get("segmentation"), stated)
                boxes[k] = _box(entry.get("bbox"), stated, masks[k])
            except InputError as error:
                raise InputError(
                    f"{self.annotations}: annotation {entry['id']} of {self.names[index]}: {error}"
                ) from None
        number = {key: k + 1 for k, key in enumerate(self.category_ids)}
        classes = np.array([number[entry["category_id"]] for entry in entries], np.int32)
        crowd = np.array([bool(entry.get("iscrowd", 0)) for entry in entries], np.bool_)
        keep = masks.any((1, 2)) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        if not keep.all():
            boxes, classes, crowd, masks = boxes[keep], classes[keep], crowd[keep], masks[keep]
        return Instances(boxes, classes, crowd, masks)

    def _by_image(
        self, entries: Sequence[Any], known: Mapping[int, str]
    ) -> list[list[dict[str, Any]]]:
        """The entries of each image in their order, those of other classes left out."""
        place = {key: k for k, key in enumerate(self.image_ids)}
        chosen = set(self.category_ids)
        objects: list[list[dict[str, Any]]] = [[] for _ in place]
        for k, entry in enumerate(entries):
            where = f"{self.annotations}: annotations[{k}]"
            if not isinstance(entry, dict) or not _is_integer(entry.get("id")):
                raise InputError(f"{where} has no integer as id; number the annotations")
            where = f"{self.annotations}: annotation {entry['id']}"
            if not _is_integer(entry.get("image_id")) or entry["image_id"] not in place:
                raise InputError(
                    f"{where}: no image has the id {entry.get('image_id')!r}; correct its image_id"
                )
            if not _is_integer(entry.get("category_id")) or entry["category_id"] not in known:
                raise InputError(
                    f"{where}: no category has the id {entry.get('category_id')!r}; the file has "
                    f"{_some(known)}"
                )
            if entry.get("iscrowd", 0) not in (0, 1):
                raise InputError(f"{where}: iscrowd is {entry['iscrowd']!r}; write 0 or 1")
            if entry["category_id"] in chosen:
                objects[place[entry["image_id"]]].append(entry)
        _check_unique((entry["id"] for entry in entries), "annotations", self.annotations)
        return objects


def _read_lists(path: Path) -> dict[str, list[Any]]:
    data = read_bytes(path)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: is no JSON ({reason}); write or copy it again") from None
    lists = {}
    for key in ("images", "annotations", "categories"):
        found = content.get(key) if isinstance(content, dict) else None
        if not isinstance(found, list):
            raise InputError(
                f"{path}: has no list {key!r}; a data set has images, annotations and categories"
            )
        lists[key] = found
    for key in ("images", "categories"):
        if not lists[key]:
            raise InputError(f"{path}: its list {key!r} is empty; give a data set")
    return lists


def _check_entries(entries: Sequence[Any], path: Path) -> None:
    for k, entry in enumerate(entries):
        where = f"{path}: images[{k}]"
        if not isinstance(entry, dict) or not _is_integer(entry.get("id")):
            raise InputError(f"{where} has no integer as id; number the images")
        name = entry.get("file_name")
        if not isinstance(name, str) or not name:
            raise InputError(f"{where}, id {entry['id']}, has no file_name; name its file")
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts or "\0" in name:
            raise InputError(
                f"{where}: the file_name {name!r} leaves the folder of the images; "
                "write it relative to that"
            )
        sides: list[Any] = [entry.get("height"), entry.get("width")]
        if not all(_is_integer(side) and side > 0 for side in sides):
            raise InputError(f"{path}: image {name} has the height and width {sides}; correct them")
        if sides[0] * sides[1] > MAX_IMAGE_PIXELS:
            raise InputError(
                f"{path}: image {name} claims {sides[1]}x{sides[0]} pixels, more than the "
                f"{MAX_IMAGE_PIXELS} that are decoded; correct its height and width"
            )
    _check_unique((entry["id"] for entry in entries), "images", path)
    _check_unique((entry["file_name"] for entry in entries), "images", path, "file_name")


def _category_names(entries: Sequence[Any], path: Path) -> dict[int, str]:
    for k, entry in enumerate(entries):
        usable = isinstance(entry, dict) and _is_integer(entry.get("id"))
        if not usable or not isinstance(entry.get("name"), str):
            raise InputError(f"{path}: categories[{k}] lacks an integer id or a name; add them")
    _check_unique((entry["id"] for entry in entries), "categories", path)
    _check_unique((entry["name"] for entry in entries), "categories", path, "name")
    return {entry["id"]: entry["name"] for entry in sorted(entries, key=lambda e: e["id"])}


def _check_unique(values: Iterable[Any], key: str, path: Path, what: str = "id") -> None:
    value, count = Counter(values).most_common(1)[0] if (values := list(values)) else (0, 1)
    if count > 1:
        raise InputError(f"{path}: {count} of its {key} have the {what} {value!r}; each needs one")


def _mask(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    if isinstance(segmentation, dict):
        stated = segmentation.get("size")
        if stated != list(size):
            raise InputError(
                f"its mask has the size {stated!r} and its image {list(size)}, both (height, "
                "width); they must match"
            )
        return decode_mask(segmentation)
    if isinstance(segmentation, list):
        return polygon_mask(segmentation, size)
    raise InputError("it has no segmentation; write polygons or run lengths")


def _box(box: Any, size: tuple[int, int], mask: np.ndarray) -> np.ndarray:
    """(x1, y1, x2, y2) of COCO's (x, y, width, height), cut to the image."""
    if box is None:
        return boxes_of_masks(mask[None])[0]
    numbers = box if isinstance(box, list) and len(box) == 4 else [math.nan]
    if not all(
        isinstance(number, (int, float)) and not isinstance(number, bool) and abs(number) < 1e9
        for number in numbers
    ):
        raise InputError(f"its bbox is {box!r}; write [x, y, width, height]")
    if min(numbers[2:]) < 0:
        raise InputError(f"its bbox {box!r} has a negative side; write [x, y, width, height]")
    x, y, width, height = numbers
    corners = np.array([x, y, x + width, y + height], np.float32)
    return np.clip(corners, 0, np.array([size[1], size[0]] * 2, np.float32))


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _some(known: Mapping[int, str]) -> str:
    shown = [f"{key} ({name})" for key, name in list(known.items())[:5]]
    return ", ".join(shown) + ", ..." * (len(known) > 5)
