"""Scores and aliasing scores on blurred and on noisy images, level by level."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from segalias_jax.data.appearance import GaussianNoise
from segalias_jax.errors import InputError, check_choice
from segalias_jax.evaluation.aliasing.analysis import Inspect, Operator, study
from segalias_jax.files import write_text
from segalias_jax.metrics import Score, rows_shown
from segalias_jax.metrics.lookup import smaller_is_better
from segalias_jax.notebook import ShownInNotebooks
from segalias_jax.scoring.reports import page
from segalias_jax.scoring.reports import tables as report

KINDS = ("blur", "noise", "noise_reference")
BLUR_SIZES = (3, 5, 7, 9)
"""Sides of the blurring kernels, in pixels."""

NOISE_SIGMAS = (5.0, 10.0, 15.0, 20.0)
"""Standard deviations of the noise, in units of 0..255."""

FILES = ("robustness.md", "robustness.json", "robustness.html")
"""What `RobustnessReport.save` writes."""

_RULES = {
    "blur k x k": "Gaussian kernel of k x k pixels with OpenCV's standard deviation for that size, "
    "0.3 ((k - 1) / 2 - 1) + 0.8; the image goes on as its mirror image",
    "noise s": "clip(round(x + s n), 0, 255) with n ~ N(0, 1) for each pixel and channel; an image "
    "has the same n at every level",
    "noise_reference s": "the same without rounding, as published: fractions are cut off, which "
    "darkens images by half a gray value",
    "aliasing": "aliasing score of what enters an operator's filter, in per cent, mean over images",
}


@dataclasses.dataclass(frozen=True)
class Corruption:
    """One way to corrupt images.

    Attributes:
      kind: "blur"; "noise"; or "noise_reference", the published one, which truncates.
      level: side of the kernel in pixels, odd, or standard deviation in units of 0..255.

    Raises:
      InputError: no such kind, or a level that cannot be.

    Example:
      >>> Corruption("blur", 3).name, Corruption("noise", 20).name
      ('blur 3x3', 'noise 20')
    """

    kind: str
    level: int | float

    def __post_init__(self):
        """Checks kind and level."""
        check_choice("kind of corruption", self.kind, KINDS)
        if self.kind == "blur" and (self.level % 2 != 1 or self.level < 3):
            raise InputError(f"a blur of {self.level:g} pixels cannot be; give odd sizes from 3 on")
        if self.kind != "blur" and not 0 < self.level < 256:
            raise InputError(f"noise of {self.level:g} cannot be; give sigmas above 0, up to 255")

    @property
    def name(self) -> str:
        """Kind and level in words."""
        size = f"{self.level:g}"
        return f"{self.kind} {size}x{size}" if self.kind == "blur" else f"{self.kind} {size}"

    def apply(self, image: UInt8[np.ndarray, "h w 3"], seed: int) -> UInt8[np.ndarray, "h w 3"]:
        """Returns a corrupted copy.

        Args:
          image: the image.
          seed: of the noise; one number for each image.

        Returns:
          The copy.
        """
        if self.kind == "blur":
            return cv2.GaussianBlur(image, (int(self.level),) * 2, 0)
        rng = np.random.default_rng(seed)
        sigma = float(self.level)
        noise = GaussianNoise((sigma, sigma), truncate=self.kind == "noise_reference")
        return noise({"image": image}, rng)["image"]


@dataclasses.dataclass(frozen=True)
class RobustnessReport(ShownInNotebooks):
    """A row for the images as they are, and one for each corruption.

    Attributes:
      rows: "input", the scores by name, and "before" and "after": mean aliasing scores of each
        operator, in per cent.
      operators: where the network samples.
      title: headline.
      settings: what else a reader must know, by name.

    Example:
      >>> RobustnessReport((), (), "Robustness", {}).table().splitlines()[0]
      '| input | mIoU | BIoU | BAcc | FErr | MErr | DErr |'
    """

    rows: tuple[Mapping[str, Any], ...]
    operators: tuple[Operator, ...]
    title: str
    settings: Mapping[str, Any]

    def cells(self) -> list[list[str]]:
        """The table's cells, the header first."""
        scores = _shown()
        header = ["input", *(score.title for score in scores)]
        cells = [[*header, *(f"aliasing {o.name}" for o in self.operators)]]
        for row in self.rows:
            values = (report.shown_value(score, row[score.name]) for score in scores)
            cells.append([row["input"], *values, *(f"{power:.2f}" for power in row["before"])])
        return cells

    def table(self) -> str:
        """The table in Markdown, which also reads well in a terminal."""
        return report.markdown_table(self.cells(), names=True)

    def save(self, folder: Path) -> None:
        """Writes `FILES`.

        Args:
          folder: where to; made when missing.
        """
        folder.mkdir(parents=True, exist_ok=True)
        note = f"All numbers in per cent; of {smaller_is_better()}, less is better."
        rules = report.bullets(_RULES)
        parts = [f"# {self.title}", note, self.table(), rules, report.bullets(self.settings)]
        write_text(folder / FILES[0], "\n\n".join(parts) + "\n")
        content = {
            "title": self.title,
            "settings": {key: str(value) for key, value in self.settings.items()},
            "rules": _RULES,
            "operators": [dataclasses.asdict(operator) for operator in self.operators],
            "rows": [dict(row) for row in self.rows],
        }
        write_text(folder / FILES[1], report.json_text(content))
        about = [(key, str(value)) for key, value in self.settings.items()]
        sections = [
            page.paragraph(note),
            page.table(self.cells()),
            page.section("What was done to the images", page.definitions(list(_RULES.items()))),
            page.section("Settings", page.definitions(about)),
        ]
        write_text(folder / FILES[2], page.whole_page(self.title, sections))


