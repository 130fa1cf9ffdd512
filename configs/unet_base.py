"""What the recipes of U-Net share: the published setting, and sizes for two processor cores."""

from segalias_jax.recipes.unet_base import recipe, shrink, shrink_lines, shrink_polyps

__all__ = ["recipe", "shrink", "shrink_lines", "shrink_polyps"]
