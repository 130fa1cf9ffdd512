"""Which kinds of boundary error are there, and what caused them?

    python examples/gallery/boundary_errors.py --out DIR

Draws seven small scenes, each with one thing wrong, and what two answers say of every wrong pixel:
the kinds of the paper, by the bands around true and predicted boundaries, and the causes of
`segalias_jax.scoring.error_types`, by objects. Writes boundary_errors.png.

Source: Chen, Gu and Fu, "When Semantic Segmentation Meets Frequency Aliasing", ICLR 2024, whose
three kinds are false responses, merging mistakes and displacements.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from figures import plt, publish, read_flags, save
from matplotlib.patches import Patch

from segalias_jax import scoring
from segalias_jax.metrics import ERROR_KINDS
from segalias_jax.metrics.rules import ScoreRules
from segalias_jax.scoring.reports.tables import markdown_table

SIDE = 96
PALETTE = np.asarray([[222, 226, 230], [70, 130, 190], [220, 150, 80]], np.uint8)
RULES = ScoreRules(boundary="exact", width=15)
Map = np.ndarray


def discs(*parts: tuple[int, int, int, int]) -> Map:
    """Discs at (row, column) with a radius and a class, the later over the earlier."""
    y, x = np.indices((SIDE, SIDE))
    ids = np.zeros((SIDE, SIDE), np.uint8)
    for row, column, radius, number in parts:
        ids[(y - row) ** 2 + (x - column) ** 2 <= radius**2] = number
    return ids


def scenes() -> dict[str, tuple[Map, Map]]:
    """Truth and prediction by what is wrong."""
    left, right, big = (48, 27, 17, 1), (48, 70, 17, 1), (48, 48, 27, 1)
    y, x = np.indices((SIDE, SIDE))
    boxes = np.uint8((abs(y - 48) < 34) & (abs(x - 48) < 32))
    return {
        "displaced": (discs(big), discs((52, 52, 27, 1))),
        "merged": (np.where(abs(x - 48) < 4, 0, boxes).astype(np.uint8), boxes),
        "split": (discs(big), np.where(abs(x - 48) < 4, 0, discs(big)).astype(np.uint8)),
        "missed": (discs(left, (48, 76, 7, 1)), discs(left)),
        "invented": (discs(left), discs(left, (48, 76, 7, 1))),
        "confused": (discs(left, right), discs(left, (48, 70, 17, 2))),
        "hollow": (discs(big), np.where(discs((48, 48, 9, 1)), 0, discs(big)).astype(np.uint8)),
    }


def measure() -> dict[str, dict[str, dict[str, int]]]:
    """Wrong pixels of every scene, by kind and by cause."""
    found = {}
    for name, (label, prediction) in scenes().items():
        kinds = scoring.error_kinds(prediction, label, RULES)
        pixels = np.bincount(kinds.ravel(), minlength=len(ERROR_KINDS))[1:]
        _, causes = scoring.error_types(prediction, label, num_classes=3, background=0)
        by_kind = dict(zip(ERROR_KINDS[1:], pixels.tolist(), strict=True))
        found[name] = {"kinds": by_kind, "causes": causes}
    return found


def tables() -> dict[str, str]:
    """The table of the page: what most of the wrong pixels of a scene are."""
    rows = [["scene", "wrong pixels", "largest kind", "of them", "cause", "of them"]]
    for name, found in measure().items():
        wrong = sum(found["causes"].values())
        row = [name, f"{wrong}"]
        for answer in found.values():
            largest = max(answer, key=lambda key, answer=answer: answer[key])
            row += [largest, f"{100 * answer[largest] / wrong:.0f} %"]
        rows.append(row)
    return {"boundary errors": markdown_table(rows, names=True)}


def draw(path: Path) -> None:
    """Truth, prediction, kinds and causes, a scene in each column."""
    figure, axes = plt.subplots(4, 7, figsize=(10.5, 7))
    for column, (name, (label, prediction)) in zip(axes.T, scenes().items(), strict=True):
        gray = np.repeat((40 + 110 * (label > 0)).astype(np.uint8)[..., None], 3, axis=-1)
        images = (
            PALETTE[label],
            PALETTE[prediction],
            scoring.error_overlay(gray, label, prediction, rules=RULES),
            scoring.cause_overlay(
                gray,
                label,
                prediction,
                num_classes=3,
                rules=RULES,
                settings=scoring.CauseSettings(background=0),
            ),
        )
        for axis, image in zip(column, images, strict=True):
            axis.imshow(image, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        column[0].set_title(name)
    for axis, text in zip(axes[:, 0], ("truth", "prediction", "kind", "cause"), strict=True):
        axis.set_ylabel(text, fontsize=10)
    figure.get_layout_engine().set(rect=(0, 0.11, 1, 0.89))
    for title, colors, place, columns in (
        ("kinds", scoring.KIND_COLORS, 0.22, 2),
        ("causes", scoring.CAUSE_COLORS, 0.7, 4),
    ):
        patches = [
            Patch(facecolor=np.divide(color, 255), edgecolor="black", linewidth=0.5, label=name)
            for name, color in colors.items()
        ]
        figure.legend(
            handles=patches, title=title, loc="lower center", bbox_to_anchor=(place, 0.0),
            ncols=columns, frameon=False,
        )  # fmt: skip
    save(figure, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws the figure and writes the table."""
    flags = read_flags(__doc__, arguments)
    draw(flags.out / "boundary_errors.png")
    publish(tables(), flags.page)


if __name__ == "__main__":
    main()
