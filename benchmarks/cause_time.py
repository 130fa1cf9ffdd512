"""What do the causes of errors add to the time of scoring?

    python benchmarks/cause_time.py --predictions DIR --labels DIR --num-classes 11 --ignore 11

Processor time of `score_folders` without and with causes, in turn and in one thread, on the files
of a folder and on a tenth of them enlarged to 1024x2048 pixels; and of the report with its page,
tables and images besides. Times are the least of some repeats.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
from common import save

from segalias_jax.data.maps import read_map
from segalias_jax.scoring import score_folders
from segalias_jax.scoring.image_counts import DEFAULT_CAUSES

SIZE, PART = (2048, 1024), 10


def enlarged(folder: Path, out: Path) -> Path:
    """Some maps of a folder, resized by nearest neighbor."""
    out.mkdir()
    for path in sorted(folder.glob("*.png"))[::PART]:
        ids = cv2.resize(read_map(path), SIZE, interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(out / path.name), ids)
    return out


def seconds(
    predictions: Path, labels: Path, flags: argparse.Namespace, causes: bool, report: bool
) -> float:
    """Processor time of one pair of maps."""
    begin = time.process_time()
    result = score_folders(
        predictions,
        labels,
        num_classes=flags.num_classes,
        ignore_label=flags.ignore,
        causes=DEFAULT_CAUSES if causes else None,
        threads=1,
    )
    if report:
        with tempfile.TemporaryDirectory() as out:
            result.save(out)
    else:
        result.table()
    return (time.process_time() - begin) / len(result.images)


def main() -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--num-classes", type=int, required=True)
    parser.add_argument("--ignore", type=int, default=255)
    parser.add_argument("--repeats", type=int, default=3)
    flags = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        large = [
            enlarged(folder, Path(name) / side)
            for side, folder in (("predictions", flags.predictions), ("labels", flags.labels))
        ]
        cases = [
            ("as they are, table", flags.predictions, flags.labels, False),
            ("as they are, report", flags.predictions, flags.labels, True),
            ("1024x2048, table", *large, False),
        ]
        for what, predictions, labels, report in cases:
            times: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(flags.repeats):
                for causes in (False, True):
                    times[causes].append(seconds(predictions, labels, flags, causes, report))
            without, together = (1e3 * min(times[causes]) for causes in (False, True))
            rows.append(
                {
                    "maps": what,
                    "ms a pair without causes": round(without, 2),
                    "with them": round(together, 2),
                    "ratio": round(together / without, 2),
                }
            )
    save("cause_time", rows)


if __name__ == "__main__":
    main()
