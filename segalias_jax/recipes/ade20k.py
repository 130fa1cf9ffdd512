"""The published recipe on ADE20K, 150 classes: crops of 512, 80,000 steps of 16.

Paper: https://arxiv.org/abs/2403.09065
Command: segalias train --config ade20k --config.data.root=DIR --workdir RUN
On a laptop: --config ade20k:daf,freqmix,tiny

DIR is ADEChallengeData2016. Label 0 is ignored, label k + 1 is class k (`reduce_zero_label`).

The paper's mIoU on the validation set (encoder pretrained on ImageNet, images resized to a short
side of 512 and multiples of 32): baseline 38.87, daf,freqmix 40.35. This recipe scores in the same
way, but starts from random parameters unless model.pretrained names some; it was not trained here
yet.
"""

from segalias_jax.recipes import base


def get_config(arg: str = ""):
    """Returns the recipe.

    `arg` joins by commas "baseline" or any of "daf" and "freqmix" (both by default), and at most
    one of "published", for the band, cutoff and gates of the published checkpoints, and "tiny",
    for a narrow network that two processor cores can train.
    """
    config = base.get_config()
    config.name = "ade20k"
    size = base.choose_variant(config, arg, sizes=("published", "tiny"))
    config.data.source = "ade20k"
    config.data.train_split = "training"
    config.data.eval_split = "validation"
    config.data.resize = (2048, 512)
    config.data.ratio_range = (0.5, 2.0)
    config.data.crop = (512, 512)
    config.schedule.warmup_steps = 0  # the published warm-up is that of Cityscapes alone
    config.train.steps = 80000
    config.train.batch_size = 16
    config.train.eval_every = 8000
    config.eval.batch_size = 1
    config.eval.resize = (2048, 512)
    config.eval.multiple = 32
    base.apply_size(config, size)
    if size == "tiny":
        config.data.resize = config.eval.resize = (1024, 256)
    return config
