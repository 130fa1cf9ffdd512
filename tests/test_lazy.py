"""Packages that load their parts on first use: nothing too early, nothing missing."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import segalias_jax as sa

PARTS = ("data", "evaluation", "metrics", "scoring")
PACKAGES = ("segalias_jax", *(f"segalias_jax.{name}" for name in PARTS))


@pytest.mark.parametrize("name", PACKAGES)
def test_type_checkers_see_the_names_that_are_loaded(name):
    """The imports for type checkers, `__all__` and what `__getattr__` finds are the same."""
    package = importlib.import_module(name)
    blocks = [
        node
        for node in ast.parse(Path(package.__file__).read_text()).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    imported = {
        alias.name: statement.module for statement in blocks[0].body for alias in statement.names
    }
    assert sorted(imported) == sorted(package.__all__)
    assert set(package.__all__) <= set(dir(package))
    for public, module in imported.items():
        held = importlib.import_module(module)
        assert getattr(package, public) is getattr(held, public)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="module 'segalias_jax' has no attribute 'nothing'"):
        sa.nothing  # noqa: B018


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, segalias_jax as sa, segalias_jax.data, segalias_jax.metrics; dir(sa)\n"
        "print([m for m in ('jax', 'flax', 'grain', 'orbax', 'cv2', 'matplotlib') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_moved_is_found_where_it_was():
    assert sa.evaluation.evaluate_folders is sa.scoring.score_folders
    for name in ("Comparison", "FolderReport", "KIND_COLORS", "Sample", "write_report"):
        assert getattr(sa.evaluation, name) is getattr(sa.scoring, name)
