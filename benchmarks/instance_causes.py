"""Do the causes of objects name what was done to each object?

    SEGALIAS_DATA=DIR python benchmarks/instance_causes.py [--split val] [--seed S]

Takes the true nuclei of dsb2018 for predictions, does one thing to each of some of them, several
things in one image, and asks `scoring.instances` for the cause of each. A case counts as named
where every object of it has the cause that was put in: both nuclei of a merge, the prediction of an
added blob, and for grown and shrunk nuclei the sign of the distance, too. Otsu's threshold with
connected components is scored beside it, as a prediction with known scores. The table goes to
`results/instance_causes.json` and between the marks of `docs/instances.md`.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from segalias_jax.data.files import read_image
from segalias_jax.data.maps import read_map
from segalias_jax.files import write_text
from segalias_jax.scoring.instances import CAUSES, InstanceScorer, Mask, Objects
from segalias_jax.scoring.instances.object_causes import object_causes
from segalias_jax.scoring.instances.objects import intersections
from segalias_jax.scoring.instances.overlaps import Overlaps
from segalias_jax.scoring.reports.tables import markdown_table

RESULTS = Path(__file__).parent / "results" / "instance_causes.json"
PAGE = Path(__file__).parents[1] / "docs" / "instances.md"
MARKS = "<!-- measured -->", "<!-- end of measured -->"
PART = 0.12  # of the nuclei of an image, to each of which one thing is done
LEAST = 40  # pixels of a nucleus that something is done to
SPECK = 10  # pixels of the smallest component that Otsu's threshold keeps


class Case(NamedTuple):
    """What was done, the predictions that stand for some true objects now, and their cause."""

    kind: str
    cause: str
    true: tuple[int, ...]
    masks: tuple[Mask, ...]
    label: int = 1


def shifted(mask: Mask, dy: int, dx: int, size: tuple[int, int]) -> Mask:
    """A mask elsewhere, cut at the border of the image."""
    moved = mask._replace(top=mask.top + dy, left=mask.left + dx)
    return Mask.of_pixels(moved.window(0, 0, *size))


def iou(one: Mask, other: Mask) -> float:
    """Intersection over union."""
    top, left = min(one.top, other.top), min(one.left, other.left)
    ends = [(m.top + m.bits.shape[0], m.left + m.bits.shape[1]) for m in (one, other)]
    frame = (top, left, max(ends)[0] - top, max(e[1] for e in ends) - left)
    a, b = one.window(*frame), other.window(*frame)
    return np.count_nonzero(a & b) / max(1, np.count_nonzero(a | b))


def resized(mask: Mask, steps: int, size: tuple[int, int]) -> Mask:
    """A mask that is some pixels larger all around, or smaller."""
    pixels = mask.window(0, 0, *size).astype(np.uint8)
    side = 2 * abs(steps) + 1
    ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return Mask.of_pixels((cv2.dilate if steps > 0 else cv2.erode)(pixels, ball) > 0)


def drop(true: Objects, i: int, rng: np.random.Generator) -> Case | None:
    """No prediction."""
    return Case("dropped", "missed", (i,), ())


def relabel(true: Objects, i: int, rng: np.random.Generator) -> Case | None:
    """The same mask, another class."""
    return Case("relabeled", "confused", (i,), (true.masks[i],), 2)


def cut(true: Objects, i: int, rng: np.random.Generator) -> Case | None:
    """Two pieces along a random line near the middle, a pixel apart."""
    mask = true.masks[i]
    y, x = np.nonzero(mask.bits)
    angle, aside = rng.uniform(0, np.pi), rng.uniform(-0.15, 0.15)
    along = np.cos(angle) * (y - y.mean()) + np.sin(angle) * (x - x.mean())
    along -= aside * np.ptp(along)
    pieces = []
    for which in (along < -0.5, along >= 0.5):
        bits = np.zeros_like(mask.bits)
        bits[y[which], x[which]] = True
        pieces.append(Mask.of_pixels(bits, top=mask.top, left=mask.left))
    if min(piece.area for piece in pieces) < 0.2 * mask.area:
        return None
    return Case("split", "split", (i,), tuple(pieces))


def shift(true: Objects, i: int, rng: np.random.Generator) -> Case | None:
    """Moved in a random direction until less than half of the union is shared."""
    angle, mask = rng.uniform(0, 2 * np.pi), true.masks[i]
    for far in range(1, max(mask.bits.shape)):
        steps = round(far * np.sin(angle)), round(far * np.cos(angle))
        moved = shifted(mask, *steps, true.shape)
        if iou(moved, mask) < 0.45:
            return Case("shifted", "displaced", (i,), (moved,))
    return None


def grow(true: Objects, i: int, rng: np.random.Generator) -> Case | None:
    """Larger all around, or smaller, until less than half of the union is shared."""
    sign, mask = (1, -1)[int(rng.integers(2))], true.masks[i]
    for steps in range(1, 60):
        other = resized(mask, sign * steps, true.shape)
        shared = iou(other, mask)
        if shared < 0.45:
            kind = "grown" if sign > 0 else "shrunk"
            return Case(kind, "displaced", (i,), (other,)) if shared > 0.12 else None
    return None


ALONE: tuple[Callable[[Objects, int, np.random.Generator], Case | None], ...]
ALONE = (drop, relabel, cut, shift, grow)


def touching(true: Objects) -> list[tuple[int, int]]:
    """Pairs of nuclei without a pixel between them."""
    cross = np.ones((3, 3), np.uint8)
    wide = []
    for mask in true.masks:
        bits = np.pad(mask.bits.astype(np.uint8), 1)
        window = Mask(mask.top - 1, mask.left - 1, cv2.dilate(bits, cross) > 0)
        wide.append(Mask.of_pixels(window.window(0, 0, *true.shape)))
    shared = intersections(Objects(true.classes, tuple(wide), size=true.shape), true)
    return [(i, j) for i, j in np.argwhere(shared).tolist() if i < j]


def merge(true: Objects, pair: tuple[int, int]) -> Case:
    """One prediction for two nuclei."""
    pixels = [true.masks[i].window(0, 0, *true.shape) for i in pair]
    return Case("merged", "merged", pair, (Mask.of_pixels(pixels[0] | pixels[1]),))


def blobs(true: Objects, count: int, rng: np.random.Generator) -> Iterator[Case]:
    """Discs where no nucleus is."""
    height, width = true.shape
    taken = np.zeros(true.shape, np.uint8)
    for mask in true.masks:
        taken |= mask.window(0, 0, height, width)
    for _ in range(50 * count):
        radius = int(rng.integers(3, 12))
        y, x = int(rng.integers(height)), int(rng.integers(width))
        disc = np.zeros(true.shape, np.uint8)
        cv2.circle(disc, (x, y), radius, 1, -1)
        if not (disc & taken).any():
            taken |= disc
            yield Case("added", "false", (), (Mask.of_pixels(disc > 0),))
            count -= 1
        if not count:
            return


def injected(true: Objects, rng: np.random.Generator) -> list[Case]:
    """Cases in one image, no two of the same nucleus."""
    large = true.pixels >= LEAST
    each = max(1, round(PART * int(large.sum())))
    free, cases = set(np.flatnonzero(large).tolist()), []
    pairs = [pair for pair in touching(true) if set(pair) <= free]
    for place in rng.permutation(len(pairs))[:each]:
        if set(pairs[place]) <= free:
            cases.append(merge(true, pairs[place]))
            free -= set(pairs[place])
    order = rng.permutation(sorted(free)).tolist()
    for k, do in enumerate(ALONE):
        for i in order[k * each : (k + 1) * each]:
            if (case := do(true, i, rng)) is not None:
                cases.append(case)
    return [*cases, *blobs(true, each, rng)]


def named(true: Objects, cases: list[Case]) -> Iterator[tuple[Case, str]]:
    """The cause that each case is given; of several objects, that of the first that is wrong."""
    touched = {i for case in cases for i in case.true}
    left = [i for i in range(len(true)) if i not in touched]
    masks = [true.masks[i] for i in left]
    classes = [1] * len(left)
    places = []
    for case in cases:
        places.append(len(masks))
        masks += case.masks
        classes += [case.label] * len(case.masks)
    predicted = Objects(np.asarray(classes), tuple(masks), size=true.shape)
    causes = object_causes(Overlaps.of(predicted, true))
    for case, place in zip(cases, places, strict=True):
        found = [CAUSES[causes.true[i]] for i in case.true]
        if not case.true:
            found = [CAUSES[causes.predicted[place]]]
        wrong = [one for one in found if one != case.cause]
        sign = {"grown": 1, "shrunk": -1}.get(case.kind, 0)
        if not wrong and sign and np.sign(causes.offset[case.true[0]]) != sign:
            wrong = ["displaced, other sign"]
        yield case, wrong[0] if wrong else case.cause


def components(image: np.ndarray) -> np.ndarray:
    """Instances by Otsu's threshold of the smoothed brightness: its connected components."""
    gray = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (5, 5), 0)
    _, above = cv2.threshold(gray, 0, 1, cv2.THRESH_OTSU)
    if above.mean() > 0.5:  # stained nuclei are darker than the tissue
        above = 1 - above
    _, ids, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=4)
    return np.where(np.asarray(stats)[ids, cv2.CC_STAT_AREA] < SPECK, 0, ids)


