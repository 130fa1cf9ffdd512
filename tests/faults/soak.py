"""Kills a small run and writes what came out: `python tests/faults/soak.py [KILLS] [--objects]`."""

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from drawn_objects import write_coco  # noqa: E402
from faults import killing, nursery  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
IMAGES = nursery.SMALL["data.num_train"]


def main(kills, objects):
    # A kill loses half a checkpoint's steps and more; evaluations come often, to be hit too.
    changes = {"train.steps": 8 * kills}
    begun = time.time()
    with tempfile.TemporaryDirectory() as folder, killing.Nursery(folder) as runs:
        if objects:
            drawn = write_coco(Path(folder) / "drawn", {"train2017": IMAGES, "val2017": 6})
            changes["data.root"] = str(drawn)
        runs.start("unbroken", **changes)
        assert runs.finish() == 0, runs.errors("unbroken")
        killing.run_killed(runs, "killed", kills=kills, number=signal.SIGKILL, **changes)
        arrays = [
            nursery.final_arrays(Path(folder) / name, changes) for name in ("unbroken", "killed")
        ]
        killing.check_equal(*arrays)
        seen = killing.images_by_step(runs.lines("killed"))
        killing.check_epochs(seen, changes["train.steps"], IMAGES)
    result = {
        "kills": kills,
        "phases": sorted(killing.MOMENTS),
        "steps": changes["train.steps"],
        "arrays": len(arrays[0]),
        "arrays_that_differ": 0,
        "images_not_once_per_epoch": 0,
        "minutes": round((time.time() - begun) / 60, 1),
    }
    path = RESULTS / ("soak_objects.json" if objects else "soak.json")
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", nargs="?", type=int, default=200)
    parser.add_argument("--objects", action="store_true", help="a detector on drawn objects")
    flags = parser.parse_args()
    main(flags.kills, flags.objects)
