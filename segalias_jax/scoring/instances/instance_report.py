"""The report on scored objects: its files, which appear together or not at all."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from segalias_jax.scoring.instances import instance_content
from segalias_jax.scoring.instances.instance_inputs import ImageObjects
from segalias_jax.scoring.instances.instance_page import instance_page
from segalias_jax.scoring.instances.instance_pictures import panels
from segalias_jax.scoring.instances.instance_scorer import InstanceScorer
from segalias_jax.scoring.instances.object_causes import CAUSES, NO_CAUSE
from segalias_jax.scoring.instances.objects import size_class
from segalias_jax.scoring.instances.totals import SIZES
from segalias_jax.scoring.reports.csv_files import written_rows
from segalias_jax.scoring.reports.saving import save_files
from segalias_jax.scoring.reports.tables import bullets, check_unused, escaped, json_text
from segalias_jax.scoring.reports.views.embedded import Panels
from segalias_jax.scoring.reports.views.report_page import PICTURES

FILES = ("report.md", "per_image.csv", "objects.csv", "report.html", "report.json")
"""What a report consists of; the last one says that all are there."""


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@dataclasses.dataclass(frozen=True)
class InstanceReport:
    """Scores of the objects of images, and files about them.

    Attributes:
      scorer: with all images.
      images: what reads them again, in the order of the scorer; empty: none are shown.
      settings: what else a reader must know, by name.
      notices: what a reader should know, in sentences without their full stop.
      command: the command line; "": there was none.
      date: when it was scored, in ISO 8601.
    """

    scorer: InstanceScorer
    images: Sequence[ImageObjects] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notices: Sequence[str] = ()
    command: str = ""
    date: str = dataclasses.field(default_factory=_now)

    @functools.cached_property
    def scores(self) -> dict[str, Any]:
        """All scores, see `InstanceScorer.compute`."""
        return self.scorer.compute()

    @functools.cached_property
    def content(self) -> dict[str, Any]:
        """What `report.json` holds."""
        return instance_content.report_content(
            self.scorer,
            self.scores,
            title=f"Objects of {self.settings.get('predictions', 'images')}",
            settings=self.settings,
            notices=self.notices,
            command=self.command,
            date=self.date,
        )

    def table(self) -> str:
        """The sentence and the tables in Markdown, which also read well in a terminal."""
        return instance_content.tables(self.content)

    def save(self, folder: Path, *, pictures: int = PICTURES, overwrite: bool = False) -> None:
        """Writes the files of `FILES`; all appear, or none.

        Args:
          folder: where to; made when missing.
          pictures: most images in `report.html`.
          overwrite: replace a report that is there.

        Raises:
          InputError: one of these files is there already, or an image cannot be read again.
          OSError: the disk is full or cannot be written; nothing is changed.
        """
        check_unused(folder, () if overwrite else FILES)
        files = {
            "report.md": lambda: [self._markdown().encode("utf-8")],
            "per_image.csv": self._image_rows,
            "objects.csv": self._object_rows,
            "report.html": lambda: [self._page(pictures).encode("utf-8")],
            "report.json": lambda: [json_text(self.content).encode("utf-8")],
        }
        save_files(folder, files)

    def _markdown(self) -> str:
        content = self.content
        made = [f"{len(self.scorer)} images", content["date"], content["library"]]
        made += [f"`{self.command.replace('`', '')}`"] if self.command else []
        parts = [
            f"# {escaped(content['title'])}",
            ", ".join(made) + ".",
            self.table(),
            "## How it was scored\n\n" + bullets(content["scoring"]),
            "## Settings\n\n" + bullets(content["settings"]),
        ]
        return "\n\n".join(parts) + "\n"

    def _page(self, pictures: int) -> str:
        shown = pictures if self.images or pictures < 0 else 0
        return instance_page(self.content, self._panels, pictures=shown)

    def _panels(self, index: int) -> Panels:
        one = self.images[index]
        predicted, true = one.load()
        settings = self.scorer.settings
        certain = predicted.chosen(predicted.scores >= settings.threshold)
        return panels(certain, true, settings.num_classes, image=one.image)

    def _image_rows(self) -> Iterator[bytes]:
        header = ["name", "accuracy_50", "PQ", "true", "predicted"]
        rows = (
            [*(one[key] for key in header), *(one["causes"][name] for name in CAUSES)]
            for one in self.content["images"]
        )
        return written_rows([*header, *CAUSES], rows)

    def _object_rows(self) -> Iterator[bytes]:
        header = ["name", "side", "cause", "class", "other class", "size", "x", "y", "width"]
        header += ["height", "pixels", "score", "IoU", "offset"]
        classes = ("", *self.scorer.classes)

        def rows() -> Iterator[list[Any]]:
            for image in self.scorer.images:
                for name, side in (("true", image.true), ("predicted", image.predicted)):
                    sizes = size_class(side.areas)
                    for i in range(len(side)):
                        cause = int(side.causes[i])
                        yield [
                            *(image.name, name, "ignored" if cause == NO_CAUSE else CAUSES[cause]),
                            *(classes[side.classes[i]], classes[side.others[i]], SIZES[sizes[i]]),
                            *(side.boxes[i].tolist()),
                            *(side.areas[i], side.scores[i], side.ious[i], side.offsets[i]),
                        ]

        return written_rows(header, rows())
