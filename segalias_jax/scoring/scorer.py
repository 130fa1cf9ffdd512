"""Scores of maps in memory, of any framework, one call after the other."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.metrics.distance_counts import DistanceSettings
from segalias_jax.metrics.rules import ScoreRules
from segalias_jax.scoring.cause_rules import CauseSettings
from segalias_jax.scoring.counting import CountSettings
from segalias_jax.scoring.counts_file import CountsFile
from segalias_jax.scoring.image_counts import (
    DEFAULT_CAUSES,
    CountPlan,
    ImageCounts,
    count_image,
)
from segalias_jax.scoring.reports.folder import FolderReport
from segalias_jax.scoring.sources import shown
from segalias_jax.typing import IGNORE_LABEL, Shaped

_FORM = 1


class Scorer:
    """Counts predictions as they come, and scores all of them.

    The scores, their names and their rules are those of `score_folders`, and so is what is kept:
    the counts of each image, on the disk when there are many.

    Args:
      num_classes: C.
      classes: names of the classes; None: their numbers.
      ignore_label: see `score_folders`, as all that follow.
      reduce_zero_label: labels hold k + 1 for class k, and 0 for ignored pixels.
      boundary: "laplacian" or "exact".
      ignore: "reference" or "exclude".
      width: side of the square that dilates boundaries, in pixels.
      boundary_iou: reach of Boundary IoU; 0 leaves it out.
      tolerances: of the boundary F-score in pixels.
      probabilities: predictions are probabilities of class 1 of two.
      offsets: distances in pixels by which predictions are shifted and scored again.
      offset_direction: "all", "up", "down", "left" or "right".
      offset_edge: "ignore", "keep", "replicate" or "wrap".
      causes: what separates the causes of errors; None: they are not counted.
      distances: which distances between boundaries are counted; None: none.

    Raises:
      InputError: a setting out of range.

    Example:
      >>> label = np.asarray([[0, 0, 1, 1], [0, 0, 1, 1]])
      >>> scores = Scorer(2).update(np.roll(label, 1, 1), label).update(label, label).compute()
      >>> scores["aAcc"], scores["IoU"].tolist()
      (0.75, [0.6, 0.6])
    """

    def __init__(
        self,
        num_classes: int,
        *,
        classes: Sequence[str] | None = None,
        ignore_label: int = IGNORE_LABEL,
        reduce_zero_label: bool = False,
        boundary: str = "laplacian",
        ignore: str = "reference",
        width: int = 15,
        boundary_iou: int | float = 0.02,
        tolerances: Sequence[int] = (1, 3, 5),
        probabilities: bool = False,
        offsets: Sequence[int] = (),
        offset_direction: str = "all",
        offset_edge: str = "ignore",
        causes: CauseSettings | None = DEFAULT_CAUSES,
        distances: DistanceSettings | None = None,
    ):
        rules = ScoreRules(boundary, ignore, reduce_zero_label, ignore_label, width)
        settings = CountSettings(num_classes, rules, boundary_iou, tuple(tolerances))
        plan = CountPlan(
            settings,
            causes,
            distances,
            tuple(offsets),
            probabilities,
            offset_direction,
            offset_edge,
        )
        if classes is not None and len(classes) != num_classes:
            raise InputError(
                f"classes: {len(classes)} names for {num_classes} classes; name each one"
            )
        self._begin(plan, tuple(classes or map(str, range(num_classes))))

    def _begin(self, plan: CountPlan, classes: tuple[str, ...]) -> None:
        self.plan, self.classes = plan, classes
        self.reset()

    def reset(self) -> Scorer:
        """Forgets all images, and returns the scorer."""
        self._kept = CountsFile(self.plan)
        # Of the images that were given one; others are numbered, and again when scorers merge.
        self._names: dict[str, int] = {}
        return self

    def __len__(self) -> int:
        """Number of images."""
        return len(self._kept)

    def update(
        self, prediction: Any, label: Any, *, name: str | Sequence[str] | None = None
    ) -> Scorer:
        """Counts an image, or a batch of them.

        Args:
          prediction: class ids [h, w] or [b, h, w]: an array of NumPy, JAX or any library that
            NumPy can read, or a tensor of PyTorch on any device. With `probabilities`, numbers in
            [0, 1] of the same shape.
          label: true labels of the same shape.
          name: of the image, or of each image of a batch; None: a number.

        Returns:
          The scorer.

        Raises:
          InputError: shapes that do not fit, logits, a value that is no class, or a name that was
            given before. Nothing of the batch is counted then.
        """
        predicted = _on_host(prediction, "prediction", floats=self.plan.probabilities)
        true = _on_host(label, "label")
        _check_shapes(predicted, true)
        if true.ndim == 2:
            predicted, true = predicted[None], true[None]
        names = [name] if isinstance(name, str) else name
        names = self._checked_names(names, len(true))
        counts = []
        for i, (one, other) in enumerate(zip(predicted, true, strict=True)):
            try:
                counts.append(self._count(one, other, names[i] if names else ""))
            except InputError as error:
                where = f"image {i} of the batch: " if len(true) > 1 else ""
                raise InputError(f"{where}{error}") from None
        for one in counts:
            self._add(one, named=bool(names))
        return self

    def _count(self, prediction: np.ndarray, label: np.ndarray, name: str) -> ImageCounts:
        foreground = None
        if self.plan.probabilities:
            foreground, prediction = prediction, (prediction > 0.5).astype(np.uint8)
        return count_image(prediction, label, self.plan, name=name, foreground=foreground)

    def _checked_names(self, names: Sequence[str] | None, count: int) -> list[str]:
        if names is None:
            return []
        names = [shown(name) for name in names]
        if len(names) != count:
            raise InputError(f"name: {len(names)} names for {count} images; name each one")
        again = [name for i, name in enumerate(names) if name in self._names or name in names[:i]]
        if again:
            raise InputError(f"name: {again[0]!r} was counted before; give each image its own")
        return names

    def _add(self, counts: ImageCounts, *, named: bool) -> None:
        if named:
            self._names[counts.name] = len(self._kept)
        self._kept.add(counts)

    def merge(self, other: Scorer) -> Scorer:
        """Adds the images of another scorer, such as of another process.

        Args:
          other: counted with the same settings; it is left as it is.

        Returns:
          This scorer.

        Raises:
          InputError: other settings, or an image that both have by name.
        """
        if differences := self.plan.differences(other.plan):
            name, ours, theirs = differences[0]
            raise InputError(
                f"merge: the other scorer has {name} {theirs}, not {ours}; count with the same "
                "settings"
            )
        if self.classes != other.classes:
            raise InputError("merge: the other scorer has other names of classes; name them alike")
        if both := [name for name in other._names if name in self._names]:
            raise InputError(f"merge: image {both[0]!r} is in both; leave it out of one of them")
        places = {place: name for name, place in other._names.items()}
        for i, line in enumerate(list(other._kept.lines())):
            if i in places:
                self._names[places[i]] = len(self._kept)
            self._kept.add_line(line)
        return self

    def compute(self) -> dict[str, Any]:
        """Returns all scores by the names that reports have for them.

        Fractions in [0, 1], nan where there is none; of classes arrays of [C].
        """
        found = self.report()
        scores = found.scores | found.further
        return {k: v if np.ndim(v) else np.asarray(v).item() for k, v in scores.items()}

    def report(
        self, out: str | os.PathLike | None = None, *, overwrite: bool = False
    ) -> FolderReport:
        """Makes the report that `score_folders` makes, which shows no images.

        Args:
          out: folder that it is written to; None: none.
          overwrite: replace a report that is there.

        Returns:
          The report of the images so far, in the order of their names.

        Raises:
          InputError: a report is in the folder already.
          OSError: the disk is full or cannot be written.
        """
        images = [*self._renamed()]
        kept = CountsFile(self.plan)
        order = sorted(range(len(images)), key=images.__getitem__)
        for name, line in zip(images, self._kept.lines(), strict=True):
            kept.add_line(line if line.startswith(_name_of(name)) else _with_name(line, name))
        kept.sort(order)
        about = {"images scored": len(images)}
        result = FolderReport(images=kept, plan=self.plan, classes=self.classes, settings=about)
        if out is not None:
            result.save(os.fspath(out), overwrite=overwrite)
        return result

    def _renamed(self) -> Iterator[str]:
        """The name of each image: the one that it was given, or a number that is none of these."""
        places = {place: name for name, place in self._names.items()}
        for i in range(len(self._kept)):
            name = places.get(i, f"{i:06d}")
            while i not in places and name in self._names:
                name += "_"
            yield name

    def to_json(self) -> str:
        """Writes settings and counts, exactly, for `from_json`."""
        head = {
            "form": _FORM,
            "plan": self.plan.to_json(),
            "classes": self.classes,
            "names": self._names,
        }
        lines = b",\n".join(self._kept.lines()).decode("ascii")
        return f'{json.dumps(head)[:-1]}, "images": [\n{lines}\n]}}'

    @classmethod
    def from_json(cls, text: str | bytes) -> Scorer:
        """Reads what `to_json` wrote.

        Args:
          text: all of it.

        Returns:
          A scorer that computes the same, bit by bit.

        Raises:
          InputError: something else.
        """
        scorer = cls.__new__(cls)
        try:
            content = json.loads(text)
            if content["form"] != _FORM:
                raise InputError(f"state of a scorer: form {content['form']} is not {_FORM}")
            scorer._begin(CountPlan.from_json(content["plan"]), tuple(content["classes"]))
            for image in content["images"]:
                scorer._kept.add(ImageCounts.from_json(image, scorer.plan))
            scorer._names = dict(content["names"])
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"state of a scorer: cannot be read ({error})") from None
        return scorer

    def __reduce__(self) -> tuple[Any, ...]:
        """Goes to other processes as JSON."""
        return type(self).from_json, (self.to_json(),)


def _on_host(array: Any, what: str, *, floats: bool = False) -> Shaped[np.ndarray, " ..."]:
    """An array of any library as one of NumPy, of integers unless floats are expected."""
    if hasattr(array, "detach") and hasattr(array, "cpu"):
        array = array.detach().cpu()  # a tensor of PyTorch, which is not imported here
        if floats:
            array = array.float()  # NumPy has no bfloat16
        if "bfloat16" not in str(array.dtype):
            array = array.numpy()
    if "float" in str(getattr(array, "dtype", "")) and not floats:
        raise InputError(
            f"{what}: holds {str(array.dtype).removeprefix('torch.')} numbers of shape "
            f"{tuple(array.shape)}; give class ids, such as logits.argmax over the axis of classes"
        )
    array = np.asarray(array)
    if floats:
        array = array.astype(np.float32)
        if not ((array >= 0) & (array <= 1)).all():
            raise InputError(
                f"{what}: holds numbers outside of [0, 1]; give probabilities of class 1, such as "
                "sigmoid(logits)"
            )
        return array
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype.kind not in "iu":
        raise InputError(f"{what}: holds {array.dtype} values; give class ids")
    return array


def _check_shapes(prediction: np.ndarray, label: np.ndarray) -> None:
    if prediction.ndim == label.ndim + 1:
        raise InputError(
            f"prediction: shape {prediction.shape} has an axis more than the label's "
            f"{label.shape}; give class ids, such as logits.argmax over the axis of classes"
        )
    if prediction.shape != label.shape:
        raise InputError(f"prediction of shape {prediction.shape}, label of shape {label.shape}")
    if label.ndim not in (2, 3):
        raise InputError(
            f"label: shape {label.shape} is neither [h, w] nor [b, h, w]; leave out other axes"
        )


def _name_of(name: str) -> bytes:
    return b'{"name":' + json.dumps(name).encode("ascii") + b","


def _with_name(line: bytes, name: str) -> bytes:
    """What `ImageCounts.to_json` wrote of an image without a name, with one."""
    return _name_of(name) + line.removeprefix(_name_of(""))
