"""The API reference and the page of commands, made from the package itself.

Nothing here is typed by hand: names come from the `__all__` of every package, flags and keys from
what the commands print.
"""

from __future__ import annotations

import ast
import os
import posixpath
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "segalias_jax" / "__init__.py"
API = "api"


def packages() -> dict[str, list[str]]:
    """The public names of each package that has any, by the name of the package."""
    found = {}
    for path in sorted((ROOT / "segalias_jax").rglob("__init__.py")):
        package = ".".join(path.parent.relative_to(ROOT).parts)
        names = next(map(ast.literal_eval, exported(ast.parse(path.read_text()))), [])
        if names and package != "segalias_jax":
            found[package] = names
    return found


def exported(tree: ast.Module) -> list[ast.expr]:
    """The values given to `__all__`."""
    return [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]


def page_of(package: str) -> str:
    """The page of a package."""
    return f"{API}/{package.removeprefix('segalias_jax.')}.md"


def link_to(package: str, name: str, shown: str) -> str:
    """A link to a public name, which may be a package of its own."""
    inner = f"{package}.{name}"
    if inner in packages():
        return f"[`{shown}`]({posixpath.basename(page_of(inner))})"
    return f"[`{shown}`][{inner}]"


def overview() -> str:
    """The first page of the reference: all packages with all their names."""
    every = packages()
    here = next(map(ast.literal_eval, exported(ast.parse(PACKAGE.read_text()))))
    short = [
        link_to(package, name, f"sa.{name}")
        for name in here
        for package, names in every.items()
        if name in names and f"segalias_jax.{name}" not in every
    ]
    lines = ["# API reference", "", "`import segalias_jax as sa`, and then " + ", ".join(short)]
    lines += ["and the packages below, each of which is loaded when it is first used.", ""]
    for package, names in every.items():
        lines += [f"## [`{package}`]({posixpath.basename(page_of(package))})", ""]
        lines += [", ".join(link_to(package, name, name) for name in names), ""]
    return "\n".join(lines)


def commands() -> str:
    """The page of the commands: what each prints for `--help`, and all keys of a recipe."""
    from segalias_jax import cli
    from segalias_jax.runs.recipe import describe_keys

    os.environ["COLUMNS"] = "100"  # how wide argparse writes
    lines = [
        "# Commands",
        "",
        "What `segalias COMMAND --help` prints, and the keys of recipes.",
        "",
    ]
    for name, command in cli.COMMANDS.items():
        text = cli.create_parser(name).format_help()
        lines += [
            f"## segalias {name}",
            "",
            f"{command.help}",
            "",
            "```text",
            text.strip(),
            "```",
            "",
        ]
    lines += ["## Keys of a recipe", ""]
    lines += [
        "For `--config.KEY=VALUE`, with their defaults, as `python -m segalias_jax.recipes.base`"
    ]
    return "\n".join([*lines, "prints them.", "", "```text", describe_keys(), "```", ""])


def reference(package: str) -> str:
    """The page of a package: what its docstring says, then each public name."""
    lines = [f"# `{package}`", "", f"::: {package}"]
    lines += [
        "    options: {members: [], show_root_heading: false, show_root_toc_entry: false}",
        "",
    ]
    every = packages()
    for name in every[package]:
        if f"{package}.{name}" not in every:
            lines += [f"::: {package}.{name}", ""]
    return "\n".join(lines)
