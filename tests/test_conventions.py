"""What holds for every file: import direction, documented public names, no stray paths."""

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import segalias_jax

PACKAGE = Path(segalias_jax.__file__).parent
REPOSITORY = PACKAGE.parent

# From top to bottom: a part imports only what stands in a line below its own, or in its own folder.
LAYERS = (
    "cli __main__",
    "export",
    "inference",
    "runs recipes",
    "tasks",
    "training",
    "evaluation",
    "scoring",
    "checkpoints torch_weights",
    "analysis",
    "models losses data tracing",
    "layers metrics",
    "ops",
    "typing errors files progress lazy notebook settings",
)
# Imported in a function, by a public name that stands lower than the work that it starts.
UPWARD = {"models/__init__.py": {"checkpoints"}}
MODULES = sorted(PACKAGE.rglob("*.py"))
# Where commands were before `segalias`; all that they do is to call it (tests/test_cli.py).
OLD_COMMANDS = {
    *("predict.py", "export/__main__.py", "models/summary.py", "data/browse.py"),
    *("data/prepare.py", "checkpoints/torch_convert.py"),
}


def imported(path: Path) -> set[str]:
    """Parts of the package that a file imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("segalias_jax.")}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_only_what_stands_below(path):
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part == "__init__" or path.relative_to(PACKAGE).as_posix() in OLD_COMMANDS:
        return
    own = next(n for n, line in enumerate(LAYERS) if part in line.split())
    below = {name for line in LAYERS[own:] for name in line.split()}
    extra = imported(path) - below - UPWARD.get(path.relative_to(PACKAGE).as_posix(), set())
    assert not extra, f"{part} may not import {sorted(extra)}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_who_may_import_which_library(path):
    text, part = path.read_text(), path.relative_to(PACKAGE).parts[0]
    if part == "data":
        assert not re.search(r"^(import|from) (jax|flax)\b", text, re.M), "data is without jax"
    if part == "ops":
        assert not re.search(r"^(import|from) flax\b", text, re.M), "ops is without flax"
    if path.name != "pipeline.py":
        assert not re.search(r"^\s*(import|from) grain\b", text, re.M), "grain is the pipeline's"
    if part != "torch_weights":
        assert not re.search(r"^\s*(import|from) (torch|safetensors)\b", text, re.M)
    if part != "export":
        assert not re.search(r"^\s*(import|from) tensorflow\b", text, re.M)
    assert not re.search(r"^\s*(import|from) configs\b", text, re.M), "configs belong to mains"


def public_objects():
    for info in pkgutil.walk_packages([str(PACKAGE)], "segalias_jax."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            named = inspect.isfunction(value) or inspect.isclass(value)
            if named and not name.startswith("_") and value.__module__ == info.name:
                yield pytest.param(value, id=f"{info.name}.{name}")


@pytest.mark.parametrize("value", list(public_objects()))
def test_public_names_are_documented(value):
    # A dataclass without a docstring gets its signature for one.
    doc = inspect.getdoc(value) or ""
    assert doc and not doc.startswith(f"{value.__name__}("), "no docstring"
    if inspect.isfunction(value):
        required = [p for p in inspect.signature(value).parameters if not p.startswith("_")]
        if len(required) > 2:
            assert "Args:" in doc, "arguments are not described"


def functions(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_are_short(path):
    assert len(path.read_text().splitlines()) <= 500
    for node in functions(path):
        body = node.body[1:] if ast.get_docstring(node) else node.body
        lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
        assert lines <= 80, f"{node.name} has {lines} lines"


# Tested where they are put together: models, sources, entry points.
MERGED = {"encoder", "upernet", "fcn", "pspnet", "deeplab", "semantic_fpn", "tables"}
MERGED |= {"classes", "setup", "curves", "progress", "sharding", "state", "scoring", "processes"}
MERGED |= {"mobilenet", "config"}  # test_efficientnet, test_all_models
MERGED |= {"onnx_graph", "exported", "headers", "companions"}
MERGED |= {"binding", "sections"}  # test_train, test_recipe
MERGED |= {"trainer", "loop", "fitted", "evaluators", "task", "evaluate"}  # test_fit, test_train


def test_every_module_has_a_test():
    tested = MERGED | {
        path.stem.removeprefix("test_") for path in (REPOSITORY / "tests").rglob("test_*.py")
    }
    for path in MODULES:
        if path.name in ("__init__.py", "__main__.py", "typing.py"):
            continue
        if path.relative_to(PACKAGE).as_posix() in OLD_COMMANDS:
            continue
        if path.parent.name == "recipes":  # tests/test_configs.py reads every one
            continue
        assert path.stem in tested, f"no tests/**/test_{path.stem}.py"


def test_entry_points_are_thin():
    for name, most in (("train.py", 30), ("eval.py", 40)):
        assert len((REPOSITORY / name).read_text().splitlines()) <= most
