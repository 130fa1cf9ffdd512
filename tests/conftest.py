"""Fixtures shared by all tests: recorded numbers of the published code, and real images."""

import gc
import importlib
import importlib.util
import os
from pathlib import Path

from tiny import QUICK_FLAGS

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Keras reads it when it is imported, and takes TensorFlow else, which is not there.
os.environ.setdefault("KERAS_BACKEND", "jax")
# Most of the time of the tests is compiling, which takes half as long without optimization, and a
# sixth of that with the older writers of loops; they order sums otherwise, no more. The runs of
# tests/faults are compiled as usual.
os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count=8 {QUICK_FLAGS}")

import numpy as np
import pytest
from jax._src.interpreters import partial_eval

# For each random number that a traced network starts from, nnx asks a tracer for its sharding; jax
# answers by an error, whose text lists all operations so far. That took most of the time of making
# networks by eval_shape and jit. Errors of jax lack in tests where a value comes from.
partial_eval.DynamicJaxprTracer._origin_msg = lambda tracer: ""

# Networks of PyTorch, for the tests that skip themselves where there is none.
if importlib.util.find_spec("torch") is None:
    collect_ignore = ["torch_backbones.py", "torch_networks.py"]

# SEGALIAS_GOLDEN points at the complete recordings; tests/golden keeps a sample of large arrays.
GOLDEN = Path(os.environ.get("SEGALIAS_GOLDEN", Path(__file__).parent / "golden"))
SAMPLED_EVERY = 7


def pytest_collection_finish():
    """Modules and tests stay: to search them for garbage at every step takes time and finds none.

    Tracing makes many objects that live for a moment, for which the usual threshold is too low.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


@pytest.fixture(scope="session")
def golden():
    """Returns `load(name)`, the recorded arrays of <name>.npz."""
    return lambda name: np.load(GOLDEN / f"{name}.npz")


@pytest.fixture(scope="session")
def golden_json():
    """Returns `path(name)`, the recording <name>.json."""
    return lambda name: GOLDEN / f"{name}.json"


@pytest.fixture(scope="session")
def assert_recorded():
    """Returns `check(ours, recorded, tolerance)`, relative to the largest recorded value.

    A recorded array of one axis that stands for one of several is every seventh element of it.
    """

    def check(ours, recorded, tolerance, message=""):
        ours = np.asarray(ours)
        if recorded.shape != ours.shape:
            ours = ours.reshape(-1)[::SAMPLED_EVERY]
        scale = np.abs(recorded).max()
        np.testing.assert_allclose(ours, recorded, rtol=0, atol=tolerance * scale, err_msg=message)

    return check


@pytest.fixture(scope="session")
def library():
    """Returns `load(name)`, a library of the extra "dev"; skips and says so where it is missing.

    `make test` installs that extra, so there a library that is missing is an error.
    """

    def load(name):
        if importlib.util.find_spec(name):
            return importlib.import_module(name)
        reason = f"{name} is not installed; it comes with pip install -e '.[dev]'"
        (pytest.fail if os.environ.get("SEGALIAS_DEV") else pytest.skip)(reason)

    return load


@pytest.fixture(scope="session")
def real_data():
    """Returns `find(name)`, the folder of a real data set, or skips where there is none."""

    def find(name: str) -> Path:
        root = os.environ.get("SEGALIAS_DATA")
        if not root:
            pytest.skip("SEGALIAS_DATA is not set")
        folder = Path(root) / name
        if not folder.is_dir():
            pytest.skip(f"SEGALIAS_DATA has no folder {name}")
        return folder

    return find
