"""Recipes of panoptic segmentation: sections that detectors do not have, and the binding."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from flax import nnx

from segalias_jax import models
from segalias_jax.data.instance_source import stuff_numbers
from segalias_jax.models import PANOPTIC, UNIVERSAL, ModelConfig
from segalias_jax.runs.instance_recipe import (
    InstanceEvalSection,
    InstanceLossSection,
    InstanceRecipe,
)
from segalias_jax.runs.instances import InstanceBinding
from segalias_jax.runs.sections import refuse_unread
from segalias_jax.settings import integer, number, one_of, setting
from segalias_jax.tasks.panoptic import PanopticLoss, PanopticSegmentation
from segalias_jax.tasks.queries import PanopticQueries

_AMOUNT = number(least=0)


@dataclasses.dataclass(frozen=True)
class PanopticConfig(ModelConfig):
    """Section `model` of panoptic segmentation; all keys are those of `ModelConfig`.

    Example:
      >>> PanopticConfig().name
      'panoptic_deeplab'
    """

    name: str = setting("panoptic_deeplab", f"network: {', '.join(PANOPTIC | UNIVERSAL)}")


@dataclasses.dataclass(frozen=True)
class PanopticLossSection(InstanceLossSection):
    """Section `loss` of panoptic segmentation, see `tasks.panoptic.PanopticLoss`.

    Example:
      >>> PanopticLossSection().how() == PanopticLoss()
      True
    """

    average: str = setting(
        "batch",
        """"batch": means over the pixels of all images, as published; "image": over images, of the
        means over their pixels, which a batch accumulated in parts needs""",
        check=one_of(("batch", "image")),
    )
    fraction: float = setting(
        0.2,
        "of pixels, those with the largest cross-entropies, that count",
        check=number(above=0, most=1),
    )
    center_weight: float = setting(200.0, "of the squared errors of heat", check=_AMOUNT)
    offset_weight: float = setting(0.01, "of the absolute errors of offsets", check=_AMOUNT)
    sigma: float = setting(
        8.0, "deviation of the heat around a center", unit="pixels", check=number(above=0)
    )
    small_area: int = setting(
        4096, "things with fewer pixels are small", unit="pixels", check=integer(least=0)
    )
    small_weight: float = setting(3.0, "of the cross-entropy of their pixels", check=_AMOUNT)

    def how(self) -> PanopticLoss:
        """Returns the parts of the loss, as the task takes them."""
        names = (field.name for field in dataclasses.fields(PanopticLoss))
        return PanopticLoss(**{name: getattr(self, name) for name in names})


@dataclasses.dataclass(frozen=True)
class PanopticEvalSection(InstanceEvalSection):
    """Section `eval` of panoptic segmentation: how maps become segments, and are scored.

    Example:
      >>> PanopticEvalSection().threshold
      0.0
    """

    threshold: float = setting(
        0.0,
        "segments of a lower score count in average precision alone",
        check=number(least=0, below=1),
    )
    center_threshold: float = setting(0.1, "centers are hotter than that", check=_AMOUNT)
    max_centers: int = setting(200, "of an image, the hottest", check=integer(least=1))
    stuff_area: int = setting(
        2048,
        "that a segment of stuff has at least, at the size the network sees",
        unit="pixels",
        check=integer(least=0),
    )
    least_probable: float = setting(
        0.8,
        'probability of its class that a query with a segment exceeds: "mask2former"',
        check=number(least=0, below=1),
    )
    overlap: float = setting(
        0.8,
        "fraction of a mask's pixels that are its segment's at least: \"mask2former\"",
        check=number(least=0, below=1),
    )


@dataclasses.dataclass(frozen=True)
class PanopticRecipe(InstanceRecipe):
    """A recipe of panoptic segmentation, see `InstanceRecipe`.

    Example:
      >>> recipe = PanopticRecipe.from_config({"task": "panoptic"})
      >>> recipe.model.name, recipe.loss.fraction
      ('panoptic_deeplab', 0.2)
    """

    networks: ClassVar[dict[str, Any]] = PANOPTIC | UNIVERSAL

    task: str = setting("panoptic", "what is learned", check=one_of(("panoptic",)))
    model: PanopticConfig = dataclasses.field(default_factory=PanopticConfig)
    loss: PanopticLossSection = dataclasses.field(default_factory=PanopticLossSection)
    eval: PanopticEvalSection = dataclasses.field(default_factory=PanopticEvalSection)

    def __post_init__(self) -> None:
        """Checks the sections against each other and the network."""
        super().__post_init__()
        of_loss = [field.name for field in dataclasses.fields(PanopticLoss)]
        of_eval = ("center_threshold", "max_centers", "stuff_area")
        name = self.model.name
        if self.by_queries:
            refuse_unread(self.loss, of_loss, where="loss", network=name)
            refuse_unread(self.eval, of_eval, where="eval", network=name)
        else:
            refuse_unread(self.eval, ("least_probable", "overlap"), where="eval", network=name)

    def create_task(
        self, classes: tuple[str, ...], *, precision: str
    ) -> PanopticSegmentation | PanopticQueries:
        """Makes the task, see `InstanceRecipe`."""
        if self.by_queries:
            return PanopticQueries(
                len(classes),
                stuff=stuff_numbers(self.data, classes),
                how=self.loss.queries(),
                average=self.loss.average,
                precision=precision,
                seed=self.seed,
                headline=self.eval.headline,
                threshold=self.eval.threshold,
                least_probable=self.eval.least_probable,
                overlap=self.eval.overlap,
            )
        return PanopticSegmentation(
            len(classes),
            stuff=stuff_numbers(self.data, classes),
            how=self.loss.how(),
            average=self.loss.average,
            center_threshold=self.eval.center_threshold,
            max_centers=self.eval.max_centers,
            stuff_area=self.eval.stuff_area,
            precision=precision,
            headline=self.eval.headline,
            threshold=self.eval.threshold,
        )


class PanopticBinding(InstanceBinding):
    """Binds a recipe of panoptic segmentation; see `Binding` for its methods.

    Args:
      recipe: the recipe.

    Example:
      >>> PanopticBinding(PanopticRecipe()).recipe.task
      'panoptic'
    """

    recipe: PanopticRecipe

    def create_network(self, section: ModelConfig, *, num_classes: int) -> nnx.Module:
        """Makes the network of the section `model`, see `InstanceBinding`."""
        create = models.create_universal if self.recipe.by_queries else models.create_panoptic
        return create(section, num_classes=num_classes, rngs=nnx.Rngs(self.recipe.seed))
