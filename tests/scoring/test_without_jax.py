"""Scoring needs neither JAX nor Flax nor Grain, directly or not."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

HEAVY = ("jax", "jaxlib", "flax", "grain", "orbax", "optax", "ml_collections", "absl")

ALL_MODULES = """
import importlib, pkgutil, segalias_jax.scoring as package
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
"""
FOLDERS = """
from segalias_jax.scoring import score_folders
report = score_folders("pred", "gt", num_classes=2, images="image", offsets=(1,))
report.save("out")
print(report.table())
"""
PROBABILITIES = """
from segalias_jax.scoring import Comparison, score_folders
from segalias_jax.scoring.reports.binary import write_curves
from pathlib import Path
report = score_folders("prob", "gt", num_classes=2, probabilities=True)
write_curves(report.binary, Path("."))
Comparison((report, report), ("a", "b")).save("compared")
"""
COMMAND = """
from segalias_jax import cli
assert cli.main(["score", "pred", "gt", "--num-classes=2", "--out", "told"]) == 0
"""
INSTANCES = """
from segalias_jax import cli
assert cli.main(["score", "--instances", "pred", "gt", "--out", "objects"]) == 0
"""


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("pred", "gt", "image", "prob"):
        (tmp_path / kind).mkdir()
    for index in range(3):
        label = rng.integers(0, 2, (8, 8)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "gt" / f"{index}.png"), label)
        cv2.imwrite(str(tmp_path / "pred" / f"{index}.png"), np.roll(label, index, 1))
        cv2.imwrite(str(tmp_path / "image" / f"{index}.png"), np.full((64, 64, 3), 90, np.uint8))
        np.save(tmp_path / "prob" / f"{index}.npy", np.roll(label, index, 1) * 0.8)
    return tmp_path


@pytest.mark.parametrize(
    "work, also",
    [
        (ALL_MODULES, ("matplotlib",)),
        (FOLDERS, ("matplotlib",)),
        (PROBABILITIES, ()),
        (COMMAND, ("matplotlib",)),
        (INSTANCES, ("matplotlib", "faster_coco_eval")),
    ],
    ids=["all modules", "folders", "probabilities", "command", "instances"],
)
def test_a_fresh_interpreter_loads_nothing_heavy(folder, work, also):
    """`also`: what is loaded only where a figure is drawn."""
    heavy = f"[m for m in {HEAVY + also} if m in sys.modules]"
    # Windows has none; on Unix the standard library loads it, too.
    unix = "[n for n, m in sys.modules.items() if n[:12] == 'segalias_jax' and hasattr(m, 'fcntl')]"
    code = f"{work}\nimport sys\nprint({heavy} + {unix})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
