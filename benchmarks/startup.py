"""Processor time until the command for scores of folders answers, and for two small folders.

    python benchmarks/startup.py

Prints user plus system time of fresh interpreters, the median of several, beside that of
`import numpy, cv2`, which nothing that reads label maps can do without: the help, and three pairs
of 64x64 pixels from the folders to the report.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

REPEATS = 7


def processor_seconds(code: str, folder: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def make_folders(root: Path) -> None:
    rng = np.random.default_rng(0)
    for kind in ("pred", "gt"):
        (root / kind).mkdir()
    for index in range(3):
        label = rng.integers(0, 5, (8, 8)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
        cv2.imwrite(str(root / "gt" / f"{index}.png"), label)
        cv2.imwrite(str(root / "pred" / f"{index}.png"), np.roll(label, 2, 1))


def main() -> None:
    arguments = ["score", "pred", "gt", "--num-classes", "5"]
    start = "import contextlib\nfrom segalias_jax import cli\n"
    helping = "with contextlib.suppress(SystemExit): cli.main(['score', '--help'])"
    times: dict[str, list[float]] = {"numpy and cv2": [], "help": [], "two folders": []}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_folders(root)
        for turn in range(REPEATS + 1):  # the first one fills the disk's cache
            codes = {
                "numpy and cv2": "import numpy, cv2",
                "help": start + helping,
                "two folders": f"{start}cli.main({[*arguments, '--out', f'out{turn}']!r})",
            }
            for what, code in codes.items():
                seconds = processor_seconds(code, root)
                times[what] += [seconds] if turn else []
    base = statistics.median(times["numpy and cv2"])
    print(f"{'':15}  processor time  more than numpy and cv2")
    for what, seconds in times.items():
        middle = statistics.median(seconds)
        print(f"{what:15}  {middle:12.3f} s  {middle - base:19.3f} s")


if __name__ == "__main__":
    main()
