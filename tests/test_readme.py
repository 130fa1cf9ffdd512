"""The README's first screen, and tables of results, whose numbers are those of the result files."""

import json
import re
from pathlib import Path

import pytest

from segalias_jax.runs.published_ratios import FINAL_RATIOS
from segalias_jax.runs.sweep import binary_rows
from segalias_jax.scoring.reports.tables import markdown_table

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()
TWO_CLASSES = ("Dice_mean_over_images", "Dice_pixels_of_all_images", "IoU_pixels_of_all_images")
RECIPES = (REPOSITORY / "docs" / "recipes.md").read_text()
CURRICULUM = (REPOSITORY / "docs" / "curriculum.md").read_text()


def test_first_screen():
    """One sentence, one picture, two commands, one table."""
    first = README[: README.index("\n## ")]
    assert first.startswith("# segalias_jax\n")
    assert len(re.findall(r"!\[", first)) == 1
    assert len(re.findall(r"^\|[-:| ]+\|$", first, re.M)) == 1
    assert re.findall(r"^make \w+", first, re.M) == ["make quickstart", "make test"]


@pytest.mark.parametrize("page", [RECIPES, CURRICULUM])
def test_numbers_are_the_measured_ones(page):
    """Every row of the score table names its result file."""
    rows = re.findall(r"^\| `configs/(\S+)` .*?\]\((\S+?\.json)\)\) \|(.*)\|$", page, re.M)
    assert rows, "no score rows"
    for recipe, path, cells in rows:
        result = json.loads((REPOSITORY / path.removeprefix("../")).read_text())
        name = recipe.replace(".py", "")
        assert result["settings"]["recipe"].startswith(name.split(":")[0])
        if ":" in name:
            assert result["settings"]["recipe"] == name
        told = [float(cell) for cell in cells.split("|") if re.fullmatch(r" *[\d.]+ *", cell)]
        keys = ("mIoU", "BIoU", "BAcc", "FErr", "MErr", "DErr")
        keys = TWO_CLASSES if "_unet" in name else keys
        assert told == [round(100 * result["summary"][key], 1) for key in keys]
    for told, path in re.findall(r"\[(\d+\.\d)\]\((\S+?\.json)\)", page):
        result = json.loads((REPOSITORY / path.removeprefix("../")).read_text())
        assert float(told) == round(100 * result["summary"]["mIoU"], 1)


def test_table_of_the_sweep_is_the_measured_one():
    path = "benchmarks/results/kvasir_unet_ratio_sweep_tiny.json"
    assert f"](../{path})" in CURRICULUM
    found = json.loads((REPOSITORY / path).read_text())
    values, scores = zip(*((run["value"], run["scores"]) for run in found["runs"]), strict=True)
    published = {row["value"]: row["scores"] for row in found["published"]}
    assert published == FINAL_RATIOS[found["recipe"]["data.source"]]
    assert markdown_table(binary_rows(found["key"], values, scores, published)) in CURRICULUM
