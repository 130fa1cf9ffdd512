"""The embedded default: procedural scenes, a narrow network, minutes on a laptop.

Paper: https://arxiv.org/abs/2403.09065 (the network; the scenes are this project's own).
Command: segalias train --workdir RUN

Measured: 2 to 4 minutes on two processor cores (of several machines), mIoU 63.6
(benchmarks/results/quickstart.json).
"""

from segalias_jax.recipes import base


def get_config(arg: str = ""):
    """Returns the recipe; `arg` is "baseline" or any of "daf" and "freqmix" (both by default)."""
    config = base.get_config()
    config.name = "quickstart"
    base.choose_variant(config, arg, sizes=())
    config.data.source = "synthetic"
    config.data.image_size = (128, 128)
    config.data.crop = (128, 128)
    config.data.ratio_range = (1.0, 1.0)
    config.data.cat_max_ratio = 1.0
    config.data.photometric = False  # the scenes have light and noise of their own
    config.model.encoder = "resnet18"
    config.model.width = 16
    config.model.channels = 32
    config.model.auxiliary_channels = 32
    config.loss.average = "valid"
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.weight_decay = 0.01
    config.optimizer.rate_multipliers = ()
    config.schedule.end_value = 0.0
    config.schedule.warmup_steps = 20
    config.train.steps = 1600
    config.train.batch_size = 8
    config.train.eval_every = 400
    config.train.log_every = 10
    config.eval.batch_size = 10
    return config
