"""Anti-aliased dense prediction in JAX, and scores that say where a segmentation fails."""

from segalias_jax import layers, models, ops

__all__ = ["layers", "models", "ops"]
__version__ = "0.1.0"
