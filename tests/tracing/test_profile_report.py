"""Table, figure and JSON of a report; what did not run has no number."""

import json

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from segalias_jax.tracing import profile_aliasing


@pytest.fixture(scope="module")
def report():
    def function(x):
        with jax.named_scope("first"):
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 4, 1), "SAME")
        return lax.cond(x.sum() > 1e9, lambda x: x[:, ::2, ::2], lambda x: x[:, :3, :2], x)

    checkerboard = jnp.indices((9, 16)).sum(0)[None, ..., None] % 2 * 2.0 - 1
    return profile_aliasing(function, checkerboard)


def test_table(report):
    lines = report.table().splitlines()
    assert len(lines) == 3
    assert lines[1].split()[:8] == ["0", "max_pool", "9x16", "3x3/2x4", "1", ">", "1", "0.250"]
    assert "first" in lines[1] and "not run" in lines[2]
    assert lines[1].split()[-1].startswith("test_profile_report.py:")


def test_json(report):
    content = json.loads(json.dumps(report.to_json()))
    first, second = content["operators"]
    assert first["nyquist_frequency"] == 0.125 and first["batch_axes"] == [0]
    assert first["scores"] == [pytest.approx(first["score"])]
    assert 0 <= first["energy_above"] <= first["energy"] == 9 * 16
    assert second["score"] is None and second["scores"] == [None]
    assert first["ran"] == [True] and second["ran"] == [False]


def test_what_is_not_finite_is_not_what_did_not_run():
    report = profile_aliasing(lambda x: x[:, ::2, ::2], jnp.full((1, 8, 8, 1), jnp.nan))
    assert "not run" not in report.table() and "nan" in report.table()
    (record,) = report.to_json()["operators"]
    assert record["ran"] == [True] and record["score"] is None
    (panel,) = report.plot().axes
    assert "nan %" in panel.get_title()


def test_figure(report):
    figure = report.plot()
    panels = [panel for panel in figure.axes if panel.axison]
    assert [panel.get_title().split()[1] for panel in panels] == ["max_pool", "slice"]
    assert panels[1].get_title().endswith("\nnot run")
    assert [len(panel.images) for panel in panels] == [1, 0]
    assert len(profile_aliasing(lambda x: x, jnp.ones(3)).plot().axes) == 1
