"""Which images are scored, and how the objects of each are read: JSON of COCO, or maps, or both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from segalias_jax.data.maps import MAP_SUFFIXES
from segalias_jax.errors import InputError
from segalias_jax.scoring.instances.coco_files import CocoTruth, read_results, read_truth
from segalias_jax.scoring.instances.map_files import MapOptions
from segalias_jax.scoring.instances.objects import Objects
from segalias_jax.scoring.matching import IMAGE_SUFFIXES, Matches, match_folders
from segalias_jax.scoring.sources import list_files, shown


class ImageObjects(NamedTuple):
    """One image.

    Attributes:
      name: of the image.
      load: reads its predicted and its true objects.
      image: file of the image itself; None: there is none.
    """

    name: str
    load: Callable[[], tuple[Objects, Objects]]
    image: Path | None = None


@dataclasses.dataclass(frozen=True)
class InstanceInputs:
    """All images that are scored.

    Attributes:
      images: in the order of their names.
      classes: names of the classes; None: they are not known.
      scored: whether predictions have scores of their own.
      boxes: whether predictions are boxes alone.
      notices: what a user should know.
      left_out: (file or image, reason) of what one side lacks.
    """

    images: Sequence[ImageObjects]
    classes: tuple[str, ...] | None = None
    scored: bool = False
    boxes: bool = False
    notices: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


def open_inputs(
    predictions: Path,
    truths: Path,
    *,
    images: Path | None = None,
    options: MapOptions | None = None,
    class_maps: Sequence[Path] = (),
    pattern: str | None = None,
    label_pattern: str | None = None,
    keep_going: bool = False,
) -> InstanceInputs:
    """Finds the images of two sides.

    Args:
      predictions: COCO results in JSON, or a folder of instance maps.
      truths: COCO ground truth in JSON, or a folder of instance maps.
      images: folder of the images themselves; None: none are shown.
      options: what the values of maps mean.
      class_maps: folders of class maps, of predictions and of truths, where both are maps.
      pattern: how predicted maps are named, see `match_folders`.
      label_pattern: the same of true ones.
      keep_going: leave maps out that one side alone has, instead of raising.

    Returns:
      The images.

    Raises:
      InputError: a side is missing or unreadable, sides of other images, or an image without a
        predicted map.

    Example:
      >>> open_inputs(Path("nowhere"), Path("no.json"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: no.json: no such file
    """
    for path in (truths, predictions):
        if not path.exists():
            kind = "file" if path.suffix.lower() == ".json" else "file or folder"
            raise InputError(f"{shown(path)}: no such {kind}")
    options = options or MapOptions()
    jsons = [_is_json(path) for path in (predictions, truths)]
    if class_maps and any(jsons):
        raise InputError("--class-maps: is for two folders of maps; JSON says the classes itself")
    if not jsons[1]:
        if jsons[0]:
            raise InputError(
                f"{predictions}: results refer to images by the ids of a ground truth in JSON; "
                f"give that in place of {truths}"
            )
        found = match_folders(
            predictions, truths, images, pattern=pattern, label_pattern=label_pattern
        )
        if not keep_going:
            _check_both(found.lonely)
        return _maps(found, options, class_maps)
    truth = read_truth(truths)
    files = _files_of(images, truth) if images else {}
    if not jsons[0]:
        return _maps_of_truth(predictions, truth, files, options, keep_going=keep_going)
    results = read_results(predictions, truth)

    def loader(image: int) -> Callable[[], tuple[Objects, Objects]]:
        return lambda: (results.objects(image), truth.objects(image, boxes=results.boxes))

    without = sum(not results.entries.get(image) for image in truth.images)
    notices = []
    if without:
        notices.append(f"{without} of {len(truth.images)} images have no prediction")
    if results.boxes:
        notices.append("predictions have no masks: objects are their boxes")
    return InstanceInputs(
        [
            ImageObjects(shown(truth.images[image][0]), loader(image), files.get(image))
            for image in sorted(truth.images)
        ],
        truth.classes,
        scored=any("score" in one for entries in results.entries.values() for one in entries),
        boxes=results.boxes,
        notices=tuple(notices),
    )


def _is_json(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() == ".json"


def _files_of(folder: Path, truth: CocoTruth) -> dict[int, Path]:
    """Files of the images of a ground truth, as far as there are any."""
    files = {path.name: path for path in list_files(folder, IMAGE_SUFFIXES).files}
    names = {image: Path(one[0]).name for image, one in truth.images.items()}
    return {image: files[name] for image, name in names.items() if name in files}


def _check_both(lonely: Sequence[tuple[str, str]]) -> None:
    if lonely:
        name, reason = lonely[0]
        more = f"; {len(lonely) - 1} more files are alone" if len(lonely) > 1 else ""
        raise InputError(f"{name}: {reason}{more}; add it, or leave such files out (--keep-going)")


def _maps(found: Matches, options: MapOptions, class_maps: Sequence[Path]) -> InstanceInputs:
    classes: list[dict[str, Path]] = [{}, {}]
    for k, folder in enumerate(class_maps):
        files = {path.stem: path for path in list_files(folder, MAP_SUFFIXES).files}
        for pair in found.pairs:
            own = (pair.prediction, pair.label)[k]
            if own.stem not in files:
                raise InputError(f"{own}: no class map of this name is in {folder}")
            classes[k][pair.name] = files[own.stem]

    def loader(name: str, predicted: Path, true: Path) -> Callable[[], tuple[Objects, Objects]]:
        return lambda: (
            options.objects(predicted, classes[0].get(name)),
            options.objects(true, classes[1].get(name)),
        )

    return InstanceInputs(
        [
            ImageObjects(pair.name, loader(pair.name, pair.prediction, pair.label), pair.image)
            for pair in found.pairs
        ],
        notices=found.notices,
        left_out=tuple(found.lonely),
    )


def _maps_of_truth(
    predictions: Path,
    truth: CocoTruth,
    found: dict[int, Path],
    options: MapOptions,
    *,
    keep_going: bool,
) -> InstanceInputs:
    """Maps that have the names of the images of a ground truth."""
    if len(truth.classes) > 1 and not options.divisor:
        raise InputError(
            f"{truth.path}: has {len(truth.classes)} classes, and instance maps say none; give "
            "--divisor, such as 1000 where an object of class 3 is 3000, 3001, ..."
        )
    files = {path.stem: path for path in list_files(predictions, MAP_SUFFIXES).files}
    stems = {Path(one[0]).stem: image for image, one in truth.images.items()}
    missing, extra = sorted(stems.keys() - files.keys()), sorted(files.keys() - stems.keys())
    if missing and not keep_going:
        more = f" and for {len(missing) - 1} more images" if len(missing) > 1 else ""
        raise InputError(
            f"{predictions}: no map is there for {truth.images[stems[missing[0]]][0]}{more} of "
            f"{truth.path}; give a map for each image, empty where nothing was found"
        )
    if extra and not keep_going:
        raise InputError(
            f"{files[extra[0]]}: is for no image of {truth.path}; give both sides the same images"
        )
    left_out = [(truth.images[stems[stem]][0], f"no map in {predictions}") for stem in missing]
    left_out += [(str(files[stem]), f"is for no image of {truth.path}") for stem in extra]

    def loader(image: int, path: Path) -> Callable[[], tuple[Objects, Objects]]:
        return lambda: (options.objects(path), truth.objects(image))

    return InstanceInputs(
        [
            ImageObjects(
                shown(truth.images[image][0]), loader(image, files[stem]), found.get(image)
            )
            for stem, image in sorted(stems.items(), key=lambda one: truth.images[one[1]][0])
            if stem in files
        ],
        truth.classes,
        left_out=tuple(left_out),
    )
