"""What a person checks first about a data set: sizes, stored values, class fractions, weights."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from segalias_jax.data.files import decode_image
from segalias_jax.data.labels import UNKNOWN
from segalias_jax.data.pairs import decode_label
from segalias_jax.errors import InputError
from segalias_jax.files import map_ahead
from segalias_jax.progress import progress_bar
from segalias_jax.typing import IGNORE_LABEL


@dataclasses.dataclass
class Statistics:
    """Sums over images; two of them are merged by adding every field.

    Args:
      num_classes: number of classes C.

    Attributes:
      images: number of images that could be read.
      sizes: number of images by (height, width).
      stored: pixels by stored value, or by "#rrggbb" where labels are colors.
      labels: pixels by class id 0..255; 255 is ignored, 254 belongs to no class.
      present: pixels, by class, of the images that show it.
      color: sum and sum of squares of each channel.
      unusable: reasons.

    Example:
      >>> one = Statistics(2)
      >>> one.add(np.zeros((1, 2, 3), np.uint8), np.asarray([[0, 255]], np.uint8))
      >>> one.ignored_share, one.class_shares().tolist()
      (0.5, [1.0, 0.0])
    """

    num_classes: int
    images: int = 0
    sizes: Counter = dataclasses.field(default_factory=Counter)
    stored: Counter = dataclasses.field(default_factory=Counter)
    labels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, np.int64))
    present: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, np.int64))
    color: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((2, 3)))
    unusable: list[str] = dataclasses.field(default_factory=list)

    def add(self, image: np.ndarray, label: np.ndarray, stored: np.ndarray | None = None) -> None:
        """Counts an image, its classes and what its label file stores (its classes where None)."""
        self.images += 1
        self.sizes[image.shape[:2]] += 1
        self.stored.update(_count_values(label if stored is None else stored))
        counts = np.bincount(label.ravel(), minlength=256)
        self.labels += counts
        labeled = counts[: self.num_classes].sum()
        self.present += np.where(counts > 0, labeled, 0)
        # Integers below 2^53 in every partial sum: exact, in any order.
        histograms = np.stack([np.bincount(image[..., c].ravel(), minlength=256) for c in range(3)])
        values = np.arange(256.0)
        self.color += np.stack([histograms @ values, histograms @ values**2])

    @property
    def ignored_share(self) -> float:
        """Fraction of all pixels that are ignored."""
        return float(self.labels[IGNORE_LABEL] / max(1, self.labels.sum()))

    def class_shares(self) -> np.ndarray:
        """Returns the fraction p of each class among the pixels of all classes, float64[C]."""
        counts = self.labels[: self.num_classes]
        return counts / max(1, counts.sum())

    def inverse_weights(self) -> np.ndarray:
        """Returns (1 - p) / p of each class, which makes it weigh as much as all others together.

        Infinite for a class without pixels.
        """
        share = self.class_shares()
        return np.divide(1 - share, share, out=np.full_like(share, np.inf), where=share > 0)

    def median_frequency_weights(self) -> np.ndarray:
        """Returns median(f) / f, f being a class's fraction of the images that show it.

        Infinite for a class without pixels.

        Reference:
          Eigen and Fergus, "Predicting depth, surface normals and semantic labels with a common
          multi-scale convolutional architecture", ICCV 2015.
        """
        counts = self.labels[: self.num_classes]
        seen = counts > 0
        frequency = counts[seen] / self.present[: self.num_classes][seen]
        weights = np.full(self.num_classes, np.inf)
        if seen.any():
            weights[seen] = np.median(frequency) / frequency
        return weights

    def mean_and_deviation(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean and standard deviation of red, green and blue in units of 0..255."""
        pixels = max(1, sum(height * width * n for (height, width), n in self.sizes.items()))
        mean, square = self.color / pixels
        return mean, np.sqrt(np.maximum(square - mean**2, 0))

    def as_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Returns all numbers for a JSON file.

        Args:
          class_names: by id.

        Returns:
          Plain numbers, None for what is infinite.
        """
        mean, deviation = self.mean_and_deviation()
        heights, widths = zip(*self.sizes, strict=True) if self.sizes else ((0,), (0,))
        columns: dict[str, np.ndarray] = {
            "pixels": self.labels[: self.num_classes],
            "share": self.class_shares(),
            "inverse_weight": self.inverse_weights(),
            "median_frequency_weight": self.median_frequency_weights(),
        }
        return {
            "images": self.images,
            "sizes": len(self.sizes),
            "height": [min(heights), max(heights)],
            "width": [min(widths), max(widths)],
            "stored_values": {str(value): n for value, n in sorted(self.stored.items())},
            "ignored_share": self.ignored_share,
            "unknown_pixels": int(self.labels[UNKNOWN]),
            "mean": mean.tolist(),
            "standard_deviation": deviation.tolist(),
            "classes": [
                {"name": name} | {key: _plain(values[i]) for key, values in columns.items()}
                for i, name in enumerate(class_names)
            ],
            "unusable": self.unusable,
        }

    def table(self, class_names: Sequence[str]) -> str:
        """Returns everything as text for a terminal.

        Args:
          class_names: by id.

        Returns:
          Lines, of which the last ones are a table of the classes.
        """
        content = self.as_dict(class_names)
        mean, deviation = (
            ", ".join(f"{value:.2f}" for value in content[key])
            for key in ("mean", "standard_deviation")
        )
        stored = [f"{value} ({n})" for value, n in content["stored_values"].items()]
        lines = [
            f"images: {self.images}, of {len(self.sizes)} sizes: "
            f"height {_span(content['height'])}, width {_span(content['width'])}",
            f"stored label values (pixels): {_some(stored, ', ', 256)}",
            f"ignored pixels: {100 * self.ignored_share:.2f} %",
            f"mean and standard deviation of red, green, blue: {mean}; {deviation}",
        ]
        if content["unknown_pixels"]:
            lines.append(f"pixels of no class: {content['unknown_pixels']}; see the stored values")
        if self.unusable:
            lines.append(f"unusable: {len(self.unusable)}: {_some(self.unusable, '; ', 10)}")
        width = max(map(len, class_names))
        lines.append(f"{'class':{width}}  of pixels  (1-p)/p  median/f")
        for row in content["classes"]:
            if row["pixels"]:
                share = f"{100 * row['share']:.2f} %"
                inverse, median = row["inverse_weight"], row["median_frequency_weight"]
                lines.append(f"{row['name']:{width}}  {share:>9}  {inverse:7.3g}  {median:8.3g}")
        if never := [row["name"] for row in content["classes"] if not row["pixels"]]:
            lines.append(f"never seen: {', '.join(never)}")
        return "\n".join(lines)


def collect_statistics(
    source: Any, indices: Sequence[int], *, threads: int = 4, progress: bool = True
) -> Statistics:
    """Reads images and labels of a data set.

    An unusable sample, or a value of no class, is counted and listed; it raises nothing.

    Args:
      source: the data set.
      indices: of the samples to read.
      threads: samples read at a time.
      progress: show a bar where it takes more than two seconds.

    Returns:
      The sums.

    Example:
      >>> from segalias_jax.data.sources import create_source
      >>> scenes = create_source({"source": "synthetic"}, "val")
      >>> collect_statistics(scenes, range(2)).images
      2
    """
    statistics = Statistics(len(source.classes))
    read = functools.partial(_read, source)
    with progress_bar("reading" if progress else None, len(indices)) as bar:
        for _, result in map_ahead(read, indices, threads=threads):
            bar.update()
            if isinstance(result, str):
                statistics.unusable.append(result)
            else:
                image, label, stored = result
                statistics.add(image, label, stored)
    return statistics


def count_classes(
    source: Any, *, threads: int = 4, progress: bool = True
) -> Int[np.ndarray, " classes"]:
    """Counts the pixels of each class in all labels of a data set.

    Args:
      source: the data set.
      threads: samples read at a time.
      progress: show a bar where it takes more than two seconds.

    Returns:
      Numbers of pixels; those without a label are in none.

    Raises:
      InputError: names the first unusable file and the reason.

    Example:
      >>> from segalias_jax.data.sources import create_source
      >>> count_classes(create_source({"source": "synthetic", "num_eval": 2}, "val")).size
      8
    """

    def count(index: int) -> np.ndarray:
        return np.bincount(source[index]["label"].ravel(), minlength=256)

    total = np.zeros(256, np.int64)
    with progress_bar("counting classes" if progress else None, len(source)) as bar:
        for _, counts in map_ahead(count, range(len(source)), threads=threads):
            total += counts
            bar.update()
    return total[: len(source.classes)]


def _read(source: Any, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None] | str:
    """Image, classes and stored values of a sample, or why there are none."""
    try:
        if not hasattr(source, "encoded"):
            sample = source[index]
            return sample["image"], sample["label"], None
        encoded, pair = source.encoded(index), source.pair(index)
        image = decode_image(encoded["image"], pair.image, exif=source.exif)
        stored = source.rule.decode(encoded["label"], pair.label)
        label = source.rule.classes_of(stored)
        if not (label == UNKNOWN).any():
            # Again, to compare sizes and to leave out what is not in the field of view.
            label = decode_label(encoded, source.rule, pair, image.shape[:2])
        return image, label, stored
    except InputError as error:
        return str(error)


def _count_values(stored: np.ndarray) -> dict[int | str, int]:
    if stored.ndim == 2:
        counts = np.bincount(stored.ravel())
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    codes = stored.reshape(-1, 3) @ np.asarray([1 << 16, 1 << 8, 1])
    values, counts = np.unique(codes, return_counts=True)
    return {f"#{v:06x}": n for v, n in zip(values.tolist(), counts.tolist(), strict=True)}


def _plain(value: np.generic) -> int | float | None:
    return value.item() if np.isfinite(value) else None


def _some(items: Sequence[str], separator: str, most: int) -> str:
    more = [f"and {len(items) - most} more"] * (len(items) > most)
    return separator.join([*items[:most], *more])


def _span(ends: Sequence[int]) -> str:
    return f"{ends[0]}" if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
