"""What the program of a detector takes and gives.

It takes one image of a fixed size in RGB bytes, filled up with anything at the bottom and at the
right, and (height, width) without this padding. It gives boxes, scores, classes and masks, best
first; the last entries hold zeros. Suppression is inside: a loop that runs until nothing changes.
Networks of queries have no boxes, and masks of the whole image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from segalias_jax import ops
from segalias_jax.data.instance_transforms import MULTIPLE, padded_size
from segalias_jax.errors import InputError
from segalias_jax.inference.exported import INSTANCES
from segalias_jax.inference.instance_predictor import DetectionSettings, detection_settings
from segalias_jax.inference.trained import TrainedDetector
from segalias_jax.models import Detections, MaskDetections, MaskRCNN
from segalias_jax.runs.panoptic import PanopticRecipe

_IMAGE, _SIZE = "image", "size"


def describe_detector(
    trained: TrainedDetector, size: tuple[int, int] | str | None, batch: int | None
) -> tuple[DetectionSettings, dict[str, jax.ShapeDtypeStruct], tuple[str, ...], Callable]:
    """Returns how images are shown to a detector, and what its program takes, gives and does.

    Args:
      trained: the detector.
      size: (height, width) of padded images, multiples of 32; None for that of the recipe.
      batch: images at a time; 1 or None.

    Raises:
      InputError: another size or batch, or a network of panoptic segmentation.
    """
    if isinstance(trained.config, PanopticRecipe):
        raise InputError(
            f"{trained.config.model.name} is not exported: programs return boxes and masks of "
            "objects, and it divides images; predict with sa.Predictor or segalias predict"
        )
    if batch not in (None, 1):
        raise InputError(
            f"batch is {batch}, but programs of detectors take one image; leave it out"
        )
    if isinstance(size, str):
        raise InputError(f"size is {size!r}, but programs of detectors have a size; give H,W")
    if size is not None and any(side % MULTIPLE for side in size):
        raise InputError(
            f"size is {size[0]},{size[1]}, but detectors take multiples of {MULTIPLE}; give "
            f"{','.join(map(str, padded_size([size])))}"
        )
    recipe = trained.config
    settings = detection_settings(recipe.data, threshold=recipe.eval.threshold)
    sides = size or settings.padded or padded_size([(settings.short, settings.long)])
    settings = dataclasses.replace(settings, padded=sides)
    inputs = {
        _IMAGE: jax.ShapeDtypeStruct((1, *sides, 3), jnp.uint8),
        _SIZE: jax.ShapeDtypeStruct((1, 2), jnp.int32),
    }

    kind = MaskDetections if recipe.by_queries else Detections
    outputs = tuple(field.name for field in dataclasses.fields(kind))

    def function(image: jax.Array, size: jax.Array) -> tuple[jax.Array, ...]:
        found = trained.apply(image, size)
        return tuple(getattr(found, name) for name in outputs)

    return settings, inputs, outputs, function


def detector_manifest(
    trained: TrainedDetector, settings: DetectionSettings, inputs: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns what a program takes and gives, and how the network was tested.

    Args:
      trained: the detector.
      settings: how images are shown to it.
      inputs: of the program.
    """
    if isinstance(trained.model, MaskRCNN):
        most, side = trained.model.max_detections, trained.model.mask_side
        boxes = {"boxes": ([1, most, 4], "float32", "x1, y1, x2, y2 in pixels of the padded image")}
        masks = [1, most, side, side], "float32", "probability of each cell of the box"
    else:
        most, (height, width) = trained.config.model.queries, inputs[_IMAGE].shape[1:3]
        boxes = {}
        masks = [1, most, height, width // 8], "uint8", "eight pixels of the image in a byte"
    outputs = boxes | {
        "scores": ([1, most], "float32", "falling; 0 where there is no object"),
        "classes": ([1, most], "int32", "from 1 on; 0 where there is no object"),
        "masks": masks,
    }
    return {
        "task": INSTANCES,
        "recipe": trained.config.name,
        "input": {
            "name": _IMAGE,
            "shape": list(inputs[_IMAGE].shape),
            "dtype": "uint8",
            "axes": "NHWC, RGB, 0 to 255",
        },
        "size": {
            "name": _SIZE,
            "shape": [1, 2],
            "dtype": "int32",
            "axes": "height, width of the image without its padding",
        },
        "outputs": {
            name: {"shape": shape, "dtype": dtype, "axes": axes}
            for name, (shape, dtype, axes) in outputs.items()
        },
        "normalization": {"mean": ops.IMAGENET_MEAN, "std": ops.IMAGENET_STD, "inside": True},
        "classes": trained.classes,
        "palette": trained.palette.tolist(),
        "protocol": dataclasses.asdict(settings),
        "jax": jax.__version__,
    }
