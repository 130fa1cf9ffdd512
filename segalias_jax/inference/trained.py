"""A network out of the folder of a run, or of converted weights, without any of its data."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import config_dict

from segalias_jax import models
from segalias_jax.checkpoints import read_weights
from segalias_jax.checkpoints.pretrained import fitting
from segalias_jax.data.classes import COCO_STUFF, RADAR, SYNTHETIC
from segalias_jax.data.layouts import LAYOUTS
from segalias_jax.errors import InputError
from segalias_jax.runs.instance_recipe import InstanceRecipe
from segalias_jax.runs.panoptic import PanopticRecipe
from segalias_jax.runs.recipe import BaseRecipe, Recipe
from segalias_jax.runs.recipes import nested_recipe
from segalias_jax.runs.tasks import parse_recipe
from segalias_jax.runs.workdir import CLASSES, RECIPE, read_recipe
from segalias_jax.scoring.reports.overlays import spread_palette
from segalias_jax.typing import Array, Float, Int32, UInt8

_KNOWN = {name: layout.classes for name, layout in LAYOUTS.items()} | {
    "synthetic": SYNTHETIC,
    "radar": RADAR,
}
_CLASSIFIER = "parameters/classifier/conv/bias"
_DETECTOR = "parameters/box_head/logits/bias"  # one of them is the background's
_PANOPTIC = "parameters/semantic/out/bias"  # as of those
_COCO_CLASSES = 80


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A network with its weights, and what its outputs mean.

    Attributes:
      model: in evaluation mode; maps what `network_input` returns to logits [b, h, w, c].
      config: the recipe.
      classes: names of the classes.
      palette: RGB color of each class.
      ratio: where an adaptive frequency curriculum ended; None for other ones.

    Example:
      >>> trained = load_trained("run")  # doctest: +SKIP
      >>> trained.apply(np.zeros((1, 64, 96, 3), np.uint8)).shape  # doctest: +SKIP
      (1, 64, 96, 19)
    """

    model: nnx.Module
    config: Recipe
    classes: tuple[str, ...]
    palette: UInt8[np.ndarray, "n 3"]
    ratio: float | None = None

    def apply(self, image: UInt8[Array, "b h w 3"]) -> Float[Array, "b h w c"]:
        """Returns the logits of images in bytes."""
        return self.model(self.network_input(image))

    def network_input(self, image: UInt8[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
        """Returns what the network sees of images: all of them, or their low pass (curriculum)."""
        curriculum = self.config.curriculum
        return curriculum.network_input(image, curriculum.evaluation_ratio(self.ratio))


@dataclasses.dataclass(frozen=True)
class TrainedDetector:
    """A detector with its weights, and what its outputs mean.

    Attributes:
      model: in evaluation mode; one that the recipe's task predicts with.
      config: the recipe.
      classes: names of the classes, of which the first has number 1.
      palette: RGB color of each class.

    Example:
      >>> trained = load_trained("run")  # doctest: +SKIP
      >>> image, size = jnp.zeros((1, 64, 96, 3), jnp.uint8), jnp.array([[60, 90]])
      >>> trained.apply(image, size).boxes.shape  # doctest: +SKIP
      (1, 100, 4)
    """

    model: models.MaskRCNN | models.PanopticDeepLab
    config: InstanceRecipe
    classes: tuple[str, ...]
    palette: UInt8[np.ndarray, "n 3"]

    def apply(self, image: UInt8[Array, "b h w 3"], size: Int32[Array, "b 2"]) -> Any:
        """Returns the objects in images in bytes, of (height, width) `size` without padding.

        They are `models.Detections`, or `tasks.panoptic.Segments`.
        """
        task = self.config.create_task(self.classes, precision="float32")
        return task.predict(self.model, image, size=size)


def load_trained(
    folder: Path | str, config: BaseRecipe | config_dict.ConfigDict | None = None
) -> TrainedModel | TrainedDetector:
    """Reads the best checkpoint of a run, or converted weights.

    Modules that the recipe names in `model.imports` are imported first, see `Recipe.from_config`:
    they may add encoders and decoders to the tables. Branches that only training needs are folded
    into the convolutions beside them, see `models.fold_branches`.

    Args:
      folder: of a run, or of weights that `torch_weights.convert` wrote.
      config: the recipe (`runs.recipes.load_recipe`) of converted weights; a run has its own.

    Returns:
      The network; a `TrainedDetector` where the recipe is one of objects.

    Raises:
      InputError: no checkpoint, no recipe or two of them, a module that cannot be imported, a
        checkpoint of another model, or names for another number of classes.

    Example:
      >>> load_trained("no/such/run")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: no/such/run is not there; give the folder of a checkpoint
    """
    folder = Path(folder)
    arrays, _ = read_weights(folder)
    ratio = arrays.pop("task", None)  # what the task carries: that of an adaptive curriculum
    recipe = read_trained_recipe(folder, config)
    # There is no gradient to recompute anything for.
    section = dataclasses.replace(recipe.model, pretrained="", remat=())
    if isinstance(recipe, InstanceRecipe):
        panoptic = isinstance(recipe, PanopticRecipe)
        num_classes = _count(arrays, _PANOPTIC if panoptic else _DETECTOR, folder) - 1
        create = models.create_panoptic if panoptic else models.create_detector
        names, palette = _classes(folder, _names_of_objects(recipe, num_classes), num_classes)
        detector = nnx.eval_shape(
            lambda: create(section, num_classes=num_classes, rngs=nnx.Rngs(0))
        )
        _fill(detector, arrays, str(folder))
        detector.eval()
        return TrainedDetector(models.fold_branches(detector), recipe, names, palette)
    assert isinstance(recipe, Recipe)
    num_classes = _count(arrays, _CLASSIFIER, folder)
    names, palette = _classes(folder, _KNOWN.get(recipe.data.source), num_classes)
    model = nnx.eval_shape(
        lambda: models.create_model(section, num_classes=num_classes, rngs=nnx.Rngs(0))
    )
    _fill(model, arrays, str(folder))
    model.eval()
    ended = None if ratio is None else float(ratio)
    return TrainedModel(models.fold_branches(model), recipe, names, palette, ended)


def read_trained_recipe(
    folder: Path | str, config: BaseRecipe | config_dict.ConfigDict | None = None
) -> Any:
    """Returns the recipe of a run, or the one that is given for converted weights.

    Args:
      folder: as for `load_trained`.
      config: as for `load_trained`.

    Returns:
      The recipe, of the class of its task.

    Raises:
      InputError: no recipe or two of them, or one that cannot be.

    Example:
      >>> read_trained_recipe("no/such/run", Recipe()).task
      'semantic'
    """
    own = Path(folder) / RECIPE
    if config is None:
        if not own.exists():
            raise InputError(f"{folder} has no {RECIPE}; pass config, the recipe of its weights")
        # An older version wrote False here, which no section reads; nothing is recomputed.
        config = nested_recipe(read_recipe(own) | {"model.remat": []})
    elif own.exists():
        raise InputError(f"{folder} has a recipe of its own; leave config out")
    return parse_recipe(config)


def _count(arrays: Mapping[str, np.ndarray], name: str, folder: Path) -> int:
    if name in arrays:
        return len(arrays[name])
    if {_CLASSIFIER, _DETECTOR, _PANOPTIC} & arrays.keys():
        raise InputError(
            f"{folder} holds a network of another task; give the recipe of its weights"
        )
    raise InputError(f"{folder} holds a backbone alone; give weights of a whole network")


def _names_of_objects(
    recipe: InstanceRecipe, num_classes: int
) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and colors: the recipe's, those of COCO itself, or numbers from 1 on."""
    names = recipe.data.classes
    if not names and recipe.data.source == "coco" and num_classes == _COCO_CLASSES:
        names = COCO_STUFF[0][:_COCO_CLASSES]
    return names or tuple(map(str, range(1, num_classes + 1))), spread_palette(num_classes)


def _classes(
    folder: Path, known: tuple[tuple[str, ...], np.ndarray] | None, num_classes: int
) -> tuple[tuple[str, ...], UInt8[np.ndarray, "n 3"]]:
    """Names and colors of the classes: the run's own, or those of a known data set."""
    path = folder / CLASSES
    if path.exists():
        try:
            content = json.loads(path.read_text())
            names, palette = tuple(content["classes"]), np.asarray(content["palette"], np.uint8)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is damaged ({error}); copy it again") from None
    else:
        unnamed = tuple(map(str, range(num_classes))), spread_palette(num_classes)
        names, palette = known or unnamed
    if len(names) != num_classes or palette.shape != (num_classes, 3):
        raise InputError(
            f"{folder}: its network has {num_classes} classes, but {len(names)} are named; "
            "use the recipe that it was trained with"
        )
    return names, palette


def _fill(model: nnx.Module, arrays: Mapping[str, np.ndarray], where: str) -> None:
    """Puts the arrays of a checkpoint into a model that has shapes only."""
    state = nnx.state(model)
    leaves = {}
    for path, variable in nnx.to_flat_state(state):
        if isinstance(variable, nnx.RngState):  # nothing is drawn in evaluation mode
            variable.set_value(jax.random.key(0) if path[-1] == "key" else jnp.uint32(0))
            continue
        part = "parameters" if isinstance(variable, nnx.Param) else "statistics"
        leaves["/".join([part, *map(str, path)])] = variable
    shapes = {name: variable.shape for name, variable in leaves.items()}
    fitting(arrays, shapes, (), where)
    for name, variable in leaves.items():
        variable.set_value(jnp.asarray(arrays[name], variable.dtype))
    nnx.update(model, state)
