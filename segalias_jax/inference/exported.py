"""StableHLO programs that `export` wrote, read again to predict with."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from segalias_jax.errors import InputError

MANIFEST = "manifest.json"


@dataclasses.dataclass(frozen=True)
class ExportedModel:
    """A StableHLO program that was read again.

    Attributes:
      manifest: what was written beside it.
      program: bytes of images to logits.
    """

    manifest: dict[str, Any]
    program: Callable[[jax.Array], jax.Array]

    def forward(self, image: np.ndarray) -> jax.Array:
        """Returns logits, or raises `InputError` for a size that the program does not take."""
        wanted = self.manifest["input"]["shape"]
        shapes = zip(image.shape, wanted, strict=True)
        if any(isinstance(want, int) and have != want for have, want in shapes):
            have, want = ("x".join(map(str, shape)) for shape in (image.shape, wanted))
            raise InputError(
                f"the exported program takes images of shape {want}, not {have}; predict in "
                "windows of that size, or export another size"
            )
        least, most = self.manifest.get("sides") or (1, math.inf)
        if any(not least <= side <= most for side in image.shape[1:3]):
            have = "x".join(map(str, image.shape[1:3]))
            raise InputError(
                f"the exported program takes images with sides of {least} to {most} pixels, not "
                f"{have}; resize them, or predict in windows of such a size"
            )
        return self.program(image)


def load_exported(folder: Path | str) -> ExportedModel:
    """Reads a StableHLO program.

    Args:
      folder: what `export_model` wrote.

    Returns:
      The program.

    Raises:
      InputError: no such program, one of another format, or a damaged one.

    Example:
      >>> load_exported("nowhere")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: nowhere/manifest.json: cannot be read (No such file or \
directory)
    """
    try:
        manifest = json.loads((Path(folder) / MANIFEST).read_text())
        for key in ("format", "file", "input", "classes", "palette", "align_corners", "protocol"):
            manifest[key]
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} is damaged ({error}); export it again") from None
    if manifest["format"] != "stablehlo":
        raise InputError(
            f"{folder} holds a program of format {manifest['format']}; predict with one of format "
            "stablehlo"
        )
    try:
        data = (Path(folder) / manifest["file"]).read_bytes()
        exported = jax.export.deserialize(bytearray(data))
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from None
    except Exception as error:  # whatever the bytes lead to: the format has no checksum
        raise InputError(f"{folder} is damaged ({error}); export it again") from None
    return ExportedModel(manifest, jax.jit(exported.call))
