"""A trace holds the steps that it says, and nothing is traced where too few are left."""

import gzip
import json

import jax
import pytest

from segalias_jax.training import profiling


def traced_steps(folder):
    """Numbers of the steps in what Perfetto reads."""
    (path,) = folder.rglob("perfetto_trace.json.gz")
    with gzip.open(path) as file:
        events = json.load(file)["traceEvents"]
    return {int(e["args"]["step_num"]) for e in events if "step_num" in e.get("args", {})}


def test_steps_four_to_eight_are_traced(tmp_path, capsys):
    compute = jax.jit(lambda x: x + 1)
    seen = [step for step in profiling.traced(range(11, 31), tmp_path) if compute(1.0)]
    assert seen == list(range(11, 31))
    assert traced_steps(tmp_path) == {14, 15, 16, 17, 18}
    told = capsys.readouterr().out
    assert f"the steps from 14 on are traced in {tmp_path}" in told and told.count("\n") == 1


def test_trace_ends_with_what_ends_the_steps(tmp_path):
    with pytest.raises(ValueError, match="a step"):
        for step in profiling.traced(range(1, 9), tmp_path):
            if step == 5:
                raise ValueError("a step")
    # Else this one could not begin.
    list(profiling.traced(range(1, 9), tmp_path / "next"))
    assert traced_steps(tmp_path / "next") == {4, 5, 6, 7, 8}