def otsu(root: Path, split: str) -> InstanceScorer:
    """Scores of Otsu's components on a split."""
    scorer = InstanceScorer(1, classes=("nucleus",), kinds=())
    for name, true in truths(root, split):
        image = read_image(root / "images" / f"{name}.png")
        scorer.update(Objects.of_map(components(image)), true, name=name)
    return scorer


def truths(root: Path, split: str) -> Iterator[tuple[str, Objects]]:
    """Names and true objects of a split."""
    for line in (root / f"{split}.txt").read_text().split():
        name = Path(line).stem
        yield name, Objects.of_map(read_map(root / "instances" / f"{name}.png"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", default="val")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    root = Path(os.environ["SEGALIAS_DATA"]) / "dsb2018"
    rng = np.random.default_rng(flags.seed)
    counts: dict[str, Counter[str]] = {}
    wanted: dict[str, str] = {}
    for _, true in truths(root, flags.split):
        for case, cause in named(true, injected(true, rng)):
            wanted[case.kind] = case.cause
            counts.setdefault(case.kind, Counter())[cause] += 1
    rows = [["what was done", "cases", "cause", "named", "also named"]]
    result = {}
    for kind in sorted(counts):
        total, right = sum(counts[kind].values()), counts[kind][wanted[kind]]
        others = [f"{k} {n}" for k, n in counts[kind].most_common() if k != wanted[kind]]
        rows.append(
            [kind, str(total), wanted[kind], f"{100 * right / total:.1f} %", ", ".join(others)]
        )
        result[kind] = {"cause": wanted[kind], "named": right / total, **counts[kind]}
    table = markdown_table(rows, names=True)
    scores = otsu(root, flags.split).compute()
    shown = [("TP/(TP+FP+FN) at IoU .5", "accuracy_50"), ("PQ", "PQ"), ("AJI", "AJI")]
    lines = [["Otsu's components", "per cent"]]
    lines += [[title, f"{100 * scores[name]:.1f}"] for title, name in shown]
    lines += [
        [f"{name} nuclei", f"{100 * scores[name] / truth:.1f}"] for name, truth in _parts(scores)
    ]
    table += "\n\n" + markdown_table(lines, names=True)
    print(table)
    content = {"split": flags.split, "seed": flags.seed, "cases": result}
    content["otsu"] = {name: float(scores[name]) for _, name in shown}
    write_text(RESULTS, json.dumps(content, indent=1) + "\n")
    if PAGE.exists():
        text = PAGE.read_text()
        head, _, rest = text.partition(MARKS[0])
        _, _, tail = rest.partition(MARKS[1])
        write_text(PAGE, f"{head}{MARKS[0]}\n\n{table}\n\n{MARKS[1]}{tail}")


def _parts(scores: dict) -> list[tuple[str, int]]:
    """Causes of true objects, each with the number of all true objects."""
    names = [name for name in CAUSES if name != "false"]
    total = sum(scores[name] for name in names)
    return [(name, total) for name in names]


if __name__ == "__main__":
    main()
