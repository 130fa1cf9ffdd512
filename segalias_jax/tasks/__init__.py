"""What can be learned: tasks for `training.fit`."""

from segalias_jax.tasks.instances import InstanceSegmentation
from segalias_jax.tasks.panoptic import PanopticSegmentation
from segalias_jax.tasks.queries import InstanceQueries, PanopticQueries, SemanticQueries
from segalias_jax.tasks.semantic import SemanticSegmentation

__all__ = [
    "InstanceQueries",
    "InstanceSegmentation",
    "PanopticQueries",
    "PanopticSegmentation",
    "SemanticQueries",
    "SemanticSegmentation",
]
