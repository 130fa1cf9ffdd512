"""How much memory does scoring take, however many maps there are?

    python benchmarks/many_maps.py [--maps N ...]

Folders of maps of 32x32 pixels, which are links to a few files, scored by `segalias score --out` in
a process of its own, with and without the causes of errors. The peak is that of the whole process,
the report with its page and tables included. Equal maps are counted once, for counting takes the
memory of a map and most of the time.
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

SIZE, CLASSES, KINDS = 32, 5, 50
PROGRAM = """if True:
    import dataclasses, sys
    from segalias_jax.cli import main
    from segalias_jax.scoring import folders
    count, known = folders.count_image, {}
    def count_image(prediction, label, plan, *, name, foreground):
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


def row(folder: Path, count: int, *flags: str) -> dict:
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
    print(f"{count} maps {' '.join(flags)}: {peak:.0f} MB", flush=True)
    return {"maps": count, "causes": "no" if flags else "yes", "peak MB": round(peak)}


def main() -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--maps", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        write_kinds(Path(name) / "kinds")
        for count in options.maps:
            folder = Path(name) / str(count)
            link(Path(name) / "kinds", folder, count)
            rows += [row(folder, count, *flags) for flags in ((), ("--no-causes",))]
    save("many_maps", rows)


if __name__ == "__main__":
    main()
