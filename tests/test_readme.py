"""What the README says: its commands exist, and its numbers are those of the result files."""

import json
import re
import shlex
from pathlib import Path

import pytest

from segalias_jax import cli
from segalias_jax.runs.published_ratios import FINAL_RATIOS
from segalias_jax.runs.sweep import binary_rows
from segalias_jax.scoring.reports.tables import markdown_table

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()
TWO_CLASSES = ("Dice_mean_over_images", "Dice_pixels_of_all_images", "IoU_pixels_of_all_images")
COMMANDS = [
    line.removesuffix("\\").strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.S)
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip() and not line.startswith("#")
]


def test_first_screen():
    """One sentence, one picture, two commands, one table."""
    first = README[: README.index("\n## ")]
    assert first.startswith("# segalias_jax\n")
    assert len(re.findall(r"!\[", first)) == 1
    assert len(re.findall(r"^\|[-:| ]+\|$", first, re.M)) == 1
    assert re.findall(r"^make \w+", first, re.M) == ["make quickstart", "make test"]


@pytest.mark.parametrize("command", COMMANDS)
def test_command_exists(command):
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        targets = (REPOSITORY / "Makefile").read_text()
        assert re.search(rf"^{words[1]}:", targets, re.M), command
    elif words[0] == "segalias":
        check_flags(words[1:])
    elif words[0] == "python":
        assert (REPOSITORY / words[1]).is_file(), command
    else:
        assert words[0] in ("pip", "git", "cd"), f"no check for {command}"


def check_flags(words):
    if words[0] == "eval" and "--config" not in words:
        # The recipe is that of a run, which is not here.
        own = [word for word in words[1:] if not word.startswith("--config.")]
        assert cli.create_parser("eval").parse(own).workdir
        return
    run, given = cli.parse_command(words)
    assert callable(run) and given


@pytest.mark.parametrize("picture", re.findall(r"!\[[^]]*\]\(([^)]+)\)", README))
def test_picture_exists(picture):
    assert (REPOSITORY / picture).is_file()


@pytest.mark.parametrize("link", re.findall(r"(?<!!)\[[^]]+\]\((?!http)([^)#]+)", README))
def test_link_leads_somewhere(link):
    assert (REPOSITORY / link).exists()


def test_numbers_are_the_measured_ones():
    """Every row of the score table names its result file."""
    rows = re.findall(r"^\| `configs/(\S+)` .*?\]\((\S+?\.json)\)\) \|(.*)\|$", README, re.M)
    assert rows, "no score rows"
    for recipe, path, cells in rows:
        result = json.loads((REPOSITORY / path).read_text())
        name = recipe.replace(".py", "")
        assert result["settings"]["recipe"].startswith(name.split(":")[0])
        if ":" in name:
            assert result["settings"]["recipe"] == name
        told = [float(cell) for cell in cells.split("|") if re.fullmatch(r" *[\d.]+ *", cell)]
        keys = ("mIoU", "BIoU", "BAcc", "FErr", "MErr", "DErr")
        keys = TWO_CLASSES if "_unet" in name else keys
        assert told == [round(100 * result["summary"][key], 1) for key in keys]


def test_table_of_the_sweep_is_the_measured_one():
    path = "benchmarks/results/kvasir_unet_ratio_sweep_tiny.json"
    assert f"]({path})" in README
    found = json.loads((REPOSITORY / path).read_text())
    values, scores = zip(*((run["value"], run["scores"]) for run in found["runs"]), strict=True)
    published = {row["value"]: row["scores"] for row in found["published"]}
    assert published == FINAL_RATIOS[found["recipe"]["data.source"]]
    assert markdown_table(binary_rows(found["key"], values, scores, published)) in README


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.S))
def test_python_runs(code, library):
    for package in ("equinox", "haiku", "keras"):
        if re.search(rf"^import {package}\b", code, re.M):
            library(package)
    exec(compile(code, "README.md", "exec"), {})
