"""Does a U-Net find strong echo in a field of five levels better than a threshold?

    python examples/gallery/radar_unet.py --out DIR

Trains the recipe `radar_unet:tiny` in DIR/radar_unet (a run that is there resumes, and a finished
one is scored again): from drawn fields that were dithered to 0, 20, 40, 60 and 80 dBZ to where the
field had 40 dBZ or more. Compares its critical success index, hits by hits,
false alarms and misses, with that of the levels themselves and of the best box blur and threshold
of the training fields. About two minutes of processor time. Writes radar_unet.png.

Source: Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image
Segmentation", MICCAI 2015; Schaefer, "The critical success index as an indicator of warning skill",
Weather and Forecasting 5(4), 1990.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from figures import DBZ, DBZ_STEPS, plt, publish, read_flags, save

import segalias_jax as sa
from segalias_jax.data.radar import GRAY_PER_DBZ, STRONG, RadarFields
from segalias_jax.data.settings import read_settings
from segalias_jax.files import write_text
from segalias_jax.metrics.counts import ForegroundCounts
from segalias_jax.metrics.formulas import foreground_fractions, foreground_iou
from segalias_jax.metrics.rules import ScoreRules
from segalias_jax.runs.recipes import load_recipe
from segalias_jax.runs.train import train
from segalias_jax.scoring.reports.tables import markdown_table

RECIPE = "radar_unet:tiny"
RESULT = Path(__file__).parents[2] / "benchmarks" / "results" / "radar_unet_tiny.json"
TRAINING_FIELDS = 100  # of which the blur is chosen
SIZES, THRESHOLDS = (3, 5, 7, 9), range(30, 46)


class Blur(NamedTuple):
    """A box blur of so many pixels, and what is strong echo after it, in dBZ."""

    size: int
    threshold: int

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Returns where there is strong echo."""
        # Sums of integers, whose comparison with a threshold no rounding changes.
        side = self.size, self.size
        total = cv2.boxFilter(image[..., 0], cv2.CV_32S, side, normalize=False)
        return total >= GRAY_PER_DBZ * self.threshold * self.size**2


def critical_success(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """CSI over all pixels of predictions and labels, masks both."""
    hits = false_alarms = misses = 0
    for prediction, label in pairs:
        both = np.count_nonzero(prediction & label)
        hits += both
        false_alarms += np.count_nonzero(prediction) - both
        misses += np.count_nonzero(label) - both
    counts = ForegroundCounts(*(np.asarray(n) for n in (hits, false_alarms, misses, 0)))
    return float(foreground_fractions(counts, foreground_iou))


def sources(config: Any) -> tuple[RadarFields, RadarFields]:
    """Training and validation fields of a recipe."""
    settings = read_settings(config.data)
    return RadarFields(settings, "train"), RadarFields(settings, "val")


def best_blur(fields: RadarFields, count: int = TRAINING_FIELDS) -> Blur:
    """The blur and threshold of the highest CSI on the first fields."""
    samples = [fields[index] for index in range(count)]
    blurs = [Blur(size, threshold) for size in SIZES for threshold in THRESHOLDS]
    return max(
        blurs, key=lambda blur: critical_success((blur(s["image"]), s["label"]) for s in samples)
    )


def table(config: Any, report: Any) -> str:
    """CSI on the validation fields."""
    training, held_out = sources(config)
    samples = [held_out[index] for index in range(len(held_out))]
    blur = best_blur(training)
    share = np.mean([sample["label"] for sample in samples])
    rows = [["of 40 dBZ and more", "CSI"], ["everywhere", f"{100 * share:.1f}"]]
    for name, rule in (
        ("level of 40 dBZ and more", Blur(1, STRONG)),
        (f"{blur.size}x{blur.size} means of {blur.threshold} dBZ and more", blur),
    ):
        csi = critical_success((rule(s["image"]), s["label"]) for s in samples)
        rows.append([name, f"{100 * csi:.1f}"])
    rows.append(["U-Net", f"{100 * report['summary']['IoU_pixels_of_all_images']:.1f}"])
    return markdown_table(rows, names=True)


def draw(path: Path, config: Any, run: Path) -> None:
    """Fields, what the network sees, and what three rules find."""
    training, held_out = sources(config)
    blur, predictor = best_blur(training), sa.Predictor(run)
    figure, axes = plt.subplots(3, 5, figsize=(11, 6.7))
    titles = ("field", "as the network sees it", "level", "blur and threshold", "U-Net")
    for title, axis in zip(titles, axes[0], strict=True):
        axis.set_title(title)
    for row, index in zip(axes, (1, 4, 8), strict=True):
        sample = held_out[index]
        for axis, values in zip(
            row, (held_out.field(index), sample["image"][..., 0] // GRAY_PER_DBZ), strict=False
        ):
            axis.imshow(values, cmap=DBZ, norm=DBZ_STEPS, interpolation="nearest")
        found = Blur(1, STRONG), blur, predictor
        for axis, rule in zip(row[2:], found, strict=True):
            prediction = np.uint8(rule(sample["image"]))
            shown = sa.scoring.hit_overlay(
                255 - sample["image"] // 4, sample["label"], prediction, rules=ScoreRules()
            )
            axis.imshow(shown, interpolation="nearest")
            csi = critical_success([(prediction, sample["label"])])
            axis.set_xlabel(f"CSI {100 * csi:.0f}")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    save(figure, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, and writes the figure and the table."""
    flags = read_flags(__doc__, arguments)
    config, run = load_recipe(RECIPE), flags.out / "radar_unet"
    train(config, run)
    report = (run / "report.json").read_text()
    draw(flags.out / "radar_unet.png", config, run)
    if flags.page:
        write_text(RESULT, report)
    publish({"radar unet": table(config, json.loads(report))}, flags.page)


if __name__ == "__main__":
    main()
