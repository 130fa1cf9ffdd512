"""Networks as programs for other runtimes: StableHLO, ONNX, TensorFlow's SavedModel.

A program maps RGB bytes [batch, h, w, 3] to float32 logits [batch, h, w, c]; normalization is
inside. The batch is symbolic unless its length is given. Height and width are either fixed, and the
matrices of low pass, pooling and resizing are constants as in training; or they are symbolic, and
the program computes these matrices (`ops.symbolic`): Dirichlet kernels and ramps in closed form,
whose phases and positions stay integers, and the bounds of bands from a table, because their rule
is one of float64.

JAX knows two symbolic lengths to be equal where they are written alike. So half a length is
(n - 1) // 2 + 1 everywhere, which is how JAX writes that of a strided convolution; and where n % 2
would decide something (2x2 pooling), a copy of the last row is there in any case.

No program contains a Fourier transform, which most runtimes lack: what is traced under
`ops.products_only` takes the products instead.

Those of detectors take the size of an image without its padding, too, and return boxes, scores,
classes and masks of objects (`detector_programs`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from segalias_jax import ops
from segalias_jax.errors import InputError, check_choice
from segalias_jax.evaluation.views import ViewSettings, read_view_settings
from segalias_jax.export.detector_programs import describe_detector, detector_manifest
from segalias_jax.export.onnx_graph import require_onnx
from segalias_jax.export.onnx_rules import to_onnx
from segalias_jax.files import write_bytes, write_text
from segalias_jax.inference.exported import MANIFEST, checksums, require_flatbuffers
from segalias_jax.inference.trained import TrainedDetector, TrainedModel
from segalias_jax.ops import symbolic

PLATFORMS = ("cpu", "cuda", "tpu")
"""Where a StableHLO program runs."""

BATCH, HEIGHT, WIDTH = "batch", "height", "width"
"""Names of symbolic lengths."""

ANY_SIZE = "any"
SIDES = (32, symbolic.LONGEST)
"""Pixels along each side of an image, at least and at most, where a program takes any size."""

INPUT, OUTPUT = "image", "logits"

Arrays = Mapping[str, jax.ShapeDtypeStruct]
"""The inputs of a program by name, in order."""


def export_model(
    trained: TrainedModel | TrainedDetector,
    folder: Path | str,
    *,
    format: str,
    size: tuple[int, int] | Literal["any"] | None = None,
    batch: int | None = None,
) -> Path:
    """Writes a network as a program, and `manifest.json` beside it.

    The folder is there as a whole or not at all: an export that is killed leaves a hidden folder
    `.NAME.tmp` beside it, which the next one to the same place clears.

    Args:
      trained: the network.
      folder: a new or empty one.
      format: "stablehlo" (for `jax.export.deserialize`), "onnx" or "savedmodel".
      size: (height, width) of the images in pixels; "any" for every size within `SIDES`; None for
        the window of the recipe. Of a detector that of padded images, and None for the recipe's.
      batch: their number at a time; None for any, of a detector for one.

    Returns:
      The program's file, or folder where it is a SavedModel. The manifest names the program's
      input, output, classes, palette and test protocol, and the sha256 of the program's files,
      which `inference.check_program` compares.

    Raises:
      InputError: an unknown format (of a detector "savedmodel", too), a missing package, a folder
        in use or that cannot be written, a size or batch that is not positive, or a network that
        cannot be exported.

    Example:
      >>> export_model(load_trained("run"), "new", format="onnx")  # doctest: +SKIP
    """
    folder = Path(folder)
    check_choice("format", format, WRITERS)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already; give another place")
    if format == "stablehlo":
        require_flatbuffers()
    if format == "onnx":
        require_onnx()
    if batch is not None and batch < 1:
        raise InputError(f"batch is {batch}; it must be at least 1")
    if isinstance(size, tuple):
        if min(size) < 1:
            raise InputError(f"size is {size}; give height and width in pixels, from 1 on")
    elif size is not None:
        check_choice("size", size, (ANY_SIZE,))
    if isinstance(trained, TrainedDetector):
        if format == "savedmodel":
            raise InputError("format is 'savedmodel', but detectors have 'stablehlo' and 'onnx'")
        settings, inputs, outputs, function = describe_detector(trained, size, batch)
        manifest = detector_manifest(trained, settings, inputs)
    else:
        settings, inputs = _describe(trained, size, batch)
        outputs, function = (OUTPUT,), trained.apply
        manifest = _manifest(trained, inputs[INPUT], settings)
    name, write = WRITERS[format]
    with ops.products_only():
        _check_network(function, inputs)
        with _written_whole(folder) as temporary:
            write(function, inputs, outputs, temporary / name)
            manifest = {"format": format, "file": name} | manifest
            manifest["sha256"] = checksums(temporary / name)
            write_text(temporary / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return folder / name


def _describe(
    trained: TrainedModel, size: tuple[int, int] | Literal["any"] | None, batch: int | None
) -> tuple[ViewSettings, Arrays]:
    """How images are shown to a network of pixels, and what its program takes."""
    section, crop = trained.config.eval, trained.config.data.crop
    if isinstance(size, tuple):
        settings = read_view_settings(section, crop, window=size, stride=())
    else:
        settings = read_view_settings(section, crop)
    sides = (HEIGHT, WIDTH) if size == ANY_SIZE else settings.window
    shape = jax.export.symbolic_shape(
        ", ".join(map(str, (batch or BATCH, *sides, 3))),
        constraints=_limits() if size == ANY_SIZE else (),
    )
    return settings, {INPUT: jax.ShapeDtypeStruct(shape, jnp.uint8)}


def _limits() -> list[str]:
    least, most = SIDES
    return [
        f"{side} {limit}" for side in (HEIGHT, WIDTH) for limit in (f">= {least}", f"<= {most}")
    ]


def _check_network(function: Callable, inputs: Arrays) -> None:
    """Refuses a network that has no program of this size, or one with a Fourier transform."""
    try:
        jaxpr = jax.make_jaxpr(function)(*inputs.values()).jaxpr
    except jax.errors.InconclusiveDimensionOperation:
        raise InputError(
            "this network depends on the size of the image in a way that no program for any size "
            f"has, or needs more than {SIDES[0]} pixels; export it with a fixed size"
        ) from None
    if re.search(r"\bfft\[", str(jaxpr)):
        raise InputError(
            "the network computes a Fourier transform, which other runtimes lack; FreqMix does so "
            "with gate 'magnitude' where the size is 'any', and not with a fixed size"
        )


@contextlib.contextmanager
def _written_whole(folder: Path) -> Iterator[Path]:
    """Yields a new folder to write into, which takes the place of `folder` once all is there."""
    target = folder.resolve()
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        lock = os.open(temporary, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror})") from None
    try:
        # The lock ends with its process: it parts what a killed export left from one under way.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            for left in temporary.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            yield temporary
            os.replace(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except BlockingIOError:
        raise InputError(f"{folder}: another export is writing it; give another place") from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from None
    finally:
        os.close(lock)


def _write_stablehlo(
    function: Callable, inputs: Arrays, outputs: tuple[str, ...], path: Path
) -> None:
    exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(*inputs.values())
    write_bytes(path, bytes(exported.serialize()))


def _write_onnx(function: Callable, inputs: Arrays, outputs: tuple[str, ...], path: Path) -> None:
    write_bytes(path, to_onnx(function, inputs, outputs).SerializeToString())


def _write_savedmodel(
    function: Callable, inputs: Arrays, outputs: tuple[str, ...], path: Path
) -> None:
    try:
        import tensorflow as tf
        from jax.experimental import jax2tf
    except ImportError as error:
        raise InputError(
            f"a SavedModel needs TensorFlow and jax2tf ({error}); "
            "pip install 'segalias_jax[savedmodel]'"
        ) from None
    image = inputs[INPUT]
    shape = [side if isinstance(side, int) else None for side in image.shape]
    converted = jax2tf.convert(
        function,
        polymorphic_shapes=[str(image.shape)] if None in shape else None,
        polymorphic_constraints=_limits() if None in shape[1:] else (),
        with_gradient=False,
        native_serialization_platforms=PLATFORMS,
    )
    signature = tf.TensorSpec(shape, image.dtype, name=INPUT)
    module: Any = tf.Module()  # takes any attribute
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


def _manifest(
    trained: TrainedModel, image: jax.ShapeDtypeStruct, settings: ViewSettings
) -> dict[str, Any]:
    """What a program takes and gives, and how the network was tested."""
    shape = [
        side if isinstance(side, int) else axis
        for side, axis in zip(image.shape, (BATCH, HEIGHT, WIDTH, "channels"), strict=True)
    ]
    return {
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
