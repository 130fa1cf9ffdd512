"""StableHLO programs that `export` wrote, read again to predict with.

The format has no checksum: most programs with a flipped bit still run, and give other logits. So
the manifest keeps the sha256 of the program, and a program of other bytes is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.models import Detections, MaskDetections
from segalias_jax.typing import Array, Float, Int32, UInt8

MANIFEST = "manifest.json"
INSTANCES = "instances"
"""The task of a detector, as recipes and manifests name it."""


@dataclasses.dataclass(frozen=True)
class ExportedModel:
    """A StableHLO program that was read again.

    Attributes:
      manifest: what was written beside it.
      program: bytes of images to logits.
    """

    manifest: dict[str, Any]
    program: Callable[[Array | np.ndarray], Array]

    def forward(self, image: UInt8[Array | np.ndarray, "b h w 3"]) -> Float[Array, "b h w c"]:
        """Computes the logits of images in bytes.

        Args:
          image: of a size that the program takes, see `manifest["input"]` and `["sides"]`.

        Returns:
          The logits, float32.

        Raises:
          InputError: an image of another size.
        """
        wanted = self.manifest["input"]["shape"]
        shapes = zip(image.shape, wanted, strict=True)
        if any(isinstance(want, int) and have != want for have, want in shapes):
            have, want = ("x".join(map(str, shape)) for shape in (image.shape, wanted))
            raise InputError(
                f"the exported program takes images of shape {want}, not {have}; predict in "
                "windows of that size, or export again with --size H,W or --size any"
            )
        least, most = self.manifest.get("sides") or (1, math.inf)
        if any(not least <= side <= most for side in image.shape[1:3]):
            have = "x".join(map(str, image.shape[1:3]))
            raise InputError(
                f"the exported program takes images with sides of {least} to {most} pixels, not "
                f"{have}; resize them, or predict in windows of such a size"
            )
        return self.program(image)


@dataclasses.dataclass(frozen=True)
class ExportedDetector:
    """A StableHLO program of a detector that was read again.

    Attributes:
      manifest: what was written beside it.
      program: bytes of an image and its size without padding to the outputs of the manifest.
    """

    manifest: dict[str, Any]
    program: Callable[[Array | np.ndarray, Array | np.ndarray], tuple[Array, ...]]

    def detect(
        self, image: UInt8[Array | np.ndarray, "b h w 3"], size: Int32[Array | np.ndarray, "b 2"]
    ) -> Detections | MaskDetections:
        """Finds the objects in images in bytes.

        Args:
          image: of the size of the program, see `manifest["input"]`.
          size: (height, width) without the padding.

        Raises:
          InputError: an image of another size.
        """
        wanted = self.manifest["input"]["shape"]
        if list(image.shape) != wanted:
            have, want = ("x".join(map(str, shape[1:3])) for shape in (image.shape, wanted))
            raise InputError(
                f"the exported program takes one image of {want} pixels, and this one would be "
                f"{have} after resizing and padding; export another size"
            )
        kind = Detections if "boxes" in self.manifest["outputs"] else MaskDetections
        return kind(*self.program(image, size))


def require_flatbuffers() -> None:
    """Raises where the package is missing by which JAX reads and writes StableHLO files.

    Raises:
      InputError: it is.

    Example:
      >>> require_flatbuffers()  # doctest: +SKIP
    """
    try:
        import flatbuffers  # noqa: F401
    except ImportError:
        raise InputError(
            "StableHLO files need the package flatbuffers; pip install flatbuffers"
        ) from None


def checksums(path: Path) -> str | dict[str, str]:
    """Returns the sha256 of a file, or of a folder those of all its files by name.

    Args:
      path: a program.

    Example:
      >>> checksums(Path("/dev/null"))[:8]
      'e3b0c442'
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return {file.relative_to(path).as_posix(): str(checksums(file)) for file in files}
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_program(folder: Path | str) -> Path:
    """Returns the program of an export of any format, if its bytes are those that were exported.

    No runtime compares checksums of its own: call it before onnxruntime or TensorFlow reads one.

    Args:
      folder: what `export_model` wrote.

    Returns:
      The program's file, or folder where it is a SavedModel.

    Raises:
      InputError: no manifest, no program, or one of other bytes (older manifests do not say).

    Example:
      >>> check_program("nowhere")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: nowhere/manifest.json: cannot be read (No such file or \
directory)
    """
    return _checked_program(Path(folder), _read_manifest(Path(folder)))


