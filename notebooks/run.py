"""Runs all notebooks in their reduced form, each in its own process.

    python notebooks/run.py [--full]

A notebook's metadata say by which line its parameters are replaced (`segalias.reduced`). What comes
out lies in build/notebooks; the notebooks themselves are kept without results.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
OUT = FOLDER.parent / "build" / "notebooks"


def reduced(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Replaces the cell of parameters."""
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source = notebook.metadata.segalias.reduced
    return notebook


def main() -> None:
    """Stops at the first cell that fails."""
    OUT.mkdir(parents=True, exist_ok=True)
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        if "--full" not in sys.argv:
            notebook = reduced(notebook)
        resources = {"metadata": {"path": str(OUT)}}
        NotebookClient(notebook, timeout=900, resources=resources).execute()
        nbformat.write(notebook, OUT / path.name)
        print(path.name, "done", flush=True)


if __name__ == "__main__":
    main()
