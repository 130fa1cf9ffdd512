"""Class weights that are counted from the training data: `loss.class_weights = "balanced"`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segalias_jax.data.tools.statistics import count_classes
from segalias_jax.errors import InputError
from segalias_jax.files import write_text
from segalias_jax.losses import BALANCED, balanced_class_weights
from segalias_jax.runs.recipe import Recipe
from segalias_jax.runs.workdir import read_recipe
from segalias_jax.training.processes import is_first

FILE = "class_weights.json"
"""Where a run keeps what it counted."""


def find_class_weights(recipe: Recipe, workdir: Path, source: Any) -> tuple[float, ...]:
    """The numbers that a recipe's `loss.class_weights` stands for.

    "balanced" is counted once: a run that goes on reads what it wrote. Whole numbers add up to the
    same in any order, so processes that count agree.

    Args:
      recipe: the recipe, whose loss was checked.
      workdir: folder of the run; may be missing.
      source: the training split; read only where its classes have to be counted.

    Returns:
      One weight per class, or none.

    Raises:
      InputError: an unusable label, or a class without pixels.

    Example:
      >>> recipe = Recipe.from_config({"loss": {"class_weights": (1.0, 2.0)}})
      >>> find_class_weights(recipe, Path("missing"), None)
      (1.0, 2.0)
    """
    given = recipe.loss.class_weights
    if given != BALANCED:
        return tuple(map(float, given))
    path = workdir / FILE
    if path.exists():
        return tuple(read_recipe(path).values())
    pixels = count_classes(source, threads=recipe.data.threads, progress=is_first()).tolist()
    for name, count in zip(source.classes, pixels, strict=True):
        if not count:
            raise InputError(
                f"loss.class_weights is {BALANCED!r}, but no pixel of {recipe.data.source} "
                f"{recipe.data.train_split} is of class {name!r}; give numbers, or none"
            )
    weights = balanced_class_weights(pixels)
    if is_first():
        told = ", ".join(f"{n} {w:.4g}" for n, w in zip(source.classes, weights, strict=True))
        print(f"loss.class_weights: {told}, counted in the labels of {len(source)} images")
    return weights


def keep_class_weights(
    recipe: Recipe,
    workdir: Path,
    weights: Sequence[float],
    classes: Sequence[str],
) -> None:
    """Writes weights that were counted, by name of the class.

    Args:
      recipe: the recipe.
      workdir: folder of the run; exists.
      weights: what `find_class_weights` returns.
      classes: names of the classes.

    Example:
      >>> recipe = Recipe.from_config({"loss": {"class_weights": ()}})
      >>> keep_class_weights(recipe, Path("missing"), (), ())
    """
    if recipe.loss.class_weights == BALANCED:
        content = dict(zip(classes, weights, strict=True))
        write_text(workdir / FILE, json.dumps(content, indent=1) + "\n")
