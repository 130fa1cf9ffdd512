"""Reports and images as pages need them, of any number of images and with any names."""

import json
from html.parser import HTMLParser

import numpy as np

from segalias_jax.scoring.cause_counts import CAUSES, OBJECT_ROWS, REACH, SIZES
from segalias_jax.scoring.reports.views.compare_page import Compared, compare_page
from segalias_jax.scoring.reports.views.embedded import Panels

COLORS = [(86, 180, 233), (230, 97, 0), (204, 121, 167), (0, 114, 178), (0, 158, 115)]
COLORS += [(240, 228, 66), (255, 255, 255)]
PALETTE = np.asarray([(128, 128, 128), (128, 0, 0), (0, 120, 60), (60, 40, 222)], np.uint8)
CLASSES = ("sky", "a|b <i>&\"'", "weed", "r\u00f6ad")


def made_report(count=40, *, classes=CLASSES, seed=0, **changes):
    """A report whose numbers agree with each other: image i has i + 1 wrong pixels in all."""
    rng = np.random.default_rng(seed)
    number = len(classes)
    images, by_class = [], np.zeros((len(CAUSES), 2, number), np.int64)
    for i in range(count):
        pixels = rng.multinomial(i + 1, [0.05, 0.6, 0.1, 0.05, 0.05, 0.15, 0.0])
        for k, n in enumerate(pixels):
            by_class[k, 0, rng.integers(number)] += n
            by_class[k, 1, 2] += n
        miou = None if i == 3 else 1 - i / count
        images.append(
            {
                "name": f"image_{i:04d}",
                "height": 60 + 20 * (i % 2),
                "width": 80,
                "scores": {"pixels": 4800, "mIoU": miou, "aAcc": 0.9, "FErr": 0.1, "mDice": 0.5},
                "causes": dict(zip(CAUSES, map(int, pixels), strict=True)),
                "classes": [0, 1 + i % (number - 1)],
            }
        )
    totals = {name: int(by_class[k, 0].sum()) for k, name in enumerate(CAUSES)}
    scores = {"IoU": 0.5, "Acc": 0.6, "class_DErr": None, "BoundaryF_3px": 0.25}
    return {
        "schema": 2,
        "library": "segalias_jax 0.0",
        "command": "segalias score p l --out <r>",
        "date": "2026-11-28T17:00:00+00:00",
        "title": "Scores of <p> & co",
        "classes": [
            {"name": name, "class_pixels": 100 * (i + 1)}
            | {k: v and v / (i + 1) for k, v in scores.items()}
            for i, name in enumerate(classes)
        ],
        "settings": {"predictions": "<p>"},
        "scoring": {"rule": "x < y"},
        "summary": {"mIoU": 0.5, "mAcc": 0.6, "aAcc": 0.9, "DErr": 0.1, "pixels": 4800},
        "causes": {
            "names": list(CAUSES),
            "pixels": totals,
            "wrong_pixels": sum(totals.values()),
            "counted_pixels": 4800 * count,
            "delta_mIoU": {name: n / 10000 for name, n in totals.items()},
            "by_class": {
                name: {"true": by_class[k, 0].tolist(), "predicted": by_class[k, 1].tolist()}
                for k, name in enumerate(CAUSES)
            },
            "objects": {row: [[3, 2, 1]] * number for row in OBJECT_ROWS},
            "sizes": list(SIZES),
            "displacement": [[1] * (2 * REACH + 1)] * number,
        },
        "images": images,
        "left_out": [["<gone>.png", "no label"]],
        "confusion": [[100, 30, 0, 1, 0], [0, 100, 0, 0, 2], [0, 0, 100, 0, 0], [9, 0, 0, 5, 0]],
    } | changes


def made_panels(report, *, image=True):
    """Gives panels of a report's images: known colors at known places."""

    def panels(index):
        one = report["images"][index]
        shape = one["height"], one["width"]
        truth, prediction, causes = (np.zeros(shape, np.uint8) for _ in range(3))
        truth[:, 40:], prediction[:, 44:], causes[:, 40:44] = 1, 1, 6
        truth[:10], causes[:10] = 255, 255
        prediction[30:40, 10:20], causes[30:40, 10:20] = 2, 2
        photo = np.full((*shape, 3), (200, 120, 40), np.uint8)
        return Panels(photo if image else None, truth, prediction, causes, "<remark>")

    return panels


def made_rows(names, key, values):
    """Rows of a comparison: of each value one for each model, the later the better."""
    rows = []
    for value in values:
        for i, model in enumerate(names):
            row = {key: value, "model": model, "value": 0.5 + 0.1 * i}
            row |= {"low": row["value"] - 0.05, "high": row["value"] + 0.05}
            if i:
                row |= {"difference": 0.1 * i, "difference_low": 0.05, "difference_high": 0.2}
                row |= {"p": 0.001, "p_corrected": 0.002, "clear": i > 1}
            rows.append(row)
    return rows


VOID = {"meta", "img", "br", "input"}


class Parsed(HTMLParser):
    """Elements with attributes, texts by element, and the data of the script."""

    def __init__(self, html):
        super().__init__()
        self.stack, self.tags, self.text, self.data = [], [], [], None
        self.feed(html)
        assert not self.stack

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop()[0] == tag

    def handle_data(self, data):
        tag, attributes = self.stack[-1] if self.stack else ("", {})
        if attributes.get("id") == "data":
            self.data = json.loads(data)
        elif tag not in ("style", "script"):
            self.text.append(data)

    def ids(self):
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]


NAMES = ("first <1>", "second", "third", "fourth")


def made_comparison(names=NAMES, count=30, **changes):
    reports = [made_report(count, seed=k) for k in range(len(names))]
    for k, report in enumerate(reports):
        for i, image in enumerate(report["images"]):
            if image["scores"]["mIoU"] is not None:
                image["scores"]["mIoU"] = min(1.0, image["scores"]["mIoU"] * (1 - k * (i % 7) / 40))
    ranking = made_rows(names, "score", ["mIoU"])[::-1]
    ranking = [row | {"rank": k + 1} for k, row in enumerate(ranking)]
    best = ranking[0]
    ranking[0] = {k: best[k] for k in ("model", "value", "low", "high", "rank")}
    ranking[-1] |= {"difference": -0.3, "difference_low": -0.4, "difference_high": -0.2}
    ranking[-1] |= {"p_corrected": 0.001, "clear": True}
    content = {
        "title": "models <x>",
        "names": names,
        "reports": reports,
        "images": [image["name"] for image in reports[0]["images"]],
        "scores": made_rows(names, "score", ["mIoU", "aAcc"]),
        "ranking": ranking,
        "classes": made_rows(names, "class", CLASSES),
        "causes": made_rows(names, "cause", CAUSES),
        "rules": [("a", "b < c")],
    }
    return Compared(**(content | changes))


def compared_page(compared, **options):
    sources = [made_panels(report) for report in compared.reports]
    places = {image["name"]: i for i, image in enumerate(compared.reports[0]["images"])}
    return compare_page(
        compared,
        lambda model, name: sources[model](places[name]),
        palette=PALETTE,
        cause_colors=COLORS,
        **options,
    )
