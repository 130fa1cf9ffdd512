"""What the scripts of the gallery share: their flags, figures, and tables of docs/gallery.md."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

from segalias_jax.files import write_text

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

plt.rcParams.update({"font.size": 9, "axes.titlesize": 9, "figure.constrained_layout.use": True})

BLUE, ORANGE, GREEN, PURPLE, GRAY = "#0072b2", "#e66100", "#009e73", "#cc79a7", "#777777"
"""Colors of lines, after Okabe and Ito."""

_DBZ = "ffffff c5eef0 8fd0ee 5aa5e0 9be08a 4fb84f 1f8a3a fdf06a e8c000 fd9500 f03b20 c5001c 8f0018"
_DBZ += " e01fd0 9854c6 4b0082"
DBZ = ListedColormap([f"#{color}" for color in _DBZ.split()])
DBZ_STEPS = BoundaryNorm(range(0, 81, 5), DBZ.N)
"""Colors of reflectivity, a step every 5 dBZ."""


def read_flags(doc: str, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads `--out` and `--page`.

    Args:
      doc: docstring of the script.
      arguments: of the command; None for those of this process.

    Returns:
      The flags; the folder `out` exists.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gallery"), help="folder of the figures")
    parser.add_argument("--page", type=Path, help="page whose tables are written anew")
    flags = parser.parse_args(arguments)
    flags.out.mkdir(parents=True, exist_ok=True)
    return flags


def save(figure: Figure, path: Path) -> None:
    """Writes a figure, and closes it."""
    figure.savefig(path, dpi=90)
    plt.close(figure)
    print(f"{path}: {path.stat().st_size // 1000} kB")


def publish(tables: Mapping[str, str], page: Path | None) -> None:
    """Prints tables, and puts each between its marks of a page.

    Args:
      tables: Markdown by the name in the marks `<!-- name -->` and `<!-- end of name -->`.
      page: the page; None where they are only printed.
    """
    text = page.read_text() if page else ""
    for name, table in tables.items():
        print(f"\n{name}\n{table}")
        if page:
            before, rest = text.split(f"<!-- {name} -->")
            after = rest.split(f"<!-- end of {name} -->")[1]
            text = f"{before}<!-- {name} -->\n{table}\n<!-- end of {name} -->{after}"
    if page:
        write_text(page, text)
