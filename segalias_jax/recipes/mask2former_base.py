"""What the recipes with Mask2Former have in common: the network, and how it is trained."""

from segalias_jax.recipes.base import Config


def use_mask2former(config: Config) -> None:
    """Puts Mask2Former on a recipe's encoder, trained by AdamW, as published.

    The rate is 1e-4 with a tenth of it for the encoder, the decay 0.05, and the norm of the
    gradient is cut at 0.01. Mixers, which no published weights have, learn at the full rate. The
    published program does not decay norms and embeddings; here all parameters decay.

    Args:
      config: recipe to change, of any task.
    """
    config.model.name = "mask2former"
    config.model.variant = "v1b"
    config.model.frozen_stages = -1
    config.model.frozen_norm = True
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1e-4
    config.optimizer.weight_decay = 0.05
    config.optimizer.clip_norm = 0.01
    config.optimizer.rate_multipliers = (("mixer", 1.0), ("encoder/", 0.1))
    config.schedule.end_value = 0.0
    config.schedule.warmup_steps = 10
    config.train.batch_size = 16
