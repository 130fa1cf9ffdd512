"""Kills a small run 200 times and writes what came out: `python tests/faults/soak.py [KILLS]`."""

import json
import signal
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from faults import killing, nursery  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "soak.json"


def main(kills):
    # A kill loses half a checkpoint's steps and more; evaluations come often, to be hit too.
    changes = {"train.steps": 8 * kills}
    begun = time.time()
    with tempfile.TemporaryDirectory() as folder, killing.Nursery(folder) as runs:
        runs.start("unbroken", **changes)
        assert runs.finish() == 0, runs.errors("unbroken")
        killing.run_killed(runs, "killed", kills=kills, number=signal.SIGKILL, **changes)
        arrays = [
            nursery.final_arrays(Path(folder) / name, changes) for name in ("unbroken", "killed")
        ]
        killing.check_equal(*arrays)
        seen = killing.images_by_step(runs.lines("killed"))
        killing.check_epochs(seen, changes["train.steps"], nursery.SMALL["data.num_train"])
    result = {
        "kills": kills,
        "phases": sorted(killing.MOMENTS),
        "steps": changes["train.steps"],
        "arrays": len(arrays[0]),
        "arrays_that_differ": 0,
        "images_not_once_per_epoch": 0,
        "minutes": round((time.time() - begun) / 60, 1),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
