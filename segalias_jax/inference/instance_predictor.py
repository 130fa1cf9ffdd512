"""`InstancePredictor`: the objects in arrays, files and folders by a trained detector."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from segalias_jax.data.files import image_size
from segalias_jax.data.instance_settings import InstanceSettings
from segalias_jax.data.instance_transforms import ResizeSides, padded_size
from segalias_jax.data.instances import Instances
from segalias_jax.errors import InputError
from segalias_jax.inference.detected import DetectedObjects, Found
from segalias_jax.inference.exported import load_exported_detector
from segalias_jax.inference.predictor import Predictor, load_image
from segalias_jax.inference.segmented import SegmentedObjects
from segalias_jax.inference.trained import TrainedDetector, load_trained
from segalias_jax.models import Detections
from segalias_jax.typing import Float, UInt8


@dataclasses.dataclass(frozen=True)
class DetectionSettings:
    """How an image is shown to a detector, and which of its objects are kept.

    Attributes:
      short: length that the short side is resized to, in pixels.
      long: most that the long side may have then, in pixels.
      interpolation: of pixels, "bilinear" or "nearest".
      padded: (height, width) that images are filled up to; () for the smallest that holds all
        images of upright, or of lying format.
      score_threshold: objects of a lower score are left out.
      shown: objects of a lower score are in no overlay and no map.

    Raises:
      InputError: a threshold out of range.

    Example:
      >>> settings = DetectionSettings(800, 1333)
      >>> settings.seen_size((480, 640)), settings.padded_size((800, 1066))
      ((800, 1066), (800, 1344))
    """

    short: int
    long: int
    interpolation: str = "bilinear"
    padded: tuple[int, ...] = ()
    score_threshold: int | float = 0.0
    shown: int | float = 0.5

    def __post_init__(self) -> None:
        """Checks the thresholds."""
        for name in ("score_threshold", "shown"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= value <= 1:
                raise InputError(f"{name}: {value!r} is no number from 0 to 1")

    @property
    def resize(self) -> ResizeSides:
        """What resizes images, as a recipe's scoring does."""
        return ResizeSides((self.short, self.short), self.long, interpolation=self.interpolation)

    def seen_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Returns the (height, width) that an image is resized to."""
        return self.resize.largest_size(size)

    def padded_size(self, seen: tuple[int, int]) -> tuple[int, int]:
        """Returns the (height, width) that a resized image is filled up to."""
        if self.padded and seen[0] <= self.padded[0] and seen[1] <= self.padded[1]:
            return self.padded[0], self.padded[1]
        # All images of a format share a program: compiling takes longer than the padding.
        sides = (self.short, self.long) if seen[0] <= seen[1] else (self.long, self.short)
        return padded_size([seen, (min(sides[0], self.long), min(sides[1], self.long))])


def detection_settings(
    data: InstanceSettings, *, threshold: int | float, **settings: Any
) -> DetectionSettings:
    """Returns how a recipe shows images when it scores.

    Args:
      data: the recipe's section `data`.
      threshold: the recipe's `eval.threshold`.
      **settings: fields to replace: score_threshold (which is that of `shown`, too), padded.

    Raises:
      InputError: another field, or a value out of range.

    Example:
      >>> detection_settings(InstanceSettings("coco"), threshold=0.5, score_threshold=0.7).shown
      0.7
    """
    for name in settings:
        if name not in ("score_threshold", "padded"):
            raise InputError(f"{name}: is for recipes of semantic segmentation; leave it out")
    if "score_threshold" in settings:
        settings = settings | {"shown": settings["score_threshold"]}
    given = {"padded": data.padded, "shown": threshold} | settings
    return DetectionSettings(data.short[1], data.long, data.interpolation, **given)


class InstancePredictor(Predictor):
    """Finds the objects in images of any size, as a recipe's scoring does.

    `Predictor` makes one of these for the run of a recipe of instance segmentation. An image is
    resized as the recipe says, filled up with zeros, and looked at; boxes and masks are brought
    back to its own size. Programs are compiled for `data.padded` of the recipe, or without it once
    for all lying and once for all upright images.

    Args:
      run: as for `Predictor`.
      config: as for `Predictor`.
      **settings: score_threshold: objects of a lower score are left out (the recipe's
        `model.score_threshold`, and `eval.threshold` in overlays); padded: (height, width) that
        images are filled up to.

    Attributes:
      run: the folder.
      classes: names of the classes, of which the first has number 1.
      palette: RGB color of each class, uint8 [n, 3].
      settings: how an image is shown to the network.

    Raises:
      InputError: no such run, or settings out of range.

    Example:
      >>> predictor = InstancePredictor("run", score_threshold=0.5)  # doctest: +SKIP
      >>> predictor("street.jpg")  # doctest: +SKIP
      DetectedObjects(480x640 pixels, 3 objects: 2 person, 1 dog)
      >>> InstancePredictor("no/such/run")
      Traceback (most recent call last):
      segalias_jax.errors.InputError: no/such/run is not there; give the folder of a checkpoint
    """

    settings: Any  # DetectionSettings
    _detect: Callable[[np.ndarray, np.ndarray], Found]

    def _open_run(self, config: Any, settings: dict[str, Any]) -> None:
        trained = load_trained(self.run, config)
        assert isinstance(trained, TrainedDetector)
        self.classes, self.palette = trained.classes, trained.palette
        recipe = trained.config
        self.settings = detection_settings(recipe.data, threshold=recipe.eval.threshold, **settings)
        graph, state = nnx.split(trained.model)

        @jax.jit
        def detect(state: Any, image: jax.Array, size: jax.Array) -> Found:
            return dataclasses.replace(trained, model=nnx.merge(graph, state)).apply(image, size)

        self._detect = lambda image, size: detect(state, image, size)

    def _open_exported(self, settings: dict[str, Any]) -> None:
        exported = load_exported_detector(self.run)
        manifest = exported.manifest
        self.classes = tuple(manifest["classes"])
        self.palette = np.asarray(manifest["palette"], np.uint8)
        given = manifest["protocol"] | settings | {"padded": tuple(manifest["protocol"]["padded"])}
        for name in settings:
            if name != "score_threshold":
                raise InputError(f"{name}: is fixed in an exported program; leave it out")
        if "score_threshold" in settings:
            given["shown"] = settings["score_threshold"]
        self.settings = DetectionSettings(**given)
        self._detect = exported.detect

    def pad_for(self, images: Iterable[Path]) -> None:
        """Fills images up to the smallest size that holds all of some, as a recipe's scoring does.

        Args:
          images: files; those that cannot be read are passed over. Nothing changes where the
            recipe or the settings give the size.
        """
        sizes = []
        for path in images if not self.settings.padded else ():
            with contextlib.suppress(InputError):
                sizes.append(self.settings.seen_size(image_size(path)))
        if sizes:
            self.settings = dataclasses.replace(self.settings, padded=padded_size(sizes))

    def __repr__(self) -> str:
        shown = [repr(str(self.run)), f"{len(self.classes)} classes of objects"]
        shown += [f"short={self.settings.short}", f"long={self.settings.long}"]
        if self.settings.score_threshold:
            shown.append(f"score_threshold={self.settings.score_threshold}")
        return f"InstancePredictor({', '.join(shown)})"

    def __call__(self, image: np.ndarray | Path | str) -> Any:
        """Returns the `DetectedObjects` of one image.

        Args:
          image: RGB bytes [h, w, 3], or the path of a file; so for all methods.

        Raises:
          InputError: an image that cannot be read or predicted; so for all methods.
        """
        return self._start(load_image(image))

    def probabilities(self, image: np.ndarray | Path | str) -> Float[np.ndarray, "h w c"]:
        """Raises an `InputError`: objects have scores and masks."""
        raise InputError("a detector has no probabilities of pixels; call it, and read scores")

    def logits(self, image: np.ndarray | Path | str) -> Float[np.ndarray, "h w c"]:
        """Raises an `InputError`, as `probabilities`."""
        raise InputError("a detector has no logits of pixels; call it, and read scores")

    def overlay(self, image: np.ndarray | Path | str) -> UInt8[np.ndarray, "h w 3"]:
        """Returns one image with its objects, see `DetectedObjects.overlay`."""
        return self(image).overlay()

    def _start(self, image: np.ndarray, *, probabilities: bool = False) -> DetectedObjects:
        if probabilities:
            self.probabilities(image)
        nothing = vars(Instances.of_masks(np.zeros((0, *image.shape[:2]), np.bool_), classes=[]))
        resized = self.settings.resize({"image": image, **nothing}, np.random.default_rng(0))
        seen = resized["image"].shape[:2]
        padded = np.zeros((1, *self.settings.padded_size(seen), 3), np.uint8)
        padded[0, : seen[0], : seen[1]] = resized["image"]
        found = self._detect(padded, np.asarray([seen], np.int32))
        kind = DetectedObjects if isinstance(found, Detections) else SegmentedObjects
        return kind(
            image,
            found,
            seen,
            classes=self.classes,
            palette=self.palette,
            least=self.settings.score_threshold,
            shown=self.settings.shown,
        )
