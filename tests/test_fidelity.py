"""The list of what is reproduced names what there is; `make fidelity` measures all of it."""

import importlib
import re

import fidelity
import fidelity_rows
import numpy as np
import pytest

from segalias_jax.runs.recipe import Recipe

ROWS = [row for rows in fidelity_rows.ROWS.values() for row in rows]


def test_every_row_names_tests_that_there_are():
    for row in ROWS:
        assert row.tests
        for test in row.tests:
            path, name = test.split("::")
            assert name in fidelity.tests_of(path), test


def test_every_row_names_code_that_there_is():
    recipe = Recipe()
    for row in ROWS:
        for name in row.names:
            section, _, rest = name.partition(".")
            if hasattr(recipe, section) and section in ("model", "loss", "optimizer"):
                assert hasattr(getattr(recipe, section), rest), name
                continue
            found = importlib.import_module(f"segalias_jax.{section}")
            for part in rest.split("."):
                if not hasattr(found, part):
                    importlib.import_module(f"{found.__name__}.{part}")
                found = getattr(found, part)


def test_page_is_of_these_rows():
    page = fidelity.PAGE.read_text()
    table = re.findall(r"^\| (.+) \| (.+) \| (`.+`) \| (.+) \|$", page, re.M)
    assert [line[0] for line in table] == [row.statement for row in ROWS]
    for (_, names, tests, agreement), row in zip(table, ROWS, strict=True):
        assert re.findall(r"`(.+?)`", names) == list(row.names)
        assert re.findall(r"`(.+?)`", tests) == list(row.tests)
        assert re.match(r"\d+ cases?( \(\d+ skipped\))?(: exact|, [\d,]+ numbers: )", agreement)
    assert "FAILED" not in page
    for statement in fidelity_rows.NOT_SHOWN:
        assert f"- {statement}" in page


def test_what_tests_compare_is_measured():
    recorder = fidelity.Recorder()
    recorder.now = "a"
    equal = recorder._measuring(np.testing.assert_array_equal, 0.0)
    close = recorder._measuring(np.testing.assert_allclose, 1e-7)
    equal([1, 2], [1, 2])
    recorder.found["a"].passed = 1
    assert recorder.found["a"].text() == "1 case, 2 numbers: equal"
    close([1.0, np.nan, 4.004], [1.0, np.nan, 4.0], rtol=0, atol=0.02)
    close(np.float64(8.0), 8.0, 1e-3)
    assert recorder.found["a"].text() == "1 case, 6 numbers: 1.0e-03 of 5.0e-03"
    recorder.now = "zeros"
    close([3e-17, 0.0], [0.0, 1e-18], rtol=0, atol=1e-15)
    recorder.found["zeros"].passed = 1
    assert recorder.found["zeros"].text() == "1 case, 2 numbers: 3.0e-17 of 1.0e-15"
    recorder.now = "a"
    with pytest.raises(AssertionError):
        close(1.0, 2.0)
    recorder.found["a"].failed = 1
    assert recorder.found["a"].text() == "**1 FAILED, 0 skipped**"
    assert fidelity.Measured(passed=2).text() == "2 cases: exact assertions"