def _shown() -> list[Score]:
    return rows_shown("corruption", source="classes")


def measure_robustness(
    inspect: Inspect,
    read: Callable[[], Iterable[Mapping[str, Any]]],
    corruptions: Sequence[Corruption],
    operators: Sequence[Operator],
    *,
    title: str,
    settings: Mapping[str, Any],
    num_classes: int,
    reduce_zero_label: bool = False,
    boundary: str = "laplacian",
    ignore: str = "reference",
    total: int | None = None,
) -> RobustnessReport:
    """Scores a network on a data set as it is, and once more for every corruption.

    Args:
      inspect: as for `aliasing.study`.
      read: starts the data set's batches anew.
      corruptions: what is done to the images.
      operators: where the network samples.
      title: headline of the report.
      settings: what else a reader must know, by name.
      num_classes: number of classes C.
      reduce_zero_label: as for `aliasing.study`, and so all that follow.
      boundary: "laplacian" or "exact".
      ignore: "reference" or "exclude".
      total: number of images.

    Returns:
      The report.
    """
    rows = []
    for corruption in (None, *corruptions):
        name = corruption.name if corruption else "unchanged"
        batches = corrupted(read(), corruption) if corruption else read()
        evaluation, analysis = study(
            inspect,
            batches,
            operators,
            num_classes=num_classes,
            reduce_zero_label=reduce_zero_label,
            boundary=boundary,
            ignore=ignore,
            total=total,
            progress=f"robustness, {name}",
        )
        scores, means = evaluation.scores.compute(), analysis.scores.mean(0)
        row = {"input": name} | {score.name: float(scores[score.name]) for score in _shown()}
        rows.append(row | {"before": means[:, 0].tolist(), "after": means[:, 1].tolist()})
    return RobustnessReport(tuple(rows), tuple(operators), title, settings)


def corrupted(
    batches: Iterable[Mapping[str, Any]], corruption: Corruption
) -> Iterator[dict[str, Any]]:
    """Yields batches whose images are corrupted; the n-th image has the seed n.

    Args:
      batches: with "image" and "valid".
      corruption: what is done.

    Returns:
      An iterator over the same batches.

    Example:
      >>> batch = {"image": np.full((1, 4, 4, 3), 7, np.uint8), "valid": np.asarray([True])}
      >>> next(corrupted([batch], Corruption("blur", 3)))["image"][0, 0, 0].tolist()
      [7, 7, 7]
    """
    done = 0
    for batch in batches:
        image = np.array(batch["image"])
        for row in np.flatnonzero(batch["valid"]):
            image[row] = corruption.apply(image[row], done)
            done += 1
        yield {**batch, "image": image}
