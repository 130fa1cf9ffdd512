"""Pictures of where a prediction is wrong, in colors that color-blind people can tell apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.metrics.rules import ERROR_KINDS, IGNORED, ScoreRules
from segalias_jax.scoring.causes import CAUSES, CauseSettings, cause_thumbnail, paint_causes
from segalias_jax.scoring.host_bands import error_kinds, ignored_pixels, strips
from segalias_jax.typing import Integer, UInt8

KIND_COLORS = {
    "false response": (230, 97, 0),
    "merging mistake": (86, 180, 233),
    "displacement": (240, 228, 66),
    "interior error": (204, 121, 167),
}
"""RGB of each kind of error (after Okabe and Ito); what is right is dark gray."""

HIT_COLORS = {
    "true positive": (0, 114, 178),
    "false positive": (230, 97, 0),
    "false negative": (240, 228, 66),
}
"""RGB of the foreground, found or not: dark, middle and bright without any color."""

CAUSE_COLORS = {
    "missed object": (245, 98, 0),
    "false object": (87, 94, 202),
    "class confusion": (229, 101, 176),
    "merge": (70, 214, 255),
    "split": (27, 157, 92),
    "displacement": (253, 218, 36),
    "interior hole": (255, 255, 255),
}
"""RGB of each cause: 25 or more apart in CIELAB for people with any kind of color vision, and
lighter than what is right; confusions and splits are striped besides, for prints without color."""

# Stripes lead down to the left (1) or to the right (-1); their colors are like others in lightness.
_STRIPED = {"class confusion": 1, "split": -1}

_CORRECT = (70, 70, 70)

TITLES = ("image", "truth", "prediction", "errors")
"""Names of what `panels` returns."""

_CELL = (360, 560)
_MARGIN, _HEADER, _CAPTION, _LEGEND = 16, 36, 44, 36
_FONT = 20


@dataclasses.dataclass(frozen=True)
class Sample:
    """One picture kept for people to look at.

    Attributes:
      image: RGB, uint8 [h, w, 3].
      label: true labels, [h, w].
      prediction: predicted class ids, [h, w].
      name: of the image.
    """

    image: UInt8[np.ndarray, "h w 3"]
    label: Integer[np.ndarray, "h w"]
    prediction: Integer[np.ndarray, "h w"]
    name: str


def error_overlay(
    image: UInt8[np.ndarray, "h w 3"],
    label: Integer[np.ndarray, "h w"],
    prediction: Integer[np.ndarray, "h w"],
    *,
    rules: ScoreRules | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Paints the kind of error of every wrong pixel over a dark gray copy of the image.

    Args:
      image: RGB picture.
      label: true labels.
      prediction: predicted class ids.
      rules: boundary and ignore rule and width; None: the published ones.

    Returns:
      RGB picture: dark gray where right, `KIND_COLORS` where wrong, hatched where ignored.

    Example:
      >>> label = np.asarray([[0, 0, 1, 1]])
      >>> image = np.zeros((1, 4, 3), np.uint8)
      >>> error_overlay(image, label, 0 * label, rules=ScoreRules(width=1))[0].tolist()
      [[24, 24, 24], [24, 24, 24], [86, 180, 233], [204, 121, 167]]
    """
    kinds = error_kinds(prediction, label, rules or ScoreRules())
    gray = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    out = np.repeat((24 + 0.45 * gray).astype(np.uint8)[..., None], 3, axis=-1)
    for kind, name in enumerate(ERROR_KINDS[1:], start=1):
        out[kinds == kind] = KIND_COLORS[name]
    return _hatched(out, kinds == IGNORED)


