"""What of the published method is reproduced, where, and how closely: docs/fidelity.md.

`python tests/fidelity.py` runs the tests of every row, records the numbers that they compare, and
writes the page; with SEGALIAS_GOLDEN against the complete recordings of the published code, else
against the sample in tests/golden. With words behind it, such as test_bands, it measures the rows
whose tests contain one, and all others keep their line. tests/test_fidelity.py keeps rows and page
together.
"""

from __future__ import annotations

import ast
import collections
import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fidelity_rows import NOT_SHOWN, ROWS, Row

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "fidelity.md"


@dataclasses.dataclass
class Measured:
    """What the cases of one test compared.

    `difference` is the largest one of floats, relative to the largest value, `allowed` what that
    comparison took as equal.
    """

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    numbers: int = 0
    difference: float = 0.0
    allowed: float = 0.0

    def merge(self, other: Measured) -> None:
        for name in ("passed", "failed", "skipped", "numbers"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.difference > self.difference:
            self.difference, self.allowed = other.difference, other.allowed

    def text(self) -> str:
        if self.failed or not self.passed:
            return f"**{self.failed} FAILED, {self.skipped} skipped**"
        cases = f"{self.passed} case{'s' * (self.passed > 1)}"
        if self.skipped:
            cases += f" ({self.skipped} skipped)"
        if not self.numbers:
            return f"{cases}: exact assertions"
        if not self.difference:
            return f"{cases}, {self.numbers:,} numbers: equal"
        return f"{cases}, {self.numbers:,} numbers: {self.difference:.1e} of {self.allowed:.1e}"


class Recorder:
    """A plugin of pytest that measures what NumPy's assertions compare, by test."""

    def __init__(self) -> None:
        self.found: dict[str, Measured] = collections.defaultdict(Measured)
        self.now = ""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: Any) -> Any:
        self.now = item.nodeid.split("[")[0]
        own = {
            name: getattr(np.testing, name) for name in ("assert_allclose", "assert_array_equal")
        }
        np.testing.assert_allclose = self._measuring(own["assert_allclose"], 1e-7)
        np.testing.assert_array_equal = self._measuring(own["assert_array_equal"], 0.0)
        try:
            return (yield)
        finally:
            for name, function in own.items():
                setattr(np.testing, name, function)

    def pytest_runtest_logreport(self, report: Any) -> None:
        of = self.found[report.nodeid.split("[")[0]]
        if report.failed:
            of.failed += 1
        elif report.skipped:
            of.skipped += 1
        elif report.when == "call":
            of.passed += 1

    def _measuring(self, check: Callable[..., None], usual: float) -> Callable[..., None]:
        def measured(actual: Any, desired: Any, *args: Any, **options: Any) -> None:
            check(actual, desired, *args, **options)
            relative = args[0] if args else options.get("rtol", usual)
            self._compare(actual, desired, relative, options.get("atol", 0.0))

        return measured

    def _compare(self, actual: Any, desired: Any, rtol: float, atol: float) -> None:
        a, b = (np.asarray(x) for x in (actual, desired))
        if not all(np.issubdtype(x.dtype, np.number) or x.dtype == bool for x in (a, b)):
            return
        a, b = np.broadcast_arrays(*(x.astype(np.float64) for x in (a, b)))
        known = np.isfinite(a) & np.isfinite(b)
        of = self.found[self.now]
        of.numbers += a.size
        scale = np.abs(b[known]).max(initial=0.0)
        if scale <= np.max(atol):
            scale = 1.0  # zeros, and what rounding makes of them: nothing to be relative to
        difference = np.abs(a - b)[known].max(initial=0.0) / scale
        if difference > of.difference:
            of.difference, of.allowed = float(difference), float(rtol + np.max(atol) / scale)


def tests_of(path: str) -> set[str]:
    """Names of the test functions of a file below tests/."""
    tree = ast.parse((ROOT / "tests" / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def is_chosen(row: Row, words: list[str]) -> bool:
    """Whether a test of the row contains one of the words; without words, all rows are."""
    return not words or any(word in test for word in words for test in row.tests)


def measure(words: list[str]) -> dict[str, Measured]:
    """Runs the tests of the chosen rows, and returns what each has measured."""
    recorder = Recorder()
    chosen = (row for rows in ROWS.values() for row in rows if is_chosen(row, words))
    tests = {test for row in chosen for test in row.tests}
    arguments = ["-q", "-n", "0", "-p", "no:cacheprovider"]
    pytest.main([*arguments, *(f"{ROOT}/tests/{test}" for test in sorted(tests))], [recorder])
    return {name.removeprefix("tests/"): found for name, found in recorder.found.items()}


def page(measured: dict[str, Measured], recordings: str, words: list[str]) -> str:
    """The page; rows that are not chosen keep the line that they have."""
    kept = {line.split(" | ")[0]: line for line in PAGE.read_text().splitlines()} if words else {}
    lines = [
        "# Fidelity",
        "",
        "What of the published method and of its code this package reproduces, where, and how",
        "closely. The last column is measured: cases and numbers that the tests of a row",
        "compare, and their largest difference, relative to the largest value of its array,",
        "*of* what that comparison allows. Recordings are mostly float32, compared in float32",
        "or float64; what tests draw at random differs from theory by its sampling.",
        "",
        f"Written by `make fidelity` (`tests/fidelity.py`) against {recordings}.",
        "",
    ]
    for title, rows in ROWS.items():
        lines += [
            f"## {title}",
            "",
            "| statement | where | shown by | agreement |",
            "|---|---|---|---|",
        ]
        for row in rows:
            if not is_chosen(row, words):
                lines.append(kept[f"| {row.statement}"])
                continue
            total = Measured()
            for test in row.tests:
                total.merge(measured.get(test, Measured()))
            names = ", ".join(f"`{name}`" for name in row.names)
            shown = "<br>".join(f"`{test}`" for test in row.tests)
            lines.append(f"| {row.statement} | {names} | {shown} | {total.text()} |")
        lines.append("")
    lines += ["## Not shown here", "", *(f"- {statement}" for statement in NOT_SHOWN)]
    return "\n".join(lines) + "\n"


def main(words: list[str]) -> int:
    complete = "SEGALIAS_GOLDEN" in os.environ
    recordings = (
        "the complete recordings" if complete else "the sample of the recordings in tests/golden"
    )
    text = page(measure(words), recordings, words)
    PAGE.write_text(text)
    return "FAILED" in text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
