"""Fixtures: scripted draws, a sample, a small data set."""

import cv2
import numpy as np
import pytest


class Script(np.random.Generator):
    """A generator that returns given draws in order and remembers their ranges."""

    def __init__(self, *draws):
        super().__init__(np.random.PCG64())
        self.draws = list(draws)
        self.ranges = []

    def _next(self, *limits):
        self.ranges.append(limits)
        return self.draws.pop(0)

    uniform = integers = random = _next


@pytest.fixture(scope="session")
def script():
    """Returns the generator `Script(*draws)`."""
    return Script


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 60, 3), np.uint8)
    return {"image": image, "label": rng.integers(0, 5, (40, 60), np.uint8)}


@pytest.fixture
def camvid(tmp_path):
    """Returns the root of a CamVid of five training and three validation images."""
    rng = np.random.default_rng(0)
    root = tmp_path / "camvid"
    for split, letter, count in (("train", "n", 5), ("val", "v", 3)):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        names = [f"{letter}{number}" for number in range(count)]
        (root / f"{split}.txt").write_text("\n".join(names))
        for name in names:
            image = rng.integers(0, 256, (20, 30, 3), np.uint8)
            cv2.imwrite(str(root / "images" / split / f"{name}.jpg"), image)
            label = rng.integers(0, 12, (20, 30), np.uint8)
            cv2.imwrite(str(root / "labels" / split / f"{name}.png"), label)
    return root
