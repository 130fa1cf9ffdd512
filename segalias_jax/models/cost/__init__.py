"""What a model costs: its operations by part, its downsampling operators, the command `summary`."""

from segalias_jax.models.cost.complexity import Compiled, Part, Summary, summarize
from segalias_jax.models.cost.downsampling import Downsampling, find_downsampling

__all__ = ["Compiled", "Downsampling", "Part", "Summary", "find_downsampling", "summarize"]
