"""Scores of objects in memory, of any framework, one image after the other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.scoring.instances.coco_scores import check_installed, coco_scores
from segalias_jax.scoring.instances.object_causes import CAUSES, FALSE
from segalias_jax.scoring.instances.objects import Objects
from segalias_jax.scoring.instances.records import (
    InstanceRecord,
    RecordSettings,
    record_image,
)
from segalias_jax.scoring.instances.tide import tide_gains
from segalias_jax.scoring.instances.totals import SCORES, Totals
from segalias_jax.typing import Bool

_FORM = 1


class InstanceScorer:
    """Scores the objects of images as they come: how many are right, and why the others are not.

    Args:
      num_classes: C; classes are 1..C, without background.
      classes: names of the classes; None: their numbers.
      threshold: predictions of a lower score count in average precision and TIDE alone.
      kinds: what average precision is of: "bbox", "segm", "boundary"; of any it needs
        faster-coco-eval.
      max_detections: of an image, that average precision (of each class) and TIDE (of all) take.

    Raises:
      InputError: a number out of range, another kind, or faster-coco-eval is not installed.

    Example:
      >>> objects = Objects.of_map(np.asarray([[1, 1, 0, 2, 2]]))
      >>> merged = Objects.of_map(np.asarray([[1, 1, 1, 1, 1]]))
      >>> scores = InstanceScorer(1, kinds=()).update(merged, objects).compute()
      >>> scores["accuracy_50"], scores["merged"]
      (0.0, 2)
    """

    def __init__(
        self,
        num_classes: int,
        *,
        classes: Sequence[str] | None = None,
        threshold: float = 0.5,
        kinds: Sequence[str] = ("bbox", "segm"),
        max_detections: int = 100,
    ):
        self.settings = RecordSettings(num_classes, threshold, tuple(kinds), max_detections)
        if kinds:
            check_installed()
        if classes is not None and len(classes) != num_classes:
            raise InputError(
                f"classes: {len(classes)} names for {num_classes} classes; name each one"
            )
        self.classes = tuple(classes or map(str, range(1, num_classes + 1)))
        self.images: list[InstanceRecord] = []

    def reset(self) -> InstanceScorer:
        """Forgets all images, and returns the scorer."""
        self.images = []
        return self

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def update(
        self,
        predicted: Objects,
        true: Objects,
        *,
        name: str | None = None,
        void: Bool[np.ndarray, "h w"] | None = None,
    ) -> InstanceScorer:
        """Scores an image.

        Args:
          predicted: its predictions, those of low score too.
          true: its true objects.
          name: of the image; None: a number.
          void: pixels where truth is not known; None: none.

        Returns:
          The scorer.

        Raises:
          InputError: sizes that differ, a class that is none, or a name that was given before.
        """
        name = f"{len(self.images):06d}" if name is None else name
        self.add([record_image(predicted, true, self.settings, name=name, void=void)])
        return self

    def add(self, images: Iterable[InstanceRecord]) -> None:
        """Adds images that were scored elsewhere, with the same settings.

        Args:
          images: what `record_image` gave.

        Raises:
          InputError: a name that was given before.
        """
        known = {one.name for one in self.images}
        for one in images:
            if one.name in known:
                raise InputError(f"name: {one.name!r} was scored before; give each image its own")
            known.add(one.name)
            self.images.append(one)

    def merge(self, other: InstanceScorer) -> InstanceScorer:
        """Adds the images of another scorer, such as of another process.

        Args:
          other: with the same settings; it is left as it is.

        Returns:
          This scorer.

        Raises:
          InputError: other settings, or an image that both have.
        """
        for name, ours in self.settings.to_json().items():
            theirs = other.settings.to_json()[name]
            if theirs != ours:
                raise InputError(
                    f"merge: the other scorer has {name} {theirs}, not {ours}; score with the same "
                    "settings"
                )
        if self.classes != other.classes:
            raise InputError("merge: the other scorer has other names of classes; name them alike")
        self.add(other.images)
        return self

    @property
    def totals(self) -> Totals:
        """All objects of all images."""
        return Totals.of(self.images, self.settings.num_classes)

    def compute(self) -> dict[str, Any]:
        """Returns all scores by name: fractions, nan where there is none.

        Those of `totals.SCORES`, of classes as arrays of [C] under "NAME_per_class"; the number of
        objects of each of `object_causes.CAUSES` ("false" of predictions, others of true objects),
        and of classes under "NAME_per_class"; "gain_CAUSE", what its repair adds to accuracy_50;
        "tide_AP50" and "tide_ERROR" of `tide.tide_gains`; COCO's 12 numbers of each kind, see
        `coco_scores.coco_names`. Detections of one score are ranked in the order of their images.
        """
        totals = self.totals
        scores: dict[str, Any] = {}
        for row in SCORES:
            scores[row.name] = row.formula(totals)
            if row.per_class is not None:
                scores[f"{row.name}_per_class"] = row.per_class(totals)
        counts = {side: totals.counts(side).sum(2) for side in ("true", "predicted")}
        for k, name in enumerate(CAUSES):
            of_class = counts["predicted" if k == FALSE else "true"][k]
            scores[name], scores[f"{name}_per_class"] = int(of_class.sum()), of_class
        scores |= {f"gain_{name}": gain for name, gain in totals.gains().items()}
        gains = tide_gains([one.tide for one in self.images])
        scores |= {f"tide_{name.replace(' ', '_')}": gain for name, gain in gains.items()}
        for kind in self.settings.kinds:
            scores |= coco_scores(
                self.images,
                kind,
                self.settings.num_classes,
                max_detections=self.settings.max_detections,
            )
        return scores

    def to_json(self) -> str:
        """Writes settings and images, exactly, for `from_json`."""
        head = {"form": _FORM, "settings": self.settings.to_json(), "classes": self.classes}
        lines = ",\n".join(one.to_json() for one in self.images)
        return f'{json.dumps(head)[:-1]}, "images": [\n{lines}\n]}}'

    @classmethod
    def from_json(cls, text: str | bytes) -> InstanceScorer:
        """Reads what `to_json` wrote.

        Args:
          text: all of it.

        Returns:
          A scorer that computes the same, bit by bit.

        Raises:
          InputError: something else.
        """
        try:
            content = json.loads(text)
            if content["form"] != _FORM:
                raise InputError(f"state of a scorer: form {content['form']} is not {_FORM}")
            scorer = cls(classes=content["classes"], **content["settings"])
            scorer.add(InstanceRecord.from_json(image) for image in content["images"])
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"state of a scorer: cannot be read ({error})") from None
        return scorer

    def __reduce__(self) -> tuple[Any, ...]:
        """Goes to other processes as JSON."""
        return type(self).from_json, (self.to_json(),)
