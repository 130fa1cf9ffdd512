"""`Predictor`: class maps of arrays, files and folders by a trained network.

For the runs of detectors it makes an `inference.InstancePredictor`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np
from flax import nnx

from segalias_jax.data.files import read_image
from segalias_jax.errors import InputError
from segalias_jax.evaluation.sliding import SlidingPredictor
from segalias_jax.evaluation.views import read_view_settings
from segalias_jax.files import map_ahead
from segalias_jax.inference.exported import INSTANCES, MANIFEST, exported_task, load_exported
from segalias_jax.inference.trained import TrainedModel, load_trained, read_trained_recipe
from segalias_jax.runs.instance_recipe import InstanceRecipe
from segalias_jax.runs.workdir import RECIPE
from segalias_jax.scoring.matching import IMAGE_SUFFIXES
from segalias_jax.typing import Float, UInt8

_READING_THREADS = 4  # files decoded at a time


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of one image.

    Attributes:
      source: what was given: a path or an array.
      image: its pixels; None where they could not be had.
      prediction: of the image, a `Prediction` or `DetectedObjects`; None where there is none.
      error: why there is none.
    """

    source: Any
    image: UInt8[np.ndarray, "h w 3"] | None = None
    prediction: Any = None
    error: InputError | None = None


class Predictor:
    """Predicts images of any size with a trained network, as its recipe tests it.

    Images are RGB bytes [h, w, 3] or paths; the first device computes. Programs are compiled for
    the size of a window, see `evaluation.SlidingPredictor`; whole images compile one for each size.
    For a run of instance segmentation this is an `InstancePredictor`, which returns objects.

    Args:
      run: folder of a run (its best checkpoint is taken), of converted weights, or of an exported
        StableHLO program, which takes windows of its own size only, or of any.
      config: the recipe of converted weights; a run has its own.
      **settings: values of the recipe's section `eval` to replace: mode, window, stride, resize,
        multiple, scales, flip, batch_size; see `evaluation.ViewSettings`.

    Attributes:
      run: the folder.
      classes: names of the classes.
      palette: RGB color of each class, uint8 [n, 3].
      settings: how an image is shown to the network.

    Raises:
      InputError: no such run, or settings out of range.

    Example:
      >>> predictor = Predictor("run", flip=True)  # doctest: +SKIP
      >>> predictor  # doctest: +SKIP
      Predictor('run', 19 classes, mode='slide', window=(512, 512), stride=(341, 341), flip=True)
      >>> predictor("street.jpg").shape  # doctest: +SKIP
      (1024, 2048)
      >>> Predictor("no/such/run")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: no/such/run is not there; give the folder of a checkpoint
    """

    def __new__(cls, run: Path | str, *, config: Any = None, **settings: Any) -> Predictor:
        """Makes a predictor of the kind that the run is of."""
        # It is a subclass of this class.
        from segalias_jax.inference.instance_predictor import InstancePredictor

        kind: Any = InstancePredictor if finds_objects(run, config) else cls
        return super().__new__(kind)

    def __init__(self, run: Path | str, *, config: Any = None, **settings: Any):
        self.run = Path(run)
        if (self.run / MANIFEST).exists():
            if config is not None:
                raise InputError(f"{run} holds an exported program; leave config out")
            self._open_exported(settings)
        else:
            self._open_run(config, settings)

    def _open_run(self, config: Any, settings: dict[str, Any]) -> None:
        trained = load_trained(self.run, config)
        assert isinstance(trained, TrainedModel)
        self.classes, self.palette = trained.classes, trained.palette
        section = trained.config.eval
        self.settings = read_view_settings(section, trained.config.data.crop, **settings)
        graph, state = nnx.split(trained.model)

        @jax.jit
        def forward(state: Any, image: jax.Array) -> jax.Array:
            return nnx.merge(graph, state)(trained.network_input(image))

        self._slider = SlidingPredictor(
            lambda image: forward(state, image),
            self.settings,
            align_corners=trained.config.model.align_corners,
        )

    def _open_exported(self, settings: dict[str, Any]) -> None:
        exported = load_exported(self.run)
        manifest = exported.manifest
        self.classes = tuple(manifest["classes"])
        self.palette = np.asarray(manifest["palette"], np.uint8)
        protocol, rows = manifest["protocol"], manifest["input"]["shape"][0]
        if isinstance(rows, int):
            protocol = protocol | {"batch_size": rows}
        self.settings = read_view_settings(protocol, protocol["window"], **settings)
        self._slider = SlidingPredictor(
            exported.forward, self.settings, align_corners=manifest["align_corners"]
        )

    def __repr__(self) -> str:
        shown = [repr(str(self.run)), f"{len(self.classes)} classes"]
        for field in dataclasses.fields(self.settings):
            value = getattr(self.settings, field.name)
            if field.name in ("window", "stride"):
                is_shown = self.settings.mode == "slide"
            else:
                is_shown = field.name == "mode" or value != field.default
            if is_shown:
                shown.append(f"{field.name}={value!r}")
        return f"Predictor({', '.join(shown)})"

    def __call__(self, image: np.ndarray | Path | str) -> UInt8[np.ndarray, "h w"]:
        """Returns the class of every pixel of one image.

        Args:
          image: RGB bytes [h, w, 3], or the path of a file; so for all methods.

        Raises:
          InputError: an image that cannot be read or predicted; so for all methods.
        """
        return self._start(load_image(image)).classes()

    def probabilities(self, image: np.ndarray | Path | str) -> Float[np.ndarray, "h w c"]:
        """Returns the probability of every class at every pixel of one image, float32.

        With several views (scales, flip), the mean of their probabilities.
        """
        return self._start(load_image(image), probabilities=True).scores()

    def logits(self, image: np.ndarray | Path | str) -> Float[np.ndarray, "h w c"]:
        """Returns the logits of every class at every pixel of one image, float32.

        They are averaged over windows and resized to the image. Several views (scales, flip) are an
        `InputError`: their probabilities are averaged, not their logits.
        """
        return self._slider.start(load_image(image), logits=True).scores()

    def overlay(self, image: np.ndarray | Path | str) -> UInt8[np.ndarray, "h w 3"]:
        """Returns one image mixed half and half with the colors of its predicted classes, RGB."""
        pixels = load_image(image)
        return color_overlay(pixels, self._start(pixels).classes(), self.palette)

    def stream(
        self, images: Iterable[np.ndarray | Path | str], *, probabilities: bool = False
    ) -> Iterator[Result]:
        """Predicts many images; files are read, and results copied, while the device works.

        Args:
          images: arrays or paths of files; see `find_images` for folders.
          probabilities: whether `result.prediction.scores()` shall be readable.

        Yields:
          One result for each image, in order. An unusable image has an error instead.
        """

        def read(image: np.ndarray | Path | str) -> np.ndarray | InputError:
            try:
                return load_image(image)
            except InputError as error:
                return error

        last: Result | None = None
        ahead = map_ahead(read, images, threads=_READING_THREADS, ahead=_READING_THREADS)
        for source, image in ahead:
            if isinstance(image, InputError):
                result = Result(source, error=image)
            else:
                try:
                    prediction = self._start(image, probabilities=probabilities)
                    result = Result(source, image, prediction)
                except InputError as error:  # a size that the network or program does not take
                    result = Result(source, image, error=error)
                except (MemoryError, jax.errors.JaxRuntimeError) as error:
                    result = Result(source, error=without_memory(source, error))
            # One later: the device has the next image already when this one is read.
            if last is not None:
                yield last
            last = result
        if last is not None:
            yield last

    def _start(self, image: np.ndarray, *, probabilities: bool = False) -> Any:
        """Hands an image to the device and does not wait for it."""
        return self._slider.start(image, probabilities=probabilities)


