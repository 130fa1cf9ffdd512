"""Folders of instance maps: a value for each object, 0 where there is none."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from segalias_jax.data.maps import MAX_PIXELS, read_map
from segalias_jax.errors import InputError
from segalias_jax.scoring.instances.objects import Objects
from segalias_jax.typing import IGNORE_LABEL, Integer


@dataclasses.dataclass(frozen=True)
class MapOptions:
    """What the values of instance maps mean.

    Attributes:
      divisor: an object of value v is of class v // divisor, and a value below it is the crowd of
        that class, as in Cityscapes; 0: all objects are of class 1, or of that of a class map.
      key: name of the array in npz files of several ones.
      max_pixels: of a map.

    Raises:
      InputError: a negative divisor.

    Example:
      >>> MapOptions(1000).divisor
      1000
    """

    divisor: int = 0
    key: str | None = None
    max_pixels: int = MAX_PIXELS

    def __post_init__(self):
        """Checks the divisor."""
        if self.divisor < 0:
            raise InputError(f"divisor: {self.divisor} must be at least 1, such as 1000")

    def read(self, path: Path) -> Integer[np.ndarray, "h w"]:
        """The values of a map.

        Args:
          path: 8 or 16 bit PNG, TIFF, npy or npz.

        Returns:
          The values.

        Raises:
          InputError: it is no such map.
        """
        return read_map(path, max_pixels=self.max_pixels, key=self.key)

    def objects(self, path: Path, class_path: Path | None = None) -> Objects:
        """The objects of a map.

        Args:
          path: of the map.
          class_path: map of class ids of the same size; an object is of the class of most of its
            pixels; None: the value says its class, or there is one class.

        Returns:
          The objects.

        Raises:
          InputError: no such map, a negative value, or an object without a class.
        """
        ids = self.read(path)
        try:
            if class_path is not None:
                return Objects.of_map(ids, classes=self._majority(ids, class_path))
            if not self.divisor:
                return Objects.of_map(ids)
            values = np.unique(ids[ids != 0])
            crowd = values < self.divisor
            labels = np.where(crowd, values, values // self.divisor).tolist()
            classes = dict(zip(values.tolist(), labels, strict=True))
            return dataclasses.replace(Objects.of_map(ids, classes=classes), crowd=crowd)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    def _majority(self, ids: np.ndarray, class_path: Path) -> dict[int, int]:
        """The class of most pixels of each object."""
        classes = self.read(class_path)
        if classes.shape != ids.shape:
            raise InputError(
                f"its class map {class_path} has {classes.shape[1]}x{classes.shape[0]} pixels, not "
                f"{ids.shape[1]}x{ids.shape[0]}"
            )
        inside = ids != 0
        pairs, counts = np.unique(
            np.stack([ids[inside], classes[inside]], 1).astype(np.int64), axis=0, return_counts=True
        )
        found: dict[int, int] = {}
        # Later entries replace earlier ones: the class of most pixels comes last.
        for place in np.argsort(counts, kind="stable"):
            found[int(pairs[place, 0])] = int(pairs[place, 1])
        for value, label in found.items():
            if label < 1 or label == IGNORE_LABEL:
                raise InputError(
                    f"object {value} has class {label} in {class_path}; classes count from 1"
                )
        return found
