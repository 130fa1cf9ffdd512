"""Recipes of instance segmentation: the sections that differ from those of other tasks."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from segalias_jax.data.instance_settings import InstanceSettings
from segalias_jax.errors import InputError
from segalias_jax.models import DETECTORS, UNIVERSAL, ModelConfig
from segalias_jax.runs.recipe import BaseRecipe
from segalias_jax.runs.sections import QUERY_KEYS, Checked, QueryLossSection, refuse_unread
from segalias_jax.settings import integer, number, one_of, setting
from segalias_jax.tasks.instances import AVERAGES, HEADLINES, InstanceSegmentation
from segalias_jax.tasks.queries import InstanceQueries


@dataclasses.dataclass(frozen=True)
class DetectorConfig(ModelConfig):
    """Section `model` of detectors; all keys are those of `ModelConfig`.

    Example:
      >>> DetectorConfig().name
      'mask_rcnn'
    """

    name: str = setting("mask_rcnn", f"detector: {', '.join(DETECTORS | UNIVERSAL)}")


@dataclasses.dataclass(frozen=True)
class InstanceLossSection(QueryLossSection):
    """Section `loss` of detectors, whose losses are the network's own but for those of queries.

    Example:
      >>> InstanceLossSection().average
      'batch'
    """

    average: str = setting(
        "batch",
        """"batch": means over the samples of all images, as published; "image": over images, of
        the means over their samples, which a batch accumulated in parts needs""",
        check=one_of(AVERAGES),
    )


@dataclasses.dataclass(frozen=True)
class InstanceEvalSection(Checked):
    """Section `eval` of detectors: how they are scored.

    Example:
      >>> InstanceEvalSection().headline
      'PQ'
    """

    batch_size: int = setting(
        1, "images at a time, over all devices; bounds the memory", check=integer(least=1)
    )
    headline: str = setting(
        "PQ",
        'score that keeps the best checkpoint; "segm_AP" and "bbox_AP" need faster-coco-eval',
        check=one_of(HEADLINES),
    )
    threshold: float = setting(
        0.5,
        "detections of a lower score count in average precision alone",
        check=number(least=0, below=1),
    )
    images: int = setting(6, "images shown in the report", check=integer(least=0))


@dataclasses.dataclass(frozen=True)
class InstanceRecipe(BaseRecipe):
    """A recipe of instance segmentation, see `BaseRecipe`.

    Raises:
      InputError: sections that contradict each other, by the key.

    Example:
      >>> recipe = InstanceRecipe.from_config({"task": "instances", "data": {"flip": 0.0}})
      >>> recipe.model.name, recipe.data.flip
      ('mask_rcnn', 0.0)
    """

    networks: ClassVar[dict[str, Any]] = DETECTORS | UNIVERSAL

    task: str = setting("instances", "what is learned", check=one_of(("instances",)))
    data: InstanceSettings = dataclasses.field(default_factory=InstanceSettings)
    model: DetectorConfig = dataclasses.field(default_factory=DetectorConfig)
    loss: InstanceLossSection = dataclasses.field(default_factory=InstanceLossSection)
    eval: InstanceEvalSection = dataclasses.field(default_factory=InstanceEvalSection)

    def __post_init__(self) -> None:
        """Checks the sections against each other."""
        super().__post_init__()
        if self.model.name not in self.networks:
            raise InputError(
                f"model.name is {self.model.name!r}, which task={self.task} does not train; choose "
                f"one of {', '.join(self.networks)}"
            )
        if not self.by_queries:
            refuse_unread(self.loss, QUERY_KEYS, where="loss", network=self.model.name)
        if self.data.has_stuff and self.task == "instances":
            raise InputError(
                "data has classes of stuff, which detectors do not find; set task=panoptic, or "
                "choose another data.source or no data.stuff"
            )
        if self.mesh.spatial > 1:
            raise InputError(
                f"mesh.spatial is {self.mesh.spatial}, but boxes lie anywhere in an image, so "
                "that its height cannot be split; set it to 1"
            )
        if self.train.accumulate > 1 and self.loss.average != "image":
            raise InputError(
                f"train.accumulate is {self.train.accumulate}, but losses averaged over a batch "
                "are no sum over parts of it; set loss.average=image, or train.accumulate=1"
            )

    def create_task(self, classes: tuple[str, ...], *, precision: str) -> InstanceSegmentation:
        """Makes the task.

        Args:
          classes: names of the classes of the data.
          precision: of the network, see `InstanceSegmentation`.
        """
        shared: dict[str, Any] = {
            "average": self.loss.average,
            "precision": precision,
            "seed": self.seed,
            "headline": self.eval.headline,
            "threshold": self.eval.threshold,
        }
        if self.by_queries:
            return InstanceQueries(len(classes), how=self.loss.queries(), **shared)
        return InstanceSegmentation(len(classes), **shared)

    @property
    def by_queries(self) -> bool:
        """Whether the network is one of `models.UNIVERSAL`."""
        return self.model.name in UNIVERSAL

    @property
    def pretrained(self) -> str:
        """Weights that a run starts from; "" for none."""
        return self.model.pretrained

    @property
    def freezes(self) -> bool:
        """Whether some parameters of the network get no updates."""
        return self.model.frozen_stages >= 0 or self.model.frozen_norm