def finds_objects(run: Path | str, config: Any = None) -> bool:
    """Returns whether a run, converted weights or an exported program find objects.

    Args:
      run: as for `Predictor`; False where it is not there.
      config: as for `Predictor`.

    Raises:
      InputError: a recipe or manifest that cannot be read.

    Example:
      >>> finds_objects("no/such/run")
      False
    """
    run = Path(run)
    if (run / MANIFEST).exists():
        return exported_task(run) == INSTANCES
    if not run.is_dir() or (config is None and not (run / RECIPE).exists()):
        return False
    return isinstance(read_trained_recipe(run, config), InstanceRecipe)


def without_memory(source: Any, error: Exception) -> InputError:
    """Returns the sentence for an image that does not fit into the memory.

    Args:
      source: the image's path, or the image.
      error: what was raised.

    Raises:
      Exception: `error`, where it is about something else.

    Example:
      >>> without_memory("a.png", MemoryError())
      InputError('a.png: its prediction does not fit into the memory; make the image smaller')
    """
    if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
        raise error
    name = source if isinstance(source, str | Path) else "an image"
    return InputError(
        f"{name}: its prediction does not fit into the memory; make the image smaller"
    )


def load_image(image: np.ndarray | Path | str) -> UInt8[np.ndarray, "h w 3"]:
    """Reads a file, or checks an array.

    Args:
      image: RGB bytes [h, w, 3], or the path of a file.

    Returns:
      RGB bytes.

    Raises:
      InputError: an unreadable file, or an array of other axes, channels or type, or of no pixel.

    Example:
      >>> load_image(np.zeros((4, 4, 1), np.uint8))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: an image has shape (height, width, 3), not (4, 4, 1); \
convert it to RGB
    """
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if image.ndim != 3 or image.shape[2] != 3:
        raise InputError(
            f"an image has shape (height, width, 3), not {image.shape}; convert it to RGB"
        )
    if image.dtype != np.uint8:
        raise InputError(f"an image consists of bytes 0 to 255 (uint8), not {image.dtype}")
    if not image.size:
        raise InputError(f"an image of shape {image.shape} has no pixel; leave it out")
    return image


