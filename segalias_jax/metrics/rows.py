"""What a row of the table of scores says, and how a score comes of its row's formula."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from segalias_jax.errors import check_choice
from segalias_jax.metrics import formulas
from segalias_jax.metrics.counts import ClassCounts, ForegroundCounts
from segalias_jax.typing import Float, Num

OVER_IMAGES, OVER_PIXELS = "mean_over_images", "pixels_of_all_images"
"""What names of scores of binary segmentation end in: the mean of the images' own scores, or of the
counts of all pixels together."""

_SOURCES = ("classes", "foreground", "bins", "images", "network", "distances")
_UNITS = ("%", "pixels", "images", "px")
_DIRECTIONS = ("larger", "smaller", "")
_AVERAGES = ("classes", "sum", "images", "pixels", "")
PLACES = {
    "table": "the first table of a report, its tiles, and with the form per class the table of "
    "classes",
    "line": "the line of a validation",
    "image": "per_image.csv",
    "caption": "the caption of a picture",
    "kinds": "the table and the bar of the kinds of error",
    "bars": "the bars of classes, and where models are compared",
    "corruption": "the table of corrupted images",
    "patches": "errors of patches by their aliasing score",
    "best": "scores of which the best threshold is reported",
    "curve": "curves over thresholds",
    "offset": "tables and curves of shifted predictions",
    "course": "the plot of a run over its steps",
}
"""Where rows can be shown."""


@dataclasses.dataclass(frozen=True)
class Score:
    """A row of `SCORES`.

    Attributes:
      name: key of the score in `compute`, in reports and in records. "{}" in it, and in the names
        below, stands for a tolerance: there is one such score for each of `ClassCounts.tolerances`.
      formula: a function of counts. Of `ClassCounts` it gives a number for each class, [..., C], if
        there is an average over classes, else one for each set of pictures; of `ForegroundCounts`
        part and whole, which each engine divides in its own exact way.
      source: what the formula takes: "classes": `ClassCounts`; "foreground": `ForegroundCounts`;
        "bins": pixels by true class and bin of probability, [2, B]; "images": numbers of images,
        and of those without foreground; "network": numbers of images that a network gave;
        "distances": `distance_scores.Distances`, a number for each image and class.
      average: "classes": mean over the classes that have a value; "sum": sum over classes;
        "images": mean over images (of distances, then over classes); "pixels": pixels of all
        images are counted first; "": none.
      complement: the score is 1 minus that.
      both: of the source "foreground": the mean of two scores, that of the foreground and that of
        the background, which `formula` then gets as what is looked for.
      unit: "%" of a fraction in [0, 1], "pixels" or "images", which are counted, or "px": a
        distance in pixels, or in the unit of their spacing.
      direction: which is better, "larger" or "smaller"; "": neither.
      title: name for people; "": `name`.
      per_class: name of the form with a number for each class; "": none.
      class_title: its name for people; "": `per_class`.
      per_image: name of the score of an image by itself; "": `name`.
      words: what it is about, in words.
      rule: what it is, in a sentence.
      reference: where it was published.
      needs: parts of `ClassCounts` that may be None and are needed. Such scores, which have a
        distance of their own, stand in a table of their own.
      shown: where it is shown, of `PLACES`.
      rank: among rows that are shown in one place, those of a lower rank come first.

    Raises:
      InputError: a word that is none of the above.

    Example:
      >>> row = Score("mIoU", lambda counts: counts.all.right, average="classes", per_class="IoU")
      >>> row.title, row.class_title
      ('mIoU', 'IoU')
    """

    name: str
    formula: Callable[..., Any]
    source: str = "classes"
    average: str = ""
    complement: bool = False
    both: bool = False
    unit: str = "%"
    direction: str = "larger"
    title: str = ""
    per_class: str = ""
    class_title: str = ""
    per_image: str = ""
    words: str = ""
    rule: str = ""
    reference: str = ""
    needs: tuple[str, ...] = ()
    shown: tuple[str, ...] = ("table", "line", "image")
    rank: int = 0

    def __post_init__(self):
        """Fills in titles and checks words."""
        check_choice("source", self.source, _SOURCES)
        check_choice("average", self.average, _AVERAGES)
        check_choice("unit", self.unit, _UNITS)
        check_choice("direction", self.direction, _DIRECTIONS)
        for place in self.shown:
            check_choice("shown", place, PLACES)
        object.__setattr__(self, "title", self.title or self.name)
        object.__setattr__(self, "class_title", self.class_title or self.per_class)
        object.__setattr__(self, "per_image", self.per_image or self.name)

    @property
    def names(self) -> set[str]:
        """All names that reports have for the score."""
        return {self.name, self.per_class, self.per_image} - {""}

    def of_classes(self, counts: ClassCounts) -> Num[np.ndarray, "*batch classes"]:
        """Returns the form per class, nan where a class has no value."""
        values = self.formula(counts)
        return 1 - values if self.complement else values

    def of_set(self, counts: ClassCounts) -> Any:
        """Returns the score of one set of pictures, whose counts have no leading axes."""
        values = self.formula(counts)
        if self.average == "classes":
            values = formulas.mean_over_classes(values)
        elif self.average == "sum":
            values = values.sum()
        return 1 - values if self.complement else values

    def of_each(self, counts: ClassCounts) -> Any:
        """Returns the score of each of many sets of pictures.

        It is `of_set` up to the last bit: numbers of whole reports were always rounded as there,
        those of single images and of draws as here, and recorded reports hold both.
        """
        values = self.formula(counts)
        values = 1 - values if self.complement else values
        if self.average == "classes":
            return formulas.each_mean_over_classes(values)
        return values.sum(-1) if self.average == "sum" else values

    def of_pixels(self, counts: ForegroundCounts) -> Float[np.ndarray, " *shape"]:
        """Returns the score of binary segmentation of each set of pixels, in float64.

        Args:
          counts: of the pixels, in NumPy.

        Returns:
          Fractions of the shape of the counts, see `formulas.foreground_fractions`.
        """
        values = formulas.foreground_fractions(counts, self.formula)
        if self.both:
            other = formulas.foreground_fractions(counts.of_background(), self.formula)
            values = (values + other) / 2
        return values


def at_tolerance(row: Score, tolerance: int | float) -> Score:
    """Returns the row of one tolerance of a score whose name has a "{}".

    Args:
      row: of all tolerances.
      tolerance: which `row.formula` gets as an argument.

    Returns:
      The row.

    Example:
      >>> row = Score("mF_{}px", lambda counts, tolerance: 0, per_class="F_{}px")
      >>> at_tolerance(row, 1.5).per_class
      'F_1.5px'
    """
    number = f"{tolerance:g}"
    return dataclasses.replace(
        row,
        name=row.name.format(number),
        formula=functools.partial(row.formula, tolerance=tolerance),
        title=row.title.format(number),
        per_class=row.per_class.format(number),
        class_title=row.class_title.format(number),
        per_image=row.per_image.format(number),
    )
