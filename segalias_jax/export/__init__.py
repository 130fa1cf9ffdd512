"""Trained networks as programs for other runtimes."""

from segalias_jax.export.programs import export_model

__all__ = ["export_model"]
