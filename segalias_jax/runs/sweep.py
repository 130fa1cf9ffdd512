"""A list of values of one key of a recipe: a run for each, and all their scores in one table.

Every run has a folder of its own, in which it resumes like any other; its scores are written there
once it is finished, so that the same command goes on with what is missing and ends in the same
table. All recipes are checked before the first run begins.
"""

from __future__ import annotations

import copy
import dataclasses
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl.flags import FlagValues
from ml_collections.config_dict import ConfigDict

from segalias_jax.errors import InputError
from segalias_jax.files import write_text
from segalias_jax.metrics.lookup import rows_shown
from segalias_jax.metrics.rows import OVER_IMAGES, OVER_PIXELS
from segalias_jax.runs.evaluate import evaluate_run
from segalias_jax.runs.published_ratios import BOTH_CLASSES, FINAL_RATIOS, SETTING
from segalias_jax.runs.recipe import Recipe
from segalias_jax.runs.recipes import flat_items, override_recipe
from segalias_jax.runs.tasks import recipe_class
from segalias_jax.runs.train import train
from segalias_jax.runs.workdir import MACHINE_KEYS, check_recipe, read_recipe
from segalias_jax.scoring.reports.tables import bullets, json_text, markdown_table, percent

RESULT = "sweep.json"
"""In the folder of a run: its scores, once it is finished. In that of the sweep: all of them."""
TABLE = "sweep.md"
_RATIO = "curriculum.ratio"


@dataclasses.dataclass(frozen=True)
class Run:
    """One value of a sweep.

    Attributes:
      value: of the key, as the recipe holds it.
      recipe: with that value.
      folder: of the run.
    """

    value: Any
    recipe: Recipe
    folder: Path


def plan_runs(config: ConfigDict, over: str, workdir: Path) -> list[Run]:
    """Makes a recipe for each value of a key, and checks all of them.

    Args:
      config: recipe that they share.
      over: "KEY=VALUE,VALUE,..."; a value with commas of its own stands in brackets.
      workdir: folder of the sweep, in which each run gets one.

    Returns:
      The runs in the order of the values.

    Raises:
      InputError: a recipe of another task, an unknown key, no value, a value twice or one that
        cannot be, or a folder that holds something else.

    Example:
      >>> from segalias_jax.runs.recipes import load_recipe
      >>> runs = plan_runs(load_recipe("quickstart"), "seed=0,1", Path("sweep"))
      >>> [(run.value, run.folder.name) for run in runs]
      [(0, 'seed=0'), (1, 'seed=1')]
    """
    if recipe_class(config) is not Recipe:
        raise InputError(
            f"--config: {config.name} is no recipe of semantic segmentation, whose scores a sweep "
            "compares; train each value with segalias train"
        )
    key, _, values = (part.strip() for part in over.partition("="))
    if "=" not in over or not key:
        raise InputError(f"--over: {over!r} is no KEY=VALUE,VALUE such as {_RATIO}=1,0.9,0.6")
    words = [word.strip() for word in re.split(r",(?![^(\[]*[)\]])", values)]
    if "" in words:
        raise InputError(f"--over: {over!r} has no value, or an empty one; give {key}=VALUE,VALUE")
    if key not in (known := flat_items(config)) and any(k.startswith(f"{key}.") for k in known):
        raise InputError(f"--over: {key} is a section of the recipe; name one of its keys")
    runs: list[Run] = []
    for word in words:
        argv = ["segalias", f"--config.{key}={word}"]
        changed, _ = override_recipe(copy.deepcopy(config), argv, values=FlagValues())
        value, recipe = flat_items(changed)[key], Recipe.from_config(changed)
        if value in [run.value for run in runs]:
            raise InputError(f"--over: {key}={word} is there twice; leave one out")
        folder = workdir / re.sub(r"[^\w.,=()-]", "_", f"{key}={word.replace(' ', '')}")
        if folder in [run.folder for run in runs]:
            raise InputError(f"--over: two values of {key} would share the folder {folder.name}")
        check_recipe(recipe.to_flat(), folder)
        runs.append(Run(value, recipe, folder))
    return runs


def check_published(config: ConfigDict, over: str) -> None:
    """Raises where there are no published scores to show beside those of a sweep.

    Args:
      config: recipe that the runs share.
      over: see `plan_runs`.

    Raises:
      InputError: another key, data set or course of the ratio.

    Example:
      >>> from segalias_jax.runs.recipes import load_recipe
      >>> check_published(load_recipe("kvasir_unet:final_ratio=1"), "curriculum.ratio=1,0.9")
    """
    recipe = Recipe.from_config(config)
    if over.partition("=")[0].strip() != _RATIO:
        raise InputError(f"--published: there are published scores of {_RATIO} alone; leave it out")
    if recipe.data.source not in FINAL_RATIOS:
        raise InputError(
            f"--published: there is no published table of data.source {recipe.data.source!r}, but "
            f"of {' and '.join(FINAL_RATIOS)}; leave it out"
        )
    if recipe.curriculum.schedule != "linear":
        raise InputError(
            "--published: the published ratios are the last ones of a linear course, but "
            f"curriculum.schedule is {recipe.curriculum.schedule!r}; add "
            "--config.curriculum.schedule=linear"
        )


