"""What the recipes of instance segmentation start from: all keys, and the published network.

Its keys, their defaults, units and meanings: python -m segalias_jax.recipes.instance_base
"""

from segalias_jax.recipes.base import Config, choose_variant
from segalias_jax.runs.instance_recipe import InstanceRecipe
from segalias_jax.runs.recipe import default_config, describe_keys


def recipe(name: str, arg: str, *, sizes: tuple[str, ...] = ()) -> tuple[Config, str]:
    """Returns Mask R-CNN on ResNet-50 with a feature pyramid, as COCO's schedule trains it.

    That is SGD with a rate of 0.02 for 16 images, momentum 0.9, weight decay 1e-4, a warm-up of
    500 updates, batch norms that keep their statistics, and a frozen stem and first stage.

    Args:
      name: of the recipe.
      arg: words separated by commas, see `base.choose_variant`.
      sizes: other words that the recipe knows.

    Returns:
      The recipe, and the word of `sizes` that was given, or "".

    Raises:
      InputError: unknown or contradicting words.
    """
    config: Config = default_config(InstanceRecipe)
    config.name = name
    size = choose_variant(config, arg, sizes=sizes)
    config.model.variant = "v1b"
    config.model.frozen_stages = 1
    config.model.frozen_norm = True
    config.optimizer.learning_rate = 0.02
    config.optimizer.weight_decay = 1e-4
    config.optimizer.rate_multipliers = ()
    config.schedule.name = "multistep"
    config.schedule.warmup_steps = 500
    config.schedule.warmup_ratio = 0.001
    config.train.batch_size = 16
    config.eval.headline = "segm_AP"
    return config, size


def train_for(config: Config, *, images: int, epochs: int, milestones: tuple[int, ...]) -> None:
    """Sets the length of a training in epochs.

    Args:
      config: the recipe.
      images: of the training split.
      epochs: how often each is seen.
      milestones: epochs from which on the rate is a tenth.
    """
    steps = -(-images // config.train.batch_size)  # of an epoch
    config.train.steps = epochs * steps
    config.train.eval_every = steps
    config.schedule.milestones = tuple(epoch * steps for epoch in milestones)


if __name__ == "__main__":
    print(describe_keys(InstanceRecipe))
