"""Networks as programs for other runtimes: StableHLO, ONNX, TensorFlow's SavedModel.

A program maps RGB bytes [batch, h, w, 3] to float32 logits [batch, h, w, c]; normalization is
inside. The batch may have any length. Height and width are fixed, and the matrices of the low pass,
of pooling and of resizing are constants; or they are symbolic, and the program computes these
matrices (`ops.symbolic`). No program contains a Fourier transform.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from segalias_jax import ops
from segalias_jax.errors import InputError
from segalias_jax.evaluation import read_view_settings
from segalias_jax.export.onnx_graph import require_onnx
from segalias_jax.export.onnx_rules import to_onnx
from segalias_jax.inference.exported import MANIFEST
from segalias_jax.inference.trained import TrainedModel
from segalias_jax.ops import symbolic

PLATFORMS = ("cpu", "cuda", "tpu")
"""Where a StableHLO program runs."""

BATCH, HEIGHT, WIDTH = "batch", "height", "width"
"""Names of lengths that a program leaves open."""

ANY_SIZE = "any"
SIDES = (32, symbolic.LONGEST)
"""Pixels along each side of an image, at least and at most, where a program takes any size."""

INPUT, OUTPUT = "image", "logits"


def export_model(
    trained: TrainedModel,
    folder: Path,
    *,
    format: str,
    size: tuple[int, int] | Literal["any"] | None = None,
    batch: int | None = None,
) -> Path:
    """Writes a network as a program, and `manifest.json` beside it.

    Args:
      trained: the network.
      folder: a new or empty one.
      format: "stablehlo" (for `jax.export.deserialize`), "onnx" or "savedmodel".
      size: (height, width) of the images; "any" for every size within `SIDES`; None for the window
        of the recipe.
      batch: their number at a time; None for any.

    Returns:
      The program's file, or folder where it is a SavedModel.

    Raises:
      InputError: an unknown format, a missing package, a folder in use, a size that is not
        positive, or a network that cannot be exported.

    Example:
      >>> export_model(load_trained("run"), Path("new"), format="onnx")  # doctest: +SKIP
    """
    if format not in WRITERS:
        raise InputError(f"format is {format!r}; choose one of {', '.join(WRITERS)}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already; give another place")
    if format == "onnx":
        require_onnx()
    if isinstance(size, tuple) and min(size) < 1:
        raise InputError(f"size is {size}; give height and width in pixels, from 1 on")
    own = {"window": size, "stride": ()} if isinstance(size, tuple) else {}
    settings = read_view_settings(trained.config.get("eval", {}), trained.config.data.crop, **own)
    if batch is not None and batch < 1:
        raise InputError(f"batch is {batch}; it must be at least 1")
    image = _symbolic_image(batch, None if size == ANY_SIZE else settings.window)
    with ops.products_only():
        _refuse_transforms(_traced(trained.apply, image))
        name, write = WRITERS[format]
        _make_folder(folder)
        write(trained.apply, image, folder / name)
    text = json.dumps(_manifest(trained, image, settings, format, name), indent=1)
    (folder / MANIFEST).write_text(text + "\n")
    return folder / name


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror})") from None


def _symbolic_image(batch: int | None, size: tuple[int, ...] | None) -> jax.ShapeDtypeStruct:
    """What a program takes; None stands for symbolic lengths."""
    axes = [batch or BATCH, *(size or (HEIGHT, WIDTH)), 3]
    limits = () if size else _limits()
    shape = jax.export.symbolic_shape(", ".join(map(str, axes)), constraints=limits)
    return jax.ShapeDtypeStruct(shape, jnp.uint8)


def _limits() -> list[str]:
    least, most = SIDES
    return [
        f"{side} {limit}" for side in (HEIGHT, WIDTH) for limit in (f">= {least}", f"<= {most}")
    ]


def _traced(function: Callable, image: jax.ShapeDtypeStruct) -> Any:
    try:
        return jax.make_jaxpr(function)(image).jaxpr
    except jax.errors.InconclusiveDimensionOperation:
        raise InputError(
            "this network depends on the size of the image in a way that no program for any size "
            f"has, or needs more than {SIDES[0]} pixels; export it with --size H,W"
        ) from None


def _write_stablehlo(function: Callable, image: jax.ShapeDtypeStruct, path: Path) -> None:
    exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(image)
    path.write_bytes(exported.serialize())


def _write_onnx(function: Callable, image: jax.ShapeDtypeStruct, path: Path) -> None:
    model = to_onnx(function, image, input_name=INPUT, output_name=OUTPUT)
    path.write_bytes(model.SerializeToString())


def _write_savedmodel(function: Callable, image: jax.ShapeDtypeStruct, path: Path) -> None:
    try:
        import tensorflow as tf
        from jax.experimental import jax2tf
    except ImportError as error:
        raise InputError(
            f"a SavedModel needs TensorFlow and jax2tf ({error}); "
            "pip install 'segalias_jax[savedmodel]'"
        ) from None
    shape = [side if isinstance(side, int) else None for side in image.shape]
    converted = jax2tf.convert(
        function,
        polymorphic_shapes=[str(image.shape)] if None in shape else None,
        polymorphic_constraints=_limits() if None in shape[1:] else (),
        with_gradient=False,
        native_serialization_platforms=PLATFORMS,
    )
    signature = tf.TensorSpec(shape, image.dtype, name=INPUT)
    module = tf.Module()
    module.predict = tf.function(
        lambda image: {OUTPUT: converted(image)}, autograph=False, input_signature=[signature]
    )
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.predict})


WRITERS = {
    "stablehlo": ("model.stablehlo", _write_stablehlo),
    "onnx": ("model.onnx", _write_onnx),
    "savedmodel": ("saved_model", _write_savedmodel),
}
"""Name of the file, and its writer, by format."""


def _refuse_transforms(jaxpr: Any) -> None:
    if re.search(r"\bfft\[", str(jaxpr)):
        raise InputError(
            "the network computes a Fourier transform, which other runtimes lack; FreqMix does so "
            "with model.gate 'magnitude', and not with 'energy' or 'corner'"
        )


def _manifest(
    trained: TrainedModel, image: jax.ShapeDtypeStruct, settings: Any, format: str, name: str
) -> dict[str, Any]:
    shape = [
        side if isinstance(side, int) else axis
        for side, axis in zip(image.shape, (BATCH, HEIGHT, WIDTH, "channels"), strict=True)
    ]
    return {
        "format": format,
        "file": name,
        "recipe": trained.config.name,
        "input": {"name": INPUT, "shape": shape, "dtype": "uint8", "axes": "NHWC, RGB, 0 to 255"},
        "output": {"name": OUTPUT, "shape": [*shape[:3], len(trained.classes)], "dtype": "float32"},
        "normalization": {"mean": ops.IMAGENET_MEAN, "std": ops.IMAGENET_STD, "inside": True},
        "classes": trained.classes,
        "palette": trained.palette.tolist(),
        "align_corners": trained.config.model.align_corners,
        "sides": SIDES if HEIGHT in shape else None,
        "protocol": dataclasses.asdict(settings),
        "jax": jax.__version__,
    }
