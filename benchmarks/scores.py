"""How fast are folders of predictions scored, and in how much memory?

    python benchmarks/scores.py [--pairs N] [--repeats N]

Drawn street scenes of Cityscapes' size, classes and fraction of boundary pixels, and predictions of
them with displaced boundaries and blobs of other classes. Measured with two threads: decoded maps
against one pass for each score in NumPy and OpenCV, with real-valued histograms as in the
published evaluation, and with integer counts, which that does not have; folders of PNGs, as
several programs write them, against decoding the same files with OpenCV; and the peak memory of
scoring more and more pairs. With isal installed (the extra `fast`), our decoder uses it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from common import medians, save
from PIL import Image

from segalias_jax.data import maps
from segalias_jax.files import map_ahead
from segalias_jax.scoring import CountSettings, count_pair, score_folders

SIZE, CLASSES, THREADS, IGNORED = (1024, 2048), 19, 2, 255
KINDS, SCENES = ("OpenCV", "Pillow, palette", "Pillow, gray"), 40


def curve(rng: np.random.Generator, width: int, height: float) -> np.ndarray:
    """A line like a skyline: waves of five sizes."""
    line = np.zeros(width)
    for octave in range(5):
        knots = rng.normal(size=(1, 2 + 3 * 2**octave)).astype(np.float32) * height / 2**octave
        line += cv2.resize(knots, (width, 1), interpolation=cv2.INTER_CUBIC)[0]
    return line


def street(rng: np.random.Generator) -> np.ndarray:
    """A label map: layers from sky to road, then poles, signs, people and cars, the own car."""
    height, width = SIZE
    rows, label = np.arange(height)[:, None], np.full(SIZE, 10, np.uint8)
    layers = ((2, 0.25, 0.08), (8, 0.34, 0.1), (1, 0.45, 0.02), (9, 0.5, 0.02))
    for ids, level, wave in layers:
        label[rows >= height * level + curve(rng, width, height * wave)] = ids
    middle, horizon = width * rng.uniform(0.4, 0.6), 0.45 * height
    road = [[middle - 120, horizon], [middle + 120, horizon], [2250, height], [-200, height]]
    cv2.fillPoly(label, [np.asarray(road, np.int32)], 0)
    sizes = {5: (4, 160), 6: (20, 20), 7: (20, 20), 11: (25, 80), 12: (25, 80), 13: (110, 60)}
    kinds = [13, 13, 13, 11, 11, 12, 5, 5, 7, 6, 3, 4, 18, 17, 14, 15, 16, IGNORED, IGNORED]
    for _ in range(rng.integers(25, 45)):
        kind, near = int(rng.choice(kinds)), 0.1 + 0.9 * rng.uniform() ** 2
        angle = np.linspace(0, 2 * np.pi, 4 if kind == 5 else 24, endpoint=False) + np.pi / 4
        radius = 1 + (kind != 5) * 0.22 * rng.normal(size=len(angle))
        outline = np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None]
        outline *= np.asarray(sizes.get(kind, (80, 45))) * near + 4
        outline += [rng.uniform(0, width), height * (0.42 + 0.28 * near * rng.uniform())]
        cv2.fillPoly(label, [outline.astype(np.int32)], kind)
    label[rows >= 0.94 * height + curve(rng, width, 0.01 * height)] = IGNORED
    return label


def predicted(rng: np.random.Generator, label: np.ndarray) -> np.ndarray:
    """The label with boundaries moved by a few pixels, nothing ignored, and wrong blobs."""
    height, width = SIZE
    grid = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    for axis in grid:
        knots = 2.5 * rng.normal(size=(height // 24, width // 24)).astype(np.float32)
        axis += cv2.resize(knots, (width, height), interpolation=cv2.INTER_CUBIC)
    result = cv2.remap(label, *grid, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    result[result == IGNORED] = 0
    for _ in range(12):
        points = rng.uniform((0, 0.3 * height), (width, height)) + rng.normal(
            size=(20, 2)
        ) * rng.uniform(5, 40)
        hull = cv2.convexHull(points.astype(np.int32))
        cv2.fillPoly(result, [hull], int(rng.integers(CLASSES)))
    return result


def pair(index: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(index)
    label = street(rng)
    return predicted(rng, label), label


def counts(ids: np.ndarray) -> np.ndarray:
    return np.bincount(ids, minlength=CLASSES)


def histogram(ids: np.ndarray) -> np.ndarray:
    """What the published evaluation counts with, `torch.histc`, in NumPy."""
    return np.histogram(ids, bins=CLASSES, range=(0, CLASSES - 1))[0]


def areas(prediction: np.ndarray, label: np.ndarray, count: Callable) -> list[np.ndarray]:
    """Right, true and predicted pixels of each class."""
    return [count(part) for part in (prediction[prediction == label], label, prediction)]


def plain(prediction: np.ndarray, label: np.ndarray, count: Callable) -> list[np.ndarray]:
    """What mIoU needs."""
    counted = label != IGNORED
    return areas(prediction[counted], label[counted], count)


def five_passes(
    prediction: np.ndarray, label: np.ndarray, count: Callable
) -> list[list[np.ndarray]]:
    """The published scores by five passes, each with boundaries and a choice of pixels."""
    square = np.ones((15, 15), np.uint8)

    def band(ids: np.ndarray) -> np.ndarray:
        edges = (cv2.Laplacian(ids, cv2.CV_16S, ksize=1) != 0).astype(np.uint8)
        return cv2.dilate(edges, square) > 0

    results = [plain(prediction, label, count)]
    for choice in (
        lambda: band(prediction) | band(label),
        lambda: band(prediction),
        lambda: band(label),
        lambda: band(prediction) & band(label),
    ):
        counted = choice() & (label != IGNORED)
        results.append(areas(prediction[counted], label[counted], count))
    return results


def in_threads(work: Callable, items: Sequence) -> None:
    for _ in map_ahead(work, items, threads=THREADS):
        pass


def decoded_rows(repeats: int) -> list[dict]:
    """Decoded maps: ours against a pass for each score."""
    pairs = [pair(index) for index in range(8)]
    published = CountSettings(CLASSES, boundary_iou=0, tolerances=())
    everything = CountSettings(CLASSES)
    works = {
        "published scores, ours": lambda p, y: count_pair(p, y, published),
        "all scores, ours": lambda p, y: count_pair(p, y, everything),
        "published scores, five passes, histograms": lambda p, y: five_passes(p, y, histogram),
        "published scores, five passes, integer counts": lambda p, y: five_passes(p, y, counts),
        "mIoU alone, histograms": lambda p, y: plain(p, y, histogram),
        "mIoU alone, integer counts": lambda p, y: plain(p, y, counts),
    }
    calls = {
        name: lambda work=work: in_threads(lambda maps: work(maps[0], maps[1]), pairs)
        for name, work in works.items()
    }
    times = medians(calls, repeats)
    ours = times["published scores, ours"]
    return [
        {
            "what": f"decoded, {name}",
            "ms a pair": round(t / len(pairs), 2),
            "times the published scores, ours": round(t / ours, 2),
        }
        for name, t in times.items()
    ]


def write(path: Path, ids: np.ndarray, kind: str) -> None:
    if kind == "OpenCV":
        cv2.imwrite(str(path), ids)
        return
    image = Image.fromarray(ids)
    if kind == "Pillow, palette":
        image.putpalette([value for i in range(256) for value in (i, 7 * i % 256, 255 - i)])
    image.save(path)


def write_all(root: Path, count: int) -> None:
    """Folders of every kind; each scene is stored once and has many names."""
    for index in range(min(SCENES, count)):
        for side, ids in zip(("labels", "predictions"), reversed(pair(index)), strict=True):
            for kind in KINDS:
                folder = root / kind / side
                folder.mkdir(parents=True, exist_ok=True)
                write(folder / f"{index:04d}.png", ids, kind)
                for name in range(index + SCENES, count if kind == KINDS[0] else 100, SCENES):
                    os.link(folder / f"{index:04d}.png", folder / f"{name:04d}.png")


def folder_rows(root: Path, repeats: int) -> list[dict]:
    """Folders of PNGs: scoring against decoding alone."""
    rows = []
    for kind in KINDS:
        predictions, labels = root / kind / "predictions", root / kind / "labels"
        size = len(list(predictions.iterdir()))
        files = [path for folder in (predictions, labels) for path in sorted(folder.iterdir())]

        def published(predictions=predictions, labels=labels):
            score_folders(
                predictions,
                labels,
                num_classes=CLASSES,
                threads=THREADS,
                boundary_iou=0,
                tolerances=(),
            )

        def everything(predictions=predictions, labels=labels):
            score_folders(predictions, labels, num_classes=CLASSES, threads=THREADS)

        def opencv(path):
            cv2.imread(str(path), cv2.IMREAD_UNCHANGED)

        calls = {
            "decoded by OpenCV": lambda files=files: in_threads(opencv, files),
            f"decoded by ours, {maps.inflater.__name__}": lambda files=files: in_threads(
                maps.read_map, files
            ),
            "published scores": published,
            "all scores": everything,
        }
        times = medians(calls, repeats)
        rows += [
            {
                "what": f"{size} pairs of PNG ({kind}), {name}",
                "ms a pair": round(t / size, 2),
                "share of OpenCV's decoding rate": f"{times['decoded by OpenCV'] / t:.0%}",
            }
            for name, t in times.items()
        ]
    return rows


def memory_rows(root: Path, count: int) -> list[dict]:
    """Peak memory of a process that scores some pairs, all scores."""
    program = """if True:
        import resource, sys
        from segalias_jax.scoring import score_folders
        score_folders(sys.argv[1], sys.argv[2], num_classes=19, threads=2)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """
    rows = []
    for size in sorted({min(count, n) for n in (50, 200, 500)}):
        parts = []
        for side in ("predictions", "labels"):
            parts.append(root / f"{size}" / side)
            parts[-1].mkdir(parents=True)
            for path in sorted((root / "OpenCV" / side).iterdir())[:size]:
                os.link(path, parts[-1] / path.name)
        command = [sys.executable, "-c", program, *map(str, parts)]
        peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append({"what": f"{size} pairs, all scores", "peak MB": round(peak / 1024)})
    return rows


def main() -> None:
    """Measures everything and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rows = decoded_rows(5 * options.repeats)
    with tempfile.TemporaryDirectory() as folder:
        write_all(Path(folder), options.pairs)
        rows += folder_rows(Path(folder), options.repeats)
        rows += memory_rows(Path(folder), options.pairs)
    save("scores", rows)


if __name__ == "__main__":
    main()
