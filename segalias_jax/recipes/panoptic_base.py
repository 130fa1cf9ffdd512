"""What the recipes of panoptic segmentation start from: all keys, and the published network.

Its keys, their defaults, units and meanings: python -m segalias_jax.recipes.panoptic_base
"""

from segalias_jax.recipes.base import Config, choose_variant
from segalias_jax.runs.panoptic import PanopticRecipe
from segalias_jax.runs.recipe import default_config, describe_keys


def recipe(name: str, arg: str, *, sizes: tuple[str, ...] = ()) -> tuple[Config, str]:
    """Returns Panoptic-DeepLab on ResNet-50 with maps of stride 16, as published.

    It is trained by Adam without weight decay, with a rate of 0.001 that decays to nothing.

    Args:
      name: of the recipe.
      arg: words separated by commas, see `base.choose_variant`.
      sizes: other words that the recipe knows.

    Returns:
      The recipe, and the word of `sizes` that was given, or "".

    Raises:
      InputError: unknown or contradicting words.
    """
    config: Config = default_config(PanopticRecipe)
    config.name = name
    size = choose_variant(config, arg, sizes=sizes)
    config.model.output_stride = 16
    config.model.dilations = (1, 6, 12, 18)
    config.optimizer.name = "adamw"  # which is Adam where there is no decay
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 0.0
    config.optimizer.rate_multipliers = ()
    config.schedule.name = "poly"
    config.schedule.power = 0.9
    config.schedule.end_value = 0.0
    config.schedule.warmup_steps = 0
    return config, size


if __name__ == "__main__":
    print(describe_keys(PanopticRecipe))
