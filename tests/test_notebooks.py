"""Notebooks are valid, without results, and name what there is; `make notebooks` runs them."""

import ast
import importlib
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_is_clean_and_names_what_there_is(path):
    notebook = json.loads(path.read_text())
    assert (notebook["nbformat"], len({c["id"] for c in notebook["cells"]})) == (
        4,
        len(notebook["cells"]),
    )
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    (parameters,) = [cell for cell in code if "parameters" in cell["metadata"].get("tags", ())]
    tree = ast.parse("\n".join("".join(cell["source"]) for cell in code))
    check_names(tree)
    told, small = (
        {n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)}
        for text in ("".join(parameters["source"]), notebook["metadata"]["segalias"]["reduced"])
    )
    assert told == small


def check_names(tree):
    """Every `sa.part.name` and `scoring.name` is public."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        first, *names = ast.unparse(node).split(".")
        if first not in ("sa", "scoring") or not all(name.isidentifier() for name in names):
            continue
        value = importlib.import_module({"sa": "segalias_jax"}.get(first, f"segalias_jax.{first}"))
        for name in names:
            value = getattr(value, name)
