"""Detections on the disk: COCO's results, overlays, maps of objects.

`detections.json` is a list of results in COCO's format. What their numbers mean stands in
`images.json` beside it, in COCO's format, too: images with id, file name and size, categories, and
no annotations. Images count from 1 on in the order they were given in, categories are the classes
from 1 on; or both are those of a ground truth, which images are found in by the name of their file.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.inference.detected import DetectedObjects
from segalias_jax.inference.outputs import MAPS, OVERLAYS, ResultFolder, encode_png
from segalias_jax.inference.predictor import Result
from segalias_jax.scoring.instances.coco_files import CocoTruth
from segalias_jax.typing import UInt8

DETECTIONS, IMAGES = "detections.json", "images.json"

_MOST = np.iinfo(np.uint16).max


class InstanceFolder(ResultFolder):
    """Writes detections into a folder.

    Args:
      folder: as for `ResultFolder`.
      classes: names of the classes.
      palette: RGB color of each class.
      images: file of each image by the name of its results, see `find_images`.
      overlays: whether to write images with their objects over them.
      maps: whether to write maps of objects, 16 bit PNGs.
      truth: a ground truth of COCO whose ids of images and categories results have; None for none.

    Attributes:
      divisor: values of maps are class * divisor + number; 0 where there is one class, and values
        are numbers.

    Raises:
      InputError: the folder holds something else, or the ground truth lacks an image or a class.

    Example:
      >>> import tempfile
      >>> new, colors = Path(tempfile.mkdtemp()), np.zeros((1, 3), np.uint8)
      >>> folder = InstanceFolder(new, ["cell"], colors, {"a": Path("a.png")})
      >>> folder.ids, folder.divisor
      ({'a': 1}, 0)
    """

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str],
        palette: UInt8[np.ndarray, "n 3"],
        images: Mapping[str, Path],
        *,
        overlays: bool = False,
        maps: bool = False,
        truth: CocoTruth | None = None,
    ):
        super().__init__(folder, classes, palette)
        self.overlays, self.maps = overlays, maps
        self.divisor = 0 if len(classes) == 1 else min(1000, _MOST // (len(classes) + 1))
        self.ids = {name: number for number, name in enumerate(images, 1)}
        self.categories = {label: label for label in range(1, len(classes) + 1)}
        self._names = {name: name + path.suffix for name, path in images.items()}
        if truth is not None:
            self._take_ids(truth)
        self._results: dict[int, list[dict[str, Any]]] = {}
        self._sizes: dict[int, tuple[int, int]] = {}
        self._lock = threading.Lock()  # images are written in several threads

    def _take_ids(self, truth: CocoTruth) -> None:
        """Takes ids of images by the name of their file or its last part, of classes by name."""
        whole = {name: image for image, (name, _, _) in truth.images.items()}
        last: dict[str, list[int]] = {}
        for name, image in whole.items():
            last.setdefault(Path(name).name, []).append(image)
        for name, file in self._names.items():
            found = [whole[file]] if file in whole else last.get(Path(file).name, [])
            if len(found) != 1:
                many = "several images" if found else "no image"
                raise InputError(f"{truth.path}: has {many} of file name {file}; leave out --ids")
            self.ids[name] = found[0]
            self._names[name] = truth.images[found[0]][0]
        numbers = {number: category for category, number in truth.numbers.items()}
        named = {name: numbers[k] for k, name in enumerate(truth.classes, 1)}
        for label, name in enumerate(self.classes, 1):
            if name not in named:
                raise InputError(
                    f"{truth.path}: has no category {name!r}, which is a class of the run; leave "
                    "out --ids"
                )
            self.categories[label] = named[name]

    def write(self, name: str, result: Result) -> None:
        """Writes overlay and map of one image, and keeps its objects for `write_results`."""
        found = result.prediction
        if not isinstance(found, DetectedObjects):
            raise InputError(f"{result.source}: has no prediction to write ({result.error})")
        if self.overlays:
            path = self.folder / OVERLAYS / f"{name}.png"
            self.write_file(path, encode_png(found.overlay()[..., ::-1]))
        if self.maps:
            path = self.folder / MAPS / f"{name}.png"
            self.write_file(path, encode_png(found.instance_map(self.divisor)))
        rows = found.to_coco(self.ids[name], categories=self.categories)
        with self._lock:
            self._results[self.ids[name]], self._sizes[self.ids[name]] = rows, found.size

    def write_results(self) -> None:
        """Writes the lists of all objects and of their images.

        Raises:
          InputError: a file cannot be written.
        """
        images = [
            {"id": number, "file_name": self._names[name], "height": height, "width": width}
            for name, number in self.ids.items()
            for height, width in [self._sizes.get(number, (0, 0))]
            if height
        ]
        categories = [
            {"id": number, "name": self.classes[label - 1]}
            for label, number in self.categories.items()
        ]
        about = {"images": images, "categories": categories, "annotations": []}
        results = [row for image in images for row in self._results[image["id"]]]
        for name, content in ((IMAGES, about), (DETECTIONS, results)):
            self.write_file(self.folder / name, (json.dumps(content) + "\n").encode())
