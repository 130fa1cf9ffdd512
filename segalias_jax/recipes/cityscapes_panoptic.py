r"""Panoptic-DeepLab on Cityscapes: 8 classes of things and 11 of stuff, 90,000 updates of 32 crops.

Paper: https://arxiv.org/abs/1911.10194 (the schedule of its published program, with crops of
512x1024); the filters are those of https://arxiv.org/abs/2403.09065, which has no such network.
Command: segalias train --config cityscapes_panoptic --workdir RUN \
    --config.data.root=DIR
Mask2Former in place of Panoptic-DeepLab: --config cityscapes_panoptic:mask2former
(its published schedule: 90,000 updates of 16 crops, PQ 62.1; https://arxiv.org/abs/2112.01527)
Not trained here yet.
"""

from segalias_jax.recipes import mask2former_base, panoptic_base


def get_config(arg: str = ""):
    """Returns the recipe.

    `arg` joins by commas "baseline" or any of "daf" and "freqmix" (both by default), and
    "mask2former" for that network and its schedule.
    """
    config, size = panoptic_base.recipe("cityscapes_panoptic", arg, sizes=("mask2former",))
    config.data.source = "cityscapes_panoptic"
    config.data.crop = (512, 1024)
    config.data.short = (1024, 1024)
    config.data.long = 2048
    config.data.ratio_range = (0.5, 2.0)
    config.data.max_objects = 160
    config.train.batch_size = 32
    config.train.steps = 90000
    config.train.eval_every = 9000
    if size == "mask2former":
        mask2former_base.use_mask2former(config)
        config.model.output_stride = 32
        config.model.dilations = (1, 12, 24, 36)  # the default of a key that it does not read
    return config