def find_images(paths: Iterable[Path | str]) -> dict[str, Path]:
    """Lists image files by the names of their results.

    Args:
      paths: files, and folders, which are searched with their subfolders.

    Returns:
      Files by name: of one in a folder its path below it, without suffix; frame 2 comes before
      frame 10.

    Raises:
      InputError: nothing there, a folder without images, or two files of one name.

    Example:
      >>> find_images(["nowhere"])
      Traceback (most recent call last):
      segalias_jax.errors.InputError: nowhere: no such file or folder
    """
    found: dict[str, Path] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
        files = [path]
        if path.is_dir():
            files = [p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES]
            files = sorted((p for p in files if p.is_file()), key=_natural)
            if not files:
                raise InputError(f"{path}: no {' or '.join(IMAGE_SUFFIXES)} file is in there")
        for file in files:
            relative = file.relative_to(path) if path.is_dir() else Path(file.name)
            name = relative.with_suffix("").as_posix()
            if name in found:
                raise InputError(
                    f"{found[name]} and {file} would both be written as {name}; "
                    "predict them into two folders"
                )
            found[name] = file
    return found


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", str(path))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def color_overlay(
    image: UInt8[np.ndarray, "h w 3"],
    ids: UInt8[np.ndarray, "h w"],
    palette: UInt8[np.ndarray, "n 3"],
) -> UInt8[np.ndarray, "h w 3"]:
    """Mixes an image with the colors of its classes, half and half.

    Args:
      image: RGB.
      ids: class of every pixel.
      palette: RGB color of each class.

    Returns:
      RGB picture.

    Example:
      >>> color_overlay(np.full((1, 1, 3), 100, np.uint8), np.zeros((1, 1), np.uint8),
      ...               np.full((1, 3), 200, np.uint8)).tolist()
      [[[150, 150, 150]]]
    """
    return cv2.addWeighted(image, 0.5, np.ascontiguousarray(palette[ids]), 0.5, 0)
