"""Installs a wheel into a new environment, with what it asks for, and uses it.

    python packaging/try_wheel.py WHEEL FOLDER

Everything comes from the registry, in the newest versions that the wheel allows; nothing of the
checkout is seen. Scores two folders, and, where the wheel trains, a few steps of the quickstart.
"""

import subprocess
import sys
import venv
from pathlib import Path

DRAW = """
import cv2, numpy as np, pathlib
label = np.zeros((64, 64), np.uint8)
label[16:40, 16:40] = 1
for kind, shift in (("labels", 0), ("predictions", 2)):
    pathlib.Path(kind).mkdir(exist_ok=True)
    cv2.imwrite(f"{kind}/a.png", np.roll(label, shift, 1))
"""
TINY = (
    "--config=quickstart --workdir=run --config.train.steps=2 --config.train.eval_every=2 "
    "--config.schedule.warmup_steps=1 "
    "--config.train.batch_size=2 --config.data.num_train=4 --config.data.num_eval=2 "
    "--config.model.width=8 --config.model.channels=8 --config.model.auxiliary_channels=8"
).split()


def main(wheel: Path, folder: Path) -> None:
    """Raises `CalledProcessError` where a step fails."""
    place = folder / wheel.name.split("-")[0]
    venv.create(place, with_pip=True, clear=True)
    binaries = place / "bin"

    def run(*words: str | Path) -> None:
        subprocess.run([binaries / words[0], *words[1:]], check=True, cwd=place)

    run("pip", "install", "-q", "--disable-pip-version-check", wheel.resolve())
    run("pip", "check")
    run("segalias", "--version")
    run("python", "-c", DRAW)
    run("segalias", "score", "predictions", "labels", "--num-classes", "2", "--out", "report")
    if wheel.name.startswith("segalias_jax"):
        run("segalias", "train", *TINY)
        run("segalias", "eval", "--workdir", "run")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]).resolve())
