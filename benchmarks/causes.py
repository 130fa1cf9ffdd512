"""Do the error types name the error that was made?

    SEGALIAS_DATA=DIR python benchmarks/causes.py [--images N] [--sets NAMES ...] [--seed S]

Puts one known error into real labels, at many strengths, and asks `scoring.error_types` for its
causes. A case counts as named where the largest cause is the one that was put in; the second
number is the fraction of wrong pixels that have it, the median over cases. The table goes to
`results/causes.json` and between the marks of `docs/error_types.md`. Nothing was tuned on the sets
that are marked as held out.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from segalias_jax.files import write_bytes, write_text
from segalias_jax.scoring import CauseSettings, cause_overlay, error_types
from segalias_jax.scoring.cause_counts import CAUSES

RESULTS = Path(__file__).parent / "results" / "causes.json"
PAGE = Path(__file__).parents[1] / "docs" / "error_types.md"
PICTURE = PAGE.parent / "pictures" / "error_types.png"
MARKS = "<!-- measured -->", "<!-- end of measured -->"
VOID = 255
EIGHT = 8
TUNED = ("camvid", "crackforest", "dsb2018", "kvasir_seg")
GROUND = (
    "crackforest",
    "dsb2018",
    "kvasir_seg",
    "membrane",
    "voc",
    "coco",
)  # class 0 is background
HELD_OUT = ("membrane", "voc", "ade20k", "coco")
Map = np.ndarray
Inject = Callable[[Map, int, int | None, np.random.Generator], Map | None]


# Labels: uint8 maps of class ids, 255 where ignored, and the number of classes.


def listed(folder: Path, images: int, split: str = "test") -> list[str]:
    """Names of a split, spread over it."""
    names = (folder / f"{split}.txt").read_text().split()
    return [names[i] for i in np.linspace(0, len(names) - 1, images).astype(int)]


def labels_of(name: str, root: Path, images: int) -> tuple[list[Map], int]:
    """Some labels of a set, and its number of classes."""
    if name == "coco":
        return coco_labels(root / "coco_permissive", images), 81
    if name in ("voc", "ade20k"):
        folder = {"voc": "voc_deeplabv3plus", "ade20k": "ade20k_csail"}[name]
        found = [read(p) for p in sorted((root / "pred_gt_pairs" / folder / "gt").glob("*.png"))]
        if name == "ade20k":  # 0 is ignored, k + 1 is class k
            return [(one - np.uint8(1)).astype(np.uint8) for one in found], 150
        return found, 21
    folder = root / name
    if name == "membrane":
        return [read(p) for p in sorted((folder / "labels" / "train").glob("*.png"))[:images]], 2
    if name == "dsb2018":
        paths = [folder / "instances" / f"{one}.png" for one in listed(folder, images)]
        return [(read(path) > 0).astype(np.uint8) for path in paths], 2
    names = listed(folder, images)
    where = (
        folder / "labels" / "test" if (folder / "labels" / "test").is_dir() else folder / "labels"
    )
    found = [read(where / f"{Path(one).stem}.png") for one in names]
    if name == "camvid":
        return [np.where(one == 11, VOID, one).astype(np.uint8) for one in found], 11
    return found, 2


def read(path: Path) -> Map:
    """One map."""
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert found is not None, path
    return found if found.ndim == 2 else found[..., 0]


def coco_labels(folder: Path, images: int) -> list[Map]:
    """Semantic maps of COCO's objects: 0 where there is none, 255 where there is a crowd."""
    content = json.loads((folder / "instances.json").read_text())
    ids = {one["id"]: k + 1 for k, one in enumerate(content["categories"])}
    found = []
    for image in content["images"][:images]:
        label = np.zeros((image["height"], image["width"]), np.uint8)
        for one in content["annotations"]:
            if one["image_id"] != image["id"]:
                continue
            if one["iscrowd"]:
                runs = one["segmentation"]["counts"]
                flat = np.repeat(np.arange(len(runs)) % 2, runs).astype(bool)
                label[flat.reshape(label.shape[::-1]).T] = VOID
                continue
            for polygon in one["segmentation"]:
                corners = np.rint(np.reshape(polygon, (-1, 2))).astype(np.int32)
                cv2.fillPoly(label, [corners], ids[one["category_id"]])
        if (label > 0).any():
            found.append(label)
    return found


