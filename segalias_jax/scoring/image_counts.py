"""All that is kept of one scored image, exactly, in memory and as JSON.

Reports are made of a sequence of these and of nothing else, so that the reports of parts merge to
that of the whole, bit by bit. Of a class that neither map has nothing is written: an image of 150
classes holds a dozen.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.metrics.distance_counts import DistanceCounts, DistanceSettings
from segalias_jax.metrics.rules import ScoreRules
from segalias_jax.metrics.totals import BINS
from segalias_jax.scoring import pair_scores
from segalias_jax.scoring.cause_counts import CauseCounts, ObjectRecords
from segalias_jax.scoring.cause_rules import CauseSettings
from segalias_jax.scoring.causes import count_causes
from segalias_jax.scoring.counting import CountSettings, PairCounts, count_pair
from segalias_jax.scoring.distances import count_distances
from segalias_jax.scoring.offsets import check_offsets, count_offsets
from segalias_jax.scoring.probabilities import count_probabilities
from segalias_jax.typing import Int, Integer, Num, Shaped

DEFAULT_CAUSES = CauseSettings()
"""What separates the causes of errors where nothing is said."""

_RECORDS = '"records":[]'
_PAIR = ("regions", "inner", "contour", "hits")
_CAUSES = ("pixels", "objects", "displacement")
_DISTANCES = tuple(field.name for field in dataclasses.fields(DistanceCounts))


@dataclasses.dataclass(frozen=True)
class CountPlan:
    """What is counted of every image.

    Attributes:
      settings: number of classes, rules and distances of the scores.
      causes: what separates the causes of errors; None: they are not counted.
      distances: which distances between boundaries are counted; None: none.
      offsets: distances in pixels by which predictions are shifted and counted again, ascending.
      probabilities: predictions are probabilities of class 1 of two.
      offset_direction: where predictions are shifted to, see `offsets.count_offsets`.
      offset_edge: what is done with pixels that a shift leaves.

    Example:
      >>> CountPlan(CountSettings(3), probabilities=True)
      Traceback (most recent call last):
      segalias_jax.errors.InputError: probabilities: maps of one probability are of 2 classes, not \
3; score maps of class ids
    """

    settings: CountSettings
    causes: CauseSettings | None = DEFAULT_CAUSES
    distances: DistanceSettings | None = None
    offsets: tuple[int, ...] = ()
    probabilities: bool = False
    offset_direction: str = "all"
    offset_edge: str = "ignore"

    def __post_init__(self):
        """Raises `InputError` for numbers out of range."""
        check_offsets(self.offsets, direction=self.offset_direction, edge=self.offset_edge)
        if self.probabilities and self.settings.num_classes != 2:
            raise InputError(
                "probabilities: maps of one probability are of 2 classes, not "
                f"{self.settings.num_classes}; score maps of class ids"
            )

    @property
    def num_classes(self) -> int:
        """C, the number of classes."""
        return self.settings.num_classes

    @property
    def bins(self) -> int:
        """Bins of probability; 0 where there are other numbers of classes than two."""
        if self.num_classes != 2:
            return 0  # one threshold says nothing of them
        return BINS if self.probabilities else 2

    def to_json(self) -> dict[str, Any]:
        """Returns all settings by name."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> CountPlan:
        """Reads what `to_json` returned.

        Args:
          content: settings by name.

        Returns:
          The plan.

        Raises:
          InputError: settings that this version does not know, or lacks.
        """
        try:
            settings = _with_tuples(content["settings"])
            settings["rules"] = ScoreRules(**settings["rules"])
            causes, distances = content["causes"], content["distances"]
            return cls(
                settings=CountSettings(**settings),
                causes=None if causes is None else CauseSettings(**causes),
                distances=distances and DistanceSettings(**_with_tuples(distances)),
                offsets=tuple(content["offsets"]),
                probabilities=content["probabilities"],
                # Reports of earlier versions do not say.
                offset_direction=content.get("offset_direction", "all"),
                offset_edge=content.get("offset_edge", "ignore"),
            )
        except (KeyError, TypeError) as error:
            raise InputError(
                f"counts: the settings were written by another version ({error}); score again"
            ) from None

    def differences(self, other: CountPlan) -> list[tuple[str, Any, Any]]:
        """Lists the settings in which another plan differs.

        Args:
          other: the other plan.

        Returns:
          (name, value here, value there).
        """
        here, there = _flat(self.to_json()), _flat(other.to_json())
        names = [*here, *(name for name in there if name not in here)]
        return [
            (name, here.get(name), there.get(name))
            for name in names
            if here.get(name) != there.get(name)
        ]


def _with_tuples(content: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}


