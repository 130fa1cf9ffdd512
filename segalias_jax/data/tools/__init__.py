"""Commands on data sets: browse, prepare, and their statistics; levels and offsets of fields."""

from segalias_jax.data.tools.dithering import dither, quantize
from segalias_jax.data.tools.offsets import OffsetScores, move_up, offset_scores

__all__ = ["OffsetScores", "dither", "move_up", "offset_scores", "quantize"]
