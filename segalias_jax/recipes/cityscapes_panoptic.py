r"""Panoptic-DeepLab on Cityscapes: 8 classes of things and 11 of stuff, 90,000 updates of 32 crops.

Paper: https://arxiv.org/abs/1911.10194 (the schedule of its published program, with crops of
512x1024); the filters are those of https://arxiv.org/abs/2403.09065, which has no such network.
Command: segalias train --config cityscapes_panoptic --workdir RUN \
    --config.data.root=DIR
Not trained here yet.
"""

from segalias_jax.recipes import panoptic_base


def get_config(arg: str = ""):
    """Returns the recipe.

    `arg` joins by commas "baseline" or any of "daf" and "freqmix" (both by default).
    """
    config, _ = panoptic_base.recipe("cityscapes_panoptic", arg)
    config.data.source = "cityscapes_panoptic"
    config.data.crop = (512, 1024)
    config.data.short = (1024, 1024)
    config.data.long = 2048
    config.data.ratio_range = (0.5, 2.0)
    config.data.max_objects = 160
    config.train.batch_size = 32
    config.train.steps = 90000
    config.train.eval_every = 9000
    return config