# Pieces that the defects are made of.


def filled(label: Map, unknown: Map) -> Map:
    """Replaces unknown pixels by the nearest known one."""
    if not unknown.any() or unknown.all():
        return label
    _, nearest = cv2.distanceTransformWithLabels(
        unknown.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.asarray(nearest, np.int64)
    table = np.zeros(nearest.max() + 1, label.dtype)
    table[nearest[~unknown]] = label[~unknown]
    return table[nearest]


def objects(label: Map, ground: int | None, least: int = 1) -> list[Map]:
    """Masks of the connected objects; a background is none."""
    found = []
    for c in present(label):
        if c == 0 and ground == 0:
            continue
        count, number, stats, _ = cv2.connectedComponentsWithStats(
            (label == c).astype(np.uint8), connectivity=EIGHT
        )
        found += [number == k for k in range(1, count) if stats[k, cv2.CC_STAT_AREA] >= least]
    return found


def present(label: Map) -> list[int]:
    """Classes that a label has."""
    return [int(c) for c in np.unique(label) if c != VOID]


def around(label: Map, mask: Map) -> int | None:
    """The most frequent class in a ring around an object."""
    ring = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & ~mask
    ids = label[ring & (label != VOID)]
    return int(np.bincount(ids).argmax()) if len(ids) else None


def other_class(
    label: Map, c: int, classes: int, ground: int | None, rng: np.random.Generator
) -> int:
    """Any class but c: one that the label has, or any at all."""
    choices = [k for k in present(label) if k not in (c, ground)]
    if not choices or rng.random() < 0.3:
        choices = [k for k in range(classes) if k not in (c, ground)]
    return int(rng.choice(choices))


def some(items: list, rng: np.random.Generator, most: int) -> list:
    """Up to `most` of them, at random."""
    order = rng.permutation(len(items))[: int(rng.integers(1, most + 1))]
    return [items[i] for i in order]


# Defects: (label without void, classes, background, generator) -> prediction, or None.


def resampled(
    label: Map, classes: int, ground: int | None, rng, *, factor: int, bilinear: bool, area: bool
) -> Map:
    """Down and up again; of bilinear ones the class of the largest weight."""
    height, width = label.shape
    small = max(1, width // factor), max(1, height // factor)
    if not bilinear:
        down = cv2.resize(label, small, interpolation=cv2.INTER_NEAREST)
        return cv2.resize(down, (width, height), interpolation=cv2.INTER_NEAREST)
    best, out = np.full(label.shape, -1, np.float32), label.copy()
    way = cv2.INTER_AREA if area else cv2.INTER_LINEAR
    for c in present(label):
        down = cv2.resize((label == c).astype(np.float32), small, interpolation=way)
        up = cv2.resize(down, (width, height), interpolation=cv2.INTER_LINEAR)
        out[up > best] = c
        best = np.maximum(best, up)
    return out


def shifted(label: Map, classes: int, ground: int | None, rng, *, pixels: int) -> Map:
    """Moved sideways, up, down or both."""
    down, right = [(0, 1), (1, 0), (1, 1), (-1, 0), (0, -1), (-1, 1)][rng.integers(6)]
    padded = np.pad(label, pixels, mode="edge")
    top, left = pixels + down * pixels, pixels + right * pixels
    return padded[top : top + label.shape[0], left : left + label.shape[1]]


def dropped_class(label: Map, classes: int, ground: int | None, rng, *, fill: str) -> Map | None:
    """A class that is nowhere predicted."""
    choices = [c for c in present(label) if c or not ground == 0]
    choices = [c for c in choices if (label == c).mean() < 0.3]
    if not choices:
        return None
    c = int(rng.choice(choices))
    mask = label == c
    if fill == "nearest":
        return filled(label, mask)
    out = label.copy()
    for one in objects(np.where(mask, label, VOID).astype(np.uint8), ground):
        behind = 0 if ground == 0 else around(label, one)
        if behind is not None:
            out[one] = behind
    return out


def dropped_objects(label: Map, classes: int, ground: int | None, rng, *, most: int) -> Map | None:
    """Single objects that are predicted as what surrounds them."""
    found, out = objects(label, ground, 20), label.copy()
    found = [one for one in found if one.mean() < 0.2]
    for one in some(found, rng, most) if found else []:
        behind = 0 if ground == 0 else around(label, one)
        if behind is not None:
            out[one] = behind
    return out


def blob(shape: tuple[int, int], radius: float, rng: np.random.Generator) -> Map:
    """An ellipse, a box or a lumpy polygon, somewhere."""
    mask = np.zeros(shape, np.uint8)
    center = int(rng.integers(shape[1])), int(rng.integers(shape[0]))
    kind = rng.integers(3)
    axes = np.maximum(1, radius * rng.uniform(0.6, 1.5, 2)).astype(int)
    if kind == 0:
        cv2.ellipse(mask, center, axes.tolist(), float(rng.uniform(0, 180)), 0, 360, 1, -1)
    elif kind == 1:
        cv2.rectangle(
            mask, (np.array(center) - axes).tolist(), (np.array(center) + axes).tolist(), 1, -1
        )
    else:
        angle = np.sort(rng.uniform(0, 2 * np.pi, 9))
        spoke = radius * rng.uniform(0.5, 1.4, 9)
        corners = np.array(center) + np.stack([spoke * np.cos(angle), spoke * np.sin(angle)], 1)
        cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
    return mask.astype(bool)


def blobs(
    label: Map, classes: int, ground: int | None, rng, *, radius: tuple[float, float], apart: int
) -> Map | None:
    """Objects where there are none, so many pixels apart from those of their class."""
    out = label.copy()
    for _ in range(int(rng.integers(1, 6))):
        for _ in range(50):
            mask = blob(label.shape, rng.uniform(*radius), rng)
            inside = label[mask]
            if not len(inside):
                continue
            most = int(np.bincount(inside).argmax())
            c = 1 if classes == 2 else other_class(label, most, classes, ground, rng)
            near = mask
            if apart:
                kernel = np.ones((2 * apart + 1, 2 * apart + 1), np.uint8)
                near = cv2.dilate(mask.astype(np.uint8), kernel).astype(bool)
            if (label[near] == c).mean() <= (0 if apart else 0.2):
                out[mask] = c
                break
    return out if (out != label).any() else None


def salt(
    label: Map, classes: int, ground: int | None, rng, *, fraction: float, size: int
) -> Map | None:
    """Specks of a wrong class: of two classes only on the background."""
    spots = rng.random((-(-label.shape[0] // size), -(-label.shape[1] // size))) < fraction
    spots = spots.repeat(size, 0).repeat(size, 1)[: label.shape[0], : label.shape[1]]
    if classes == 2:
        return np.where(spots & (label == 0), 1, label).astype(np.uint8)
    ids = rng.integers(0, classes, (-(-label.shape[0] // size), -(-label.shape[1] // size)))
    ids = ids.repeat(size, 0).repeat(size, 1)[: label.shape[0], : label.shape[1]]
    return np.where(spots, ids, label).astype(np.uint8)


def relabelled(label: Map, classes: int, ground: int | None, rng, *, fraction: float) -> Map | None:
    """Objects with perfect borders and the wrong class."""
    if classes == 2:
        return None
    out, found = label.copy(), [one for one in objects(label, ground, 20) if one.mean() < 0.3]
    if not found:
        return None
    for one in some(found, rng, max(1, round(fraction * len(found)))):
        out[one] = other_class(label, int(label[one][0]), classes, ground, rng)
    return out


def merged(
    label: Map, classes: int, ground: int | None, rng, *, width: int, gap: int
) -> Map | None:
    """Bridges between two objects of one class."""
    found, out, bridges = objects(label, ground, 60), label.copy(), 0
    for i in rng.permutation(len(found))[:40]:
        c = int(label[found[i]][0])
        distance = cv2.distanceTransform((~found[i]).astype(np.uint8), cv2.DIST_L2, 5)
        near = [
            (distance[two].min(), k) for k, two in enumerate(found) if k != i and label[two][0] == c
        ]
        near = [(d, k) for d, k in near if 2.5 <= d <= gap]
        if not near:
            continue
        two = found[min(near)[1]]
        y, x = np.argwhere(two & (distance <= distance[two].min()))[0]
        own = np.argwhere(found[i])
        v, u = own[np.abs(own - (y, x)).astype(float).__pow__(2).sum(1).argmin()]
        line = np.zeros(label.shape, np.uint8)
        cv2.line(line, (int(u), int(v)), (int(x), int(y)), 1, width)
        out[line.astype(bool)] = c
        bridges += 1
        if bridges >= 3:
            break
    return out if bridges else None


def band(shape: tuple[int, int], center: np.ndarray, angle: float, width: int) -> Map:
    """A straight line through a point, from edge to edge."""
    line = np.zeros(shape, np.uint8)
    reach = np.array([np.cos(angle), np.sin(angle)]) * sum(shape)
    begin, end = (np.rint(center + sign * reach).astype(int).tolist() for sign in (-1, 1))
    cv2.line(line, begin, end, 1, width)
    return line.astype(bool)


def split(label: Map, classes: int, ground: int | None, rng, *, width: int) -> Map | None:
    """Cuts through objects, filled with what surrounds them."""
    found = [one for one in objects(label, ground, 60) if one.mean() < 0.3]
    out, cuts = label.copy(), 0
    for i in rng.permutation(len(found))[:20]:
        one = found[i]
        points = np.argwhere(one)[:, ::-1]
        center = points[rng.integers(len(points))]
        # Of some lines the one that crosses the least: others would run along a crack.
        lines = [
            band(label.shape, center, angle, width) & one for angle in rng.uniform(0, np.pi, 5)
        ]
        cut = min(lines, key=np.count_nonzero)
        count, _, stats, _ = cv2.connectedComponentsWithStats(
            (one & ~cut).astype(np.uint8), connectivity=EIGHT
        )
        parts = np.sort(stats[1:count, cv2.CC_STAT_AREA])[::-1]
        if count < 3 or parts[1] < 0.15 * len(points) or cut.sum() > 0.4 * len(points):
            continue
        behind = filled(label, one)
        out[cut] = behind[cut]
        cuts += 1
        if cuts >= 3:
            break
    return out if cuts else None


def grown(
    label: Map, classes: int, ground: int | None, rng, *, pixels: int, sign: int
) -> Map | None:
    """Objects of one class (of two classes: the foreground) that are too large or too small."""
    choices = [c for c in present(label) if c or not ground == 0]
    if not choices:
        return None
    c = int(rng.choice(choices))
    size = 2 * pixels + 1
    kernel = cv2.getStructuringElement(
        [cv2.MORPH_RECT, cv2.MORPH_ELLIPSE][rng.integers(2)], (size, size)
    )
    mask = (label == c).astype(np.uint8)
    if sign > 0:
        out = label.copy()
        out[cv2.dilate(mask, kernel).astype(bool)] = c
        return out
    eroded = cv2.erode(mask, kernel).astype(bool)
    if not eroded.any():
        return None
    gone = (label == c) & ~eroded
    behind = filled(label, label == c)
    return np.where(gone, behind, label).astype(np.uint8)


def holes(label: Map, classes: int, ground: int | None, rng, *, fraction: float) -> Map | None:
    """Holes inside of objects, filled with what surrounds the object."""
    found = [one for one in objects(label, ground, 150) if one.mean() < 0.4]
    out, made = label.copy(), 0
    for i in rng.permutation(len(found)):
        one = found[i]
        behind = 0 if ground == 0 else around(label, one)
        depth = cv2.distanceTransform(np.pad(one.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
        radius = min(depth.max() - 2, np.sqrt(fraction * one.sum() / np.pi))
        if radius < 1.5 or behind is None:
            continue
        places = np.argwhere(depth >= radius + 2)
        y, x = places[rng.integers(len(places))]
        axes = np.maximum(1, radius * rng.uniform(0.6, 1, 2)).astype(int)
        mask = np.zeros(label.shape, np.uint8)
        cv2.ellipse(
            mask, (int(x), int(y)), axes.tolist(), float(rng.uniform(0, 180)), 0, 360, 1, -1
        )
        out[mask.astype(bool) & one] = behind
        made += 1
        if made >= 4:
            break
    return out if made else None


def defects() -> Iterator[tuple[str, str, str, Inject]]:
    """Name, strength, the cause that is to be named, and the function."""
    bind = functools.partial
    for factor in (4, 8):
        yield (
            f"nearest x{factor}",
            "",
            "displacement",
            bind(resampled, factor=factor, bilinear=False, area=False),
        )
        for area in (False, True):
            yield (
                f"{'area and ' if area else ''}bilinear x{factor}",
                "",
                "displacement",
                bind(resampled, factor=factor, bilinear=True, area=area),
            )
    for pixels in (1, 2, 4):
        yield f"shift by {pixels}", "", "displacement", bind(shifted, pixels=pixels)
    for fill in ("nearest", "surrounding"):
        yield "dropped class", fill, "missed object", bind(dropped_class, fill=fill)
    for most in (1, 5):
        yield "dropped objects", f"up to {most}", "missed object", bind(dropped_objects, most=most)
    for radius in ((2, 6), (6, 15), (15, 40)):
        yield "blobs", f"radius {radius}", "false object", bind(blobs, radius=radius, apart=3)
        yield (
            "blobs anywhere",
            f"radius {radius}",
            "false object",
            bind(blobs, radius=radius, apart=0),
        )
    for fraction, size in ((0.002, 1), (0.02, 1), (0.005, 3)):
        yield (
            "salt",
            f"{fraction} of {size}",
            "false object",
            bind(salt, fraction=fraction, size=size),
        )
    for fraction in (0.1, 0.3):
        yield (
            "relabelled objects",
            f"{fraction}",
            "class confusion",
            bind(relabelled, fraction=fraction),
        )
    for width, gap in ((1, 12), (3, 12), (5, 30), (9, 30)):
        yield "merges", f"width {width}", "merge", bind(merged, width=width, gap=gap)
    for width in (1, 3, 5, 9):
        yield "splits", f"width {width}", "split", bind(split, width=width)
    for pixels in (1, 2, 4):
        yield "dilation", f"by {pixels}", "displacement", bind(grown, pixels=pixels, sign=1)
        yield "erosion", f"by {pixels}", "displacement", bind(grown, pixels=pixels, sign=-1)
    for fraction in (0.03, 0.1, 0.3):
        yield "holes", f"{fraction}", "interior hole", bind(holes, fraction=fraction)


def cases(name: str, root: Path, images: int, seed: int) -> Iterator[dict]:
    """Every defect on every label of a set."""
    labels, classes = labels_of(name, root, images)
    for number, label in enumerate(labels):
        clean = filled(label, label == VOID)
        for k, (defect, strength, cause, inject) in enumerate(defects()):
            rng = np.random.default_rng([seed, number, k])
            prediction = inject(clean, classes, 0 if name in GROUND else None, rng)
            if prediction is None:
                continue
            _, counts = error_types(prediction, label, num_classes=classes)
            wrong = sum(counts.values())
            if not wrong:
                continue
            yield {
                "set": name,
                "image": number,
                "defect": defect,
                "strength": strength,
                "cause": cause,
                "largest": max(counts, key=lambda one: counts[one]),
                "share": round(counts[cause] / wrong, 4),
                "counts": [counts[one] for one in CAUSES],
            }


def table(found: list[dict], sets: tuple[str, ...]) -> str:
    """Markdown: by defect, the fraction of cases that are named and the median share, by set."""
    columns = ["all", *sets]
    lines = ["| defect | cause | " + " | ".join(columns) + " |", "|" + "---|" * (len(columns) + 2)]
    keys = list(dict.fromkeys((case["defect"], case["cause"]) for case in found))
    for defect, cause in [*keys, ("all", "")]:
        cells = []
        for name in columns:
            own = [c for c in found if name in ("all", c["set"]) and defect in ("all", c["defect"])]
            named = sum(case["largest"] == case["cause"] for case in own)
            share = statistics.median(case["share"] for case in own) if own else 0
            cells.append(f"{named}/{len(own)}, {100 * share:.0f} %" if own else "")
        lines.append(f"| {defect} | {cause} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def scenes() -> Iterator[tuple[Map, Map]]:
    """A small truth and prediction for each cause, in the order of `CAUSES`."""
    y, x = np.indices((96, 96))

    def discs(*parts: tuple[int, int, int, int]) -> Map:
        ids = np.zeros(y.shape, np.uint8)
        for v, u, radius, k in parts:
            ids[(y - v) ** 2 + (x - u) ** 2 <= radius**2] = k
        return ids

    one, two = (48, 28, 16, 1), (48, 70, 14, 1)
    bridge = np.where((abs(y - 48) < 4) & (x > 28) & (x < 70), 1, 0).astype(np.uint8)
    big = (48, 48, 26, 1)
    yield discs(one, two), discs(one)
    yield discs(one), discs(one, two)
    yield discs(one, two), discs(one, (48, 70, 14, 2))
    yield discs(one, two), discs(one, two) | bridge
    yield discs(big), np.where(abs(x - 48) < 4, 0, discs(big)).astype(np.uint8)
    yield discs(big), discs((51, 53, 27, 1))
    yield discs(big), np.where(discs((48, 48, 10, 1)), 0, discs(big)).astype(np.uint8)


def draw() -> None:
    """Truth, prediction and causes of the scenes, one below the other."""
    palette = np.asarray([[40, 44, 52], [150, 190, 220], [220, 170, 110]], np.uint8)
    columns = []
    for label, prediction in scenes():
        gray = np.repeat((60 + 120 * (label > 0)).astype(np.uint8)[..., None], 3, -1)
        causes = cause_overlay(
            gray, label, prediction, num_classes=3, settings=CauseSettings(background=0)
        )
        parts = [palette[label], palette[prediction], causes]
        columns.append(
            np.concatenate(
                [np.pad(p, ((4, 4), (4, 4), (0, 0)), constant_values=255) for p in parts]
            )
        )
    write_png(PICTURE, np.concatenate(columns, 1))


def write_png(path: Path, image: np.ndarray) -> None:
    """Writes an RGB image."""
    done, data = cv2.imencode(".png", image[..., ::-1])
    assert done
    write_bytes(path, data.tobytes())


def main() -> None:
    """Measures, and writes results, tables and the image of the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=12, help="labels of each set")
    parser.add_argument("--sets", nargs="*", default=[*TUNED, *HELD_OUT], help="only print these")
    parser.add_argument("--seed", type=int, default=0, help="of the defects")
    flags = parser.parse_args()
    root = Path(os.environ["SEGALIAS_DATA"])
    found = [case for name in flags.sets for case in cases(name, root, flags.images, flags.seed)]
    parts = []
    for title, sets in (("Sets to develop on", TUNED), ("Sets held out", HELD_OUT)):
        own = [case for case in found if case["set"] in sets]
        if own:
            parts.append(f"**{title}**\n\n{table(own, tuple(n for n in sets if n in flags.sets))}")
    print("\n\n".join(parts))
    if set(flags.sets) != {*TUNED, *HELD_OUT}:
        return
    content = {"images": flags.images, "seed": flags.seed, "causes": CAUSES, "cases": found}
    write_text(RESULTS, json.dumps(content).replace("}, {", "},\n{") + "\n")
    draw()
    page = PAGE.read_text()
    before, rest = page.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    write_text(PAGE, before + "\n\n".join([MARKS[0], *parts, MARKS[1]]) + after)
    print(f"written to {RESULTS}, {PICTURE} and {PAGE}")


if __name__ == "__main__":
    main()