def load_exported(folder: Path | str) -> ExportedModel:
    """Reads a StableHLO program.

    Args:
      folder: what `export_model` wrote.

    Returns:
      The program.

    Raises:
      InputError: no such program, one of another format, a damaged one, one whose bytes are not
        those that were exported (older manifests do not say), or a missing package.

    Example:
      >>> load_exported("nowhere")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: nowhere/manifest.json: cannot be read (No such file or \
directory)
    """
    manifest, program = _load_program(Path(folder), "semantic")
    return ExportedModel(manifest, program)


def load_exported_detector(folder: Path | str) -> ExportedDetector:
    """Reads the StableHLO program of a detector.

    Args:
      folder: what `export_model` wrote.

    Returns:
      The program.

    Raises:
      InputError: as for `load_exported`.

    Example:
      >>> load_exported_detector("nowhere")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: nowhere/manifest.json: cannot be read (No such file or \
directory)
    """
    manifest, program = _load_program(Path(folder), INSTANCES)
    return ExportedDetector(manifest, program)


def exported_task(folder: Path | str) -> str:
    """Returns the task of an exported network: "semantic", or "instances" of a detector.

    Args:
      folder: what `export_model` wrote.

    Raises:
      InputError: no manifest, or a damaged one.

    Example:
      >>> exported_task("nowhere")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: nowhere/manifest.json: cannot be read (No such file or \
directory)
    """
    return _read_manifest(Path(folder)).get("task", "semantic")


def _load_program(folder: Path, task: str) -> tuple[dict[str, Any], Callable]:
    manifest = _read_manifest(folder)
    found = manifest.get("task", "semantic")  # older manifests do not say
    if found != task:
        raise InputError(f"{folder} holds a program of task {found}, not {task}")
    if manifest["format"] != "stablehlo":
        raise InputError(
            f"{folder} holds a program of format {manifest['format']}; predict with one of format "
            "stablehlo"
        )
    require_flatbuffers()
    try:
        data = _checked_program(folder, manifest).read_bytes()
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from None
    try:
        exported = jax.export.deserialize(bytearray(data))
    except Exception as error:  # whatever the bytes lead to, where there is no checksum
        raise InputError(f"{folder} is damaged ({error}); export it again") from None
    return manifest, jax.jit(exported.call)


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        of_objects = manifest.get("task") == INSTANCES
        for key in ("format", *([] if of_objects else ["align_corners"])):
            manifest[key]
        Path(manifest["file"])
        _, _, _, _ = manifest["input"]["shape"]
        dict(manifest["protocol"])["padded" if of_objects else "window"]
        colors = np.asarray(manifest["palette"], np.uint8)
        if colors.shape != (len(manifest["classes"]), 3):
            raise ValueError(f"a palette of shape {colors.shape} for the classes")
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from None
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        raise InputError(f"{folder} is damaged ({error}); export it again") from None
    return manifest


def _checked_program(folder: Path, manifest: dict[str, Any]) -> Path:
    try:
        path = folder / manifest["file"]
        found = checksums(path)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from None
    wanted = manifest.get("sha256")
    if wanted is None or wanted == found:
        return path
    if isinstance(wanted, dict) and isinstance(found, dict):
        names = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
        path = path / names[0]
    raise InputError(
        f"{path}: its sha256 is not the one in {MANIFEST}, so it was changed or damaged; "
        "export it again"
    )
