r"""Mask R-CNN on Cityscapes: 8 classes of things, 2,975 training images of 2048x1024.

Paper: https://arxiv.org/abs/2403.09065 (which has no instances of Cityscapes); the schedule is that
of https://arxiv.org/abs/1703.06870: 24,000 updates of 8 images, a tenth of the rate from 18,000 on,
short sides of 800 to 1024, mask AP 31.5 on the validation set.
Command: segalias train --config cityscapes_instances --workdir RUN \
    --config.data.root=DIR
Not trained here yet.
"""

from segalias_jax.recipes import instance_base


def get_config(arg: str = ""):
    """Returns the recipe.

    `arg` joins by commas "baseline" or any of "daf" and "freqmix" (both by default).
    """
    config, _ = instance_base.recipe("cityscapes_instances", arg)
    config.data.source = "cityscapes_instances"
    config.data.short = (800, 1024)
    config.data.long = 2048
    config.data.padded = (1024, 2048)
    config.optimizer.learning_rate = 0.01
    config.train.batch_size = 8
    config.train.steps = 24000
    config.train.eval_every = 2000
    config.schedule.milestones = (18000,)
    return config
