"""Semantic segmentation as a task: a class for every pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from segalias_jax import ops
from segalias_jax.errors import InputError, check_choice
from segalias_jax.losses import SUMS_OVER_PIXELS, check_loss, segmentation_loss
from segalias_jax.metrics import BinaryScores, SegmentationScores
from segalias_jax.metrics.lookup import rows_shown
from segalias_jax.metrics.rows import OVER_IMAGES
from segalias_jax.metrics.scores import SCORES
from segalias_jax.training.curriculum import Curriculum
from segalias_jax.training.state import TrainState
from segalias_jax.training.step import compile_forward
from segalias_jax.training.task import Batch, Task
from segalias_jax.typing import IGNORE_LABEL, Array, Float, Int

PRECISIONS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
"""Types that a network computes in. Parameters, statistics and losses are float32 in both."""


class SemanticSegmentation(Task):
    """Learns the class of every pixel.

    A batch is `{"image": [b, h, w, 3], "label": int32[b, h, w], "valid": bool[b]}`; "valid", False
    for rows that only fill up a batch, may be missing, and label 255 counts nowhere. Images of
    integers are RGB bytes, which are normalized by ImageNet's mean and deviation; images of floats
    are taken as they are.

    The network maps `[b, h, w, 3]` to logits `[b, h', w', num_classes]`, which are resized to the
    image. Where it has a method `with_auxiliary`, that gives the logits and a tuple of those of
    auxiliary heads in training.

    Args:
      num_classes: number of classes.
      terms: pairs (name in `losses.LOSSES`, weight) of what is summed.
      auxiliary_terms: the same for auxiliary heads; () for `terms`.
      auxiliary_weight: weight of the loss of every auxiliary head.
      average: over "all" pixels, ignored ones counting 0, or over the "valid" ones.
      class_weights: one for each class; () for none.
      precision: of the network, see `PRECISIONS`. Our layers compute in the type of their input;
        layers of flax do so by their argument `dtype`.
      curriculum: how much of an image's spectrum is seen at which step; None for all of it.
      boundary: rule of the scores, see `metrics.ScoreRules`, like the next three.
      ignore: "reference" or "exclude".
      width: side of the square that dilates boundaries, in pixels.
      reduce_zero_label: labels of validation hold k + 1 for class k, and 0 for ignored pixels.
      **loss_options: of single losses, see `losses.segmentation_loss`.

    Raises:
      InputError: a name that does not exist, or a number out of range.

    Example:
      >>> task = SemanticSegmentation(num_classes=3, average="valid")
      >>> task.headline, task.larger_is_better
      ('mIoU', True)
      >>> model = lambda x: jnp.zeros((*x.shape[:3], 3))
      >>> image, label = jnp.zeros((1, 4, 4, 3), jnp.uint8), jnp.zeros((1, 4, 4), int)
      >>> loss, _ = task.loss(model, {"image": image, "label": label})
      >>> print(f"{loss:.4f} = log(3)")
      1.0986 = log(3)
    """

    spatial = ("image", "label")

    def __init__(
        self,
        num_classes: int,
        *,
        terms: Sequence[tuple[str, float]] = (("cross_entropy", 1.0),),
        auxiliary_terms: Sequence[tuple[str, float]] = (),
        auxiliary_weight: float = 0.4,
        average: str = "all",
        class_weights: Sequence[float] = (),
        precision: str = "float32",
        curriculum: Curriculum | None = None,
        boundary: str = "laplacian",
        ignore: str = "reference",
        width: int = 15,
        reduce_zero_label: bool = False,
        **loss_options: int | float,
    ):
        if num_classes < 2:
            raise InputError(f"num_classes is {num_classes}; it must be at least 2")
        check_choice("precision", precision, PRECISIONS)
        check_loss(
            terms,
            auxiliary_terms=auxiliary_terms,
            average=average,
            class_weights=tuple(class_weights),
            num_classes=num_classes,
            **loss_options,
        )
        self.num_classes = num_classes
        self.terms, self.auxiliary_terms = tuple(terms), tuple(auxiliary_terms)
        self.auxiliary_weight = auxiliary_weight
        self.average, self.class_weights = average, tuple(class_weights)
        self.loss_options = loss_options
        self.dtype = PRECISIONS[precision]
        self.curriculum = curriculum or Curriculum()
        self._empty = SegmentationScores.empty(
            num_classes,
            boundary=boundary,
            ignore=ignore,
            width=width,
            reduce_zero_label=reduce_zero_label,
        )
        self.headline = headline(num_classes)
        self.larger_is_better = SCORES[self.headline].direction == "larger"
        names = [name for name, _ in (*self.terms, *self.auxiliary_terms)]
        self.sums = all(name in SUMS_OVER_PIXELS for name in names)

    def loss(self, model: nnx.Module | Callable, batch: Batch) -> tuple[Array, Mapping[str, Array]]:
        """Returns the weighted sum of the losses of a batch, see `losses.segmentation_loss`.

        Args:
          model: the network.
          batch: see the class; "ratio" is that of the curriculum.
        """
        x = self.network_input(batch["image"], batch.get("ratio"))
        with_auxiliary = getattr(model, "with_auxiliary", None)
        logits, auxiliary = with_auxiliary(x) if with_auxiliary else (model(x), ())
        size = batch["label"].shape[1:3]
        loss = segmentation_loss(
            _resized(logits, size),
            tuple(_resized(scores, size) for scores in auxiliary),
            batch["label"],
            terms=self.terms,
            auxiliary_terms=self.auxiliary_terms,
            auxiliary_weight=self.auxiliary_weight,
            average=self.average,
            class_weights=self.class_weights,
            valid=batch.get("valid"),
            **self.loss_options,
        )
        return loss, {}

    def predict(self, model: nnx.Module, image: Array, *, ratio: Any = None) -> Int[Array, "b h w"]:
        """Returns the class of every pixel.

        Args:
          model: the network.
          image: see the class.
          ratio: of the spectrum that is seen; None for all of it.
        """
        logits = self.logits(model, image, ratio=ratio)
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)

    def logits(
        self, model: nnx.Module | Callable, image: Array, *, ratio: Any = None
    ) -> Float[Array, "b h w c"]:
        """Returns the logits at the size of the image, as for `predict`.

        Args:
          model: the network.
          image: see the class.
          ratio: of the spectrum that is seen; None for all of it.
        """
        return _resized(model(self.network_input(image, ratio)), image.shape[1:3])

    def network_input(self, image: Array, ratio: Any) -> Float[Array, "b h w 3"]:
        """Returns what the network sees of images: normalized, low-passed, in its precision.

        Args:
          image: see the class.
          ratio: of the spectrum; None for all of it.
        """
        if jnp.issubdtype(image.dtype, jnp.integer):
            x = self.curriculum.network_input(image, ratio)
        else:
            x = (
                image
                if ratio is None
                else ops.ratio_low_pass(image, ratio, band=self.curriculum.band)
            )
        return x.astype(self.dtype)

    def compile_logits(self, graph: nnx.GraphDef) -> Callable[[TrainState, Array], Array]:
        """Compiles the logits of a batch as they are predicted with.

        Args:
          graph: structure of the model.

        Returns:
          `logits(state, image) -> float32[b, h, w, c]`, by the averaged parameters where the state
          has them.
        """
        return compile_forward(
            graph,
            lambda model, carry, image: self.logits(model, image, **self.prediction_inputs(carry)),
        )

    def scorer(self) -> SegmentationScorer:
        """Returns a scorer of class maps that has counted nothing."""
        return SegmentationScorer(self._empty)

    def weight(self, batch: Batch) -> Array:
        """Returns the number of pixels that the loss is averaged over.

        Args:
          batch: a part of a batch.
        """
        counted = jnp.ones(batch["label"].shape, bool)
        if "valid" in batch:
            counted = jnp.broadcast_to(batch["valid"][:, None, None], counted.shape)
        if self.average != "all":
            counted = counted & (batch["label"] != IGNORE_LABEL)
        return jnp.sum(counted, dtype=jnp.float32)

    def carry(self) -> Any:
        """Returns the ratio that an adaptive curriculum starts with; nothing for others."""
        return np.float32(self.curriculum.start) if self.curriculum.adaptive else ()

    def before_step(
        self, carry: Any, step: Array, batch: Batch, model: Callable[[], nnx.Module]
    ) -> tuple[Any, Mapping[str, Array]]:
        """Returns the ratio of the spectrum that a step sees, where there is a curriculum."""
        if not self.curriculum.adaptive:
            ratio = self.curriculum.training_ratio(step)
            return carry, {} if ratio is None else {"ratio": ratio}
        network: Any = model()
        ratio = self.curriculum.adapted_ratio(
            carry, step, lambda x: network(x.astype(self.dtype)), batch["image"]
        )
        return ratio, {"ratio": ratio}

    def prediction_inputs(self, carry: Any) -> Mapping[str, Any]:
        """Returns the ratio that is predicted with."""
        return {"ratio": self.curriculum.evaluation_ratio(carry)}

    def describe(self, scores: Mapping[str, Any]) -> str:
        """Returns the scores that a line has room for, in per cent.

        Example:
          >>> SemanticSegmentation(2).describe({"mIoU": 0.5, "BIoU": 0.25, "IoU": [0.1, 0.9]})
          'mIoU 50.0, BIoU 25.0'
        """
        rows = [*rows_shown("line", source="classes"), *rows_shown("line", source="foreground")]
        names = [row.name for row in rows if row.name in scores]
        return ", ".join(f"{name.replace('_', ' ')} {100 * scores[name]:.1f}" for name in names)


class SegmentationScorer:
    """Scores class maps; of binary segmentation the scores of the foreground, too.

    Args:
      empty: the state to begin with.
    """

    def __init__(self, empty: SegmentationScores):
        self.scores = empty
        self.binary = BinaryScores.empty(2) if empty.num_classes == 2 else None

    def update(self, prediction: np.ndarray, batch: Batch) -> None:
        """Counts a batch of class maps.

        Args:
          prediction: classes, int [b, h, w].
          batch: has "label", and possibly "valid".
        """
        label = np.asarray(batch["label"])
        if "valid" in batch:
            label = np.where(np.asarray(batch["valid"])[:, None, None], label, IGNORE_LABEL)
        self.scores = self.scores.update(prediction, label)
        if self.binary is not None:
            classes = self.scores.rules.class_label(label)
            self.binary = self.binary.update(prediction == 1, classes)

    def merge(self, other: SegmentationScorer) -> SegmentationScorer:
        """Returns the scorer of the images of both."""
        merged = SegmentationScorer(self.scores.merge(other.scores))
        if self.binary is not None and other.binary is not None:
            merged.binary = self.binary.merge(other.binary)
        return merged

    def compute(self) -> Mapping[str, Any]:
        """Returns all scores by name."""
        return self.scores.compute() | (self.binary.compute() if self.binary else {})


def headline(num_classes: int) -> str:
    """Returns the name of the score by which the best checkpoint is kept.

    Example:
      >>> headline(19), headline(2)
      ('mIoU', 'Dice_mean_over_images')
    """
    return f"Dice_{OVER_IMAGES}" if num_classes == 2 else "mIoU"


def _resized(logits: Array, size: tuple[int, ...]) -> Array:
    if logits.shape[1:3] == size:
        return logits
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    height, width = size
    return ops.resize_bilinear(logits, (height, width))