def cause_overlay(
    image: UInt8[np.ndarray, "h w 3"],
    label: Integer[np.ndarray, "height width"],
    prediction: Integer[np.ndarray, "height width"],
    *,
    num_classes: int | None = None,
    rules: ScoreRules | None = None,
    settings: CauseSettings | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Paints the cause of every wrong pixel over a dark gray copy of the image.

    Maps may be larger than the image, which then is a thumbnail of theirs: a pixel of it shows a
    cause where any of the pixels that it stands for has one. No array has the size of the maps.

    Args:
      image: RGB, of the size of the maps or smaller.
      label: true labels.
      prediction: predicted class ids.
      num_classes: C; None: as many as the maps hold, which makes maps of 0 and 1 have a background.
      rules: which labels are ignored; None: label 255.
      settings: what separates the causes; None: the defaults.

    Returns:
      RGB image: dark gray where right, `CAUSE_COLORS` where wrong, hatched where ignored.

    Raises:
      InputError: the image is larger than the maps, or a value is no class.

    Example:
      >>> label = np.asarray([[0, 0, 1, 1, 0]])
      >>> image = np.zeros((1, 5, 3), np.uint8)
      >>> cause_overlay(image, label, 0 * label)[0].tolist()
      [[16, 16, 16], [16, 16, 16], [245, 98, 0], [245, 98, 0], [16, 16, 16]]
    """
    rules = rules or ScoreRules()
    height, width = image.shape[:2]
    if height > label.shape[0] or width > label.shape[1]:
        raise InputError(
            f"image of {width}x{height} pixels, maps of {label.shape[1]}x{label.shape[0]}; give an "
            "image of their size, or a smaller one"
        )
    if num_classes is None:
        num_classes = max(2, _classes_held(label, prediction, rules))
    painted = paint_causes(prediction, label, rules, num_classes, settings or CauseSettings())
    # What each pixel of the image stands for begins there.
    top = np.arange(height) * label.shape[0] // height
    left = np.arange(width) * label.shape[1] // width
    causes = cause_thumbnail(painted, top, left)
    gray = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    out = np.repeat((16 + 0.3 * gray).astype(np.uint8)[..., None], 3, axis=-1)
    for k, name in enumerate(CAUSES, start=1):
        out[causes == k] = CAUSE_COLORS[name]
        if name in _STRIPED:
            _stripe(out, causes == k, _STRIPED[name])
    return _hatched(out, causes == IGNORED)


def _classes_held(label: np.ndarray, prediction: np.ndarray, rules: ScoreRules) -> int:
    """One more than the highest class of the pixels that count."""
    held = 0
    for rows in strips(*label.shape):
        counted = ~ignored_pixels(label[rows], rules)
        if counted.any():
            true = int(label[rows][counted].max()) - int(rules.reduce_zero_label)
            held = max(held, true + 1, int(prediction[rows][counted].max()) + 1)
    return held


def _stripe(image: np.ndarray, mask: np.ndarray, direction: int) -> None:
    i, j = np.indices(mask.shape)
    dark = mask & ((i + direction * j) % 4 == 0)
    image[dark] = image[dark] // 3


def hit_overlay(
    image: UInt8[np.ndarray, "h w 3"],
    label: Integer[np.ndarray, "h w"],
    prediction: Integer[np.ndarray, "h w"],
    *,
    rules: ScoreRules,
) -> UInt8[np.ndarray, "h w 3"]:
    """Paints where the foreground of a binary segmentation was found, imagined and missed.

    Args:
      image: RGB picture.
      label: true labels.
      prediction: predicted class ids.
      rules: which labels are ignored.

    Returns:
      RGB picture: gray where neither map has class 1, `HIT_COLORS` with the image shining through
      elsewhere, hatched where ignored.

    Example:
      >>> label, prediction = np.asarray([[0, 1, 1]]), np.asarray([[1, 1, 0]])
      >>> image = np.zeros((1, 3, 3), np.uint8)
      >>> hit_overlay(image, label, prediction, rules=ScoreRules())[0].tolist()
      [[184, 84, 12], [12, 97, 145], [192, 183, 61]]
    """
    true, found = rules.class_label(label), prediction == 1
    gray = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    out = np.repeat((24 + 0.45 * gray).astype(np.uint8)[..., None], 3, axis=-1)
    places = found & (true == 1), found & (true == 0), ~found & (true == 1)
    for place, color in zip(places, HIT_COLORS.values(), strict=True):
        out[place] = (0.75 * np.asarray(color) + 0.5 * out[place]).astype(np.uint8)
    return _hatched(out, true == rules.ignore_label)


def overlay_sheet(
    samples: Sequence[Sample],
    *,
    classes: Sequence[str],
    palette: UInt8[np.ndarray, "classes 3"],
    rules: ScoreRules | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Puts image, truth, prediction and causes of some samples into one image with a legend.

    Args:
      samples: at least one; sizes may differ.
      classes: names of the classes.
      palette: RGB color of each class.
      rules: boundary and ignore rule and width; None: the published ones.

    Returns:
      RGB picture.

    Example:
      >>> label = np.zeros((90, 120), np.int32)
      >>> sample = Sample(np.zeros((90, 120, 3), np.uint8), label, label, "one")
      >>> overlay_sheet([sample], classes=["sky"], palette=np.zeros((1, 3), np.uint8)).shape
      (490, 1520, 3)
    """
    rules = rules or ScoreRules()
    rows = [
        [_fit(p) for p in panels(sample, palette, rules, longest=2 * _CELL[1])]
        for sample in samples
    ]
    kinds = [("correct", _swatch(_CORRECT))]
    for name, color in CAUSE_COLORS.items():
        swatch = _swatch(color)
        if name in _STRIPED:
            _stripe(swatch, np.ones((18, 18), bool), _STRIPED[name])
        kinds.append((name, swatch))
    kinds.append(("ignored", _hatched(_swatch(_CORRECT), np.ones((18, 18), bool))))
    labels = [rules.class_label(sample.label) for sample in samples]
    maps = [*labels, *(sample.prediction for sample in samples)]
    ids = np.unique(np.concatenate([one.ravel() for one in maps]))
    present = [int(i) for i in ids if 0 <= i < len(classes)]
    names = [(classes[i], _swatch(palette[i])) for i in present]
    sheet = _Sheet.with_room(rows, legends=(kinds, names))
    for sample, label, row in zip(samples, labels, rows, strict=True):
        counted, remark = label != rules.ignore_label, "no labeled pixel"
        if counted.any():
            right = (label == sample.prediction)[counted].mean()
            remark = f"{100 * right:.1f} % of pixels right"
        sheet.add_row(f"{sample.name}   {remark}", row)
    return sheet.render()


def _swatch(color: Sequence[int] | np.ndarray) -> np.ndarray:
    return np.full((18, 18, 3), color, np.uint8)


def _hatched(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    i, j = np.indices(mask.shape)
    stripe = np.asarray((i + j) % 8 < 2)
    picture[mask] = np.where(stripe[mask, None], 90, picture[mask] // 3)
    return picture


def panels(
    sample: Sample,
    palette: UInt8[np.ndarray, "classes 3"],
    rules: ScoreRules,
    *,
    longest: int | None = None,
) -> list[UInt8[np.ndarray, "h w 3"]]:
    """Paints image, truth, prediction and causes of errors of a sample.

    Args:
      sample: what to paint.
      palette: RGB color of each class.
      rules: which labels are ignored.
      longest: side in pixels that no panel exceeds; larger samples become thumbnails, before
        anything is painted. None: the size of the sample.

    Returns:
      Four RGB images of one size.

    Example:
      >>> label = np.zeros((4, 4), np.int32)
      >>> sample = Sample(np.zeros((4, 4, 3), np.uint8), label, label, "one")
      >>> len(panels(sample, spread_palette(1), ScoreRules()))
      4
    """
    height, width = sample.label.shape
    step = max(1, -(-max(height, width) // longest)) if longest else 1
    label = rules.class_label(sample.label[::step, ::step])
    prediction = np.clip(sample.prediction[::step, ::step], 0, None).astype(np.int64)
    image = sample.image
    if step > 1:
        image = cv2.resize(image, label.shape[::-1], interpolation=cv2.INTER_AREA)
    colors = np.zeros((max(256 + label.max(), len(palette)), 3), np.uint8)
    colors[: len(palette)] = palette
    truth = _hatched(colors[label], label == rules.ignore_label)
    painted = colors[np.clip(prediction, 0, len(colors) - 1)]
    # A prediction may hold more classes than have colors.
    classes = max(len(palette), _classes_held(sample.label, sample.prediction, rules))
    errors = cause_overlay(image, sample.label, sample.prediction, num_classes=classes, rules=rules)
    return [image, truth, painted, errors]


def spread_palette(count: int) -> UInt8[np.ndarray, "classes 3"]:
    """Makes colors for classes that have none: hues by the golden ratio, three brightnesses.

    Args:
      count: number of classes.

    Returns:
      RGB color of each class.

    Example:
      >>> spread_palette(150).shape
      (150, 3)
    """
    index = np.arange(count)
    hue = (index * 0.618034 % 1 * 180).astype(np.uint8)
    value = np.asarray([230, 170, 120], np.uint8)[index % 3]
    hsv = np.stack([hue, np.full_like(hue, 150), value], -1)[None]
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0]


def _fit(picture: np.ndarray) -> np.ndarray:
    """Enlarges small pictures by an integer, and averages large ones."""
    height, width = picture.shape[:2]
    if width > _CELL[1]:
        size = (_CELL[1], round(height * _CELL[1] / width))
        return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    times = -(-_CELL[0] // width)
    return picture.repeat(times, axis=0).repeat(times, axis=1)


@dataclasses.dataclass
class _Sheet:
    """A white canvas that is filled from the top; texts are drawn at the end."""

    canvas: np.ndarray
    columns: list[int]
    legends: Sequence[Sequence[tuple[str, np.ndarray]]]
    top: int = _HEADER
    texts: list[tuple[int, int, str, str]] = dataclasses.field(default_factory=list)

    @classmethod
    def with_room(
        cls,
        rows: Sequence[Sequence[np.ndarray]],
        legends: Sequence[Sequence[tuple[str, np.ndarray]]],
    ) -> _Sheet:
        cell = max(panel.shape[1] for row in rows for panel in row)
        columns = [_MARGIN + i * (cell + _MARGIN) for i in range(len(TITLES))]
        width = columns[-1] + cell + _MARGIN
        lines = sum(len(_lines(legend, width)) for legend in legends)
        height = _HEADER + sum(_CAPTION + row[0].shape[0] for row in rows) + _MARGIN
        canvas = np.full((height + lines * _LEGEND + _MARGIN, width, 3), 255, np.uint8)
        sheet = cls(canvas, columns, legends)
        sheet.texts = [
            (x + cell // 2, _HEADER // 2, title, "center")
            for x, title in zip(columns, TITLES, strict=True)
        ]
        return sheet

    def add_row(self, caption: str, panels: Sequence[np.ndarray]) -> None:
        self.texts.append((self.columns[0], self.top + _CAPTION * 5 // 8, caption, "left"))
        self.top += _CAPTION
        for x, panel in zip(self.columns, panels, strict=True):
            height, width = panel.shape[:2]
            self.canvas[self.top : self.top + height, x : x + width] = panel
        self.top += panels[0].shape[0]

    def _add_legends(self) -> None:
        top = self.top + _MARGIN
        for legend in self.legends:
            for line in _lines(legend, self.canvas.shape[1]):
                for x, name, swatch in line:
                    self.canvas[top + 8 : top + 28, x : x + 20] = 0
                    self.canvas[top + 9 : top + 27, x + 1 : x + 19] = swatch
                    self.texts.append((x + 28, top + 18, name, "left"))
                top += _LEGEND

    def render(self) -> np.ndarray:
        # Takes a second, which no training or scoring needs to wait for at its start.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._add_legends()
        height, width = self.canvas.shape[:2]
        figure = Figure(figsize=(width / 100, height / 100), dpi=100)
        figure.figimage(self.canvas)
        for x, y, text, side in self.texts:
            figure.text(
                x / width, 1 - y / height, text, ha=side, va="center", fontsize=_FONT * 0.72
            )
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _lines(
    legend: Sequence[tuple[str, np.ndarray]], width: int
) -> list[list[tuple[int, str, np.ndarray]]]:
    """Places (name, swatch) entries from left to right, a new line where one is full."""
    lines, x = [[]], _MARGIN
    for name, swatch in legend:
        need = 28 + int(0.58 * _FONT * len(name)) + 28
        if x + need > width and lines[-1]:
            lines.append([])
            x = _MARGIN
        lines[-1].append((x, name, swatch))
        x += need
    return lines
