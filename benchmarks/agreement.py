"""Do all ways to the scores of a trained network lead to the same ones?

    python benchmarks/agreement.py --config configs/camvid.py:daf,freqmix,tiny --run RUN \
        --root CAMVID --split test --out DIR

Scores a run by `eval.py`, by `segalias predict` and `segalias score`, and by the same with the
exported StableHLO program of any image size in place of the run. DIR gets the images and labels of
the split, the maps, the program and the reports. The exit status is 1 where the six scores differ
by more than a thousandth of a percentage point. The table goes to `results/` and `README.md`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import cv2
from common import save

from segalias_jax import data
from segalias_jax.runs.recipes import load_recipe

SIX = ("mIoU", "BIoU", "BAcc", "FErr", "MErr", "DErr")
# A program sums in another order, so a pixel in a million may get the second best class.
TOLERANCE = 1e-5
EVAL = Path(__file__).parents[1] / "eval.py"
SEGALIAS = ("-m", "segalias_jax")


def command(*words: object) -> None:
    """Runs a command of this package and shows it."""
    line = [sys.executable, *map(str, words)]
    print("$", *line[1:], flush=True)
    subprocess.run(line, check=True)


def write_split(config, folder: Path) -> int:
    """Writes the split's images and labels as PNG files; returns the number of classes."""
    source = data.create_source(config.data, config.data.eval_split)
    for i, name in enumerate(source.names):
        sample = source[i]
        pictures = {"images": sample["image"][..., ::-1], "labels": sample["label"]}
        for kind, picture in pictures.items():
            path = folder / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), picture)
    return len(source.classes)


def score(run: Path, folder: Path, num_classes: int) -> Path:
    """Predicts the images with a run or a program and scores the maps; returns the report."""
    maps, report = folder / f"predicted by {run.name}", folder / f"report of {run.name}"
    images, labels = folder / "images", folder / "labels"
    command(*SEGALIAS, "predict", "--run", run, images, "--out", maps, "--no-overlays")
    classes = ("--num-classes", num_classes)
    command(*SEGALIAS, "score", maps / "maps", labels, *classes, "--out", report)
    return report / "report.json"


def main() -> int:
    """Scores in three ways and compares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, metavar="FILE[:VARIANT]")
    parser.add_argument("--run", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--root", required=True, metavar="DIR", help="of the data set")
    parser.add_argument("--split", default="val")
    flags = parser.parse_args()
    config = load_recipe(flags.config)
    changes = {"data.root": flags.root, "data.eval_split": flags.split, "data.check": False}
    config.update_from_flattened_dict(changes)
    words = [f"--config.{key}={value}" for key, value in changes.items()]
    command(EVAL, "--config", flags.config, "--workdir", flags.run, *words)
    reports = {"eval.py": flags.run / "eval" / "report.json"}
    num_classes = write_split(config, flags.out)
    reports["predict"] = score(flags.run, flags.out, num_classes)
    program = flags.out / "program"
    form = ("--format", "stablehlo", "--size", "any")
    command(*SEGALIAS, "export", "--run", flags.run, *form, "--out", program)
    reports["exported program"] = score(program, flags.out, num_classes)
    rows, run = [], f"{config.name}, {flags.split}"
    for name, path in reports.items():
        content = json.loads(path.read_text())
        scores = content.get("summary", content)
        rows.append({"run": run, "scored by": name} | {key: scores[key] for key in SIX})
    save("agreement", rows)
    same = all(abs(row[key] - rows[0][key]) <= TOLERANCE for row in rows for key in SIX)
    print("all the same" if same else "they differ")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
