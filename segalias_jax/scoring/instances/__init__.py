"""Objects of any origin, scored one by one: average precision, panoptic quality, and causes."""

from typing import TYPE_CHECKING

from segalias_jax import lazy

if TYPE_CHECKING:
    from segalias_jax.scoring.instances.instance_scorer import InstanceScorer
    from segalias_jax.scoring.instances.object_causes import CAUSES
    from segalias_jax.scoring.instances.objects import Mask, Objects

__all__ = ["CAUSES", "InstanceScorer", "Mask", "Objects"]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "segalias_jax.scoring.instances.object_causes": ("CAUSES",),
        "segalias_jax.scoring.instances.objects": ("Mask", "Objects"),
        "segalias_jax.scoring.instances.instance_scorer": ("InstanceScorer",),
    },
)
