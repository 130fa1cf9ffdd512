"""Fixtures of the transforms' tests."""

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
