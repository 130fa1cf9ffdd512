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
    """Category, tried, reached, survived, lost."""
    for name, what in (("soak.json", "training"), ("soak_objects.json", "training of a detector")):
        if soak := read(name):
            lost = soak["arrays_that_differ"] + soak["images_not_once_per_epoch"]
            kills, what = soak["kills"], f"{what} killed (SIGKILL) at a random moment"
            yield what, kills, kills, kills - lost, lost
    for name, prefix in (("faults.json", "training: "), ("commands.json", "")):
        counts = read(name) or {"tried": {}}
        for what, tried in counts["tried"].items():
            reached, survived = (counts[key].get(what, 0) for key in ("reached", "survived"))
            yield prefix + what, tried, reached, survived, reached - survived
    if damage := read("damage.json"):
        for kind, counts in damage["outcomes"].items():
            tried, lost = sum(counts.values()), counts.get("lost", 0)
            yield f"checkpoint damaged: {kind}", tried, tried, tried - lost, lost


def table():
    lines = ["| category | tried | reached | survived | lost |", "|---|---|---|---|---|"]
    found = list(rows())
    found.append(("all", *(sum(row[k] for row in found) for k in range(1, 5))))
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in found)])


def main():
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}")


if __name__ == "__main__":
    main()
