"""How much memory does scoring take, however many maps there are, and however large they are?

    python benchmarks/score_memory.py [--maps N ...] [--sides N ...]

Folders of maps of 32x32 pixels, which are links to a few files, scored by `segalias score --out` in
a process of its own, with and without the causes of errors. The peak is that of the whole process,
the report with its page and tables included. Equal maps are counted once, for counting takes the
memory of a map and most of the time. And single maps of N x N pixels: blocks of 64 pixels that are
displaced, a tenth of them wrong, without and with noise in 1 % of the pixels, which makes millions
of wrong objects.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from common import save

SIZE, CLASSES, KINDS, BLOCK = 32, 5, 50, 64
PROGRAM = """if True:
    import dataclasses, sys
    from segalias_jax.cli import main
    from segalias_jax.scoring import folders
    count, known = folders.count_image, {}
    def count_image(prediction, label, plan, *, name, foreground):
        if prediction.size > 1 << 12:
            return count(prediction, label, plan, name=name, foreground=foreground)
        key = prediction.tobytes(), label.tobytes()
        if key not in known:
            known[key] = count(prediction, label, plan, name=name, foreground=foreground)
        return dataclasses.replace(known[key], name=name)
    folders.count_image = count_image
    status = main(sys.argv[1:])
    # Not ru_maxrss, which begins at what the starting process had.
    status_lines = open("/proc/self/status").read().splitlines()
    print(next(line.split()[1] for line in status_lines if line[:6] == "VmHWM:"), file=sys.stderr)
    sys.exit(status)
"""


def write_kinds(folder: Path) -> None:
    """Writes some pairs of blocky maps, the predictions of which are shifted and have a blob."""
    rng = np.random.default_rng(0)
    for side in ("predictions", "labels"):
        (folder / side).mkdir(parents=True)
    for kind in range(KINDS):
        blocks = rng.integers(0, CLASSES, (4, 4), dtype=np.uint8)
        label = blocks.repeat(SIZE // 4, 0).repeat(SIZE // 4, 1)
        prediction = np.roll(label, rng.integers(0, 3, 2), (0, 1))
        y, x = rng.integers(0, SIZE - 6, 2)
        prediction[y : y + 6, x : x + 6] = rng.integers(CLASSES)
        for side, ids in (("predictions", prediction), ("labels", label)):
            cv2.imwrite(str(folder / side / f"{kind}.png"), ids)


def link(kinds: Path, folder: Path, count: int) -> None:
    """Makes folders of so many maps out of links."""
    for side in ("predictions", "labels"):
        (folder / side).mkdir(parents=True)
        for i in range(count):
            source = kinds / side / f"{i % KINDS}.png"
            os.link(source, folder / side / f"frame_{i:06d}.png")


def write_large(folder: Path, side: int, noise: float) -> None:
    """Writes a pair of maps of so many rows and columns."""
    rng, shape = np.random.default_rng(0), (side, side)
    blocks = rng.integers(0, CLASSES, (side // BLOCK, side // BLOCK), dtype=np.uint8)
    label = cv2.resize(blocks, shape, interpolation=cv2.INTER_NEAREST)
    wrong = rng.random(blocks.shape) < 0.1
    blocks[wrong] = (blocks[wrong] + 1) % CLASSES
    prediction = cv2.resize(blocks, shape, interpolation=cv2.INTER_NEAREST)
    prediction = np.roll(prediction, (3, 2), (0, 1))
    for rows in np.array_split(prediction, 64):
        hit = rng.random(rows.shape, np.float32) < noise
        rows[hit] = rng.integers(0, CLASSES, np.count_nonzero(hit))
    for name, ids in (("predictions", prediction), ("labels", label)):
        (folder / name).mkdir(parents=True)
        cv2.imwrite(str(folder / name / "map.png"), ids)


def row(folder: Path, what: str, *flags: str) -> dict:
    """Peak memory of one run."""
    command = ["score", "--predictions", folder / "predictions", "--labels", folder / "labels"]
    command += ["--num-classes", CLASSES, "--out", folder / f"out{len(flags)}", *flags]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, command)],
        check=True,
        capture_output=True,
        text=True,
    )
    peak = int(done.stderr.split()[-1]) / 1024
    print(f"{what} {' '.join(flags)}: {peak:.0f} MB", flush=True)
    return {"maps": what, "causes": "no" if flags else "yes", "peak MB": round(peak)}


def main() -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--maps", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--sides", type=int, nargs="+", default=[4096, 16384])
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        write_kinds(Path(name) / "kinds")
        for count in options.maps:
            folder = Path(name) / str(count)
            link(Path(name) / "kinds", folder, count)
            what = f"{count:,} of {SIZE}x{SIZE}"
            rows += [row(folder, what, *flags) for flags in ((), ("--no-causes",))]
        for side in options.sides:
            for noise in (0, 0.01):
                folder = Path(name) / f"{side}_{noise}"
                write_large(folder, side, noise)
                what = f"1 of {side}x{side}, noise in {noise:.0%}"
                rows += [row(folder, what, *flags) for flags in ((), ("--no-causes",))]
    save("score_memory", rows)


if __name__ == "__main__":
    main()