def run_sweep(
    config: ConfigDict, workdir: Path, over: str, *, split: str = "", published: bool = False
) -> str:
    """Trains a recipe for each value of a key, and compares the scores of the best checkpoints.

    Runs that are finished are skipped, one that was interrupted resumes. Writes the folder of each
    run, `sweep.md` and `sweep.json`.

    Args:
      config: recipe that they share.
      workdir: folder of the sweep; made when missing.
      over: see `plan_runs`.
      split: of the data, to be scored; "" for the one that the recipe validates on.
      published: whether published scores stand beside ours.

    Returns:
      The table with what is to be known about it, in Markdown.

    Raises:
      InputError: see `plan_runs`, `check_published` and `train`.
      Interrupted: a signal; the same call resumes.
    """
    if published:
        check_published(config, over)
    key, runs = over.partition("=")[0].strip(), plan_runs(config, over, workdir)
    scores, seconds = [], []
    for i, run in enumerate(runs):
        path = run.folder / RESULT
        found = read_recipe(path) if path.exists() else {}
        if found.get("split") == split:
            print(f"sweep: run {i + 1} of {len(runs)}, {run.folder.name}, is finished")
        else:
            left = sum(seconds) / len(seconds) * (len(runs) - i) if seconds else 0
            about = f", about {left / 60:.0f} min left" if left else ""
            print(f"sweep: run {i + 1} of {len(runs)}, {run.folder.name}{about}", flush=True)
            began = time.monotonic()
            found = {"split": split, "scores": _train_and_score(run, split)}
            write_text(path, json_text(found))
            seconds.append(time.monotonic() - began)
        scores.append(found["scores"])
    return _write_tables(workdir, key, runs, scores, split=split, published=published)


def _train_and_score(run: Run, split: str) -> dict[str, Any]:
    train(run.recipe, run.folder)
    if not split:
        return read_recipe(run.folder / "report.json")["summary"]
    shown = dataclasses.replace(run.recipe.data, eval_split=split)
    evaluate_run(dataclasses.replace(run.recipe, data=shown), run.folder)
    return read_recipe(run.folder / "eval" / "report.json")["summary"]


def _write_tables(
    workdir: Path,
    key: str,
    runs: Sequence[Run],
    scores: Sequence[Mapping[str, Any]],
    *,
    split: str,
    published: bool,
) -> str:
    recipe = runs[0].recipe
    there = FINAL_RATIOS[recipe.data.source] if published else {}
    values = [run.value for run in runs]
    if OVER_IMAGES in " ".join(scores[0]):
        rows = binary_rows(key, values, scores, there)
    else:
        rows = class_rows(key, values, scores)
    about = {
        "ours": f"{recipe.name}, {recipe.train.steps} updates of {recipe.train.batch_size} crops "
        f"of {'x'.join(map(str, recipe.data.crop))} pixels, seed {recipe.seed}, but for "
        f"{key}; the best checkpoint of each run on {recipe.data.source} "
        f"{split or recipe.data.eval_split}",
    }
    if published:
        about["published"] = SETTING
    text = "\n\n".join((f"Scores in per cent by {key}:", markdown_table(rows), bullets(about)))
    shared = {
        name: value
        for name, value in recipe.to_flat().items()
        if name != key and name not in MACHINE_KEYS
    }
    content = {
        "key": key,
        "about": about,
        "recipe": shared,
        "runs": [
            {"value": run.value, "folder": run.folder.name, "scores": dict(found)}
            for run, found in zip(runs, scores, strict=True)
        ],
        "published": [{"value": value, "scores": found} for value, found in there.items()],
    }
    write_text(workdir / RESULT, json_text(content))
    write_text(workdir / TABLE, f"# Sweep of {key}\n\n{text}\n")
    return text


def class_rows(
    key: str, values: Sequence[Any], scores: Sequence[Mapping[str, Any]]
) -> list[list[str]]:
    """Lists a row for each value, of the scores that reports have in their first table.

    Args:
      key: that was swept.
      values: of it.
      scores: of each value, by name; None for what has no value.

    Returns:
      Rows, the header first.

    Example:
      >>> class_rows("seed", [0], [{"mIoU": 0.5}])
      [['seed', 'mIoU'], ['0', '50.00']]
    """
    shown = [row for row in rows_shown("table", source="classes") if row.name in scores[0]]
    rows = [[key, *(row.title for row in shown)]]
    for value, found in zip(values, scores, strict=True):
        rows.append([_text(value), *(_percent(found[row.name]) for row in shown)])
    return rows


def binary_rows(
    key: str,
    values: Sequence[Any],
    scores: Sequence[Mapping[str, Any]],
    published: Mapping[Any, Mapping[str, float]],
) -> list[list[str]]:
    """Lists the scores of both classes for each value, in both averages, and published ones.

    Args:
      key: that was swept.
      values: of it.
      scores: of each value, by name; None for what has no value.
      published: scores by value; those of values that were not swept stand at the end.

    Returns:
      Rows, the header first.

    Example:
      >>> rows = binary_rows("curriculum.ratio", [], [], {0.6: {"IoU": 0.7697}})
      >>> rows[1]
      ['0.6', 'published', '-', '-', '-', '-', '76.97']
    """
    rows = [[key, "scores of both classes", *BOTH_CLASSES]]
    ours = {OVER_IMAGES: "ours, mean over images", OVER_PIXELS: "ours, pixels of all images"}
    for value, found in zip(values, scores, strict=True):
        for average, words in ours.items():
            names = [f"{base}_{average}" for base in BOTH_CLASSES.values()]
            rows.append([_text(value), words, *(_percent(found[name]) for name in names)])
        if value in published:
            rows.append(_published_row(value, published[value]))
    rows += [_published_row(value, published[value]) for value in published if value not in values]
    return rows


def _published_row(value: Any, found: Mapping[str, float]) -> list[str]:
    return [_text(value), "published", *(_percent(found.get(title)) for title in BOTH_CLASSES)]


def _percent(value: float | None) -> str:
    return "-" if value is None else percent(value)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
