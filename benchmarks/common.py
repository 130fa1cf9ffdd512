"""What all benchmarks share: timing in turn, the machine's name, tables and result files."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from segalias_jax.files import write_text

try:
    import torch
except ImportError:
    torch = None

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent / "README.md"
MARKER = "<!-- measured -->"


def latencies(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of every call; the calls take turns, so that a slow minute slows all of them."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(1e3 * (time.perf_counter() - start))
    return times


def medians(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Medians of `latencies`."""
    return {name: statistics.median(times) for name, times in latencies(calls, repeats).items()}


def machine() -> dict[str, str]:
    """What the numbers were measured on."""
    device = jax.devices()[0]
    return {
        "device": processor() if device.platform == "cpu" else device.device_kind,
        "platform": device.platform,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "torch": torch.__version__ if torch else "not installed",
    }


def processor() -> str:
    """Name of the processor and number of its logical cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.machine()


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table with a column for every key."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(row.get(c, "")) for c in columns) + " |" for row in rows]
    return "\n".join(lines)


def results_file() -> Path:
    """The result file of this device."""
    device = machine()["device"]
    name = "".join(c if c.isalnum() else "_" for c in device).strip("_").lower()
    return RESULTS / f"{name}.json"


def stored(section: str) -> list[dict[str, Any]]:
    """The rows of a section that were measured on this device before."""
    path = results_file()
    content = json.loads(path.read_text()) if path.exists() else {}
    return content.get(section, {"rows": []})["rows"]


def save(section: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints the table and puts the rows into this device's result file, beside other sections."""
    print(markdown(rows))
    about, path = machine(), results_file()
    content = json.loads(path.read_text()) if path.exists() else {}
    content[section] = {"machine": about, "rows": list(rows)}
    write_text(path, json.dumps(content, indent=1) + "\n")
    write_tables()
    print(f"written to {path} and {README}")


def write_tables() -> None:
    """Puts the tables of all result files after the marker in this folder's README."""
    parts = [README.read_text().split(MARKER)[0] + MARKER]
    for path in sorted(RESULTS.glob("*.json")):
        for section, result in json.loads(path.read_text()).items():
            if not isinstance(result, dict) or "rows" not in result:
                continue
            about = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
            parts.append(f"## {section}\n\n{about}\n\n{markdown(result['rows'])}")
    write_text(README, "\n\n".join(parts) + "\n")
