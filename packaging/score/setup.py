"""Builds segalias-score: of segalias_jax the modules that scoring needs, and nothing else.

    pip wheel --no-deps packaging/score

Which modules these are follows from their imports, so that no list is kept by hand. All metadata
that both distributions share is read from the one pyproject.toml of the repository.
"""

from __future__ import annotations

import ast
import functools
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "segalias_jax"


@functools.cache
def modules(root: Path = ROOT) -> dict[str, Path]:
    """Finds the command's front, all of scoring, and every module that they import.

    The front, `cli`, imports the commands' own modules by name when they are called; what else its
    functions import is for commands that are not here. Names that `lazy` loads are those of other
    modules, and whoever reads them imports these.

    Args:
      root: folder of the repository.

    Returns:
      Files by the name of the module.
    """
    folder = root / PACKAGE
    found: dict[str, Path] = {}
    waiting = [f"{PACKAGE}.cli", f"{PACKAGE}.__main__"]
    for path in sorted((folder / "scoring").rglob("*.py")):
        waiting.append(".".join(path.relative_to(root).with_suffix("").parts))
    while waiting:
        parts = waiting.pop().removesuffix(".__init__").split(".")
        for length in range(1, len(parts) + 1):
            name = ".".join(parts[:length])
            path = root.joinpath(*parts[:length])
            path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            if name in found or not path.is_file():
                continue
            found[name] = path
            tree = ast.parse(path.read_text(encoding="utf-8"))
            waiting += imports(tree, inner=name != f"{PACKAGE}.cli")
    return found


def imports(tree: ast.AST, *, inner: bool = True) -> Iterator[str]:
    """Yields what a module imports when it runs, from this package.

    Args:
      tree: of the module.
      inner: also what its functions import.

    Yields:
      Names of modules, and of what may be modules or names in them.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from imports(ast.Module([other], []), inner=inner)
        elif isinstance(node, ast.FunctionDef) and not inner:
            continue
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(PACKAGE))
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").startswith(PACKAGE):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from imports(node, inner=inner)


class BuildModules(build_py):
    """Takes the found modules of each package."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """Lists package, module and file of the modules of a package."""
        chosen = modules()
        found = super().find_package_modules(package, package_dir)
        return [
            (*names, file)
            for *names, file in found
            if ".".join(names).removesuffix(".__init__") in chosen
        ]


def metadata(root: Path = ROOT) -> dict[str, Any]:
    """What both distributions share.

    Args:
      root: folder of the repository.

    Returns:
      Arguments of `setup`.
    """
    whole = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    project, files = whole["project"], modules(root)
    packages = [name for name, path in files.items() if path.name == "__init__.py"]
    needed = [r for r in project["dependencies"] if r.startswith(("numpy", "opencv-python"))]
    start = ast.parse((root / PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (version,) = (
        ast.literal_eval(node.value)
        for node in start.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"
    )
    return {
        "version": version,
        "author": ", ".join(author["name"] for author in project["authors"]),
        "license_expression": project["license"],
        "python_requires": project["requires-python"],
        "install_requires": needed,
        "extras_require": {"isal": project["optional-dependencies"]["fast"]},
        "packages": packages,
        "package_data": {
            name: patterns
            for name, patterns in whole["tool"]["setuptools"]["package-data"].items()
            if name in packages
        },
    }


if __name__ == "__main__":
    setup(
        package_dir={PACKAGE: f"../../{PACKAGE}"},
        cmdclass={"build_py": BuildModules},
        **metadata(),
    )
