"""The published recipe on Cityscapes: UPerNet on ResNet-50 v1c, crops of 768, 80,000 steps of 8.

Paper: https://arxiv.org/abs/2403.09065
Command: segalias train --config cityscapes --config.data.root=DIR --workdir RUN
Published network to the letter: --config cityscapes:published
Published row "FLC": --config cityscapes:daf,flc
Mask2Former in place of UPerNet: --config cityscapes:mask2former
(its published schedule: 90,000 steps of 16 crops of 512x1024, whole images, mIoU 79.4;
https://arxiv.org/abs/2112.01527)

Published mIoU on the validation set (windows of 768, stride 512, encoder pretrained on ImageNet):
baseline 78.1, daf 79.3, daf,freqmix 79.7. This recipe scores in the same way, but starts from
random parameters; --config.eval.mode=whole scores whole images.
"""

from segalias_jax.recipes import base, mask2former_base


def get_config(arg: str = ""):
    """Returns the recipe.

    `arg` joins by commas "baseline" or any of "daf" and "freqmix" (both by default), and at most
    one of "published", for the band, cutoff and gates of the published checkpoints, "flc", for the
    same with the cutoff of their row "FLC", which is that of the stride alone, and "mask2former",
    for that network and its schedule.
    """
    config = base.get_config()
    config.name = "cityscapes"
    size = base.choose_variant(config, arg, sizes=("published", "flc", "mask2former"))
    config.data.source = "cityscapes"
    config.data.resize = (2049, 1025)
    config.data.ratio_range = (0.5, 2.0)
    config.data.crop = (768, 768)
    config.optimizer.learning_rate = 0.01
    config.optimizer.weight_decay = 5e-4
    config.schedule.end_value = 1e-4
    config.schedule.warmup_steps = 200
    config.train.steps = 80000
    config.train.batch_size = 8
    config.train.eval_every = 8000
    config.eval.batch_size = 1
    config.eval.mode = "slide"
    config.eval.window = (768, 768)
    config.eval.stride = (512, 512)
    config.eval.resize = (2049, 1025)
    if size == "mask2former":
        mask2former_base.use_mask2former(config)
        config.data.crop = (512, 1024)
        config.train.steps = 90000
        config.train.eval_every = 9000
        config.eval.mode = "whole"
        config.eval.window = ()
        config.eval.stride = ()
        config.eval.multiple = 32
    elif size:
        config.model.band = "reference"
        config.model.cutoff = 0.25 if size == "flc" else 0.35
        config.model.gate = "corner"
    return config