def _flat(content: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Settings without the groups that they stand in; a group that is left out is None."""
    result: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            # Two groups have tolerances.
            result |= _flat(value, "distances." if name == "distances" else before)
        else:
            result[before + name] = value
    return result


@dataclasses.dataclass(frozen=True)
class ImageCounts:
    """Counts of one image.

    Attributes:
      name: of the image.
      height: in pixels.
      width: in pixels.
      pair: pixels by region and class, and at boundaries.
      bins: of binary segmentation, pixels by true class and bin of probability.
      offsets: what `count_offsets` returns, where it is asked for.
      causes: causes of the wrong pixels, where they are asked for.
      distances: between boundaries, where they are asked for.
    """

    name: str
    height: int
    width: int
    pair: PairCounts
    bins: Int[np.ndarray, "2 bins"] | None = None
    offsets: Int[np.ndarray, "offsets 3 classes"] | None = None
    causes: CauseCounts | None = None
    distances: DistanceCounts | None = None

    @property
    def sums(self) -> Int[np.ndarray, "rows classes"]:
        """What `pair_scores.areas` returns."""
        return pair_scores.areas(self.pair)

    def to_json(self) -> str:
        """Writes the counts in one line of JSON.

        Arrays are written as gap, number, gap, number and so on: each number that is not 0 of the
        flattened array, after its distance from the one before it.
        """
        content: dict[str, Any] = {"name": self.name, "height": self.height, "width": self.width}
        content |= {name: _sparse(getattr(self.pair, name)) for name in _PAIR}
        for name in ("bins", "offsets"):
            if (array := getattr(self, name)) is not None:
                content[name] = _sparse(array)
        if self.causes is not None:
            content["causes"] = {name: _sparse(getattr(self.causes, name)) for name in _CAUSES} | {
                "records": []
            }
        if self.distances is not None:
            content["distances"] = {n: _sparse(getattr(self.distances, n)) for n in _DISTANCES}
        text = json.dumps(content, separators=(",", ":"))
        if self.causes is None or not self.causes.records:
            return text
        # Names have no quote without a backslash before it.
        before, mark, after = text.partition(_RECORDS)
        return f"{before}{mark[:-2]}{self.causes.records.to_json()}{after}"

    @classmethod
    def from_json(cls, text: str | bytes | Mapping[str, Any], plan: CountPlan) -> ImageCounts:
        """Reads what `to_json` wrote, exactly.

        Args:
          text: the line, or its content.
          plan: what was counted.

        Returns:
          The counts.

        Raises:
          InputError: something else, or counts of another plan.
        """
        try:
            content, records = (text, None) if isinstance(text, Mapping) else _parsed(text)
            pair, causes, distances = PairCounts.zeros(plan.settings), None, None
            for name in _PAIR:
                _fill(getattr(pair, name), content[name])
            if plan.causes is not None:
                found = content["causes"]
                causes = CauseCounts.zeros(plan.num_classes)
                for name in _CAUSES:
                    _fill(getattr(causes, name), found[name])
                if records is None:
                    records = ObjectRecords.of(found["records"])
                causes = dataclasses.replace(causes, records=records)
            if plan.distances is not None:
                distances = DistanceCounts.zeros(plan.num_classes, plan.distances)
                for name in _DISTANCES:
                    _fill(getattr(distances, name), content["distances"][name])
            return cls(
                name=content["name"],
                height=content["height"],
                width=content["width"],
                pair=pair,
                bins=_array(content, "bins", (2, plan.bins)),
                offsets=_array(content, "offsets", (len(plan.offsets) + 1, 3, plan.num_classes)),
                causes=causes,
                distances=distances,
            )
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(f"counts: not those of an image ({error}); score it again") from None


def count_image(
    prediction: Integer[np.ndarray, "h w"],
    label: Integer[np.ndarray, " ..."],
    plan: CountPlan,
    *,
    name: str,
    foreground: Shaped[np.ndarray, "h w"] | None = None,
) -> ImageCounts:
    """Counts one image.

    Args:
      prediction: predicted class ids.
      label: true labels of the same shape.
      plan: what is counted.
      name: of the image.
      foreground: probability of class 1; None: where the prediction is class 1.

    Returns:
      The counts.

    Raises:
      InputError: shapes differ, or a value is no class; the message says which.

    Example:
      >>> ids = np.asarray([[0, 0, 1, 1]])
      >>> count_image(0 * ids, ids, CountPlan(CountSettings(2)), name="a").causes.totals["split"]
      0
    """
    rules, classes = plan.settings.rules, plan.num_classes
    pair = count_pair(prediction, label, plan.settings)
    bins, shifted, causes, distances = None, None, None, None
    if plan.bins:
        shares = np.asarray(prediction == 1) if foreground is None else foreground
        bins = count_probabilities(shares, label, rules, plan.bins)
    if plan.offsets:
        shifted = count_offsets(
            prediction,
            label,
            plan.offsets,
            num_classes=classes,
            rules=rules,
            direction=plan.offset_direction,
            edge=plan.offset_edge,
        )
    if plan.causes is not None:
        causes = count_causes(prediction, label, rules, classes, plan.causes)
    if plan.distances is not None:
        distances = count_distances(prediction, label, rules, classes, plan.distances)
    height, width = label.shape
    return ImageCounts(name, height, width, pair, bins, shifted, causes, distances)


def _parsed(text: str | bytes) -> tuple[Any, ObjectRecords | None]:
    """The content of a line, the objects apart: as lists they would take ten times their text."""
    line = text.encode("ascii") if isinstance(text, str) else text
    start = line.find(_RECORDS[:-1].encode("ascii"))
    if start < 0:
        return json.loads(line), None
    start += len(_RECORDS) - 2
    end = start + 2 if line[start + 1 : start + 2] == b"]" else line.find(b"]]", start) + 2
    content = json.loads(line[:start] + b"[]" + line[end:])
    return content, ObjectRecords.from_json(line[start:end])


def _sparse(array: Num[np.ndarray, "*shape"]) -> list[int | float]:
    flat = array.reshape(-1)
    places = np.flatnonzero(flat)
    numbers: list[int | float] = [0] * (2 * len(places))
    numbers[::2] = np.diff(places, prepend=0).tolist()
    numbers[1::2] = flat[places].tolist()
    return numbers


def _fill(array: Num[np.ndarray, "*shape"], numbers: Sequence[int | float]) -> None:
    """Writes what `_sparse` returned into an array of zeros."""
    places = np.cumsum(np.asarray(numbers[::2], np.int64))
    array.reshape(-1)[places] = numbers[1::2]


def _array(content: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> np.ndarray | None:
    if name not in content:
        return None
    array = np.zeros(shape, np.int64)
    _fill(array, content[name])
    return array
