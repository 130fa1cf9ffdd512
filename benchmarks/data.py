"""Does the input pipeline keep up with decoding, and how soon is the first batch there?

    python benchmarks/data.py [--repeats N] [--threads N] [--workers N ...] [--root DIR]

Pairs of 1024x2048 PNG files are made in a temporary folder in the layout of Cityscapes, or read
from DIR, and prepared as the Cityscapes recipe says (resize by 0.5 to 2, crop of 768). In turn with
that, the same files are only read and decoded, by as many threads, and prepared with whole images
resized before the crop. "share" is the rate as a fraction of decoding's.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from common import markdown, save

from segalias_jax.data import create_source, train_batches
from segalias_jax.data.geometry import ResizedCrop
from segalias_jax.files import map_ahead

BATCH, PAIRS = 8, 16
# Compressed like files of cameras, which take longer to decode than OpenCV's default.
PNG = [cv2.IMWRITE_PNG_COMPRESSION, 6, cv2.IMWRITE_PNG_STRATEGY, 0]
RECIPE = {"source": "cityscapes", "resize": (2049, 1025), "crop": (768, 768)}


def draw_street(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A label of blocks and poles, and an image with shading, texture and sensor noise."""
    label = cv2.resize(rng.integers(0, 19, (16, 32), np.uint8), (2048, 1024), interpolation=0)
    for _ in range(60):
        x, y = rng.integers(0, 2048), rng.integers(0, 1024)
        size = (int(rng.integers(4, 120)), int(rng.integers(20, 300)))
        cv2.ellipse(label, (int(x), int(y)), size, 0, 0, 360, int(rng.integers(0, 19)), -1)
    colors = rng.integers(30, 226, (19, 3), np.uint8)
    image = colors[label].astype(np.float32)
    for scale in (4, 16, 64):
        shape = (1024 // scale, 2048 // scale, 3)
        image += cv2.resize(rng.normal(0, 8, shape).astype(np.float32), (2048, 1024))
    image += rng.normal(0, 1.5, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), label


def make_pairs(root: Path) -> None:
    """Writes the pairs; the labels are labelTrainIds."""
    folders = [root / kind / "train" / "town" for kind in ("leftImg8bit", "gtFine")]
    for folder in folders:
        folder.mkdir(parents=True)
    for number in range(PAIRS):
        image, label = draw_street(np.random.default_rng(number))
        name = f"town_{number:06d}_000019"
        cv2.imwrite(str(folders[0] / f"{name}_leftImg8bit.png"), image, PNG)
        cv2.imwrite(str(folders[1] / f"{name}_gtFine_labelTrainIds.png"), label, PNG)


def decode(source, threads: int) -> Iterator[None]:
    """Reads and decodes pairs in threads; yields after every batch."""
    indices = itertools.cycle(range(len(source)))
    pairs = map_ahead(source.__getitem__, indices, threads=threads, ahead=4 * threads)
    with contextlib.closing(pairs):
        while True:
            for _ in range(BATCH):
                next(pairs)
            yield None


def resize_whole_images() -> contextlib.AbstractContextManager:
    """Makes the pipeline resize whole images and then crop, as a simple pipeline does."""

    def whole(self, sample, rng):
        return self.crop(self.resize(sample, rng), rng)

    @contextlib.contextmanager
    def replaced():
        ours, ResizedCrop.__call__ = ResizedCrop.__call__, whole
        try:
            yield
        finally:
            ResizedCrop.__call__ = ours

    return replaced()


class Run(NamedTuple):
    """Seconds to the first batch; from a warm start on images/s and processor time of one."""

    first: float
    rate: float
    processor_ms: float


def measure(start: Callable[[], Iterator], batches: int) -> Run:
    """Runs a stream from its start."""
    begin = time.perf_counter()
    stream = start()
    next(stream)
    first = time.perf_counter() - begin
    # What was made ahead while waiting is taken first, so that a steady state is measured.
    for _ in range(4):
        next(stream)
    begin, used = time.perf_counter(), time.process_time()
    for _ in range(batches):
        next(stream)
    images = batches * BATCH
    rate = images / (time.perf_counter() - begin)
    processor_ms = 1e3 * (time.process_time() - used) / images
    stream.close()
    return Run(first, rate, processor_ms)


def main() -> None:
    """Measures all cases and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batches", type=int, default=8, help="measured in each repeat")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2])
    parser.add_argument("--root", help="a Cityscapes folder to read instead of made images")
    parser.add_argument("--print-only", action="store_true", help="write no result file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not options.root:
            make_pairs(Path(folder))
        config = RECIPE | {"root": options.root or folder, "threads": options.threads}
        rows = compare(config, options)
    print(markdown(rows)) if options.print_only else save("data", rows)


def compare(config: dict, options: argparse.Namespace) -> list[dict]:
    """All cases in turn, `options.repeats` times; medians."""
    source = create_source(config, "train")

    def stream(**changes):
        return lambda: train_batches(config | changes, source, batch_size=BATCH, seed=0)

    cases = {"decoding alone": lambda: decode(source, options.threads)}
    for workers in options.workers:
        cases[f"pipeline, {workers} workers"] = stream(workers=workers)
    cases["pipeline, resize before crop"] = stream()
    results: dict[str, list[Run]] = {name: [] for name in cases}
    for _ in range(options.repeats):
        for name, start in cases.items():
            slow = name.endswith("before crop")
            with resize_whole_images() if slow else contextlib.nullcontext():
                results[name].append(measure(start, options.batches))
            print(name, results[name][-1], flush=True)
    return [row(name, runs, results["decoding alone"], options) for name, runs in results.items()]


def row(name: str, runs: list[Run], decoding: list[Run], options: argparse.Namespace) -> dict:
    """Medians of a case; each ratio is of two measurements that followed each other."""
    shares = [run.rate / base.rate for run, base in zip(runs, decoding, strict=True)]
    cells = {
        "case": name,
        "threads": options.threads,
        "first batch s": round(statistics.median(run.first for run in runs), 2),
        "images/s": round(statistics.median(run.rate for run in runs), 1),
        "share": round(statistics.median(shares), 2),
    }
    if not name.endswith("workers") or name.endswith(" 0 workers"):  # theirs is not counted
        cells["processor ms/image"] = round(statistics.median(run.processor_ms for run in runs), 1)
    return cells


if __name__ == "__main__":
    main()
