"""Writes the table of docs/faults.md out of benchmarks/results: `python tests/faults/table.py`."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "faults.md"
BEGIN, END = "<!-- table -->", "<!-- end of the table -->"


def read(name):
    path = RESULTS / name
    return json.loads(path.read_text()) if path.exists() else None


def rows():
    """Category, tried, survived, lost."""
    for name, whose in (("soak.json", ""), ("soak_objects.json", "detector ")):
        if soak := read(name):
            lost = soak["arrays_that_differ"] + soak["images_not_once_per_epoch"]
            what = f"{whose}killed (SIGKILL) at a random moment"
            yield what, soak["kills"], soak["kills"] - lost, lost
    if faults := read("faults.json"):
        for what, tried in sorted(faults["tried"].items()):
            name = "killed (SIGKILL) at a file operation" if what == "SIGKILL" else what
            survived = faults["survived"].get(what, 0)
            yield name, tried, survived, tried - survived
    if damage := read("damage.json"):
        for kind, counts in damage["outcomes"].items():
            tried, lost = sum(counts.values()), counts.get("lost", 0)
            yield f"checkpoint damaged: {kind}", tried, tried - lost, lost


def table():
    lines = ["| category | tried | survived | lost |", "|---|---|---|---|"]
    found = list(rows())
    found.append(("all", *(sum(row[k] for row in found) for k in (1, 2, 3))))
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in found)])


def main():
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}")


if __name__ == "__main__":
    main()
